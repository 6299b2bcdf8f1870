//! Whatever comes, lines are cut in bounded memory, their points never panic, and a good line behind it is read.

use std::sync::OnceLock;
use std::time::Duration;

use fieldway::driver::serial::{Collector, Piece, extract};
use fieldway::model::{
    Delimiter, Find, Hearing, LineFormat, LineSource, Name, NmeaField, Pattern, Point, Sample, Source, StreamFormat,
    TextType,
};

const MAX_LENGTH: usize = 64;
/// Compiling patterns takes longer than everything else.
static POINTS: OnceLock<Vec<Point>> = OnceLock::new();

/// What the fuzzer, and the tests with what it has found, call.
pub fn exercise(data: &[u8]) {
    let [how, piece, stream @ ..] = data else { return };
    let delimiter = [Delimiter::LineEnd, Delimiter::Bytes(b"\r\n".to_vec()), Delimiter::Bytes(vec![3])];
    let delimiter = delimiter[usize::from(*how) % 3].clone();
    let end = match &delimiter {
        Delimiter::LineEnd => b"\n".to_vec(),
        Delimiter::Bytes(bytes) => bytes.clone(),
    };
    let idle = (how & 4 != 0).then_some(Duration::from_millis(50));
    let format = LineFormat { delimiter: Some(delimiter), idle, max_length: MAX_LENGTH, nmea_checksum: how & 8 != 0 };
    let points = POINTS.get_or_init(points);
    let mut collector = Collector::new(&StreamFormat::Lines(format)).expect("lines have a collector");
    let mut found = |piece: Piece<'_>| {
        if let Piece::Whole(line) = piece {
            assert!(!line.is_empty() && line.len() <= MAX_LENGTH);
            points.iter().for_each(|point| drop(extract(point, line)));
        }
    };
    for bytes in stream.chunks(usize::from(*piece).max(1)) {
        collector.push(bytes, &mut found);
        if idle.is_some() && bytes.len() % 7 == 0 {
            collector.pause(&mut found);
        }
    }
    let mut last = None;
    // The end twice: the first may be taken into what came before it.
    let good = [&end[..], &end, b"$GPGGA,1,,,,,,8*73", &end].concat();
    collector.push(&good, &mut |piece| {
        if let Piece::Whole(line) = piece {
            last = Some(line.to_vec())
        }
    });
    let line = last.expect("the good line behind it is there");
    assert!(matches!(extract(&points[2], &line), Some(Sample::Good(_))), "{:?}", line.escape_ascii().to_string());
}

fn points() -> Vec<Point> {
    let pattern = |text| Find::Pattern(Pattern::new(text, "p").expect("a pattern"));
    let nmea = |field, degrees| Find::Nmea(NmeaField { sentence: "GGA".into(), field, degrees });
    let integer = TextType::Integer { min: i64::MIN.into(), max: u64::MAX.into() };
    [
        (Find::Whole, TextType::Number),
        (pattern("(?<value>[+-]? *[0-9.,eE+-]+)"), TextType::Number),
        (nmea(7, false), integer),
        (nmea(2, true), TextType::Number),
        (pattern(".*"), TextType::Text),
        (pattern("[a-z0-9]+"), TextType::Bool),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (find, kind))| {
        let (scale, offset) = ("0.1".parse().ok().filter(|_| n == 1), None);
        let source = LineSource { hearing: Hearing::default(), find, kind, decimal_comma: n == 1, scale, offset };
        Point::new(Name::new("p").expect("a name"), Source::Line(Box::new(source)))
    })
    .collect()
}
