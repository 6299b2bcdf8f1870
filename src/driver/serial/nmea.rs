//! Sentences of NMEA 0183: `$GPGGA,092750.000,5321.6802,N,…*76`. Pure.

use crate::model::{Decimal, Fault, NmeaField};

/// Digits after the point of a position in degrees: a millimetre. Minutes divided by 60 have no end.
const DEGREES: i16 = 8;

/// Whether a line's checksum is right: the exclusive or of what stands between `$` (or `!`) and `*`. `None` without one.
pub fn checksum_of(line: &[u8]) -> Option<bool> {
    let [b'$' | b'!', rest @ ..] = line else { return None };
    let star = rest.iter().rposition(|byte| *byte == b'*')?;
    let [high, low] = rest[star + 1..] else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let said = digit(high)? << 4 | digit(low)?;
    Some(rest[..star].iter().fold(0, |sum, byte| sum ^ u32::from(*byte)) == said)
}

/// The text of a field; `None` when this is no such sentence.
///
/// Errors with [`Fault::Crc`] for a wrong checksum, [`Fault::Framing`] when the sentence has no such field or a position is
/// none, and [`Fault::Sentinel`] when the field is empty: that is how a receiver says that it does not know.
pub fn field(wanted: &NmeaField, line: &[u8]) -> Option<Result<String, Fault>> {
    let [b'$' | b'!', rest @ ..] = line else { return None };
    let body = rest.split(|byte| *byte == b'*').next().unwrap_or_default();
    let mut fields = body.split(|byte| *byte == b',');
    let name = fields.next()?;
    let sentence = wanted.sentence.as_bytes();
    // The talker's two letters come first: GP, GN, II …; P stands before a maker's own sentences.
    let is_wanted = name == sentence || (name.len() == sentence.len() + 2 && name.ends_with(sentence));
    if !is_wanted {
        return None;
    }
    if checksum_of(line) == Some(false) {
        return Some(Err(Fault::Crc));
    }
    let mut fields = fields.skip(wanted.field.saturating_sub(1));
    let Some(text) = fields.next() else { return Some(Err(Fault::Framing)) };
    let text = String::from_utf8_lossy(text).trim().to_owned();
    if text.is_empty() {
        return Some(Err(Fault::Sentinel));
    }
    if !wanted.degrees {
        return Some(Ok(text));
    }
    Some(degrees(&text, fields.next().unwrap_or_default()).ok_or(Fault::Framing))
}

/// `5321.6802` with `N` is 53 degrees and 21.6802 minutes north.
fn degrees(text: &str, hemisphere: &[u8]) -> Option<String> {
    let point = text.find('.').unwrap_or(text.len());
    let (degrees, minutes) = text.split_at_checked(point.checked_sub(2)?)?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let (sign, most) = match hemisphere {
        b"N" => ("", 90_u16),
        b"S" => ("-", 90),
        b"E" => ("", 180),
        b"W" => ("-", 180),
        _ => return None,
    };
    if !is_plain(text) || degrees.len() > 3 {
        return None;
    }
    let minutes: Decimal = minutes.parse().ok()?;
    let whole: Decimal = if degrees.is_empty() { "0" } else { degrees }.parse().ok()?;
    let sixty = Decimal::from(60_u16);
    if minutes >= sixty {
        return None;
    }
    let exact = Decimal::scaled(&minutes.divided_by(&sixty)?, None, Some(&whole));
    if exact > Decimal::from(most) {
        return None;
    }
    let rounded = exact.times_power_of_ten(DEGREES).nearest_whole().times_power_of_ten(-DEGREES);
    Some(format!("{sign}{rounded}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GGA: &[u8] = b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76";

    fn read(sentence: &str, field: usize, degrees: bool, line: &[u8]) -> Option<Result<String, Fault>> {
        super::field(&NmeaField { sentence: sentence.into(), field, degrees }, line)
    }

    #[test]
    fn checksums_are_verified() {
        assert_eq!(checksum_of(GGA), Some(true));
        assert_eq!(checksum_of(b"$GPGGA,092750.000,5321.6803,N*76"), Some(false));
        assert_eq!(checksum_of(b"$GPGGA,1"), None);
        assert_eq!(checksum_of(b"ST,GS,+1.2kg*76"), None);
    }

    #[test]
    fn fields_are_counted_after_the_name_and_the_talker_may_be_any() {
        assert_eq!(read("GGA", 9, false, GGA), Some(Ok("61.7".into())));
        assert_eq!(read("GPGGA", 7, false, GGA), Some(Ok("8".into())));
        assert_eq!(read("GNGGA", 7, false, GGA), None);
        assert_eq!(read("RMC", 1, false, GGA), None);
        assert_eq!(read("GGA", 13, false, GGA), Some(Err(Fault::Sentinel)));
        assert_eq!(read("GGA", 15, false, GGA), Some(Err(Fault::Framing)));
        let broken = [&GGA[..GGA.len() - 1], b"7"].concat();
        assert_eq!(read("GGA", 9, false, &broken), Some(Err(Fault::Crc)));
        assert_eq!(read("HDT", 1, false, b"$HEHDT,271.1,T"), Some(Ok("271.1".into())));
    }

    #[test]
    fn positions_become_degrees_with_their_sign() {
        assert_eq!(read("GGA", 2, true, GGA), Some(Ok("53.36133667".into())));
        assert_eq!(read("GGA", 4, true, GGA), Some(Ok("-6.50562000".into())));
        assert_eq!(read("GGA", 9, true, GGA), Some(Err(Fault::Framing)));
        assert_eq!(read("GGA", 1, true, b"$GPGGA,abc.d,N"), Some(Err(Fault::Framing)));
    }

    #[test]
    fn a_position_that_is_nowhere_is_none() {
        let position = |text: &str| read("GGA", 1, true, format!("$GPGGA,{text}").as_bytes()).unwrap();
        for nowhere in ["5360.0,N", "5399.9999,N", "9000.0001,N", "9100.0,S", "18000.01,E", "18100.0,W"] {
            assert_eq!(position(nowhere), Err(Fault::Framing), "{nowhere}");
        }
        for (place, degrees) in
            [("5359.9999,N", "53.99999833"), ("9000.0,S", "-90.00000000"), ("18000.0,W", "-180.00000000")]
        {
            assert_eq!(position(place).as_deref(), Ok(degrees));
        }
    }
}
