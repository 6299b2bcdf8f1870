//! Batches: pieces put together to one payload. Pure.
//!
//! What kind of batch it is goes to disk with its pieces, as a number, so that one that was open at a crash is closed as it was begun.

use std::borrow::Cow;

use super::json::Json;
use super::{cbor, compress};

/// How pieces are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundle {
    /// `[…,…]`
    JsonArray,
    /// A line each.
    Lines,
    /// An array.
    CborArray,
    /// `{"device":[…,…]}`, the entries of a device together.
    ThingsBoard,
}

const COMPRESSED: u8 = 0x80;

impl Bundle {
    const ALL: [Bundle; 4] = [Bundle::JsonArray, Bundle::Lines, Bundle::CborArray, Bundle::ThingsBoard];

    /// The number that goes to disk.
    pub fn code(self, compress: bool) -> u8 {
        let code = match self {
            Bundle::JsonArray => 0,
            Bundle::Lines => 1,
            Bundle::CborArray => 2,
            Bundle::ThingsBoard => 3,
        };
        code | if compress { COMPRESSED } else { 0 }
    }
}

/// One payload of these pieces, as the code of its batch says. A code that no version knows makes lines.
pub fn bundle(code: u8, pieces: &[Vec<u8>]) -> Vec<u8> {
    let kind = Bundle::ALL.get(usize::from(code & !COMPRESSED)).copied().unwrap_or(Bundle::Lines);
    let payload = match kind {
        Bundle::JsonArray => {
            let mut out = vec![b'['];
            out.extend(pieces.join(&b','));
            out.push(b']');
            out
        }
        Bundle::Lines => pieces.join(&b'\n'),
        Bundle::CborArray => {
            let mut out = Vec::new();
            cbor::begin_array(pieces.len(), &mut out);
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
            out
        }
        Bundle::ThingsBoard => telemetry(pieces),
    };
    if code & COMPRESSED == 0 { payload } else { compress::zstd(&payload) }
}

fn telemetry(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut devices: Vec<(Cow<'_, str>, Json<'_>)> = Vec::new();
    for piece in pieces {
        let Ok(Json::Object(members)) = Json::parse(piece) else { continue };
        for (device, entries) in members {
            match (devices.iter_mut().find(|(known, _)| *known == device), entries) {
                (Some((_, Json::List(known))), Json::List(more)) => known.extend(more),
                (_, entries) => devices.push((device, entries)),
            }
        }
    }
    Json::Object(devices).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bundle_: Bundle, pieces: &[&str]) -> String {
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        String::from_utf8(bundle(bundle_.code(false), &pieces)).expect("text")
    }

    #[test]
    fn pieces_are_put_together_in_their_order() {
        assert_eq!(text(Bundle::JsonArray, &["{\"a\":1}", "2"]), "[{\"a\":1},2]");
        assert_eq!(text(Bundle::Lines, &["a v=1i 5", "a v=2i 6"]), "a v=1i 5\na v=2i 6");
        assert_eq!(
            text(Bundle::ThingsBoard, &["{\"b\":[1]}", "{\"m\":[2]}", "{\"b\":[3]}"]),
            "{\"b\":[1,3],\"m\":[2]}"
        );
        assert_eq!(bundle(Bundle::CborArray.code(false), &[vec![1], vec![2]]), [0x82, 1, 2]);
    }

    #[test]
    fn a_compressed_batch_is_one_frame() {
        let packed = bundle(Bundle::JsonArray.code(true), &vec![b"{\"value\":21.4}".to_vec(); 100]);
        assert!(packed.len() < 100);
        let unpacked = compress::unzstd(&packed, 1 << 20).expect("a frame");
        assert_eq!(unpacked.len(), 2 + 100 * 14 + 99);
    }
}
