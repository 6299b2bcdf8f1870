//! RTU frames (Modbus over Serial Line 1.02 §2.5.1): unit, function and data, checksum. Pure.
//!
//! A serial line gives bytes, not frames: noise before an answer, the echo of a two-wire adapter, the late answer of
//! another unit. [`Collector`] looks for the one frame that was asked for and ignores everything else.

use super::pdu::{self, Ask};
use crate::model::Fault;

/// Unit, the largest PDU, and the checksum.
const MAX_ANSWER: usize = 1 + 253 + 2;

/// The checksum of §6.2.2: CRC-16 with the polynomial 0xA001, least significant byte first on the wire.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from((crc ^ u16::from(*byte)) as u8)])
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The frame that carries a PDU to or from `unit`.
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit);
    frame.extend_from_slice(pdu);
    frame.extend(crc16(&frame).to_le_bytes());
    frame
}

/// Bytes of the whole answer to a request.
pub fn answer_len(ask: &Ask) -> usize {
    1 + ask.answer_len() + 2
}

/// Collects what the line says until the answer to one request is in it. Bounded whatever comes.
#[derive(Debug)]
pub struct Collector {
    unit: u8,
    function: u8,
    /// What an answer with data has after its function; `None` for an answer without.
    byte_count: Option<u8>,
    ask: Ask,
    kept: Vec<u8>,
    heard: bool,
    damaged: bool,
}

impl Collector {
    /// Waits for the answer of `unit` to `ask`.
    pub fn new(unit: u8, ask: &Ask) -> Collector {
        let (function, byte_count, ask) = (ask.function(), ask.byte_count(), ask.clone());
        let kept = Vec::with_capacity(MAX_ANSWER);
        Collector { unit, function, byte_count, ask, kept, heard: false, damaged: false }
    }

    /// Takes bytes from the line; returns the PDU of the answer once it is complete and its checksum right.
    pub fn push(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.heard |= !bytes.is_empty();
        // In pieces, so that memory is bounded: what stays after a piece is shorter than an answer.
        for piece in bytes.chunks(MAX_ANSWER) {
            self.kept.extend_from_slice(piece);
            if let Some((from, len)) = self.find() {
                return Some(&self.kept[from + 1..from + len - 2]);
            }
        }
        None
    }

    /// Whether an answer came whose checksum was wrong, and nothing is left that could still become the answer.
    pub fn is_damaged(&self) -> bool {
        self.damaged && (0..self.kept.len()).all(|from| matches!(self.candidate(from), Candidate::No))
    }

    /// What to say when the time is over: nothing came, a damaged answer, or something else.
    pub fn verdict(&self) -> Fault {
        match (self.heard, self.damaged) {
            (false, _) => Fault::Timeout,
            (true, true) => Fault::Crc,
            (true, false) => Fault::Framing,
        }
    }

    fn find(&mut self) -> Option<(usize, usize)> {
        let mut first_open = None;
        for from in 0..self.kept.len() {
            match self.candidate(from) {
                Candidate::Whole(len) if self.is_intact(from, len) => return Some((from, len)),
                Candidate::Whole(_) => self.damaged = true,
                Candidate::Partial => first_open = first_open.or(Some(from)),
                Candidate::No => {}
            }
        }
        // What can't begin the answer any more is forgotten. What stays begins a partial one, so it is shorter than one.
        self.kept.drain(..first_open.unwrap_or(self.kept.len()));
        None
    }

    /// Whether the answer, or a refusal, could begin here.
    fn candidate(&self, from: usize) -> Candidate {
        let head = &self.kept[from..];
        let len = match head {
            [unit, ..] if *unit != self.unit => return Candidate::No,
            [_, function, ..] if *function == self.function | pdu::EXCEPTION => 1 + pdu::EXCEPTION_LEN + 2,
            [_, function, ..] if *function != self.function => return Candidate::No,
            [_, _, count, ..] if self.byte_count.is_some_and(|expected| expected != *count) => return Candidate::No,
            [_, _, _, ..] => match self.ask.whole_len(&head[1..]) {
                Some(len) if 1 + len + 2 > MAX_ANSWER => return Candidate::No,
                Some(len) => 1 + len + 2,
                // No answer is longer.
                None if head.len() >= MAX_ANSWER => return Candidate::No,
                None => return Candidate::Partial,
            },
            _ => return Candidate::Partial,
        };
        if head.len() < len { Candidate::Partial } else { Candidate::Whole(len) }
    }

    fn is_intact(&self, from: usize, len: usize) -> bool {
        let (content, checksum) = self.kept[from..from + len].split_at(len - 2);
        crc16(content).to_le_bytes() == checksum
    }
}

enum Candidate {
    No,
    Partial,
    Whole(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pdu::Form;
    use super::*;
    use crate::driver::{Change, Request};
    use crate::model::RegisterTable;

    fn ask(count: u16) -> Ask {
        Ask::read(&Request { table: RegisterTable::Holding, address: 0, count, points: vec![0] })
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        [content, &crc16(content).to_le_bytes()].concat()
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // Serial line guide, appendix B: 02 07 has the checksum 41 12 on the wire.
        assert_eq!(crc16(&[0x02, 0x07]).to_le_bytes(), [0x41, 0x12]);
        assert_eq!(super::frame(1, ask(2).pdu()), [1, 3, 0, 0, 0, 2, 0xC4, 0x0B]);
    }

    #[test]
    fn an_answer_is_found_behind_noise_an_echo_and_the_answer_of_another_unit() {
        let answer = frame(&[7, 3, 2, 0x12, 0x34]);
        let echo = super::frame(7, ask(1).pdu());
        for before in [vec![], vec![0x00, 0xFF], echo, frame(&[8, 3, 2, 9, 9]), vec![7], vec![7, 3], vec![7, 3, 2]] {
            let mut collector = Collector::new(7, &ask(1));
            let stream = [before.clone(), answer.clone()].concat();
            let (last, all_but_last) = stream.split_last().unwrap();
            for byte in all_but_last {
                assert_eq!(collector.push(&[*byte]), None, "after {before:02X?}");
            }
            assert_eq!(collector.push(&[*last]), Some(&[3, 2, 0x12, 0x34][..]), "after {before:02X?}");
        }
    }

    #[test]
    fn what_is_not_the_answer_says_what_it_was() {
        for (bytes, fault) in [
            (vec![], Fault::Timeout),
            (vec![7, 3, 2, 0x12, 0x34, 0, 0], Fault::Crc),
            (vec![7, 3, 2, 0x12], Fault::Framing),           // half a frame
            (frame(&[8, 3, 2, 0x12, 0x34]), Fault::Framing), // another unit
            (frame(&[7, 4, 2, 0x12, 0x34]), Fault::Framing), // another function
            (frame(&[7, 3, 4, 1, 2, 3, 4]), Fault::Framing), // more than was asked for
            (vec![0x55; 40], Fault::Framing),
        ] {
            let mut collector = Collector::new(7, &ask(1));
            assert_eq!(collector.push(&bytes), None);
            assert_eq!(collector.verdict(), fault, "{bytes:02X?}");
            assert_eq!(collector.is_damaged(), fault == Fault::Crc, "{bytes:02X?}");
        }
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let mut collector = Collector::new(7, &ask(1));
        assert_eq!(collector.push(&frame(&[7, 0x83, 2])), Some(&[0x83, 2][..]));
    }

    #[test]
    fn the_answer_to_a_write_is_found_by_its_length() {
        let change = Change::Registers { address: 1, values: vec![10, 258] };
        let answer = frame(&[7, 16, 0, 1, 0, 2]);
        for before in [vec![], vec![0xFF, 7], frame(&[8, 16, 0, 1, 0, 2])] {
            let mut collector = Collector::new(7, &Ask::write(&change, Form::Single));
            let stream = [before, answer.clone()].concat();
            assert_eq!(collector.push(&stream), Some(&[16, 0, 1, 0, 2][..]));
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_found_behind_any_garbage_in_bounded_memory(
            garbage in prop::collection::vec(any::<u8>(), 0..3000),
            piece in 1usize..700,
            count in 1u16..126,
        ) {
            let mut collector = Collector::new(7, &ask(count));
            let data: Vec<u8> = (0..count * 2).map(|n| n as u8).collect();
            let content = [&[7, 3, (count * 2) as u8][..], &data].concat();
            let stream = [garbage, frame(&content)].concat();
            let mut found = None;
            for bytes in stream.chunks(piece) {
                if let Some(pdu) = collector.push(bytes) {
                    found = Some(pdu.to_vec());
                    break;
                }
                prop_assert!(collector.kept.len() < MAX_ANSWER);
            }
            // Random bytes may hold a refusal with a right checksum once in four billion.
            prop_assert_eq!(found.as_deref(), Some(&content[1..]));
        }
    }
}
