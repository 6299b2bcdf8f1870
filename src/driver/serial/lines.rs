//! From bytes to lines of text. Pure, and bounded whatever comes.

use std::time::Duration;

use super::collector::Piece;
use super::nmea;
use crate::model::{Delimiter, Fault, LineFormat};

/// A device that speaks has no pause this long within a line; USB adapters hand over bytes every 16 ms.
const BETWEEN_LINES: Duration = Duration::from_millis(50);

/// Collects lines. An empty one is none.
#[derive(Debug)]
pub struct LineCollector {
    format: LineFormat,
    /// The line that has begun, its delimiter as far as it came included.
    kept: Vec<u8>,
    /// It was too long: what comes is passed over up to its end.
    is_passed_over: bool,
    /// Nobody knows yet whether what comes first is the beginning of a line.
    is_joining: bool,
}

impl LineCollector {
    /// Nothing was heard yet.
    pub fn new(format: LineFormat) -> LineCollector {
        LineCollector { format, kept: Vec::new(), is_passed_over: false, is_joining: false }
    }

    /// Takes bytes from the line; `found` gets what they complete, in order.
    pub fn push(&mut self, bytes: &[u8], found: &mut dyn FnMut(Piece<'_>)) {
        for byte in bytes {
            self.kept.push(*byte);
            match self.delimiter_len() {
                0 if self.kept.len() > self.limit() => {
                    if !std::mem::replace(&mut self.is_passed_over, true) {
                        found(Piece::Damaged(Fault::Framing));
                    }
                    // What may begin a delimiter stays.
                    let keep = self.longest_delimiter() - 1;
                    self.kept.drain(..self.kept.len() - keep);
                }
                0 => {}
                delimiter => {
                    self.kept.truncate(self.kept.len() - delimiter);
                    self.end(found);
                }
            }
        }
    }

    /// See [`Collector::awaited_pause`](super::collector::Collector::awaited_pause).
    pub fn awaited_pause(&self) -> Option<Duration> {
        match self.is_joining {
            true => Some(self.format.idle.unwrap_or(BETWEEN_LINES)),
            false => self.format.idle.filter(|_| self.has_begun()),
        }
    }

    /// Whether a line has begun.
    pub fn has_begun(&self) -> bool {
        !self.kept.is_empty() || self.is_passed_over
    }

    /// The line has been silent for so long: what came is a line.
    pub fn pause(&mut self, found: &mut dyn FnMut(Piece<'_>)) {
        self.end(found);
    }

    /// Forgets what has begun.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.is_passed_over = false;
        self.is_joining = false;
    }

    /// Somebody may be speaking already: what comes is passed over up to the end of a line, or a pause.
    pub fn join(&mut self) {
        self.kept.clear();
        self.is_passed_over = true;
        self.is_joining = true;
    }

    fn end(&mut self, found: &mut dyn FnMut(Piece<'_>)) {
        let line = self.kept.trim_ascii_end();
        let start = line.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
        let line = &line[start..];
        if !self.is_passed_over && !line.is_empty() {
            found(match nmea::checksum_of(line) {
                Some(false) if self.format.nmea_checksum => Piece::Damaged(Fault::Crc),
                None if self.format.nmea_checksum => Piece::Damaged(Fault::Framing),
                _ => Piece::Whole(line),
            });
        }
        self.clear();
    }

    /// Bytes of the delimiter that what is kept ends with; 0 when it does not.
    fn delimiter_len(&self) -> usize {
        match &self.format.delimiter {
            None => 0,
            Some(Delimiter::LineEnd) => usize::from(matches!(self.kept.last(), Some(b'\r' | b'\n'))),
            Some(Delimiter::Bytes(bytes)) if self.kept.ends_with(bytes) => bytes.len(),
            Some(Delimiter::Bytes(_)) => 0,
        }
    }

    fn longest_delimiter(&self) -> usize {
        match &self.format.delimiter {
            Some(Delimiter::Bytes(bytes)) => bytes.len().max(1),
            _ => 1,
        }
    }

    /// The most bytes that are kept.
    fn limit(&self) -> usize {
        let delimiter = self.longest_delimiter() - 1;
        if self.is_passed_over { delimiter } else { self.format.max_length + delimiter }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(delimiter: Option<&[u8]>) -> LineFormat {
        let delimiter = delimiter.map(|bytes| Delimiter::Bytes(bytes.to_vec()));
        LineFormat { delimiter, max_length: 8, ..LineFormat::default() }
    }

    /// What comes out, damage as `!`.
    fn cut(collector: &mut LineCollector, bytes: &[u8], piece: usize) -> Vec<String> {
        let mut out = Vec::new();
        let mut found = |piece: Piece<'_>| {
            out.push(match piece {
                Piece::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Piece::Damaged(fault) => format!("!{fault}"),
            });
        };
        bytes.chunks(piece).for_each(|bytes| collector.push(bytes, &mut found));
        out
    }

    #[test]
    fn any_line_end_ends_a_line_and_empty_lines_are_none() {
        for piece in [1, 3, 100] {
            let mut lines = LineCollector::new(LineFormat::default());
            assert_eq!(cut(&mut lines, b"a\r\nb\n\n c \rd", piece), ["a", "b", " c"]);
            assert_eq!(cut(&mut lines, b"d\n", piece), ["dd"]);
        }
    }

    #[test]
    fn a_delimiter_of_several_bytes_is_found_wherever_it_is_cut() {
        for piece in 1..6 {
            let mut lines = LineCollector::new(format(Some(b"<>")));
            assert_eq!(cut(&mut lines, b"a<b<>c\r\n<<>>", piece), ["a<b", "c\r\n<"]);
        }
    }

    #[test]
    fn a_line_without_an_end_is_told_once_and_the_next_one_is_whole() {
        for piece in [1, 5, 1000] {
            let mut lines = LineCollector::new(format(Some(b"\r\n")));
            let endless = [&[b'x'; 500][..], b"\r\nnext\r\n12345678\r\n123456789\r\n"].concat();
            assert_eq!(cut(&mut lines, &endless, piece), ["!framing", "next", "12345678", "!framing"]);
            assert!(lines.kept.capacity() < 64);
        }
    }

    #[test]
    fn the_rest_of_a_line_that_began_unheard_is_no_line() {
        for piece in [1, 3, 100] {
            let mut lines = LineCollector::new(LineFormat::default());
            lines.join();
            assert_eq!(cut(&mut lines, b"2.50 kg\r\n12.60 kg\r\n", piece), ["12.60 kg"]);
            // After a pause a line begins.
            lines.join();
            assert_eq!(lines.awaited_pause(), Some(BETWEEN_LINES));
            lines.pause(&mut |piece| panic!("{piece:?}"));
            assert_eq!(lines.awaited_pause(), None);
            assert_eq!(cut(&mut lines, b"12.70 kg\n", piece), ["12.70 kg"]);
        }
        let mut long = LineCollector::new(format(Some(b"\r\n")));
        long.join();
        assert_eq!(cut(&mut long, b"the rest of a long line\r\nnext\r\n", 5), ["next"]);
    }

    #[test]
    fn without_a_delimiter_a_pause_ends_a_line() {
        let mut lines = LineCollector::new(LineFormat { idle: Some(Duration::from_millis(50)), ..format(None) });
        assert_eq!(lines.awaited_pause(), None);
        assert_eq!(cut(&mut lines, b"+12.5\r\n", 2), [""; 0]);
        assert_eq!(lines.awaited_pause(), Some(Duration::from_millis(50)));
        let mut out = Vec::new();
        lines.pause(&mut |piece| out.push(format!("{piece:?}")));
        assert_eq!(out, [format!("{:?}", Piece::Whole(b"+12.5"))]);
        assert_eq!(lines.awaited_pause(), None);
    }

    #[test]
    fn a_wrong_nmea_checksum_is_told_from_none() {
        let mut lines = LineCollector::new(LineFormat { nmea_checksum: true, ..LineFormat::default() });
        let stream = b"$GPGLL,1*5A\r\n$GPGLL,1*5B\r\nnoise\r\n";
        assert_eq!(cut(&mut lines, stream, 7), ["!crc", "!crc", "!framing"].map(String::from).to_vec().as_slice());
    }

    proptest! {
        #[test]
        fn any_bytes_make_bounded_lines_and_a_good_one_after_them_is_never_lost(
            garbage in prop::collection::vec(prop::sample::select(&b"ab\r\n*$"[..]), 0..300),
            piece in 1usize..40, delimiter in prop::sample::select(&["\n", "\r\n", "ab"][..]),
        ) {
            let mut lines = LineCollector::new(format(Some(delimiter.as_bytes())));
            let mut longest = 0;
            for bytes in garbage.chunks(piece) {
                lines.push(bytes, &mut |piece| {
                    if let Piece::Whole(line) = piece { longest = longest.max(line.len()) }
                });
                prop_assert!(lines.kept.len() <= 8 + delimiter.len());
            }
            prop_assert!(longest <= 8);
            let good = [delimiter.as_bytes(), b"good", delimiter.as_bytes()].concat();
            let cut = cut(&mut lines, &good, piece);
            prop_assert_eq!(cut.last().map(String::as_str), Some("good"));
        }
    }
}
