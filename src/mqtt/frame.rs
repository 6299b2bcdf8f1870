//! The shape of a packet before its content is read: fixed header, flags, and what the codec crate lets pass.
//!
//! Nothing here keeps state or copies; it looks at bytes that have arrived and says no early.

use super::{CodecError, Role, Version};

pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;
pub(super) const AUTH: u8 = 15;

/// A fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Packet type, 1 to 15.
    pub kind: u8,
    /// Bytes of the header itself.
    pub header: usize,
    /// Bytes after it.
    pub body: usize,
}

/// Reads the fixed header at the start of `bytes`; `None` while it is not whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, CodecError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let kind = first >> 4;
    check_flags(kind, first & 0x0F)?;
    Ok(varint(&bytes[1..])?.map(|(body, used)| Header { kind, header: 1 + used, body }))
}

/// §2.1.3: the flags of each type.
fn check_flags(kind: u8, flags: u8) -> Result<(), CodecError> {
    const PUBREL: u8 = 6;
    match kind {
        0 => Err(CodecError::Malformed("packet type 0 does not exist")),
        PUBLISH if flags & 0b0110 == 0b0110 => Err(CodecError::Malformed("QoS 3 does not exist [MQTT-3.3.1-4]")),
        PUBLISH if flags & 0b1110 == 0b1000 => Err(CodecError::Malformed("DUP at QoS 0 [MQTT-3.3.1-2]")),
        PUBLISH => Ok(()),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE if flags == 0b0010 => Ok(()),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => Err(CodecError::Malformed("reserved flags [MQTT-2.1.3-1]")),
        _ if flags == 0 => Ok(()),
        _ => Err(CodecError::Malformed("reserved flags [MQTT-2.1.3-1]")),
    }
}

/// A variable byte integer and the bytes it took; `None` while it is not whole (§1.5.5).
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, CodecError> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(CodecError::Malformed("a length in more bytes than it needs [MQTT-1.5.5-1]"));
            }
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 { Err(CodecError::Malformed("a length of more than four bytes (§1.5.5)")) } else { Ok(None) }
}

/// Whether a packet of this type may reach this end.
pub(super) fn check_direction(role: Role, kind: u8) -> Result<(), CodecError> {
    let to_client_only = matches!(kind, CONNACK | SUBACK | UNSUBACK | PINGRESP);
    let to_server_only = matches!(kind, CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ);
    match role {
        Role::Server if to_client_only => Err(CodecError::Protocol("only a server sends this packet")),
        Role::Client if to_server_only => Err(CodecError::Protocol("only a client sends this packet")),
        _ => Ok(()),
    }
}

/// Packets whose whole content is known from their type.
pub(super) fn check_length(version: Version, kind: u8, body: usize) -> Result<(), CodecError> {
    let fixed = match (kind, version) {
        (PINGREQ | PINGRESP, _) | (DISCONNECT, Version::V311) => 0,
        (CONNACK, Version::V311) => 2,
        (AUTH, Version::V311) => return Err(CodecError::Protocol("MQTT 3.1.1 has no AUTH")),
        _ => return Ok(()),
    };
    if body == fixed { Ok(()) } else { Err(CodecError::Malformed("wrong length for this packet")) }
}

/// What a CONNECT says before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectShape {
    pub version: Version,
    /// An empty client id without a clean start: right in MQTT 5 [MQTT-3.1.3-7], but the codec crate refuses it. The
    /// clean start flag has been set in the bytes and has to be taken back in the decoded packet.
    pub clean_start_lent: bool,
}

/// Checks the body of a CONNECT (§3.1.2, §3.1.3) and makes it digestible for the codec crate.
pub(super) fn connect(body: &mut [u8]) -> Result<ConnectShape, CodecError> {
    const RESERVED: u8 = 0x01;
    const CLEAN_START: u8 = 0x02;
    const WILL: u8 = 0x04;
    const WILL_DETAILS: u8 = 0x38;
    const WILL_QOS: u8 = 0x18;
    const PASSWORD: u8 = 0x40;
    const USERNAME: u8 = 0x80;

    let mut at = Walk { body, at: 0 };
    let name = at.sized()?;
    let level = at.byte()?;
    let version = match (&at.body[name.clone()], level) {
        (b"MQTT", 4) | (b"MQIsdp", 3) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        (b"MQTT" | b"MQIsdp", level) => return Err(CodecError::UnsupportedVersion { level }),
        _ => return Err(CodecError::NotConnect),
    };
    let flags_at = at.at;
    let flags = at.byte()?;
    at.skip(2)?; // keep-alive
    if flags & RESERVED != 0 {
        return Err(CodecError::Malformed("a reserved CONNECT flag [MQTT-3.1.2-3]"));
    }
    if flags & WILL == 0 && flags & WILL_DETAILS != 0 {
        return Err(CodecError::Malformed("will QoS or will retain without a will [MQTT-3.1.2-11]"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(CodecError::Malformed("will QoS 3 does not exist [MQTT-3.1.2-12]"));
    }
    if version == Version::V311 && flags & (USERNAME | PASSWORD) == PASSWORD {
        return Err(CodecError::Malformed("a password without a user name [MQTT-3.1.2-22]"));
    }
    if version == Version::V5 {
        at.properties()?;
    }
    let client_id = at.sized()?;
    if flags & WILL != 0 {
        if version == Version::V5 {
            let properties = at.properties()?;
            lend_expiry(&mut at.body[properties]);
        }
        at.sized()?; // topic
        at.sized()?; // payload
    }
    for flag in [USERNAME, PASSWORD] {
        if flags & flag != 0 {
            at.sized()?;
        }
    }
    if at.at != at.body.len() {
        return Err(CodecError::Malformed("bytes after the end of CONNECT"));
    }
    let without_id = client_id.is_empty() && flags & CLEAN_START == 0;
    if without_id && version == Version::V311 {
        return Err(CodecError::EmptyClientId);
    }
    if without_id {
        body[flags_at] |= CLEAN_START;
    }
    Ok(ConnectShape { version, clean_start_lent: without_id })
}

/// Checks the options of a 3.1.1 SUBSCRIBE, whose upper six bits are reserved [MQTT-3.8.3-4].
pub(super) fn subscribe_v311(body: &mut [u8]) -> Result<(), CodecError> {
    let mut at = Walk { body, at: 0 };
    at.skip(2)?; // packet id
    while at.at < at.body.len() {
        at.sized()?;
        if at.byte()? & 0xFC != 0 {
            return Err(CodecError::Malformed("reserved bits of a subscription [MQTT-3.8.3-4]"));
        }
    }
    Ok(())
}

/// Makes the properties of an MQTT 5 PUBLISH digestible for the codec crate. `first` is the packet's first byte.
pub(super) fn publish_v5(first: u8, body: &mut [u8]) -> Result<(), CodecError> {
    let mut at = Walk { body, at: 0 };
    at.sized()?;
    if first & 0b0110 != 0 {
        at.skip(2)?; // packet id
    }
    let properties = at.properties()?;
    lend_expiry(&mut at.body[properties]);
    Ok(())
}

/// Message Expiry Interval 0 means "at once or never" and is allowed (§3.3.2.3.3), but the codec crate takes it for an error.
/// It becomes one second, which a message that is delivered at once does not notice.
fn lend_expiry(properties: &mut [u8]) {
    const MESSAGE_EXPIRY: u8 = 0x02;
    let mut at = Walk { body: properties, at: 0 };
    while let Ok(id) = at.byte() {
        let here = at.at;
        let known = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => at.skip(1),
            0x13 | 0x21..=0x23 => at.skip(2),
            MESSAGE_EXPIRY | 0x11 | 0x18 | 0x27 => at.skip(4),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => at.sized().map(|_| ()),
            0x26 => at.sized().and_then(|_| at.sized()).map(|_| ()),
            0x0B => at.varint().map(|_| ()),
            // The codec crate says what is wrong.
            _ => return,
        };
        if known.is_err() {
            return;
        }
        if id == MESSAGE_EXPIRY && at.body[here..here + 4] == [0; 4] {
            at.body[here + 3] = 1;
        }
    }
}

/// Walks over a body without reading past its end.
struct Walk<'a> {
    body: &'a mut [u8],
    at: usize,
}

impl Walk<'_> {
    const SHORT: CodecError = CodecError::Malformed("the packet ends before its content does");

    fn skip(&mut self, n: usize) -> Result<(), CodecError> {
        if self.body.len() - self.at < n {
            return Err(Self::SHORT);
        }
        self.at += n;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self.body.get(self.at).ok_or(Self::SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<usize, CodecError> {
        let (value, used) = varint(&self.body[self.at..])?.ok_or(Self::SHORT)?;
        self.at += used;
        Ok(value)
    }

    /// A string or binary with its length in two bytes before it.
    fn sized(&mut self) -> Result<std::ops::Range<usize>, CodecError> {
        let length = usize::from(u16::from_be_bytes([self.byte()?, self.byte()?]));
        let start = self.at;
        self.skip(length)?;
        Ok(start..self.at)
    }

    /// Properties with their length as a variable byte integer before them.
    fn properties(&mut self) -> Result<std::ops::Range<usize>, CodecError> {
        let length = self.varint()?;
        let start = self.at;
        self.skip(length)?;
        Ok(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_when_it_is_whole_and_refused_as_early_as_possible() {
        assert_eq!(header(&[]), Ok(None));
        assert_eq!(header(&[0x30]), Ok(None));
        assert_eq!(header(&[0x30, 0x80]), Ok(None));
        assert_eq!(header(&[0x30, 0x80, 0x01]), Ok(Some(Header { kind: 3, header: 3, body: 128 })));
        for bad in
            [&[0x00][..], &[0x36], &[0x38], &[0x60], &[0x80], &[0xC1], &[0x30, 0x80, 0x00], &[0x30, 255, 255, 255, 255]]
        {
            assert!(matches!(header(bad), Err(CodecError::Malformed(_))), "{bad:x?}");
        }
    }

    #[test]
    fn an_unknown_level_is_told_from_a_foreign_protocol() {
        let mut six = *b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x00";
        assert_eq!(connect(&mut six), Err(CodecError::UnsupportedVersion { level: 6 }));
        let mut foreign = *b"\x00\x04AMQP\x05\x02\x00\x00\x00\x00\x00";
        assert_eq!(connect(&mut foreign), Err(CodecError::NotConnect));
    }

    #[test]
    fn an_empty_client_id_without_a_clean_start_is_for_mqtt_5_alone() {
        let mut v5 = *b"\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00";
        assert_eq!(connect(&mut v5), Ok(ConnectShape { version: Version::V5, clean_start_lent: true }));
        assert_eq!(v5[7], 0x02);
        let mut v311 = *b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00";
        assert_eq!(connect(&mut v311), Err(CodecError::EmptyClientId));
    }
}
