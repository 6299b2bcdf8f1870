//! From bytes to frames: where they begin, how long they are, whether their checksum is right. Pure, and bounded whatever comes.
//!
//! After garbage the next good frame is found inside what has arrived. That is safe where something tells a frame's first byte: what it
//! begins with, or a checksum of at least 16 bits. A sum of 8 bits alone fits one place in 256, so without a beginning frames
//! are taken only where one must begin: after a pause, after another frame, or after its end.

use std::time::Duration;

use super::checksum;
use super::collector::Piece;
use crate::model::{Fault, FrameFormat, FrameLength};

/// Collects frames.
#[derive(Debug)]
pub struct FrameCollector {
    format: FrameFormat,
    kept: Vec<u8>,
    /// Nothing is taken before the next pause: where a frame begins is not known.
    waits_for_pause: bool,
}

/// What begins at some place.
#[derive(Debug, PartialEq, Eq)]
enum Candidate {
    /// No frame.
    No(Fault),
    /// Perhaps a frame.
    Partial,
    /// A frame of so many bytes.
    Whole(usize),
}

impl FrameCollector {
    /// Nothing was heard yet.
    pub fn new(format: FrameFormat) -> FrameCollector {
        FrameCollector { format, kept: Vec::new(), waits_for_pause: false }
    }

    /// Takes bytes from the line; `found` gets what they complete, in order.
    pub fn push(&mut self, bytes: &[u8], found: &mut dyn FnMut(Piece<'_>)) {
        // In pieces, so that memory is bounded: what stays after a piece is shorter than a frame.
        for piece in bytes.chunks(self.format.max_length.max(1)) {
            if !self.waits_for_pause {
                self.kept.extend_from_slice(piece);
                self.scan(false, found);
            }
        }
    }

    /// See [`Collector::awaited_pause`](super::collector::Collector::awaited_pause).
    pub fn awaited_pause(&self) -> Option<Duration> {
        self.has_begun().then_some(self.format.idle)
    }

    /// Whether a frame may have begun.
    pub fn has_begun(&self) -> bool {
        !self.kept.is_empty() || self.waits_for_pause
    }

    /// The line has been silent for so long: what has begun does not go on.
    pub fn pause(&mut self, found: &mut dyn FnMut(Piece<'_>)) {
        self.scan(true, found);
        self.clear();
    }

    /// Forgets what has begun.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.waits_for_pause = false;
    }

    /// Somebody may be speaking already: where nothing tells a frame's first byte, only a pause does.
    pub fn join(&mut self) {
        self.kept.clear();
        self.waits_for_pause = !self.tells_first_byte() && self.format.end.is_empty();
    }

    fn scan(&mut self, is_over: bool, found: &mut dyn FnMut(Piece<'_>)) {
        let (mut from, mut damage) = (0, None);
        while from < self.kept.len() {
            let fault = match self.candidate(&self.kept[from..], is_over) {
                Candidate::Whole(len) => {
                    if let Some(fault) = damage.take() {
                        found(Piece::Damaged(fault));
                    }
                    found(Piece::Whole(&self.kept[from..from + len]));
                    from += len;
                    continue;
                }
                Candidate::Partial => break,
                Candidate::No(fault) => fault,
            };
            damage = damage.filter(|before| *before == Fault::Crc).or(Some(fault));
            from += match self.next_place(from) {
                Some(step) => step,
                None => {
                    self.waits_for_pause = !is_over;
                    self.kept.len() - from
                }
            };
        }
        if let Some(fault) = damage {
            found(Piece::Damaged(fault));
        }
        self.kept.drain(..from);
    }

    /// Whether a frame can be told by itself, wherever it begins.
    fn tells_first_byte(&self) -> bool {
        !self.format.start.is_empty() || self.format.checksum.is_some_and(|checksum| checksum.kind.width() >= 2)
    }

    /// How far behind a place where no frame begins the next one may; `None` when only a pause will tell.
    fn next_place(&self, from: usize) -> Option<usize> {
        if self.tells_first_byte() {
            return Some(1);
        }
        let end = &self.format.end;
        let at = find(&self.kept[from..], end).filter(|_| !end.is_empty())?;
        Some(at + end.len())
    }

    fn candidate(&self, bytes: &[u8], is_over: bool) -> Candidate {
        let FrameFormat { start, end, max_length, .. } = &self.format;
        let same = start.iter().zip(bytes).take_while(|(wanted, byte)| wanted == byte).count();
        if same < start.len().min(bytes.len()) {
            return Candidate::No(Fault::Framing);
        }
        let len = match self.len(bytes) {
            Some(len) if len > *max_length || len == 0 => return Candidate::No(Fault::Framing),
            Some(len) if len <= bytes.len() => len,
            Some(_) | None if is_over => match self.ends_with_pause() {
                true if same == start.len() => bytes.len(),
                _ => return Candidate::No(Fault::Framing),
            },
            None if bytes.len() >= *max_length => return Candidate::No(Fault::Framing),
            Some(_) | None => return Candidate::Partial,
        };
        let frame = &bytes[..len];
        if len < start.len() + end.len() || !frame.ends_with(end) {
            return Candidate::No(Fault::Framing);
        }
        match &self.format.checksum {
            Some(rule) if !checksum::is_right(rule, frame) => Candidate::No(Fault::Crc),
            _ => Candidate::Whole(len),
        }
    }

    /// Whether nothing but a pause tells where a frame ends.
    fn ends_with_pause(&self) -> bool {
        self.format.length.is_none() && self.format.end.is_empty()
    }

    /// Bytes of the frame that begins here, as far as that is known. Beyond any limit when it is impossible.
    fn len(&self, bytes: &[u8]) -> Option<usize> {
        match self.format.length {
            Some(FrameLength::Fixed(len)) => Some(len),
            Some(FrameLength::Field { at, is_wide, is_little, add }) => {
                let value = match (bytes.get(at..at + 1 + usize::from(is_wide))?, is_little) {
                    ([only], _) => i64::from(*only),
                    ([a, b], false) | ([b, a], true) => i64::from(u16::from_be_bytes([*a, *b])),
                    _ => return Some(usize::MAX),
                };
                let least = at + 1 + usize::from(is_wide);
                let len = usize::try_from(value + add).ok().filter(|len| *len >= least);
                Some(len.unwrap_or(usize::MAX))
            }
            None => {
                let (start, end) = (self.format.start.len(), &self.format.end);
                let at = find(bytes.get(start..)?, end).filter(|_| !end.is_empty())?;
                Some(start + at + end.len())
            }
        }
    }
}

/// Where `wanted` begins first.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ChecksumKind, Crc, FrameChecksum, FramePlace};

    fn format() -> FrameFormat {
        let (start, end) = (vec![], vec![]);
        FrameFormat { start, length: None, end, idle: Duration::from_millis(20), max_length: 32, checksum: None }
    }

    fn checked(kind: ChecksumKind) -> Option<FrameChecksum> {
        Some(FrameChecksum { kind, at: FramePlace::End(kind.width()), from: 0, to: None, is_little: false })
    }

    /// A laser distance sensor: 59 59, six bytes, their sum.
    fn tfmini() -> FrameFormat {
        let length = Some(FrameLength::Fixed(9));
        FrameFormat { start: vec![0x59, 0x59], length, checksum: checked(ChecksumKind::Sum8), ..format() }
    }

    /// AA, a length of what follows but for the checksum, data, CRC.
    fn with_length() -> FrameFormat {
        let length = Some(FrameLength::Field { at: 1, is_wide: false, is_little: false, add: 4 });
        FrameFormat { start: vec![0xAA], length, checksum: checked(ChecksumKind::Crc(Crc::Xmodem)), ..format() }
    }

    fn sealed(kind: ChecksumKind, content: &[u8]) -> Vec<u8> {
        let sum = checksum::checksum(kind, content).to_be_bytes();
        [content, &sum[4 - kind.width()..]].concat()
    }

    /// Frames as hex, damage as `!`; a `|` in the stream is a pause.
    fn cut(format: FrameFormat, bursts: &[&[u8]], piece: usize) -> Vec<String> {
        let mut collector = FrameCollector::new(format);
        let mut out = Vec::new();
        let mut found = |piece: Piece<'_>| match piece {
            Piece::Whole(frame) => out.push(frame.iter().map(|byte| format!("{byte:02x}")).collect()),
            Piece::Damaged(fault) if out.last().is_none_or(|last| *last != format!("!{fault}")) => {
                out.push(format!("!{fault}"));
            }
            Piece::Damaged(_) => {}
        };
        for burst in bursts {
            burst.chunks(piece).for_each(|bytes| collector.push(bytes, &mut found));
            collector.pause(&mut found);
        }
        out
    }

    #[test]
    fn frames_of_fixed_length_are_found_behind_garbage_and_a_damaged_one_costs_only_itself() {
        let good = [0x59, 0x59, 0x10, 0x00, 0x20, 0x00, 0x00, 0x00, 0xE2];
        let mut bad = good;
        bad[3] = 1;
        let hex: String = good.iter().map(|byte| format!("{byte:02x}")).collect();
        for piece in 1..20 {
            // A 59 right before the frame, and one that was cut off.
            let stream = [&[0x00, 0x59][..], &good, &bad, &good, &good[..4], &good].concat();
            let cut = cut(tfmini(), &[&stream], piece);
            assert_eq!(cut.iter().filter(|one| **one == hex).count(), 3, "{cut:?}");
            assert!(cut.contains(&"!crc".to_owned()));
        }
    }

    #[test]
    fn a_wrong_length_does_not_swallow_the_frames_behind_it() {
        let good = sealed(ChecksumKind::Crc(Crc::Xmodem), &[0xAA, 2, 7, 8]);
        for piece in 1..20 {
            // The length says 26 more bytes, and they come: two good frames are among them.
            let stream = [&[0xAA, 22, 1, 2][..], &good, &good].concat();
            assert_eq!(cut(with_length(), &[&stream], piece), ["!framing", "aa020708f422", "aa020708f422"], "{piece}");
        }
        // One that is longer than any frame is none at once.
        assert_eq!(cut(with_length(), &[&[&[0xAA, 200][..], &good].concat()], 3), ["!framing", "aa020708f422"]);
    }

    #[test]
    fn an_end_marks_frames_and_a_damaged_one_ends_there_too() {
        let kind = ChecksumKind::Xor;
        let place = FramePlace::End(2);
        let checksum = Some(FrameChecksum { kind, at: place, from: 0, to: None, is_little: false });
        let format = FrameFormat { end: vec![0x0D], checksum, ..format() };
        let stream = [0x31, 0x32, 0x03, 0x0D, 0x31, 0x33, 0x03, 0x0D, 0x31, 0x32, 0x03, 0x0D];
        for piece in 1..13 {
            assert_eq!(cut(format.clone(), &[&stream], piece), ["3132030d", "!crc", "3132030d"], "{piece}");
        }
    }

    #[test]
    fn where_nothing_tells_a_first_byte_a_pause_does() {
        let format =
            FrameFormat { length: Some(FrameLength::Fixed(4)), checksum: checked(ChecksumKind::Xor), ..format() };
        let good = sealed(ChecksumKind::Xor, &[1, 2, 4]);
        let stray = [&[9][..], &good, &good].concat();
        assert_eq!(
            cut(format.clone(), &[&stray, &good, &[&good[..], &good].concat()], 3),
            ["!crc", "01020407", "01020407", "01020407"]
        );
        let mut joined = FrameCollector::new(FrameFormat { checksum: None, ..format.clone() });
        joined.join();
        joined.push(&[4, 7, 1, 2], &mut |piece| panic!("it may have begun before: {piece:?}"));
        // Nothing but pauses.
        let pauses = FrameFormat { checksum: checked(ChecksumKind::Xor), ..super::tests::format() };
        assert_eq!(cut(pauses, &[&good, &good[..3], &good, &[0; 90]], 3), ["01020407", "!crc", "01020407", "!framing"]);
    }

    proptest! {
        #[test]
        fn a_good_frame_is_found_behind_any_garbage_in_bounded_memory(
            garbage in prop::collection::vec(prop::sample::select(&[0xAA_u8, 2, 7, 0x59, 40, 255][..]), 0..400),
            piece in 1usize..90,
            pauses in any::<bool>(),
        ) {
            for (format, good) in [
                (with_length(), sealed(ChecksumKind::Crc(Crc::Xmodem), &[0xAA, 2, 7, 8])),
                (FrameFormat { checksum: checked(ChecksumKind::Crc(Crc::Modbus)), ..tfmini() },
                    sealed(ChecksumKind::Crc(Crc::Modbus), &[0x59, 0x59, 1, 2, 3, 4, 5])),
            ] {
                let mut collector = FrameCollector::new(format);
                let mut last = Vec::new();
                let stream = [&garbage[..], &good].concat();
                for bytes in stream.chunks(piece) {
                    collector.push(bytes, &mut |piece| if let Piece::Whole(frame) = piece { last = frame.to_vec() });
                    prop_assert!(collector.kept.len() < 64);
                    if pauses && piece > 80 {
                        collector.pause(&mut |piece| if let Piece::Whole(frame) = piece { last = frame.to_vec() });
                    }
                }
                collector.pause(&mut |piece| if let Piece::Whole(frame) = piece { last = frame.to_vec() });
                prop_assert!(pauses || last == good, "{last:02X?}");
            }
        }
    }
}
