//! Just enough MQTT 3.1.1 to load a broker: what it sends is written by hand, what comes back is looked at no more than it has to be.

pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBACK: u8 = 9;

/// The topic of all messages: 10 bytes.
const TOPIC: &[u8] = b"plant/load";

/// A packet that came.
pub struct Packet<'a> {
    pub kind: u8,
    pub flags: u8,
    pub body: &'a [u8],
}

impl Packet<'_> {
    /// Where acknowledgements have it.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The id of a PUBLISH at QoS 1 or 2, and its payload.
    pub fn publish(&self) -> (u16, &[u8]) {
        let at = 2 + usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        if self.flags & 0b0110 == 0 {
            return (0, &self.body[at..]);
        }
        (u16::from_be_bytes([self.body[at], self.body[at + 1]]), &self.body[at + 2..])
    }
}

/// The first packet in `bytes` and its length, if it is whole.
pub fn parse(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let (first, mut length, mut shift, mut at) = (*bytes.first()?, 0, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 0x80 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    Some((Packet { kind: first >> 4, flags: first & 15, body }, at + length))
}

/// `is_clean`: no session is kept.
pub fn connect(client_id: &str, is_clean: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x10, 12 + client_id.len() as u8]);
    out.extend_from_slice(b"\x00\x04MQTT\x04");
    out.extend_from_slice(&[if is_clean { 2 } else { 0 }, 0, 0, 0]);
    out.push(client_id.len() as u8);
    out.extend_from_slice(client_id.as_bytes());
}

pub fn subscribe(qos: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x82, 5 + TOPIC.len() as u8, 0, 1, 0, TOPIC.len() as u8]);
    out.extend_from_slice(TOPIC);
    out.push(qos);
}

/// A PUBLISH; its payload has less than 110 bytes.
pub fn publish(qos: u8, id: u16, payload: &[u8], out: &mut Vec<u8>) {
    let ids: &[u8] = if qos > 0 { &id.to_be_bytes() } else { &[] };
    out.extend_from_slice(&[
        0x30 | qos << 1,
        (2 + TOPIC.len() + ids.len() + payload.len()) as u8,
        0,
        TOPIC.len() as u8,
    ]);
    out.extend_from_slice(TOPIC);
    out.extend_from_slice(ids);
    out.extend_from_slice(payload);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn acknowledge(kind: u8, id: u16, out: &mut Vec<u8>) {
    let flags = if kind == PUBREL { 2 } else { 0 };
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}
