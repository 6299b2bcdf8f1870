//! Whatever comes, frames are cut in bounded memory, their points never panic, and a good frame behind it is found.

use std::time::Duration;

use fieldway::driver::serial::{Collector, Piece, checksum, extract};
use fieldway::model::{
    ByteOrder, ChecksumKind, Crc, Encoding, FrameChecksum, FrameFormat, FrameLength, FramePlace, FrameSource, Half,
    Hearing, Name, Point, PointType, Source, StreamFormat,
};

const MAX_LENGTH: usize = 48;

/// A format, and a good frame of it.
fn format(how: u8) -> (FrameFormat, Vec<u8>) {
    let kind = [ChecksumKind::Sum8, ChecksumKind::Crc(Crc::Modbus), ChecksumKind::Xor, ChecksumKind::Crc(Crc::Crc32)];
    let kind = kind[usize::from(how) / 4 % 4];
    let (start, length, end, content) = match how % 4 {
        0 => (vec![0x59, 0x59], Some(FrameLength::Fixed(6 + kind.width())), vec![], vec![0x59, 0x59, 1, 2, 3, 4]),
        1 => {
            let add = 2 + kind.width() as i64;
            let length = FrameLength::Field { at: 1, is_wide: false, is_little: false, add };
            (vec![0xAA], Some(length), vec![], vec![0xAA, 3, 7, 8, 9])
        }
        2 => (vec![0x02], None, vec![0x0D, 0x0A], vec![0x02, b'a', b'b']),
        _ => (vec![], None, vec![], vec![1, 2, 3]),
    };
    let at = FramePlace::End(kind.width() + end.len());
    let checksum_rule = FrameChecksum { kind, at, from: 0, to: None, is_little: false };
    let sum = checksum(kind, &content).to_be_bytes();
    let frame = [&content[..], &sum[4 - kind.width()..], &end].concat();
    let idle = Duration::from_millis(20);
    let format = FrameFormat { start, length, end, idle, max_length: MAX_LENGTH, checksum: Some(checksum_rule) };
    (format, frame)
}

/// What the fuzzer, and the tests with what it has found, call.
pub fn exercise(data: &[u8]) {
    let [how, piece, at, stream @ ..] = data else { return };
    let (format, good) = format(*how);
    let points = points(usize::from(*at) % 64);
    let is_cut_by_pauses = format.length.is_none() && format.end.is_empty();
    let mut collector = Collector::new(&StreamFormat::Frames(format)).expect("frames have a collector");
    let mut last = Vec::new();
    let mut found = |piece: Piece<'_>| {
        if let Piece::Whole(frame) = piece {
            assert!(!frame.is_empty() && frame.len() <= MAX_LENGTH);
            points.iter().for_each(|point| drop(extract(point, frame)));
            last = frame.to_vec();
        }
    };
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        collector.push(bytes, &mut found);
        if how & 64 != 0 && bytes.len() % 5 == 0 {
            collector.pause(&mut found);
        }
    }
    if is_cut_by_pauses {
        collector.pause(&mut found);
    }
    collector.push(&good, &mut found);
    collector.pause(&mut found);
    // What came before may hold a right frame by chance, of which the good one's first bytes are a part: then that was found.
    assert!(!last.is_empty(), "the good frame behind it is found, or a right one that reaches into it");
}

fn points(at: usize) -> Vec<Point> {
    [
        PointType::U8(Half::Low),
        PointType::U16,
        PointType::I32,
        PointType::F32,
        PointType::F64,
        PointType::Bcd32,
        PointType::Bit(3),
        PointType::String { length: 5, encoding: Encoding::Utf8 },
        PointType::Bytes { length: 3 },
    ]
    .into_iter()
    .flat_map(|kind| [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba].map(|order| (kind, order)))
    .map(|(kind, byte_order)| {
        let (scale, begins) = ("0.1".parse().ok().filter(|_| kind == PointType::U16), vec![None]);
        let hearing = Hearing::default();
        let source = FrameSource { hearing, begins, at, kind, byte_order, scale, offset: None };
        Point::new(Name::new("p").expect("a name"), Source::Frame(Box::new(source)))
    })
    .collect()
}
