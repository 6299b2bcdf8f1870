//! A message's fields as CEL's values. JSON objects stay where they are: a member becomes a value when an expression asks for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::cel::ExecutionError;
use ::cel::common::traits::{Adder, Container, Indexer, Iterable, Iterator as Steps, Sizer};
use ::cel::common::types::{
    self, CelBool, CelBytes, CelDouble, CelInt, CelList, CelNull, CelString, CelTimestamp, CelUInt,
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
        Json::List(items) => Box::new(List { items, made: OnceLock::new() }),
        Json::Object(members) => Box::new(Object::new(members)),
    }
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

/// So many members are looked for one after the other before a table of them pays.
const FEW: usize = 8;

/// A JSON object.
#[derive(Debug)]
struct Object<'v> {
    members: &'v [(Cow<'v, str>, Json<'v>)],
    /// Made when a macro walks through it.
    keys: OnceLock<Vec<CelString<'v>>>,
    /// How often a member was asked for, and where each is: made when it is worth it.
    asked: AtomicUsize,
    places: OnceLock<HashMap<&'v str, &'v Json<'v>>>,
}

impl<'o> Object<'o> {
    fn new(members: &'o [(Cow<'o, str>, Json<'o>)]) -> Object<'o> {
        Object { members, keys: OnceLock::new(), asked: AtomicUsize::new(0), places: OnceLock::new() }
    }

    fn find(&self, key: &dyn Val) -> Result<&'o Json<'o>, ExecutionError> {
        let Some(key) = key.downcast_ref::<CelString>() else {
            return Err(ExecutionError::UnexpectedType { got: key.get_type().name().into(), want: "string".into() });
        };
        let found = if self.asked.fetch_add(1, Ordering::Relaxed) < FEW {
            self.members.iter().find(|(name, _)| *name == key.inner()).map(|(_, json)| json)
        } else {
            let all = || self.members.iter().map(|(name, json)| (name.as_ref(), json)).collect();
            self.places.get_or_init(all).get(key.inner()).copied()
        };
        found.ok_or_else(|| ExecutionError::no_such_key(key.inner()))
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

    /// As with macros, no more than [`MAX_STEPS`] members are looked through: what is larger is equal to nothing.
    fn equals(&self, other: &dyn Val) -> bool {
        let (Some(sizer), Some(indexer)) = (other.as_sizer(), other.as_indexer()) else { return false };
        let size = self.members.len();
        other.as_container().is_some()
            && other.get_type().name() == MAP.name()
            && size <= MAX_STEPS
            && *sizer.size().inner() == size as i64
            && self.members.iter().all(|(key, json)| {
                indexer.get(&CelString::from(&**key)).is_ok_and(|found| value(json).equals(found.as_ref()))
            })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Object::new(self.members))
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

/// A JSON list. Of one that is too long for a macro, the length and single items can be asked for.
#[derive(Debug)]
struct List<'v> {
    items: &'v [Json<'v>],
    /// Made when a macro walks through it.
    made: OnceLock<Vec<Box<dyn Val + 'v>>>,
}

impl<'o> List<'o> {
    fn is_short(&self) -> bool {
        self.items.len() <= MAX_STEPS
    }

    fn find(&self, index: &dyn Val) -> Result<&'o Json<'o>, ExecutionError> {
        let int = || index.downcast_ref::<CelInt>().map(|int| *int.inner());
        let uint = || index.downcast_ref::<CelUInt>().and_then(|uint| i64::try_from(*uint.inner()).ok());
        // A decimal that is whole, as far as doubles know whole numbers.
        let whole = |double: f64| (double.fract() == 0.0 && double.abs() < 9e15).then_some(double as i64);
        let double = || index.downcast_ref::<CelDouble>().and_then(|double| whole(*double.inner()));
        let Some(place) = int().or_else(uint).or_else(double) else {
            return Err(ExecutionError::UnexpectedType { got: index.get_type().name().into(), want: "int".into() });
        };
        let item = usize::try_from(place).ok().and_then(|place| self.items.get(place));
        item.ok_or(ExecutionError::IndexOutOfBounds(::cel::Value::Int(place)))
    }
}

impl Val for List<'_> {
    fn get_type(&self) -> &types::Type {
        &LIST
    }

    fn cel_type() -> &'static types::Type {
        &LIST
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        self.is_short().then_some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.is_short().then_some(self)
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
        self.is_short().then_some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let (Some(sizer), Some(indexer)) = (other.as_sizer(), other.as_indexer()) else { return false };
        other.get_type().name() == LIST.name()
            && *sizer.size().inner() == self.items.len() as i64
            && self.items.iter().enumerate().all(|(index, json)| {
                indexer.get(&CelInt::from(index as i64)).is_ok_and(|found| value(json).equals(found.as_ref()))
            })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(List { items: self.items, made: OnceLock::new() })
    }
}

impl Adder for List<'_> {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let items: Vec<Box<dyn Val + 'v>> = self.items.iter().map(value).collect();
        Ok(CowVal::Owned(CelList::from(items).add(other)?.into_owned()))
    }
}

impl Container for List<'_> {
    fn contains(&self, wanted: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.items.iter().any(|json| value(json).equals(wanted)))
    }
}

impl Indexer for List<'_> {
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

impl Iterable for List<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Steps<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        let made = self.made.get_or_init(|| self.items.iter().map(value).collect());
        Box::new(Items(made.iter()))
    }
}

struct Items<'b, 'i>(std::slice::Iter<'b, Box<dyn Val + 'i>>);

impl<'b, 'v, 'i: 'v> Steps<'b, 'v> for Items<'b, 'i> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|item| item.as_ref() as &'b (dyn Val + 'v))
    }
}

impl Sizer for List<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.items.len() as i64)
    }
}
