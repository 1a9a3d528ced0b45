//! Where values come from: the file, the environment, the command line.
//!
//! Owns TOML, line numbers, the names of variables and which sections there
//! are. Does not own keys or their values (the sections).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Origin, quoted};
use super::reader::{Entry, Reader, Table, Value, closest, path};

/// What is read where no file was named, if it is there.
pub(super) const DEFAULT_FILE: &str = "sluice.toml";

const SECTIONS: [&str; 12] = [
    "server",
    "store",
    "blobs",
    "runtime",
    "limits",
    "signatures",
    "egress",
    "databases",
    "secrets",
    "jobs",
    "rate_limits",
    "telemetry",
];

/// Holds sections of its own, one a name.
const ABOVE: &str = "databases";

const VARIABLE_PREFIX: &str = "SLUICE__";

/// Far more than every key takes, and not all memory where a device is named.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`. Without it `./sluice.toml` is read where there is one.
    pub file: Option<PathBuf>,
    /// `--listen`: `ADDRESS:PORT`.
    pub listen: Option<String>,
    /// `--data-dir`; `./data` without it.
    pub data_dir: Option<PathBuf>,
    /// Environment variables; those that don't begin with `SLUICE__` are not looked at.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The variables of this process that can matter, for `env`. One that is
    /// not UTF-8 comes with U+FFFD in it.
    #[must_use]
    pub fn process_env() -> Vec<(String, String)> {
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect()
    }
}

/// All values of all sources, and the mistakes that are not about a key.
pub(super) fn collect(sources: &Sources, default_file: &Path) -> Reader {
    let mut reader = Reader::default();
    match &sources.file {
        Some(path) => collect_file(&mut reader, path),
        // What is there and can't be read is reported, not skipped.
        None if default_file.try_exists().is_ok_and(|exists| !exists) => {}
        None => collect_file(&mut reader, default_file),
    }
    collect_variables(&mut reader, &sources.env);
    if let Some(listen) = &sources.listen {
        reader.entries.push(Entry {
            section: "server".to_owned(),
            key: "listen".to_owned(),
            value: Value::Untyped(listen.clone()),
            origin: Origin::Flag("--listen"),
        });
    }
    reader
}

fn collect_file(reader: &mut Reader, path: &Path) {
    let name = path.display().to_string().escape_debug().to_string();
    let at = |line| Origin::File { path: name.clone(), line };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return reader.mistake(at(1), "", format!("the file can't be read: {error}")),
    };
    match DeTable::parse(&text) {
        Ok(document) => collect_document(reader, document.get_ref(), |position| at(line_of(&text, position))),
        Err(error) => {
            let position = error.span().map_or(0, |span| span.start);
            let column =
                text.get(..position).map_or(0, |before| before.chars().rev().take_while(|c| *c != '\n').count());
            let message = format!("column {}: not TOML: {}", column + 1, error.message().escape_debug());
            reader.mistake(at(line_of(&text, position)), "", message);
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn line_of(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

fn collect_document(reader: &mut Reader, document: &DeTable<'_>, at: impl Fn(usize) -> Origin) {
    for (name, content) in document {
        let origin = at(name.span().start);
        let section = name.get_ref().as_ref();
        let shown = format!("[{}]", section.escape_debug());
        match content.get_ref() {
            DeValue::Table(table) if section == ABOVE => collect_below(reader, table, &at),
            DeValue::Table(table) if SECTIONS.contains(&section) => {
                reader.entries.extend(entries(section, table, &at));
            }
            DeValue::Table(_) => reader.mistake(origin, shown, unknown_section(section)),
            _ if SECTIONS.contains(&section) => reader.mistake(origin, shown, "this is a section, not a value"),
            _ => {
                let message = "every key is in a section, such as `listen` in `[server]`";
                reader.mistake(origin, section.escape_debug().to_string(), message);
            }
        }
    }
}

/// `[databases.orders]`, and nothing in `[databases]` itself.
fn collect_below(reader: &mut Reader, table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) {
    for (name, content) in table {
        match (content.get_ref(), name.get_ref().as_ref()) {
            (DeValue::Table(table), name) => {
                reader.entries.extend(entries(&format!("{ABOVE}.{name}"), table, at));
            }
            (_, key) => {
                reader.mistake(at(name.span().start), path(ABOVE, key), format!("expected a section, [{ABOVE}.NAME]"));
            }
        }
    }
}

fn entries(section: &str, table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) -> Vec<Entry> {
    let entry = |(key, value): (&Spanned<_>, _)| {
        let (start, key): (usize, &std::borrow::Cow<'_, str>) = (key.span().start, key.get_ref());
        let below = format!("{section}.{key}");
        Entry {
            section: section.to_owned(),
            key: key.to_string(),
            value: convert(value, &below, at),
            origin: at(start),
        }
    };
    table.iter().map(entry).collect()
}

/// The tables of a list that a variable holds, as TOML.
pub(super) fn tables_of(text: &str, name: &str, origin: &Origin) -> Result<Vec<Table>, String> {
    let wanted = || format!("expected a list of tables in TOML, such as [{{id = \"a\"}}], found {}", quoted(text));
    let document = format!("list = {text}");
    let document = DeTable::parse(&document).map_err(|_| wanted())?;
    let mut values = document.get_ref().iter();
    match (values.next(), values.next()) {
        (Some((_, list)), None) => match convert(list, name, &|_| origin.clone()) {
            Value::Tables(tables) => Ok(tables),
            _ => Err(wanted()),
        },
        _ => Err(wanted()),
    }
}

/// The tables of a list; nothing where anything in it is no table.
fn tables(list: &[Spanned<DeValue<'_>>], name: &str, at: &impl Fn(usize) -> Origin) -> Option<Vec<Table>> {
    let table = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::Table(table) => Some(Table { entries: entries(name, table, at), origin: at(value.span().start) }),
        _ => None,
    };
    list.iter().map(table).collect()
}

/// The strings of a list; nothing where anything in it is none.
fn strings(list: &[Spanned<DeValue<'_>>]) -> Option<Vec<String>> {
    let string = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    list.iter().map(string).collect()
}

/// `below` is the section of what is in the value.
fn convert(value: &Spanned<DeValue<'_>>, below: &str, at: &impl Fn(usize) -> Origin) -> Value {
    match value.get_ref() {
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Array(list) => tables(list, below, at)
            .map(Value::Tables)
            .or_else(|| strings(list).map(Value::Strings))
            .unwrap_or(Value::Other("array")),
        // What is over 128 bits is over every range too.
        DeValue::Integer(number) => {
            Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Table(table) => Value::Table(members(table, below, at)),
        other @ DeValue::Datetime(_) => Value::Other(other.type_str()),
    }
}

fn members(table: &DeTable<'_>, below: &str, at: &impl Fn(usize) -> Origin) -> Vec<(String, Value)> {
    table.iter().map(|(name, value)| (name.get_ref().to_string(), convert(value, below, at))).collect()
}

/// The members of `{a = 1}`, as a variable has it.
pub(super) fn inline_table(text: &str) -> Option<Vec<(String, Value)>> {
    // A new line would begin another key of the document.
    if text.contains('\n') {
        return None;
    }
    let document = format!("table = {text}");
    match DeTable::parse(&document).ok()?.get_ref().get("table")?.get_ref() {
        // Only lists of tables keep where they are, and no member of a table may be one.
        DeValue::Table(table) => Some(members(table, "", &|_| Origin::Variable(String::new()))),
        _ => None,
    }
}

fn collect_variables(reader: &mut Reader, env: &[(String, String)]) {
    for (name, value) in env {
        let Some(place) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let origin = Origin::Variable(name.escape_debug().to_string());
        let lower = place.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split("__").collect();
        match parts.as_slice() {
            _ if place != place.to_ascii_uppercase() => {
                reader.mistake(origin, "", "the names of variables have no lower-case letters");
            }
            [ABOVE, name, key] => reader.entries.push(Entry {
                section: format!("{ABOVE}.{name}"),
                key: (*key).to_owned(),
                value: Value::Untyped(value.clone()),
                origin,
            }),
            [ABOVE, ..] => reader.mistake(origin, "", "expected SLUICE__DATABASES__NAME__KEY"),
            [section, key] if SECTIONS.contains(section) => reader.entries.push(Entry {
                section: (*section).to_owned(),
                key: (*key).to_owned(),
                value: Value::Untyped(value.clone()),
                origin,
            }),
            [section, key] => reader.mistake(origin, path(section, key), unknown_section(section)),
            _ => reader.mistake(origin, "", "expected SLUICE__SECTION__KEY"),
        }
    }
}

fn unknown_section(section: &str) -> String {
    match closest(section, &SECTIONS) {
        Some(known) => format!("there is no such section; did you mean `{known}`?"),
        None => format!("there is no section {}; there are {}", quoted(section), SECTIONS.join(", ")),
    }
}
