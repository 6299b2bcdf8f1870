//! MQTT 5 properties as one column: a version byte, then fields of tag, length and content.
//!
//! Only this file knows the encoding. It is read back years later by newer versions, so a tag is never given another meaning.

use bytes::Bytes;

use crate::model::{Properties, Topic};

const VERSION: u8 = 1;

const TAG_UTF8: u8 = 1;
const TAG_EXPIRY: u8 = 2;
const TAG_CONTENT_TYPE: u8 = 3;
const TAG_RESPONSE_TOPIC: u8 = 4;
const TAG_CORRELATION: u8 = 5;
const TAG_USER: u8 = 6;

/// Why a column is not what [`encode`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// Written by a version that this one does not know.
    #[error("its properties have the unknown version {0}")]
    Version(u8),
    /// A field with a tag of no meaning, or with a length or content that its tag can't have.
    #[error("its properties are damaged at byte {0}")]
    Field(usize),
}

/// The column's content; `None` when there is nothing to keep.
pub fn encode(properties: Option<&Properties>) -> Option<Vec<u8>> {
    let properties = properties.filter(|p| **p != Properties::default())?;
    let mut out = vec![VERSION];
    if properties.payload_is_utf8 {
        field(&mut out, TAG_UTF8, &[]);
    }
    if let Some(seconds) = properties.message_expiry_s {
        field(&mut out, TAG_EXPIRY, &seconds.to_le_bytes());
    }
    if let Some(content_type) = &properties.content_type {
        field(&mut out, TAG_CONTENT_TYPE, content_type.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        field(&mut out, TAG_RESPONSE_TOPIC, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        field(&mut out, TAG_CORRELATION, data);
    }
    for (key, value) in &properties.user {
        // The key's length comes first: both may contain any character.
        let mut both = length(key.len()).to_vec();
        both.extend_from_slice(key.as_bytes());
        both.extend_from_slice(value.as_bytes());
        field(&mut out, TAG_USER, &both);
    }
    Some(out)
}

/// How many bytes [`encode`] makes of them, 0 when there is nothing to keep.
pub fn encoded_len(properties: Option<&Properties>) -> usize {
    let Some(properties) = properties.filter(|p| **p != Properties::default()) else { return 0 };
    let Properties { payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data, user } =
        properties;
    let mut fields = vec![payload_is_utf8.then_some(0), message_expiry_s.map(|_| 4)];
    fields.push(content_type.as_ref().map(String::len));
    fields.push(response_topic.as_ref().map(|topic| topic.len()));
    fields.push(correlation_data.as_ref().map(Bytes::len));
    let user = user.iter().map(|(key, value)| 9 + key.len() + value.len());
    1 + fields.iter().flatten().map(|content| 5 + content).sum::<usize>() + user.sum::<usize>()
}

/// Reads what [`encode`] wrote.
pub fn decode(column: &[u8]) -> Result<Properties, PropertiesError> {
    let (&version, mut rest) = column.split_first().ok_or(PropertiesError::Field(0))?;
    if version != VERSION {
        return Err(PropertiesError::Version(version));
    }
    let mut properties = Properties::default();
    while !rest.is_empty() {
        let damaged = PropertiesError::Field(column.len() - rest.len());
        rest = take_field(rest, &mut properties).ok_or(damaged)?;
    }
    Ok(properties)
}

fn length(bytes: usize) -> [u8; 4] {
    // MQTT's own lengths end at 16 bits, so nothing that came off the wire is longer.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&length(content.len()));
    out.extend_from_slice(content);
}

fn take_field<'a>(bytes: &'a [u8], into: &mut Properties) -> Option<&'a [u8]> {
    let (&tag, bytes) = bytes.split_first()?;
    let (content, rest) = take_length(bytes)?;
    match tag {
        TAG_UTF8 if content.is_empty() => into.payload_is_utf8 = true,
        TAG_EXPIRY => into.message_expiry_s = Some(u32::from_le_bytes(content.try_into().ok()?)),
        TAG_CONTENT_TYPE => into.content_type = Some(text(content)?),
        TAG_RESPONSE_TOPIC => into.response_topic = Some(Topic::new(std::str::from_utf8(content).ok()?).ok()?),
        TAG_CORRELATION => into.correlation_data = Some(Bytes::copy_from_slice(content)),
        TAG_USER => {
            let (key, value) = take_length(content)?;
            into.user.push((text(key)?, text(value)?));
        }
        _ => return None,
    }
    Some(rest)
}

fn take_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_properties() -> impl Strategy<Value = Properties> {
        let response = prop::option::of("[a-z/]{1,9}".prop_map(|t| Topic::new(&t).expect("no wildcard")));
        let correlation = prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from));
        let user = prop::collection::vec((any::<String>(), any::<String>()), 0..4);
        (any::<bool>(), any::<Option<u32>>(), any::<Option<String>>(), response, correlation, user).prop_map(
            |(payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data, user)| Properties {
                payload_is_utf8,
                message_expiry_s,
                content_type,
                response_topic,
                correlation_data,
                user,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(properties in any_properties()) {
            match encode(Some(&properties)) {
                Some(column) => {
                    prop_assert_eq!(encoded_len(Some(&properties)), column.len());
                    prop_assert_eq!(decode(&column), Ok(properties));
                }
                None => prop_assert_eq!(properties, Properties::default()),
            }
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_properties_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_truncated_column_is_damaged_or_a_shorter_list(properties in any_properties(), cut in any::<prop::sample::Index>()) {
            let Some(column) = encode(Some(&properties)) else { return Ok(()) };
            if let Ok(read) = decode(&column[..cut.index(column.len())]) {
                prop_assert!(read.user.len() <= properties.user.len());
            }
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert_eq!(decode(&[9, 1, 0, 0, 0, 0]), Err(PropertiesError::Version(9)));
        assert_eq!(decode(&[]), Err(PropertiesError::Field(0)));
    }
}
