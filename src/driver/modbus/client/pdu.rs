//! What is inside a frame: a function code and its data, the same over TCP and serial lines.

use tokio_modbus::bytes::Bytes;
use tokio_modbus::{ExceptionCode, Response};

use super::super::super::{Change, Failure, Request, WriteFailure};
use super::super::Cells;
use super::identity;
use crate::model::{Fault, RegisterTable};

/// Set in the function code of an answer that refuses (Modbus Application Protocol 1.1b3 §7).
pub const EXCEPTION: u8 = 0x80;
/// Function code, exception code.
pub const EXCEPTION_LEN: usize = 2;

/// The cells of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// From holding or input registers.
    Registers(Vec<u16>),
    /// From coils or discrete inputs; as many as fill the last byte.
    Bits(Vec<bool>),
}

impl Answer {
    /// The cells, borrowed.
    pub fn as_cells(&self) -> Cells<'_> {
        match self {
            Answer::Registers(registers) => Cells::Registers(registers),
            Answer::Bits(bits) => Cells::Bits(bits),
        }
    }
}

/// The function code that reads a table.
fn function(table: RegisterTable) -> u8 {
    match table {
        RegisterTable::Coil => 1,
        RegisterTable::Discrete => 2,
        RegisterTable::Holding => 3,
        RegisterTable::Input => 4,
    }
}

/// One exchange as it is on the wire: what is sent, and how long its answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pdu: Vec<u8>,
    answer: Shape,
}

/// What the answer to an [`Ask`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Function, byte count, so many bytes.
    Data(usize),
    /// The first so many bytes of what was sent.
    Echo(usize),
    /// Objects of the device identification, which say their lengths themselves.
    Objects,
}

/// The largest PDU (§4.1).
const MAX_PDU: usize = 253;

/// Which of two functions writes one coil or register. Some devices know only one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Functions 5 and 6, for one alone.
    Single,
    /// Functions 15 and 16, for one as for many.
    Multiple,
    /// Function 23, which writes registers and then reads them; for registers only, else as [`Form::Single`].
    WriteAndRead,
}

/// The most registers that function 23 writes (§6.17).
pub const MAX_WRITE_AND_READ: usize = 121;

impl Ask {
    /// Function, address and quantity (§6.1 to §6.4).
    pub fn read(request: &Request) -> Ask {
        let ([address_high, address_low], [count_high, count_low]) =
            (request.address.to_be_bytes(), request.count.to_be_bytes());
        let pdu = vec![function(request.table), address_high, address_low, count_high, count_low];
        Ask { pdu, answer: Shape::Data(data_len(request)) }
    }

    /// The request for a change (§6.5, §6.6, §6.11, §6.12, §6.16, §6.17).
    pub fn write(change: &Change, form: Form) -> Ask {
        let words = |function: u8, words: &[u16]| {
            let mut pdu = vec![function];
            pdu.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            pdu
        };
        // As many as fit into a request, which `plan` has seen to: at most 1968 coils or 123 registers.
        let (pdu, echoed) = match change {
            Change::Registers { address, values } if form == Form::WriteAndRead => {
                let count = values.len() as u16;
                let mut pdu = words(23, &[*address, count, *address, count]);
                pdu.push((values.len() * 2) as u8);
                pdu.extend(values.iter().flat_map(|value| value.to_be_bytes()));
                return Ask { pdu, answer: Shape::Data(values.len() * 2) };
            }
            Change::Coils { address, bits } if bits.len() == 1 && form != Form::Multiple => {
                (words(5, &[*address, if bits[0] { 0xFF00 } else { 0 }]), 5)
            }
            Change::Registers { address, values } if values.len() == 1 && form == Form::Single => {
                (words(6, &[*address, values[0]]), 5)
            }
            Change::Coils { address, bits } => {
                let mut pdu = words(15, &[*address, bits.len() as u16]);
                pdu.push(bits.len().div_ceil(8) as u8);
                let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
                pdu.extend(bits.chunks(8).map(byte));
                (pdu, 5)
            }
            Change::Registers { address, values } => {
                let mut pdu = words(16, &[*address, values.len() as u16]);
                pdu.push((values.len() * 2) as u8);
                pdu.extend(values.iter().flat_map(|value| value.to_be_bytes()));
                (pdu, 5)
            }
            // Result = (Current AND And_Mask) OR (Or_Mask AND (NOT And_Mask)).
            Change::Bits { address, value, mask } => (words(22, &[*address, !mask, value & mask]), 7),
        };
        Ask { pdu, answer: Shape::Echo(echoed) }
    }

    /// Who the device is (§6.21): its identification from this object on, by basic (1) or regular (2) access.
    pub fn identify(access: u8, object: u8) -> Ask {
        Ask { pdu: vec![identity::FUNCTION, identity::MEI_TYPE, access, object], answer: Shape::Objects }
    }

    /// The function code.
    pub fn function(&self) -> u8 {
        self.pdu[0]
    }

    /// What is sent, without what a frame adds: at most 253 bytes.
    pub fn pdu(&self) -> &[u8] {
        &self.pdu
    }

    /// Bytes of the answer, at most, without what a frame adds.
    pub fn answer_len(&self) -> usize {
        match self.answer {
            Shape::Data(len) => 2 + len,
            Shape::Echo(len) => len,
            Shape::Objects => MAX_PDU,
        }
    }

    /// Bytes of the answer that begins with `pdu`; `None` while that can't be told.
    pub fn whole_len(&self, pdu: &[u8]) -> Option<usize> {
        match self.answer {
            Shape::Data(_) | Shape::Echo(_) => Some(self.answer_len()),
            Shape::Objects => identity::page_len(pdu),
        }
    }

    /// Whether the answer can be the same bytes as the request.
    pub fn may_be_answer(&self) -> bool {
        self.answer == Shape::Echo(self.pdu.len())
    }

    /// The byte count that the answer has after its function; `None` when it has none.
    pub fn byte_count(&self) -> Option<u8> {
        match self.answer {
            Shape::Data(len) => Some(u8::try_from(len).unwrap_or(u8::MAX)),
            Shape::Echo(_) | Shape::Objects => None,
        }
    }

    /// Understands the answer to a write: the registers that function 23 read after it, none for the others.
    ///
    /// Refused when it is an exception that means that nothing was done. Of the others (§7) a device says that it is at it, that it
    /// failed at it, or a gateway that it heard nothing: then, as when the echo is another, only reading tells what was done.
    pub fn written(&self, answer: &[u8]) -> Result<Vec<u16>, WriteFailure> {
        match answer {
            [code, exception] if *code == self.function() | EXCEPTION => Err(match ExceptionCode::new(*exception) {
                ExceptionCode::IllegalFunction => WriteFailure::Refused(Fault::IllegalFunction),
                ExceptionCode::IllegalDataAddress => WriteFailure::Refused(Fault::IllegalAddress),
                ExceptionCode::IllegalDataValue => WriteFailure::Refused(Fault::IllegalValue),
                ExceptionCode::ServerDeviceBusy => WriteFailure::Refused(Fault::Busy),
                ExceptionCode::GatewayPathUnavailable => WriteFailure::Refused(Fault::GatewayPath),
                ExceptionCode::Acknowledge => WriteFailure::Unanswered(Fault::Busy),
                ExceptionCode::GatewayTargetDevice => WriteFailure::Unanswered(Fault::GatewayTarget),
                ExceptionCode::ServerDeviceFailure | ExceptionCode::MemoryParityError | ExceptionCode::Custom(_) => {
                    WriteFailure::Unanswered(Fault::DeviceFailure)
                }
            }),
            [function, count, data @ ..]
                if self.byte_count() == Some(*count)
                    && *function == self.function()
                    && data.len() == usize::from(*count) =>
            {
                Ok(data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
            }
            _ if self.byte_count().is_none() && answer == &self.pdu[..self.answer_len().min(self.pdu.len())] => {
                Ok(Vec::new())
            }
            _ => Err(WriteFailure::Unanswered(Fault::Framing)),
        }
    }
}

/// The answer to any question as it is, or the refusal that it is.
pub fn raw_answer(function: u8, pdu: &[u8]) -> Result<Vec<u8>, Failure> {
    match pdu {
        [code, exception] if *code == function | EXCEPTION => Err(refusal(ExceptionCode::new(*exception))),
        [code, ..] if *code == function => Ok(pdu.to_vec()),
        _ => Err(Failure::NoAnswer(Fault::Framing)),
    }
}

/// The bytes of data that the answer to a request carries.
fn data_len(request: &Request) -> usize {
    let count = usize::from(request.count);
    if request.table.is_bits() { count.div_ceil(8) } else { count * 2 }
}

/// Understands the answer to a request.
///
/// Refused when it is an exception about the request; without an answer that counts when its function or length is not
/// what was asked for, or a gateway says that the unit behind it is silent.
pub fn answer(request: &Request, pdu: &[u8]) -> Result<Answer, Failure> {
    let framing = || Failure::NoAnswer(Fault::Framing);
    if let [code, exception] = pdu
        && *code == function(request.table) | EXCEPTION
    {
        return Err(refusal(ExceptionCode::new(*exception)));
    }
    if pdu.len() != 2 + data_len(request) || pdu[0] != function(request.table) {
        return Err(framing());
    }
    let answer = match Response::try_from(Bytes::copy_from_slice(pdu)).map_err(|_| framing())? {
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => Answer::Bits(bits),
        Response::ReadHoldingRegisters(registers) | Response::ReadInputRegisters(registers) => {
            Answer::Registers(registers)
        }
        _ => return Err(framing()),
    };
    let (given, wanted) = match &answer {
        Answer::Bits(bits) => (bits.len(), data_len(request) * 8),
        Answer::Registers(registers) => (registers.len(), usize::from(request.count)),
    };
    // The byte count inside must agree with the frame around it.
    if given == wanted { Ok(answer) } else { Err(framing()) }
}

fn refusal(exception: ExceptionCode) -> Failure {
    match exception {
        ExceptionCode::IllegalFunction => Failure::Refused(Fault::IllegalFunction),
        ExceptionCode::IllegalDataAddress => Failure::Refused(Fault::IllegalAddress),
        ExceptionCode::IllegalDataValue => Failure::Refused(Fault::IllegalValue),
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => Failure::Refused(Fault::Busy),
        // A gateway speaks for a unit that it can't reach: that unit is silent, and nobody refused anything.
        ExceptionCode::GatewayPathUnavailable => Failure::NoAnswer(Fault::GatewayPath),
        ExceptionCode::GatewayTargetDevice => Failure::NoAnswer(Fault::GatewayTarget),
        ExceptionCode::ServerDeviceFailure | ExceptionCode::MemoryParityError | ExceptionCode::Custom(_) => {
            Failure::Refused(Fault::DeviceFailure)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(table: RegisterTable, count: u16) -> Request {
        Request { table, address: 0x006B, count, points: vec![0] }
    }

    #[test]
    fn the_examples_of_the_specification_are_understood() {
        // §6.3: read holding registers 108 to 110.
        let holding = ask(RegisterTable::Holding, 3);
        assert_eq!(Ask::read(&holding).pdu(), [0x03, 0x00, 0x6B, 0x00, 0x03]);
        let pdu = [0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64];
        assert_eq!(answer(&holding, &pdu), Ok(Answer::Registers(vec![0x022B, 0, 0x64])));
        // §6.1: coils 20 to 38; the last byte is filled with zeros.
        let coils = ask(RegisterTable::Coil, 19);
        let Ok(Answer::Bits(bits)) = answer(&coils, &[0x01, 0x03, 0xCD, 0x6B, 0x05]) else { panic!("bits") };
        assert_eq!(bits.iter().take(8).map(|b| u8::from(*b)).collect::<Vec<_>>(), [1, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn the_writes_of_the_specification_are_made_and_their_answers_understood() {
        let coils = |bits: &[u8]| Change::Coils { address: 0x13, bits: bits.iter().map(|bit| *bit == 1).collect() };
        let registers = |values: &[u16]| Change::Registers { address: 1, values: values.to_vec() };
        for (change, form, request, answer) in [
            // §6.5: coil 173 on.
            (
                Change::Coils { address: 0xAC, bits: vec![true] },
                Form::Single,
                &[5, 0, 0xAC, 0xFF, 0][..],
                &[5, 0, 0xAC, 0xFF, 0][..],
            ),
            // §6.6: register 2 becomes 3.
            (registers(&[3]), Form::Single, &[6, 0, 1, 0, 3], &[6, 0, 1, 0, 3]),
            // §6.11: ten coils from 20 on.
            (
                coils(&[1, 0, 1, 1, 0, 0, 1, 1, 1, 0]),
                Form::Single,
                &[15, 0, 0x13, 0, 10, 2, 0xCD, 0x01],
                &[15, 0, 0x13, 0, 10],
            ),
            // §6.12: two registers from 2 on.
            (registers(&[0x0A, 0x0102]), Form::Single, &[16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2], &[16, 0, 1, 0, 2]),
            (registers(&[3]), Form::Multiple, &[16, 0, 1, 0, 1, 2, 0, 3], &[16, 0, 1, 0, 1]),
            // §6.16: And_Mask 0xF2 is ours inverted; bits of the Or_Mask outside of it mean nothing and are not sent.
            (
                Change::Bits { address: 4, value: 0x25, mask: !0xF2 },
                Form::Single,
                &[22, 0, 4, 0, 0xF2, 0, 0x05],
                &[22, 0, 4, 0, 0xF2, 0, 0x05],
            ),
        ] {
            let ask = Ask::write(&change, form);
            assert_eq!(ask.pdu(), request, "{change:?}");
            assert_eq!(ask.written(answer), Ok(vec![]), "{change:?}");
            let mut other = answer.to_vec();
            other[2] ^= 1;
            for wrong in [&other[..], &answer[..4], &[], &[3, 2, 0, 0]] {
                assert_eq!(ask.written(wrong), Err(WriteFailure::Unanswered(Fault::Framing)), "{wrong:02X?}");
            }
        }
    }

    #[test]
    fn function_23_writes_and_tells_what_is_held_then() {
        let change = Change::Registers { address: 0x0E, values: vec![0xFF, 7] };
        let ask = Ask::write(&change, Form::WriteAndRead);
        assert_eq!(ask.pdu(), [23, 0, 0x0E, 0, 2, 0, 0x0E, 0, 2, 4, 0, 0xFF, 0, 7]);
        assert_eq!(ask.written(&[23, 4, 0, 0xFE, 0, 7]), Ok(vec![0xFE, 7]));
        for wrong in [&[23, 4, 0, 0xFE, 0][..], &[23, 2, 0, 0xFE], &[3, 4, 0, 0xFE, 0, 7], &ask.pdu()[..6]] {
            assert_eq!(ask.written(wrong), Err(WriteFailure::Unanswered(Fault::Framing)), "{wrong:02X?}");
        }
        assert_eq!(ask.written(&[0x97, 1]), Err(WriteFailure::Refused(Fault::IllegalFunction)));
    }

    #[test]
    fn only_exceptions_that_say_so_mean_that_nothing_was_written() {
        let ask = Ask::write(&Change::Registers { address: 1, values: vec![3] }, Form::Single);
        for (code, failure) in [
            (1, WriteFailure::Refused(Fault::IllegalFunction)),
            (2, WriteFailure::Refused(Fault::IllegalAddress)),
            (3, WriteFailure::Refused(Fault::IllegalValue)),
            (4, WriteFailure::Unanswered(Fault::DeviceFailure)),
            (5, WriteFailure::Unanswered(Fault::Busy)),
            (6, WriteFailure::Refused(Fault::Busy)),
            (10, WriteFailure::Refused(Fault::GatewayPath)),
            (11, WriteFailure::Unanswered(Fault::GatewayTarget)),
            (99, WriteFailure::Unanswered(Fault::DeviceFailure)),
        ] {
            assert_eq!(ask.written(&[0x86, code]), Err(failure), "exception {code}");
        }
    }

    #[test]
    fn every_exception_has_its_fault_and_its_scope() {
        let request = ask(RegisterTable::Holding, 1);
        for (code, failure) in [
            (1, Failure::Refused(Fault::IllegalFunction)),
            (2, Failure::Refused(Fault::IllegalAddress)),
            (3, Failure::Refused(Fault::IllegalValue)),
            (4, Failure::Refused(Fault::DeviceFailure)),
            (5, Failure::Refused(Fault::Busy)),
            (6, Failure::Refused(Fault::Busy)),
            (7, Failure::Refused(Fault::DeviceFailure)),
            (8, Failure::Refused(Fault::DeviceFailure)),
            (9, Failure::Refused(Fault::DeviceFailure)),
            (10, Failure::NoAnswer(Fault::GatewayPath)),
            (11, Failure::NoAnswer(Fault::GatewayTarget)),
            (200, Failure::Refused(Fault::DeviceFailure)),
        ] {
            assert_eq!(answer(&request, &[0x83, code]), Err(failure), "exception {code}");
        }
    }

    #[test]
    fn an_answer_with_another_function_or_length_is_no_reading() {
        let request = ask(RegisterTable::Holding, 2);
        for pdu in [
            &[][..],
            &[0x03],
            &[0x03, 0x04],
            &[0x03, 0x04, 0, 1, 0],       // one byte short
            &[0x03, 0x04, 0, 1, 0, 2, 0], // one byte over
            &[0x03, 0x02, 0, 1, 0, 2],    // a byte count that does not fit the frame
            &[0x03, 0x02, 0, 1],          // one register less
            &[0x04, 0x04, 0, 1, 0, 2],    // input registers
            &[0x84, 0x02],                // an exception to another function
            &[0x83, 0x02, 0x00],          // an exception with something behind it
        ] {
            assert_eq!(answer(&request, pdu), Err(Failure::NoAnswer(Fault::Framing)), "{pdu:02X?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_asked_cells_or_a_failure(
            pdu in prop::collection::vec(any::<u8>(), 0..300), count in 1u16..126, bits in any::<bool>(),
        ) {
            let table = if bits { RegisterTable::Coil } else { RegisterTable::Holding };
            match answer(&ask(table, count), &pdu) {
                Ok(Answer::Registers(registers)) => prop_assert_eq!(registers.len(), usize::from(count)),
                Ok(Answer::Bits(bits)) => prop_assert!(bits.len() >= usize::from(count)),
                Err(_) => {}
            }
        }
    }
}
