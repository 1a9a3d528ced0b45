//! What is wrong in a file that should be a case: all of it, each with its place.
//!
//! Owns the words. Does not own the types (`case`), and serde has the last word on what is a case. Invariant: what has
//! no mistake for serde has none here.

use super::json::Json;
use crate::author::Mistake;

/// A file that is something else altogether has a mistake everywhere.
const MISTAKES_MAX: usize = 50;

/// What a value has to be.
enum Shape {
    Any,
    Text,
    Whole,
    /// `null` says that there is none.
    WholeOrNull,
    Object,
    /// An object whose values are all text.
    Texts,
    /// A list of a name and a value.
    Pair,
    Word(&'static [&'static str]),
    List(&'static Shape),
    Table(&'static Table),
}

type Members = &'static [(&'static str, Shape)];

/// An object whose members are known.
struct Table {
    required: Members,
    optional: Members,
    /// Exactly one of these, where there are any.
    one_of: Members,
}

const CASE: Table = Table {
    required: &[("input", Shape::Any), ("expect", Shape::Table(&EXPECT))],
    optional: &[
        ("function", Shape::Text),
        ("data", Shape::Object),
        ("env", Shape::Texts),
        ("limits", Shape::Table(&LIMITS)),
        ("http", Shape::List(&Shape::Table(&EXCHANGE))),
        ("db", Shape::List(&Shape::Table(&STATEMENT))),
    ],
    one_of: &[],
};

const LIMITS: Table = Table {
    required: &[],
    optional: &[("fuel", Shape::WholeOrNull), ("memory_bytes", Shape::WholeOrNull), ("timeout_ms", Shape::WholeOrNull)],
    one_of: &[],
};

const EXCHANGE: Table = Table {
    required: &[("request", Shape::Table(&REQUEST))],
    optional: &[],
    one_of: &[("response", Shape::Table(&RESPONSE)), ("error", Shape::Table(&HOST_ERROR))],
};

const REQUEST: Table = Table {
    required: &[("method", Shape::Text), ("url", Shape::Text)],
    optional: &[
        ("headers", Shape::List(&Shape::Pair)),
        ("body", Shape::Any),
        ("body_base64", Shape::Text),
        ("timeout_ms", Shape::WholeOrNull),
    ],
    one_of: &[],
};

const RESPONSE: Table = Table {
    required: &[("status", Shape::Whole)],
    optional: &[("headers", Shape::List(&Shape::Pair)), ("body", Shape::Any), ("body_base64", Shape::Text)],
    one_of: &[],
};

const STATEMENT: Table = Table {
    required: &[("connection", Shape::Text), ("sql", Shape::Text)],
    optional: &[("params", Shape::Any)],
    one_of: &[("rows", Shape::List(&Shape::Any)), ("changed", Shape::Whole), ("error", Shape::Table(&HOST_ERROR))],
};

const HOST_ERROR: Table = Table {
    required: &[],
    optional: &[],
    one_of: &[
        ("permission-denied", Shape::Text),
        ("invalid-argument", Shape::Text),
        ("not-found", Shape::Text),
        ("limit-exceeded", Shape::Text),
        ("timed-out", Shape::Text),
        ("failed", Shape::Text),
    ],
};

const EXPECT: Table = Table {
    required: &[("status", Shape::Word(&["completed", "invalid", "failed"]))],
    optional: &[
        ("output", Shape::Any),
        ("next", Shape::Any),
        ("data", Shape::Any),
        ("errors", Shape::Any),
        ("failure", Shape::Any),
        ("logs", Shape::List(&Shape::Any)),
    ],
    one_of: &[],
};

/// All mistakes that can be told of, in the order of the file's members.
pub(super) fn mistakes(case: &Json) -> Vec<Mistake> {
    let mut found = Found(Vec::new());
    found.value("", case, &Shape::Table(&CASE));
    found.0
}

struct Found(Vec<Mistake>);

impl Found {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(Mistake { path: path.to_owned(), message: message.into() });
        }
    }

    fn value(&mut self, path: &str, value: &Json, shape: &Shape) {
        match (shape, value) {
            (Shape::Any, _)
            | (Shape::Text, Json::Text(_))
            | (Shape::Object, Json::Object(_))
            | (Shape::WholeOrNull, Json::Null) => {}
            (Shape::Whole | Shape::WholeOrNull, Json::Number(number)) if number.as_str().parse::<u64>().is_ok() => {}
            (Shape::Word(words), Json::Text(text)) if words.contains(&text.as_str()) => {}
            (Shape::Word(words), Json::Text(text)) => {
                self.add(path, format!("there is no {text}; there are {}", words.join(", ")));
            }
            (Shape::Pair, Json::List(pair)) if matches!(&pair[..], [Json::Text(_), Json::Text(_)]) => {}
            (Shape::Texts, Json::Object(members)) => {
                for (name, value) in members {
                    self.value(&join(path, name), value, &Shape::Text);
                }
            }
            (Shape::List(shape), Json::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), item, shape);
                }
            }
            (Shape::Table(table), Json::Object(members)) => self.table(path, members, table),
            (shape, other) => self.add(path, format!("expected {}, found {}", shape.words(), kind(other))),
        }
    }

    fn table(&mut self, path: &str, members: &[(String, Json)], table: &Table) {
        for (name, value) in members {
            let path = join(path, name);
            let shape = |members: Members| members.iter().find(|(known, _)| known == name).map(|(_, shape)| shape);
            match shape(table.required).or_else(|| shape(table.one_of)).or_else(|| shape(table.optional)) {
                Some(shape) => self.value(&path, value, shape),
                None => {
                    self.add(&path, format!("this member is not known; there are {}", table.names().join(", ")));
                }
            }
        }
        let has = |name: &str| members.iter().any(|(given, _)| given == name);
        for (name, _) in table.required {
            if !has(name) {
                self.add(&join(path, name), "it is missing");
            }
        }
        let given = table.one_of.iter().filter(|(name, _)| has(name)).count();
        if !table.one_of.is_empty() && given != 1 {
            let names: Vec<_> = table.one_of.iter().map(|(name, _)| *name).collect();
            self.add(path, format!("exactly one of {} is needed, found {given}", names.join(", ")));
        }
    }
}

impl Table {
    fn names(&self) -> Vec<&'static str> {
        [self.required, self.optional, self.one_of].into_iter().flatten().map(|(name, _)| *name).collect()
    }
}

impl Shape {
    fn words(&self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text | Self::Word(_) => "a string",
            Self::Whole | Self::WholeOrNull => "a whole number, at least 0",
            Self::Object | Self::Table(_) => "an object",
            Self::Texts => "an object of strings",
            Self::Pair => "a list of a name and a value",
            Self::List(_) => "a list",
        }
    }
}

fn kind(value: &Json) -> String {
    match value {
        Json::Text(_) => "a string".to_owned(),
        Json::List(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
