//! `format:` — the payload that leaves: JSON, a bare value, line protocol, ThingsBoard's telemetry, CBOR; one message each, or as a piece
//! of a batch. Numbers keep their digits in all of them. Pure.

use bytes::Bytes;

use super::bundle::Bundle;
use super::json::Json;
use super::subject::{Kind, Subject, TIMES, Unread};
use super::{cbor, influx};
use crate::model::Timestamp;

/// What a payload looks like when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As it is; what was selected, renamed or aggregated as JSON. In a batch, an array.
    #[default]
    Json,
    /// InfluxDB's line protocol; in a batch, a line each.
    Influx,
    /// A bare value; in a batch, a line each.
    Value,
    /// The gateway telemetry of ThingsBoard: `{"device":[{"ts":…,"values":{…}}]}`.
    ThingsBoard,
    /// As JSON, in CBOR; in a batch, an array.
    Cbor,
}

/// Why a payload can't be brought into a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Neither JSON nor text.
    #[error("the payload is neither JSON nor text, which {0} needs")]
    Bytes(&'static str),
    /// No good value in it.
    #[error("there is no value in it")]
    NoValue,
    /// A bare value is one.
    #[error("it has {0} values, and a bare value is one; `select` chooses")]
    ManyValues(usize),
    /// ThingsBoard's telemetry is about devices.
    #[error("its topic names no device")]
    NoDevice,
    /// ThingsBoard's telemetry has a time.
    #[error("it has no time, and the clock has not been set")]
    NoTime,
    /// It may be JSON, and is not looked into.
    #[error("{0}")]
    Unread(Unread),
    /// Two values would be one.
    #[error("two of its values would be called {0:?}; `select` or `rename` can tell them apart")]
    Twice(String),
    /// Line protocol escapes no backslash, and no name is empty in it.
    #[error("line protocol has no way to write the name {0:?}")]
    Name(String),
    /// Line protocol has doubles.
    #[error("the number {0} is beyond what line protocol can hold")]
    Number(String),
}

/// A payload on its way out.
#[derive(Debug)]
pub struct Content<'m, 's> {
    /// The message it came with.
    pub subject: &'s Subject<'m>,
    /// What a rule has made of its JSON; `None` when that is unchanged.
    pub shaped: Option<Json<'m>>,
    /// The gateway's id.
    pub gateway: &'s str,
}

impl<'m> Content<'m, '_> {
    /// As JSON, if it is.
    pub(super) fn json(&self) -> Option<&Json<'m>> {
        self.shaped.as_ref().or_else(|| self.subject.json().ok())
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        let own = self.shaped.as_ref().and_then(|json| json.get("ts")).and_then(Json::as_text);
        own.and_then(Timestamp::from_rfc3339).or_else(|| self.subject.time())
    }

    /// The good values by name, each name once: a reading's points, an object's members, or the one value there is. Objects in them are taken apart.
    pub(super) fn values(&self) -> Result<Vec<(String, Json<'m>)>, Unfit> {
        let mut out = Vec::new();
        let name = self.subject.place.point.unwrap_or("value");
        match self.json() {
            Some(json @ Json::Object(members)) => match (json.get("values"), json.get("value")) {
                (Some(Json::Object(values)), _) => {
                    values.iter().for_each(|(key, value)| flatten(key, value, &mut out));
                }
                (_, Some(value)) => {
                    flatten(name, value, &mut out);
                    if self.subject.place.kind == Kind::Other {
                        // Not a reading of ours: it may have more to say.
                        let own = members.iter().filter(|(key, _)| !OF_A_VALUE.contains(&key.as_ref()));
                        own.for_each(|(key, value)| flatten(key, value, &mut out));
                    }
                }
                _ if self.subject.place.kind == Kind::Reading && json.get("quality").is_some() => {}
                _ => {
                    let own = members.iter().filter(|(key, _)| !TIMES.contains(&key.as_ref()));
                    own.for_each(|(key, value)| flatten(key, value, &mut out));
                }
            },
            Some(json) => flatten(name, json, &mut out),
            None => out.extend(self.as_text()?.map(|text| (name.to_owned(), Json::text(text)))),
        }
        match twice(&out) {
            Some(name) => Err(Unfit::Twice(name.to_owned())),
            None => Ok(out),
        }
    }

    /// What is no JSON, if it is text.
    fn as_text(&self) -> Result<Option<&'m str>, Unfit> {
        match self.subject.json() {
            Err(unread) if unread.hides_json() => Err(Unfit::Unread(unread)),
            _ => Ok(std::str::from_utf8(&self.subject.message.payload).ok()),
        }
    }

    /// Brings it into a format, as a message of its own.
    pub fn encode(&self, format: Format) -> Result<Bytes, Unfit> {
        match (format, &self.shaped) {
            (Format::Json, None) => Ok(self.subject.message.payload.clone()),
            (Format::Json, Some(json)) => Ok(json.to_string().into()),
            _ => self.piece(format, false),
        }
    }

    /// Brings it into a format, as a piece of a batch. With `named`, it says which topic it is from.
    pub fn piece(&self, format: Format, named: bool) -> Result<Bytes, Unfit> {
        match format {
            Format::Json => {
                let json = self.item("JSON", named)?;
                Ok(json.to_string().into())
            }
            Format::Cbor => {
                let mut out = Vec::with_capacity(self.subject.message.payload.len());
                match self.item("CBOR", named) {
                    Ok(json) => cbor::write(&json, &mut out),
                    Err(Unfit::Bytes(_)) if !named => cbor::write_bytes(&self.subject.message.payload, &mut out),
                    Err(unfit) => return Err(unfit),
                }
                Ok(out.into())
            }
            Format::Influx => influx::line(self).map(Bytes::from),
            Format::Value => match self.json().and_then(|json| json.get("value")) {
                Some(Json::Text(text)) => Ok(text.clone().into_owned().into()),
                Some(value @ (Json::Number(_) | Json::Bool(_))) => Ok(value.to_string().into()),
                _ => match self.values()?.as_slice() {
                    [] => Err(Unfit::NoValue),
                    [(_, Json::Text(text))] => Ok(text.clone().into_owned().into()),
                    [(_, value)] => Ok(value.to_string().into()),
                    many => Err(Unfit::ManyValues(many.len())),
                },
            },
            Format::ThingsBoard => self.telemetry(),
        }
    }

    fn item(&self, format: &'static str, named: bool) -> Result<Json<'m>, Unfit> {
        let json = match self.json() {
            Some(json) => json.clone(),
            None => Json::text(self.as_text()?.ok_or(Unfit::Bytes(format))?),
        };
        if !named {
            return Ok(json);
        }
        let topic = ("topic".into(), Json::text(self.subject.message.topic.to_string()));
        Ok(Json::Object(match json {
            Json::Object(members) if members.iter().all(|(key, _)| key != "topic") => {
                std::iter::once(topic).chain(members).collect()
            }
            other => vec![topic, ("value".into(), other)],
        }))
    }

    /// <https://thingsboard.io/docs/reference/gateway-mqtt-api/#telemetry-upload-api>
    fn telemetry(&self) -> Result<Bytes, Unfit> {
        let device = self.subject.place.device.ok_or(Unfit::NoDevice)?;
        let at = self.time().ok_or(Unfit::NoTime)?;
        let mut values: Vec<_> = self.values()?.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if values.is_empty() {
            return Err(Unfit::NoValue);
        }
        if let Some(clock @ Json::Text(_)) = self.json().and_then(|json| json.get("clock")) {
            values.push(("clock".into(), clock.clone()));
        }
        let entry = Json::Object(vec![("ts".into(), Json::whole(at.0)), ("values".into(), Json::Object(values))]);
        Ok(Json::Object(vec![(device.into(), Json::List(vec![entry]))]).to_string().into())
    }
}

impl Format {
    /// How its pieces are put together.
    pub fn bundle(self) -> Bundle {
        match self {
            Format::Json => Bundle::JsonArray,
            Format::Influx | Format::Value => Bundle::Lines,
            Format::ThingsBoard => Bundle::ThingsBoard,
            Format::Cbor => Bundle::CborArray,
        }
    }
}

/// What stands beside a `value` and is none.
const OF_A_VALUE: [&str; 11] =
    ["value", "ts", "clock", "boot", "uptime_ms", "from", "bad", "quality", "unit", "fault", "raw"];

/// A name that comes twice.
pub(super) fn twice<'n>(values: &'n [(String, Json<'_>)]) -> Option<&'n str> {
    let mut names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// `{"a":{"b":1}}` has the value `a_b`. Lists and nulls are no values.
fn flatten<'m>(name: &str, json: &Json<'m>, out: &mut Vec<(String, Json<'m>)>) {
    match json {
        Json::Object(members) => {
            members.iter().for_each(|(key, value)| flatten(&format!("{name}_{key}"), value, out));
        }
        Json::List(_) | Json::Null => {}
        scalar => out.push((name.to_owned(), scalar.clone())),
    }
}
