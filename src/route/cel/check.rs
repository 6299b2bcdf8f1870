//! What is wrong with an expression whatever message comes: unknown names, values that don't go together, a result that is no yes or no.
//!
//! What a payload holds is not known before it has come, so everything taken from it may be anything.

use std::collections::HashSet;

use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::super::subject::Kind;
use super::{MAX_DEPTH, Places, VARIABLES, WhenError, too_deep};

/// What a part of an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Any,
    Bool,
    Whole,
    Decimal,
    Text,
    Bytes,
    List,
    Map,
    Null,
    Time,
    Duration,
    Class,
}

use Type::{Any, Bool, Bytes, Class, Decimal, Duration, List, Map, Null, Text, Time, Whole};

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Any => "anything",
            Bool => "true or false",
            Whole => "a whole number",
            Decimal => "a decimal number",
            Text => "a text",
            Bytes => "bytes",
            List => "a list",
            Map => "an object",
            Null => "null",
            Time => "a time",
            Duration => "a duration",
            Class => "a type",
        }
    }

    fn is(self, wanted: Type) -> bool {
        self == Any || wanted == Any || self == wanted
    }

    fn is_number(self) -> bool {
        matches!(self, Any | Whole | Decimal)
    }

    /// Whether a value of this type can be equal to one of the other.
    fn compares(self, other: Type) -> bool {
        self.is(other) || self.is_number() && other.is_number() || self == Null || other == Null
    }
}

/// A function: its name, what it is called on (`None` for `f(x)`), its arguments, how many of them may be left out, what it comes to.
type Function = (&'static str, Option<&'static [Type]>, &'static [&'static [Type]], usize, Type);

const SIZED: &[Type] = &[Text, Bytes, List, Map];
const TEXT: &[Type] = &[Text];
const ANY: &[Type] = &[Any];
const NUMBER: &[Type] = &[Whole, Decimal, Text];
const CLOCK: &[Type] = &[Time, Duration];

const FUNCTIONS: &[Function] = &[
    ("size", None, &[SIZED], 0, Whole),
    ("size", Some(SIZED), &[], 0, Whole),
    ("contains", Some(TEXT), &[TEXT], 0, Bool),
    ("startsWith", Some(TEXT), &[TEXT], 0, Bool),
    ("endsWith", Some(TEXT), &[TEXT], 0, Bool),
    ("matches", Some(TEXT), &[TEXT], 0, Bool),
    ("matches", None, &[TEXT, TEXT], 0, Bool),
    ("int", None, &[&[Whole, Decimal, Text, Time]], 0, Whole),
    ("uint", None, &[NUMBER], 0, Whole),
    ("double", None, &[NUMBER], 0, Decimal),
    ("string", None, &[&[Bool, Whole, Decimal, Text, Bytes, Time, Duration]], 0, Text),
    ("bytes", None, &[&[Text, Bytes]], 0, Bytes),
    ("bool", None, &[&[Bool, Text]], 0, Bool),
    ("dyn", None, &[ANY], 0, Any),
    ("type", None, &[ANY], 0, Class),
    ("timestamp", None, &[&[Text, Time, Whole]], 0, Time),
    ("duration", None, &[&[Text, Duration]], 0, Duration),
    ("getFullYear", Some(&[Time]), &[TEXT], 1, Whole),
    ("getMonth", Some(&[Time]), &[TEXT], 1, Whole),
    ("getDate", Some(&[Time]), &[TEXT], 1, Whole),
    ("getDayOfMonth", Some(&[Time]), &[TEXT], 1, Whole),
    ("getDayOfWeek", Some(&[Time]), &[TEXT], 1, Whole),
    ("getDayOfYear", Some(&[Time]), &[TEXT], 1, Whole),
    ("getHours", Some(CLOCK), &[TEXT], 1, Whole),
    ("getMinutes", Some(CLOCK), &[TEXT], 1, Whole),
    ("getSeconds", Some(CLOCK), &[TEXT], 1, Whole),
    ("getMilliseconds", Some(CLOCK), &[TEXT], 1, Whole),
];

/// The words that `kind` and `quality` can be.
const QUALITIES: [&str; 3] = ["good", "uncertain", "bad"];

/// Checks a whole expression. Returns the divisions whose sides are both whole, whatever comes.
pub(super) fn check(expression: &IdedExpr, places: &Places<'_>) -> Result<HashSet<u64>, WhenError> {
    let mut checker = Checker { places, locals: Vec::new(), whole: HashSet::new() };
    let result = checker.of(expression, 0)?;
    if result.is(Bool) {
        return Ok(checker.whole);
    }
    let error = WhenError::new(0..places.text.len(), format!("it comes to {}, not to true or false", result.as_str()));
    Err(error.help("compare it with something, for example with `==` or `>`"))
}

struct Checker<'p, 't> {
    places: &'p Places<'t>,
    /// The names of the macros around.
    locals: Vec<(String, Type)>,
    /// The divisions of whole numbers.
    whole: HashSet<u64>,
}

impl Checker<'_, '_> {
    fn wrong<T>(&self, part: &IdedExpr, what: impl Into<String>) -> Result<T, WhenError> {
        Err(WhenError::new(self.places.of(part.id), what))
    }

    fn of(&mut self, part: &IdedExpr, depth: usize) -> Result<Type, WhenError> {
        if depth > MAX_DEPTH {
            return Err(too_deep(self.places.of(part.id)));
        }
        let depth = depth + 1;
        match &part.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Bool,
                LiteralValue::Bytes(_) => Bytes,
                LiteralValue::Double(_) => Decimal,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Whole,
                LiteralValue::Null => Null,
                LiteralValue::String(_) => Text,
            }),
            Expr::Ident(name) => self.name(part, name),
            Expr::Select(select) => {
                let operand = self.of(&select.operand, depth)?;
                if !operand.is(Map) {
                    return self.wrong(part, format!("{} has no field `{}`", operand.as_str(), select.field));
                }
                Ok(if select.test { Bool } else { Any })
            }
            Expr::List(list) => {
                for item in &list.elements {
                    self.of(item, depth)?;
                }
                Ok(List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.of(&entry.key, depth)?;
                        self.of(&entry.value, depth)?;
                    }
                }
                Ok(Map)
            }
            Expr::Comprehension(comprehension) => self.walk(comprehension, depth),
            Expr::Call(call) => self.call(part, call, depth),
            Expr::Struct(_) | Expr::Unspecified => self.wrong(part, "there are no messages to make here"),
        }
    }

    fn name(&self, part: &IdedExpr, name: &str) -> Result<Type, WhenError> {
        if let Some((_, local)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Ok(*local);
        }
        Ok(match name {
            "topic" | "kind" | "device" | "point" | "quality" => Text,
            "topic_levels" => List,
            "payload" => Any,
            "qos" => Whole,
            "retain" => Bool,
            "ts" => Time,
            "int" | "uint" | "double" | "string" | "bytes" | "bool" | "list" | "map" | "null_type" => Class,
            unknown => {
                let error = WhenError::new(self.places.of(part.id), format!("`{unknown}` is not known here"));
                return Err(error
                    .unknown(unknown, VARIABLES)
                    .help(format!("there are {}; fields of the payload are payload.{unknown}", VARIABLES.join(", "))));
            }
        })
    }

    /// `all`, `exists`, `exists_one`, `map`, `filter`.
    fn walk(&mut self, walk: &ComprehensionExpr, depth: usize) -> Result<Type, WhenError> {
        let range = self.of(&walk.iter_range, depth)?;
        if !range.is(List) && !range.is(Map) {
            return self.wrong(&walk.iter_range, format!("{} has no members to go through", range.as_str()));
        }
        if self.locals.iter().any(|(name, _)| name.starts_with('@')) {
            return self.wrong(&walk.iter_range, "a macro inside another macro could take any amount of time");
        }
        let start = self.of(&walk.accu_init, depth)?;
        let before = self.locals.len();
        self.locals.push((walk.iter_var.clone(), if range == Map { Text } else { Any }));
        self.locals.extend(walk.iter_var2.iter().map(|name| (name.clone(), Any)));
        self.locals.push((walk.accu_var.clone(), start));
        // What the crate made of a macro is not a person's nesting.
        self.of(&walk.loop_step, depth.saturating_sub(2))?;
        let result = self.of(&walk.result, depth)?;
        self.locals.truncate(before);
        Ok(result)
    }

    fn call(&mut self, part: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Type, WhenError> {
        let mut types = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            types.push(self.of(argument, depth)?);
        }
        let name = call.func_name.as_str();
        match (name, types.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) | (operators::LOGICAL_NOT, _) => {
                if let Some((argument, found)) = call.args.iter().zip(&types).find(|(_, found)| !found.is(Bool)) {
                    let sign = name.trim_matches('_');
                    return self.wrong(argument, format!("{} where `{sign}` needs true or false", found.as_str()));
                }
                Ok(Bool)
            }
            (operators::NOT_STRICTLY_FALSE, _) => Ok(Bool),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                if !condition.is(Bool) {
                    return self.wrong(&call.args[0], format!("{} before `?`", condition.as_str()));
                }
                Ok(if yes == no { *yes } else { Any })
            }
            (operators::EQUALS | operators::NOT_EQUALS, &[left, right]) => {
                if !left.compares(right) {
                    return self.wrong(part, format!("{} is never equal to {}", left.as_str(), right.as_str()));
                }
                self.words(&call.args)?;
                Ok(Bool)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                &[left, right],
            ) => {
                let is_ordered = |t: Type| !matches!(t, List | Map | Null | Class);
                if !left.compares(right) || !is_ordered(left) || !is_ordered(right) {
                    let (left, right) = (left.as_str(), right.as_str());
                    return self.wrong(part, format!("{left} is neither more nor less than {right}"));
                }
                Ok(Bool)
            }
            (operators::IN, &[_, container]) => {
                if !container.is(List) && !container.is(Map) {
                    return self.wrong(&call.args[1], format!("nothing is `in` {}", container.as_str()));
                }
                Ok(Bool)
            }
            (operators::INDEX, &[container, index]) => {
                let fits = match container {
                    Any => true,
                    List => index.is_number(),
                    Map => index.is(Text),
                    _ => false,
                };
                if !fits {
                    return self
                        .wrong(part, format!("{} has no place that {} names", container.as_str(), index.as_str()));
                }
                Ok(if call.args.first().is_some_and(is_levels) { Text } else { Any })
            }
            (operators::NEGATE, &[number]) => {
                if !number.is_number() && number != Duration {
                    return self.wrong(part, format!("`-` before {}", number.as_str()));
                }
                Ok(number)
            }
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                &[left, right],
            ) => match sum(name, left, right) {
                Some(result) => {
                    if name == operators::DIVIDE && result == Whole {
                        self.whole.insert(part.id);
                    }
                    Ok(result)
                }
                None => {
                    let (left, right) = (left.as_str(), right.as_str());
                    self.wrong(part, format!("{left} `{}` {right} is nothing", name.trim_matches('_')))
                }
            },
            _ => self.function(part, call, &types, depth),
        }
    }

    fn function(&mut self, part: &IdedExpr, call: &CallExpr, types: &[Type], depth: usize) -> Result<Type, WhenError> {
        let name = call.func_name.as_str();
        let target = match &call.target {
            Some(target) => Some(self.of(target, depth)?),
            None => None,
        };
        let known: Vec<&Function> = FUNCTIONS.iter().filter(|function| function.0 == name).collect();
        if known.is_empty() {
            let error =
                WhenError::new(self.places.of_function(part.id, name), format!("there is no function `{name}`"));
            let names = FUNCTIONS.iter().map(|function| function.0).chain([
                "has",
                "all",
                "exists",
                "exists_one",
                "map",
                "filter",
            ]);
            return Err(error.unknown(name, names));
        }
        let takes = |function: &&&Function| {
            let (_, on, arguments, spare, _) = function;
            on.is_some() == target.is_some()
                && (arguments.len() - spare..=arguments.len()).contains(&types.len())
                && target.is_none_or(|found| on.is_some_and(|on| on.iter().any(|wanted| found.is(*wanted))))
                && types.iter().zip(*arguments).all(|(found, wanted)| wanted.iter().any(|wanted| found.is(*wanted)))
        };
        match known.iter().find(takes) {
            Some((.., result)) => Ok(*result),
            None => {
                let found: Vec<&str> = types.iter().map(|found| found.as_str()).collect();
                let found = if found.is_empty() { "nothing".to_owned() } else { found.join(" and ") };
                let of = target.map(|target| format!(" of {}", target.as_str())).unwrap_or_default();
                let error = WhenError::new(
                    self.places.of_function(part.id, name),
                    format!("`{name}`{of} does not take {found}"),
                );
                Err(error
                    .help(format!("it is {}", known.iter().map(|known| usage(known)).collect::<Vec<_>>().join(" or "))))
            }
        }
    }

    /// `kind == "readings"` never holds.
    fn words(&self, sides: &[IdedExpr]) -> Result<(), WhenError> {
        let [left, right] = sides else { return Ok(()) };
        for (variable, literal) in [(left, right), (right, left)] {
            let (Expr::Ident(name), Expr::Literal(LiteralValue::String(text))) = (&variable.expr, &literal.expr) else {
                continue;
            };
            let words: Vec<&'static str> = match name.as_str() {
                "kind" => Kind::ALL.iter().map(|kind| kind.as_str()).collect(),
                "quality" => QUALITIES.to_vec(),
                _ => continue,
            };
            if !words.contains(&text.inner()) {
                let what = format!("`{name}` is never {:?}; it is one of {}", text.inner(), words.join(", "));
                return Err(WhenError::new(self.places.of(literal.id), what).unknown(text.inner(), words));
            }
        }
        Ok(())
    }
}

fn is_levels(part: &IdedExpr) -> bool {
    matches!(&part.expr, Expr::Ident(name) if name == "topic_levels")
}

/// What an operation comes to; `None` for two that don't go together.
fn sum(operator: &str, left: Type, right: Type) -> Option<Type> {
    if left == Any || right == Any {
        let other = if left == Any { right } else { left };
        return match other {
            Bool | Null | Map | Class => None,
            Whole | Decimal => Some(Decimal),
            Text => Some(Text),
            _ => Some(Any),
        };
    }
    match (left, right) {
        (Whole, Whole) => Some(Whole),
        (Whole | Decimal, Whole | Decimal) => Some(Decimal),
        (Text, Text) | (Bytes, Bytes) | (List, List) if operator == operators::ADD => Some(left),
        (Time, Duration) if matches!(operator, operators::ADD | operators::SUBSTRACT) => Some(Time),
        (Duration, Time) if operator == operators::ADD => Some(Time),
        (Time, Time) if operator == operators::SUBSTRACT => Some(Duration),
        (Duration, Duration) if matches!(operator, operators::ADD | operators::SUBSTRACT) => Some(Duration),
        _ => None,
    }
}

fn usage((name, on, arguments, spare, _): &Function) -> String {
    let words = |types: &[Type]| types.first().map_or("", |first| first.as_str()).to_owned();
    let needed = &arguments[..arguments.len() - spare];
    let inside: Vec<String> = needed.iter().map(|types| words(types)).collect();
    match on {
        Some(on) => format!("{}.{name}({})", words(on), inside.join(", ")),
        None => format!("{name}({})", inside.join(", ")),
    }
}
