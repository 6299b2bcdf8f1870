//! Modbus TCP frames (Messaging on TCP/IP Implementation Guide 1.0b §3.1): seven bytes of header, then the PDU. Pure.

use super::pdu::Ask;

/// Transaction, protocol, length, unit.
pub const HEADER: usize = 7;
/// Header and the largest PDU (Modbus Application Protocol 1.1b3 §4.1).
pub const MAX_FRAME: usize = HEADER + 253;

/// One answer from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which request it answers.
    pub transaction: u16,
    /// Who answers.
    pub unit: u8,
    /// Function and data; at least one byte.
    pub pdu: &'a [u8],
    /// Bytes of the stream that it took.
    pub len: usize,
}

/// The stream is not Modbus TCP, or no longer where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a Modbus TCP frame")]
pub struct NotModbus;

/// The first frame of `bytes`; `None` when it is not complete yet. [`MAX_FRAME`] bytes are always enough.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, NotModbus> {
    let [t0, t1, p0, p1, l0, l1, rest @ ..] = bytes else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    // The length counts the unit and the PDU, and the protocol is 0.
    if [*p0, *p1] != [0, 0] || !(2..=MAX_FRAME - 6).contains(&len) {
        return Err(NotModbus);
    }
    let Some([unit, pdu @ ..]) = rest.get(..len) else { return Ok(None) };
    Ok(Some(Frame { transaction: u16::from_be_bytes([*t0, *t1]), unit: *unit, pdu, len: 6 + len }))
}

/// The frame that asks `unit`.
pub fn request_frame(transaction: u16, unit: u8, ask: &Ask) -> Vec<u8> {
    let ([t0, t1], pdu) = (transaction.to_be_bytes(), ask.pdu());
    // A PDU has at most 253 bytes.
    let mut frame = vec![t0, t1, 0, 0, 0, 1 + pdu.len() as u8, unit];
    frame.extend_from_slice(pdu);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_cut_out_of_the_stream_once_it_is_whole() {
        let stream = [0x15, 0x01, 0, 0, 0, 5, 0xFF, 0x03, 0x02, 0x00, 0x07, 0x99];
        for end in 0..11 {
            assert_eq!(parse(&stream[..end]), Ok(None), "{end} bytes");
        }
        let frame = Frame { transaction: 0x1501, unit: 0xFF, pdu: &[3, 2, 0, 7], len: 11 };
        assert_eq!(parse(&stream), Ok(Some(frame)));
    }

    #[test]
    fn another_protocol_and_impossible_lengths_are_not_modbus() {
        assert_eq!(parse(b"HTTP/1.1 400"), Err(NotModbus));
        assert_eq!(parse(&[0, 1, 0, 0, 0, 1, 1]), Err(NotModbus));
        assert_eq!(parse(&[0, 1, 0, 0, 0, 255, 1]), Err(NotModbus));
        assert_eq!(parse(&[0, 1, 0, 0, 0, 254, 1]), Ok(None));
    }

    proptest! {
        #[test]
        fn any_stream_is_frames_or_refused_within_the_largest_frame(
            stream in prop::collection::vec(any::<u8>(), MAX_FRAME..MAX_FRAME + 20),
        ) {
            match parse(&stream) {
                Ok(Some(frame)) => prop_assert!(frame.len <= MAX_FRAME && !frame.pdu.is_empty()),
                Ok(None) => prop_assert!(false, "a full buffer must decide"),
                Err(NotModbus) => {}
            }
        }
    }
}
