//! ASCII frames (Modbus over Serial Line 1.02 §2.5.2): a colon, everything in hexadecimal, a checksum, CR LF. Pure.
//!
//! A colon begins a frame whatever came before it, so nothing that was damaged takes the next frame with it.

use super::pdu::{self, Ask};
use crate::model::Fault;

/// Characters of the largest frame (§2.5.2.1): colon, two a byte for unit, PDU and checksum, CR LF.
pub const MAX_FRAME: usize = 1 + 2 * (1 + 253 + 1) + 2;

/// The checksum of §2.5.2.2: what makes the sum of all bytes 0.
pub fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// The frame that carries a PDU to or from `unit`.
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let checksum = lrc(&[&[unit], pdu].concat());
    let bytes = std::iter::once(&unit).chain(pdu).chain(std::iter::once(&checksum));
    let mut frame = vec![b':'];
    frame.extend(bytes.flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
    frame.extend(b"\r\n");
    frame
}

/// Characters of the whole answer to a request.
pub fn answer_len(ask: &Ask) -> usize {
    1 + 2 * (1 + ask.answer_len() + 1) + 2
}

/// Collects what the line says until the answer to one request is in it. Bounded whatever comes.
#[derive(Debug)]
pub struct Collector {
    unit: u8,
    function: u8,
    ask: Ask,
    /// The frame that has begun, decoded; `None` between frames.
    bytes: Option<Vec<u8>>,
    /// The first of two digits.
    half: Option<u8>,
    heard: bool,
    damaged: bool,
}

impl Collector {
    /// Waits for the answer of `unit` to `ask`, or a refusal.
    pub fn new(unit: u8, ask: &Ask) -> Collector {
        let (function, ask) = (ask.function(), ask.clone());
        Collector { unit, function, ask, bytes: None, half: None, heard: false, damaged: false }
    }

    /// Takes bytes from the line; returns the PDU of the answer once it is complete and its checksum right.
    pub fn push(&mut self, heard: &[u8]) -> Option<&[u8]> {
        self.heard |= !heard.is_empty();
        let is_whole = heard.iter().any(|byte| self.take(*byte));
        let bytes = self.bytes.as_deref().filter(|_| is_whole)?;
        Some(&bytes[1..bytes.len() - 1])
    }

    /// Whether an answer came whose checksum was wrong, and no other frame has begun.
    pub fn is_damaged(&self) -> bool {
        self.damaged && self.bytes.is_none()
    }

    /// What to say when the time is over: nothing came, a damaged answer, or something else.
    pub fn verdict(&self) -> Fault {
        match (self.heard, self.damaged) {
            (false, _) => Fault::Timeout,
            (true, true) => Fault::Crc,
            (true, false) => Fault::Framing,
        }
    }

    /// Returns whether the answer is complete with this character.
    fn take(&mut self, character: u8) -> bool {
        // Seven data bits arrive as eight when the port leaves the parity bit in.
        let character = character & 0x7F;
        if character == b':' {
            (self.bytes, self.half) = (Some(Vec::with_capacity(self.ask.answer_len() + 2)), None);
            return false;
        }
        let Some(bytes) = &mut self.bytes else { return false };
        match (char::from(character).to_digit(16), self.half) {
            (Some(digit), None) => self.half = Some(digit as u8),
            (Some(digit), Some(high)) if bytes.len() < MAX_FRAME / 2 => {
                bytes.push(high << 4 | digit as u8);
                self.half = None;
            }
            (None, None) if character == b'\r' => {}
            (None, None) if character == b'\n' => return self.ends(),
            // Anything else: it was no frame.
            _ => (self.bytes, self.half) = (None, None),
        }
        false
    }

    /// A frame is complete: whether it is the answer. Another's is forgotten.
    fn ends(&mut self) -> bool {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        let is_answer = match bytes {
            [unit, function, _, .., _] if *unit == self.unit => {
                let refusal = *function == self.function | pdu::EXCEPTION && bytes.len() == 1 + pdu::EXCEPTION_LEN + 1;
                let pdu = &bytes[1..bytes.len() - 1];
                refusal || (*function == self.function && self.ask.whole_len(pdu) == Some(pdu.len()))
            }
            _ => false,
        };
        if is_answer && bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0 {
            return true;
        }
        self.damaged |= is_answer;
        self.bytes = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::driver::Request;
    use crate::model::RegisterTable;

    fn ask(count: u16) -> Ask {
        Ask::read(&Request { table: RegisterTable::Holding, address: 0, count, points: vec![0] })
    }

    fn collector() -> Collector {
        Collector::new(7, &ask(1))
    }

    #[test]
    fn the_checksum_makes_the_sum_zero() {
        // The example of the guide's appendix: 02 07.
        assert_eq!(lrc(&[0x02, 0x07]), 0xF7);
        assert_eq!(frame(2, &[7]), b":0207F7\r\n");
        // PI-MBUS-300: unit 247, registers 19 to 28 … 00 0A.
        assert_eq!(frame(0xF7, &[3, 0x13, 0x89, 0, 0x0A]), b":F7031389000A60\r\n");
    }

    #[test]
    fn an_answer_is_found_behind_noise_an_echo_a_broken_frame_and_the_answer_of_another_unit() {
        let answer = frame(7, &[3, 2, 0x12, 0x34]);
        let lower = answer.to_ascii_lowercase();
        for before in
            [&b""[..], b"\xFF\x00", b":0703", b":07030", &frame(7, &[3, 0, 0, 0, 1]), &frame(8, &[3, 2, 9, 9])]
        {
            for answer in [&answer, &lower] {
                let mut collector = collector();
                let stream = [before, answer].concat();
                let (last, all_but_last) = stream.split_last().unwrap();
                for byte in all_but_last {
                    assert_eq!(collector.push(&[*byte]), None, "after {before:02X?}");
                }
                assert_eq!(collector.push(&[*last]), Some(&[3, 2, 0x12, 0x34][..]), "after {before:02X?}");
            }
        }
        assert_eq!(collector().push(&frame(7, &[0x83, 2])), Some(&[0x83, 2][..]));
    }

    #[test]
    fn what_is_not_the_answer_says_what_it_was() {
        for (bytes, fault) in [
            (vec![], Fault::Timeout),
            (b":07030212FF00\r\n".to_vec(), Fault::Crc),
            (b":0703021".to_vec(), Fault::Framing),
            (frame(8, &[3, 2, 0x12, 0x34]), Fault::Framing),
            (frame(7, &[4, 2, 0x12, 0x34]), Fault::Framing),
            (frame(7, &[3, 4, 1, 2, 3, 4]), Fault::Framing),
            (vec![0x55; 40], Fault::Framing),
        ] {
            let mut collector = collector();
            assert_eq!(collector.push(&bytes), None);
            assert_eq!(collector.verdict(), fault, "{bytes:02X?}");
            assert_eq!(collector.is_damaged(), fault == Fault::Crc, "{bytes:02X?}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_found_behind_any_garbage_in_bounded_memory(
            garbage in prop::collection::vec(any::<u8>(), 0..3000),
            piece in 1usize..700,
            count in 1u16..126,
        ) {
            let data: Vec<u8> = (0..count * 2).map(|n| n as u8).collect();
            let pdu = [&[3, (count * 2) as u8][..], &data].concat();
            let mut collector = Collector::new(7, &ask(count));
            let stream = [garbage, frame(7, &pdu)].concat();
            let mut found = None;
            for bytes in stream.chunks(piece) {
                if let Some(pdu) = collector.push(bytes) {
                    found = Some(pdu.to_vec());
                    break;
                }
                prop_assert!(collector.bytes.as_ref().is_none_or(|bytes| bytes.len() <= MAX_FRAME / 2));
            }
            prop_assert_eq!(found.as_deref(), Some(&pdu[..]));
        }
    }
}
