//! A message's fields as CEL's values. JSON objects stay where they are: a member becomes a value when an expression asks for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use ::cel::ExecutionError;
use ::cel::common::traits::{Container, Indexer, Iterable, Iterator as Steps, Sizer};
use ::cel::common::types::{
    self, CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp, CelUInt,
};
use ::cel::common::value::{CowVal, Val};

use super::super::json::Json;
use super::super::subject::{Subject, Unread};

/// A macro walks through a list or an object of at most so many members.
pub(super) const MAX_STEPS: usize = 1_024;

/// What a name stands for; `None` when the message has no such thing.
pub(super) fn variable<'v>(subject: &'v Subject<'_>, name: &str) -> Option<CowVal<'v, 'v>> {
    let message = subject.message;
    let text = |text: &'v str| CowVal::owned(CelString::from(text));
    Some(match name {
        "topic" => text(message.topic.as_str()),
        "topic_levels" => {
            let levels = message.topic.split('/').map(|level| Box::new(CelString::from(level)) as Box<dyn Val + 'v>);
            CowVal::owned(CelList::from(levels.collect::<Vec<_>>()))
        }
        "payload" => match subject.json() {
            Ok(json) => CowVal::Owned(value(json)),
            Err(Unread::TooLarge(_)) => return None,
            Err(Unread::NoJson(_)) => match std::str::from_utf8(&message.payload) {
                Ok(payload) => text(payload),
                Err(_) => CowVal::owned(CelBytes::from(&message.payload[..])),
            },
        },
        "qos" => CowVal::owned(CelInt::from(message.qos as i64)),
        "retain" => CowVal::owned(CelBool::from(message.retain)),
        "ts" => {
            let at = chrono::DateTime::from_timestamp_millis(subject.time()?.0)?;
            CowVal::owned(CelTimestamp::from(at.fixed_offset()))
        }
        "kind" => text(subject.place.kind.as_str()),
        "device" => text(subject.place.device?),
        "point" => text(subject.place.point?),
        "quality" => text(subject.quality()?),
        _ => return None,
    })
}

fn value<'v>(json: &'v Json<'v>) -> Box<dyn Val + 'v> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(is) => Box::new(CelBool::from(*is)),
        Json::Number(digits) => number(digits),
        Json::Text(text) => Box::new(CelString::from(&**text)),
        Json::List(items) if items.len() <= MAX_STEPS => Box::new(list(items)),
        Json::List(items) => Box::new(LongList(items)),
        Json::Object(members) => Box::new(Object { members, keys: OnceLock::new() }),
    }
}

fn list<'v>(items: &'v [Json<'v>]) -> CelList<'v> {
    CelList::from(items.iter().map(value).collect::<Vec<_>>())
}

/// Whole numbers keep every digit as long as 64 bits hold them.
fn number<'v>(digits: &str) -> Box<dyn Val + 'v> {
    if !digits.contains(['.', 'e', 'E']) {
        if let Ok(int) = digits.parse::<i64>() {
            return Box::new(CelInt::from(int));
        }
        if let Ok(uint) = digits.parse::<u64>() {
            return Box::new(CelUInt::from(uint));
        }
    }
    // JSON's numbers are a part of what Rust reads.
    Box::new(CelDouble::from(digits.parse::<f64>().unwrap_or(f64::NAN)))
}

static MAP: types::Type = types::MAP_TYPE;
static LIST: types::Type = types::LIST_TYPE;

/// A JSON object.
#[derive(Debug)]
struct Object<'v> {
    members: &'v [(Cow<'v, str>, Json<'v>)],
    /// Made when a macro walks through it.
    keys: OnceLock<Vec<CelString<'v>>>,
}

impl<'o> Object<'o> {
    fn find(&self, key: &dyn Val) -> Result<&'o Json<'o>, ExecutionError> {
        let Some(key) = key.downcast_ref::<CelString>() else {
            return Err(ExecutionError::UnexpectedType { got: key.get_type().name().into(), want: "string".into() });
        };
        let found = self.members.iter().find(|(name, _)| *name == key.inner());
        found.map(|(_, json)| json).ok_or_else(|| ExecutionError::no_such_key(key.inner()))
    }

    fn map(&self) -> CelMap<'o> {
        let members = self.members.iter().map(|(key, json)| (CelMapKey::from(&**key), value(json)));
        CelMap::from(members.collect::<HashMap<_, _>>())
    }
}

impl Val for Object<'_> {
    fn get_type(&self) -> &types::Type {
        &MAP
    }

    fn cel_type() -> &'static types::Type {
        &MAP
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        (self.members.len() <= MAX_STEPS).then_some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.map().equals(other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Object { members: self.members, keys: OnceLock::new() })
    }
}

impl Container for Object<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        match self.find(key) {
            Ok(_) => Ok(true),
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Indexer for Object<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(key).map(|json| CowVal::Owned(value(json)))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(key).map(value)
    }
}

impl Sizer for Object<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.members.len() as i64)
    }
}

impl Iterable for Object<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Steps<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        let keys = self.keys.get_or_init(|| self.members.iter().map(|(key, _)| CelString::from(&**key)).collect());
        Box::new(Keys(keys.iter()))
    }
}

struct Keys<'b, 'k>(std::slice::Iter<'b, CelString<'k>>);

impl<'b, 'v, 'k: 'v> Steps<'b, 'v> for Keys<'b, 'k> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &'b (dyn Val + 'v))
    }
}

/// A list that is too long for a macro: its length and single items can be asked for.
#[derive(Debug)]
struct LongList<'v>(&'v [Json<'v>]);

impl Val for LongList<'_> {
    fn get_type(&self) -> &types::Type {
        &LIST
    }

    fn cel_type() -> &'static types::Type {
        &LIST
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(LongList(self.0))
    }
}

impl<'o> LongList<'o> {
    fn find(&self, index: &dyn Val) -> Result<&'o Json<'o>, ExecutionError> {
        let index = index.downcast_ref::<CelInt>().map(|int| *int.inner());
        let item = index.and_then(|index| usize::try_from(index).ok()).and_then(|index| self.0.get(index));
        item.ok_or_else(|| ExecutionError::no_such_key("that place of the list"))
    }
}

impl Indexer for LongList<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(index).map(|json| CowVal::Owned(value(json)))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.find(index).map(value)
    }
}

impl Sizer for LongList<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.0.len() as i64)
    }
}
