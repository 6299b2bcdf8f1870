//! The checksums of frames. Pure.

use crc::{
    Algorithm, CRC_8_MAXIM_DOW, CRC_8_SMBUS, CRC_16_ARC, CRC_16_DNP, CRC_16_IBM_3740, CRC_16_IBM_SDLC, CRC_16_KERMIT,
    CRC_16_MODBUS, CRC_16_USB, CRC_16_XMODEM, CRC_32_ISO_HDLC, CRC_32_MPEG_2, Crc as Engine, Table,
};

use crate::model::{ChecksumKind, Crc, FrameChecksum};

/// The checksum of some bytes, right-aligned.
pub fn checksum(kind: ChecksumKind, bytes: &[u8]) -> u32 {
    match kind {
        ChecksumKind::Xor => bytes.iter().fold(0, |sum, byte| sum ^ u32::from(*byte)),
        ChecksumKind::Sum8 => sum(bytes) & 0xFF,
        ChecksumKind::Sum8Complement => sum(bytes).wrapping_neg() & 0xFF,
        ChecksumKind::Sum16 => sum(bytes) & 0xFFFF,
        ChecksumKind::Crc(crc) => match crc {
            Crc::Crc8 => crc8(&CRC_8_SMBUS, bytes),
            Crc::Crc8Maxim => crc8(&CRC_8_MAXIM_DOW, bytes),
            Crc::Modbus => crc16(&CRC_16_MODBUS, bytes),
            Crc::Arc => crc16(&CRC_16_ARC, bytes),
            Crc::Usb => crc16(&CRC_16_USB, bytes),
            Crc::CcittFalse => crc16(&CRC_16_IBM_3740, bytes),
            Crc::Xmodem => crc16(&CRC_16_XMODEM, bytes),
            Crc::Kermit => crc16(&CRC_16_KERMIT, bytes),
            Crc::X25 => crc16(&CRC_16_IBM_SDLC, bytes),
            Crc::Dnp => crc16(&CRC_16_DNP, bytes),
            Crc::Crc32 => crc32(&CRC_32_ISO_HDLC, bytes),
            Crc::Crc32Mpeg2 => crc32(&CRC_32_MPEG_2, bytes),
        },
    }
}

/// Whether a whole frame is as its checksum says; not when it is too short to have one.
pub fn is_right(rule: &FrameChecksum, frame: &[u8]) -> bool {
    let width = rule.kind.width();
    let Some(at) = rule.at.index(frame.len()) else { return false };
    let Some(found) = frame.get(at..at + width) else { return false };
    let to = match rule.to {
        None => Some(at),
        Some(place) => place.index(frame.len()),
    };
    let Some(covered) = to.and_then(|to| frame.get(rule.from..to)) else { return false };
    let expected = checksum(rule.kind, covered).to_be_bytes();
    let expected = &expected[expected.len() - width..];
    if rule.is_little { found.iter().rev().eq(expected) } else { found == expected }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_add((*byte).into()))
}

// Frames are short and few: no tables, which are built at run time or fill the program.
fn crc8(algorithm: &'static Algorithm<u8>, bytes: &[u8]) -> u32 {
    Engine::<u8, Table<0>>::new(algorithm).checksum(bytes).into()
}

fn crc16(algorithm: &'static Algorithm<u16>, bytes: &[u8]) -> u32 {
    Engine::<u16, Table<0>>::new(algorithm).checksum(bytes).into()
}

fn crc32(algorithm: &'static Algorithm<u32>, bytes: &[u8]) -> u32 {
    Engine::<u32, Table<0>>::new(algorithm).checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FramePlace;

    #[test]
    fn every_checksum_has_the_check_value_of_its_catalogue() {
        for (kind, check) in [
            (ChecksumKind::Xor, 0x31),
            (ChecksumKind::Sum8, 0xDD),
            (ChecksumKind::Sum8Complement, 0x23),
            (ChecksumKind::Sum16, 0x01DD),
            (ChecksumKind::Crc(Crc::Crc8), 0xF4),
            (ChecksumKind::Crc(Crc::Crc8Maxim), 0xA1),
            (ChecksumKind::Crc(Crc::Modbus), 0x4B37),
            (ChecksumKind::Crc(Crc::Arc), 0xBB3D),
            (ChecksumKind::Crc(Crc::Usb), 0xB4C8),
            (ChecksumKind::Crc(Crc::CcittFalse), 0x29B1),
            (ChecksumKind::Crc(Crc::Xmodem), 0x31C3),
            (ChecksumKind::Crc(Crc::Kermit), 0x2189),
            (ChecksumKind::Crc(Crc::X25), 0x906E),
            (ChecksumKind::Crc(Crc::Dnp), 0xEA82),
            (ChecksumKind::Crc(Crc::Crc32), 0xCBF4_3926),
            (ChecksumKind::Crc(Crc::Crc32Mpeg2), 0x0376_E6E7),
        ] {
            assert_eq!(checksum(kind, b"123456789"), check, "{kind:?}");
        }
    }

    #[test]
    fn a_checksum_is_found_at_its_place_and_in_its_byte_order() {
        let kind = ChecksumKind::Crc(Crc::Modbus);
        let rule = FrameChecksum { kind, at: FramePlace::End(2), from: 0, to: None, is_little: true };
        // The request of a PZEM-004T: F8 04 00 00 00 0A 64 64.
        let frame = [0xF8, 0x04, 0x00, 0x00, 0x00, 0x0A, 0x64, 0x64];
        assert!(is_right(&rule, &frame));
        assert!(!is_right(&rule, &frame[..7]));
        // TFmini: 59 59, six bytes, their sum.
        let sum =
            FrameChecksum { kind: ChecksumKind::Sum8, at: FramePlace::End(1), from: 0, to: None, is_little: false };
        assert!(is_right(&sum, &[0x59, 0x59, 0x10, 0x00, 0x20, 0x00, 0x00, 0x00, 0xE2]));
        // In the middle, over what follows.
        let middle = FrameChecksum {
            kind: ChecksumKind::Xor,
            at: FramePlace::Start(1),
            from: 2,
            to: Some(FramePlace::End(0)),
            is_little: false,
        };
        assert!(is_right(&middle, &[0xAA, 0x03, 0x01, 0x02]));
        assert!(!is_right(&middle, &[0xAA]));
    }
}
