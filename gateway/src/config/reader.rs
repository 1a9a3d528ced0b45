//! Values of all sources, taken section by section and key by key.
//!
//! Owns types, ranges and unknown keys. Does not own where values come from
//! (`source`) nor which keys there are (the sections). Invariant: a value that
//! is given is either used or reported, one that is overridden too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::{Mistake, Origin, quoted};
use super::source::{inline_table, tables_of};

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// An integer of the file.
    Integer(i128),
    /// A float of the file.
    Float(f64),
    /// `true` or `false` of the file.
    Boolean(bool),
    /// A string of the file.
    String(String),
    /// A variable's or flag's text, whose type is the key's.
    Untyped(String),
    /// A table of the file, inline or not.
    Table(Vec<(String, Value)>),
    /// A list of tables of the file, such as `[[signatures.keys]]`: the entries of each.
    Tables(Vec<Table>),
    /// A list of strings of the file.
    Strings(Vec<String>),
    /// Something that no key takes, with the name of its type.
    Other(&'static str),
}

impl Value {
    fn found(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Boolean(value) => value.to_string(),
            Self::String(_) => "a string".to_owned(),
            Self::Untyped(text) => quoted(text),
            Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a list of tables".to_owned(),
            Self::Strings(_) => "a list of strings".to_owned(),
            Self::Other(name) => format!("a value of type {name}"),
        }
    }

    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Result<u64, String> {
        let number = match self {
            Self::Integer(number) => Some(*number),
            Self::Untyped(text) => text.parse().ok(),
            Self::Float(_)
            | Self::Boolean(_)
            | Self::String(_)
            | Self::Table(_)
            | Self::Tables(_)
            | Self::Strings(_)
            | Self::Other(_) => None,
        };
        let number = number.ok_or_else(|| format!("expected a whole number, found {}", self.found()))?;
        u64::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected {} to {}, found {}", range.start(), range.end(), self.found()))
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::String(text) | Self::Untyped(text) => Ok(text),
            Self::Integer(_)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::Table(_)
            | Self::Tables(_)
            | Self::Strings(_)
            | Self::Other(_) => Err(format!("expected a string, found {}", self.found())),
        }
    }

    /// The members of a table; a variable's text is an inline one.
    pub(super) fn table(&self) -> Option<Vec<(String, Self)>> {
        match self {
            Self::Table(members) => Some(members.clone()),
            Self::Untyped(text) => inline_table(text),
            Self::Integer(_)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::String(_)
            | Self::Tables(_)
            | Self::Strings(_)
            | Self::Other(_) => None,
        }
    }

    fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Boolean(value) => Ok(*value),
            Self::Untyped(text) if text == "true" || text == "false" => Ok(text == "true"),
            Self::Integer(_)
            | Self::Float(_)
            | Self::String(_)
            | Self::Untyped(_)
            | Self::Table(_)
            | Self::Tables(_)
            | Self::Strings(_)
            | Self::Other(_) => Err(format!("expected true or false, found {}", self.found())),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "0 and 1 are exact, and nothing else is in the range")]
    fn ratio(&self) -> Result<f64, String> {
        let number = match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Untyped(text) => text.parse().ok(),
            Self::Boolean(_)
            | Self::String(_)
            | Self::Table(_)
            | Self::Tables(_)
            | Self::Strings(_)
            | Self::Other(_) => None,
        };
        let number = number.ok_or_else(|| format!("expected a number, found {}", self.found()))?;
        // Adding a zero makes a positive one of `-0.0`.
        if (0.0..=1.0).contains(&number) {
            Ok(number + 0.0)
        } else {
            Err(format!("expected 0 to 1, found {}", self.found()))
        }
    }
}

/// One table of a list, with where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    pub(super) origin: Origin,
}

/// One value, with where it belongs and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All values that were given, and the mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// In the order of precedence, lowest first.
    pub(super) entries: Vec<Entry>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Reader {
    /// Records a mistake.
    pub(super) fn mistake(&mut self, origin: Origin, path: impl Into<String>, message: impl Into<String>) {
        self.mistakes.push(Mistake { origin, path: path.into(), message: message.into() });
    }

    /// What `read` makes of a section; values it doesn't take are mistakes.
    pub(super) fn section<T>(&mut self, name: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let entries: Vec<Entry> = self.entries.extract_if(.., |entry| entry.section == name).collect();
        let origin = entries.last().map(|entry| entry.origin.clone());
        let mut section =
            Section { name: name.to_owned(), entries, origin, keys: Vec::new(), mistakes: &mut self.mistakes };
        let read = read(&mut section);
        section.finish();
        read
    }

    /// What `read` makes of each section below another, such as `[databases.orders]`, by name.
    pub(super) fn sections_below<T>(
        &mut self,
        above: &str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> BTreeMap<String, T> {
        let prefix = format!("{above}.");
        let names: BTreeSet<String> =
            self.entries.iter().filter_map(|entry| entry.section.strip_prefix(&prefix)).map(str::to_owned).collect();
        names.into_iter().map(|name| (name.clone(), self.section(&format!("{prefix}{name}"), &mut read))).collect()
    }
}

/// One section of all sources.
///
/// A value with a mistake counts as not given: the mistake is recorded, and
/// the configuration never comes to be.
#[derive(Debug)]
pub(super) struct Section<'r> {
    name: String,
    entries: Vec<Entry>,
    /// Where the table is, or the value that wins most.
    origin: Option<Origin>,
    keys: Vec<&'static str>,
    mistakes: &'r mut Vec<Mistake>,
}

impl Section<'_> {
    /// A whole number within `range`.
    pub(super) fn integer<T: TryFrom<u64>>(&mut self, key: &'static str, default: T, range: RangeInclusive<u64>) -> T {
        self.take(key, default, |value| {
            let number = value.integer(&range)?;
            T::try_from(number).map_err(|_| format!("{number} is more than this machine can count"))
        })
    }

    /// A whole number within `range`, or the word `off`.
    pub(super) fn integer_or_off(
        &mut self,
        key: &'static str,
        default: Option<u64>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.take(key, default, |value| match value.text() {
            Ok("off") => Ok(None),
            _ => value.integer(&range).map(Some).map_err(|message| format!("{message}; or \"off\"")),
        })
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(&mut self, key: &'static str, default: f64) -> f64 {
        self.take(key, default, Value::ratio)
    }

    /// A string that means something.
    pub(super) fn text<T, E: Display>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        self.take(key, default, |value| parse(value.text()?).map_err(|error| error.to_string()))
    }

    /// A list of strings that each mean something; a variable has them with commas between.
    pub(super) fn list<T: Clone, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        self.take(key, Vec::new(), |value| {
            let parsed = |text: &str| parse(text).map_err(|error| error.to_string());
            match value {
                Value::Strings(list) => list.iter().map(|text| parsed(text)).collect(),
                // An empty list is one of anything.
                Value::Tables(list) if list.is_empty() => Ok(Vec::new()),
                Value::Untyped(text) => {
                    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(parsed).collect()
                }
                other => Err(format!("expected a list of strings, found {}", other.found())),
            }
        })
    }

    /// A string that has to be there and means something.
    pub(super) fn required<T: Clone>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let is_given = self.has(key);
        let value = self.text(key, None, |text| parse(text).map(Some));
        if !is_given {
            self.mistake(key, "is missing");
        }
        value
    }

    /// What `parse` makes of every value, whatever its key, by key; where `is_key` refuses a key it is a mistake.
    pub(super) fn every<T>(
        &mut self,
        is_key: impl Fn(&str) -> Result<(), String>,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let mut found = BTreeMap::new();
        for entry in std::mem::take(&mut self.entries) {
            match is_key(&entry.key).and_then(|()| parse(&entry.value)) {
                Ok(value) => {
                    found.insert(entry.key, value);
                }
                Err(message) => {
                    self.mistakes.push(Mistake { origin: entry.origin, path: path(&self.name, &entry.key), message });
                }
            }
        }
        found
    }

    /// Whether any source gives the key, with a good value or not. To be asked before it is taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// `true` or `false`; `false` where it is not given.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.take(key, false, Value::flag)
    }

    /// What `read` makes of each table of a list, of the source that comes last; `name`
    /// is the list's in reports, `signatures.keys`. A variable has it as TOML: `[{id = "a"}]`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        self.keys.push(key);
        let given: Vec<Entry> = self.entries.extract_if(.., |entry| entry.key == key).collect();
        let mut found = Vec::new();
        for entry in given {
            let tables = match entry.value {
                Value::Tables(tables) => Ok(tables),
                Value::Untyped(text) => tables_of(&text, name, &entry.origin),
                other => Err(format!("expected a list of tables, found {}", other.found())),
            };
            match tables {
                Ok(tables) => found = tables.into_iter().map(|table| self.table(name, table, &mut read)).collect(),
                Err(message) => {
                    self.mistakes.push(Mistake { origin: entry.origin, path: path(&self.name, key), message });
                }
            }
        }
        found
    }

    fn table<T>(&mut self, name: &'static str, table: Table, read: &mut impl FnMut(&mut Section<'_>) -> T) -> T {
        let Table { entries, origin } = table;
        let mut section =
            Section { name: name.to_owned(), entries, origin: Some(origin), keys: Vec::new(), mistakes: self.mistakes };
        let read = read(&mut section);
        section.finish();
        read
    }

    /// Records a mistake in the name of a section below another.
    pub(super) fn check_name(&mut self, check: impl Fn(&str) -> Result<(), String>) {
        let Some(origin) = self.origin.clone() else { return };
        let (_, name) = self.name.split_once('.').unwrap_or_default();
        if let Err(message) = check(name) {
            self.mistakes.push(Mistake { origin, path: format!("[{}]", self.name.escape_debug()), message });
        }
    }

    /// Records a mistake in how keys go together, or in one that is missing. Of a section
    /// that was not given there is none: defaults go together.
    pub(super) fn mistake(&mut self, key: &str, message: impl Into<String>) {
        if let Some(origin) = self.origin.clone() {
            self.mistakes.push(Mistake { origin, path: path(&self.name, key), message: message.into() });
        }
    }

    /// The value of the source that comes last; all of them are checked.
    pub(super) fn take<T>(&mut self, key: &'static str, default: T, parse: impl Fn(&Value) -> Result<T, String>) -> T {
        self.keys.push(key);
        let mut taken = default;
        for entry in self.entries.extract_if(.., |entry| entry.key == key) {
            match parse(&entry.value) {
                Ok(value) => taken = value,
                Err(message) => {
                    self.mistakes.push(Mistake { origin: entry.origin, path: path(&self.name, key), message });
                }
            }
        }
        taken
    }

    fn finish(self) {
        for entry in self.entries {
            let message = match closest(&entry.key, &self.keys) {
                _ if entry.key == "data_dir" => "the data folder is given by --data-dir or SLUICE_DATA_DIR".to_owned(),
                Some(key) => format!("there is no such key; did you mean `{key}`?"),
                None => format!("there is no such key; there are {}", self.keys.join(", ")),
            };
            self.mistakes.push(Mistake { origin: entry.origin, path: path(&self.name, &entry.key), message });
        }
    }
}

/// `[limits] fuel`.
pub(super) fn path(section: &str, key: &str) -> String {
    format!("[{}] {}", section.escape_debug(), key.escape_debug())
}

/// The known word that `word` is most likely a misspelling of.
pub(super) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A third of a word may be wrong; more is another word.
    known
        .iter()
        .map(|known| (strsim::osa_distance(word, known), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
