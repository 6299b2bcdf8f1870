//! What requests cost on a line: the measure by which the planner chooses, and the load that a plan is. Pure.

use std::time::Duration;

use crate::model::{MaxGap, SerialLine};

/// Address (or unit) to checksum of a request, and of an answer without its data, in bytes (serial line guide §2.5.1).
const REQUEST_AND_EMPTY_ANSWER: u32 = 8 + 5;
/// How long devices usually think before they answer. Too small a guess costs line time, too large reads more ballast.
const TURNAROUND: Duration = Duration::from_millis(5);
/// What a device may need to look up one more register. The network's share of that is nothing, so that over TCP all that fits
/// into an answer is nearly always cheaper than a second request.
const LOOK_UP: Duration = Duration::from_micros(20);

/// What an exchange costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs {
    /// Whatever it carries.
    exchange: Duration,
    register: Duration,
    /// Eight bits.
    byte: Duration,
    max_gap: MaxGap,
}

impl Costs {
    /// On a serial line, with so many characters a byte: two for ASCII, one for RTU.
    pub fn on_serial(max_gap: MaxGap, line: &SerialLine, characters: u32) -> Costs {
        let byte = character_time(line) * characters;
        let exchange = byte * REQUEST_AND_EMPTY_ANSWER + silence(line) * 2 + TURNAROUND;
        Costs { exchange, register: byte * 2, byte, max_gap }
    }

    /// Over TCP.
    pub fn on_tcp(max_gap: MaxGap) -> Costs {
        Costs { exchange: TURNAROUND, register: LOOK_UP, byte: LOOK_UP, max_gap }
    }

    /// The time that an exchange about so many cells takes, with a device that answers as devices usually do.
    pub fn time(&self, is_bits: bool, cells: u32) -> Duration {
        self.exchange + if is_bits { self.byte * cells.div_ceil(8) } else { self.register * cells }
    }

    /// What the planner pays for a request. With a `max_gap` of its own a bus wants as few requests as that allows.
    pub(super) fn request(&self, is_bits: bool, cells: u32) -> u64 {
        match self.max_gap {
            MaxGap::Auto => u64::try_from(self.time(is_bits, cells).as_nanos()).unwrap_or(u64::MAX / 1_000_000),
            MaxGap::Registers(_) => (1 << 32) + u64::from(cells),
        }
    }

    /// How many unwanted cells may be read through.
    pub(super) fn max_gap(&self) -> u32 {
        match self.max_gap {
            MaxGap::Auto => u32::MAX,
            MaxGap::Registers(cells) => cells.into(),
        }
    }
}

/// The time that one character takes on the line.
pub fn character_time(line: &SerialLine) -> Duration {
    Duration::from_secs(u64::from(line.bits_per_character())) / line.baud.max(1)
}

/// The silence that separates two frames: 3.5 characters, and 1.75 ms above 19200 baud (serial line guide §2.5.1.1).
pub fn silence(line: &SerialLine) -> Duration {
    if line.baud > 19_200 { Duration::from_micros(1750) } else { character_time(line) * 7 / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_takes_its_characters_its_silences_and_the_device() {
        // 13 bytes and 2 a register of 0.573 ms, two silences of 3.5 characters, 5 ms.
        let costs = Costs::on_serial(MaxGap::Auto, &SerialLine::new("/dev/null", 19_200), 1);
        let micros = |is_bits, cells| costs.time(is_bits, cells).as_micros();
        assert_eq!((micros(false, 0), micros(false, 125)), (16_458, 159_687));
        assert_eq!(micros(true, 9), micros(true, 16));
        let ascii = Costs::on_serial(MaxGap::Auto, &SerialLine::new("/dev/null", 19_200), 2);
        assert_eq!(ascii.time(false, 10) - ascii.time(false, 0), 2 * (costs.time(false, 10) - costs.time(false, 0)));
    }
}
