//! What is inside a frame: a function code and its data, the same over TCP and serial lines.

use tokio_modbus::bytes::Bytes;
use tokio_modbus::{ExceptionCode, Response};

use super::super::super::{Failure, Request};
use super::super::Cells;
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
pub fn function(table: RegisterTable) -> u8 {
    match table {
        RegisterTable::Coil => 1,
        RegisterTable::Discrete => 2,
        RegisterTable::Holding => 3,
        RegisterTable::Input => 4,
    }
}

/// Function, address and quantity (§6.1 to §6.4).
pub fn request(request: &Request) -> [u8; 5] {
    let ([address_high, address_low], [count_high, count_low]) =
        (request.address.to_be_bytes(), request.count.to_be_bytes());
    [function(request.table), address_high, address_low, count_high, count_low]
}

/// The bytes of data that the answer to a request carries.
pub fn data_len(request: &Request) -> usize {
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
        assert_eq!(request(&holding), [0x03, 0x00, 0x6B, 0x00, 0x03]);
        let pdu = [0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64];
        assert_eq!(answer(&holding, &pdu), Ok(Answer::Registers(vec![0x022B, 0, 0x64])));
        // §6.1: coils 20 to 38; the last byte is filled with zeros.
        let coils = ask(RegisterTable::Coil, 19);
        let Ok(Answer::Bits(bits)) = answer(&coils, &[0x01, 0x03, 0xCD, 0x6B, 0x05]) else { panic!("bits") };
        assert_eq!(bits.iter().take(8).map(|b| u8::from(*b)).collect::<Vec<_>>(), [1, 0, 1, 1, 0, 0, 1, 1]);
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
