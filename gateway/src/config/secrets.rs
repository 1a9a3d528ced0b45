//! `[secrets]`: values that steps may have put into requests and never see.
//!
//! Owns where a value comes from. Invariant: a value is read once, at the start, and is in nothing that is
//! shown or logged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::print::Printer;
use super::reader::{Section, Value};

/// Of a name, as `{{secret:NAME}}` has it.
pub const SECRET_NAME_BYTES_MAX: usize = 64;

/// Keys and tokens have some hundred bytes, certificates with their key some thousand.
const VALUE_BYTES_MAX: usize = 64 * 1024;

const FORM: &str = "expected a string, {env = \"VARIABLE\"} or {file = \"path\"}";

/// The secrets by name. Its `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, SecretString>);

impl Secrets {
    /// These, as a configuration would have them.
    #[must_use]
    pub fn new(values: BTreeMap<String, SecretString>) -> Self {
        Self(values)
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self(section.every(check_name, value))
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("secrets");
        for name in self.0.keys() {
            printer.string(name, "***");
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
            && self.0.values().zip(other.0.values()).all(|(own, other)| own.expose_secret() == other.expose_secret())
    }
}

/// Whether a secret may have this name: it stands in headers and in globs of permissions.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    (1..=SECRET_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn check_name(name: &str) -> Result<(), String> {
    if is_secret_name(name) {
        return Ok(());
    }
    Err(format!("the name of a secret has 1 to {SECRET_NAME_BYTES_MAX} letters, digits, `-` and `_`"))
}

fn value(value: &Value) -> Result<SecretString, String> {
    let text = match (value.text(), value) {
        // A variable holds the secret itself, but where it is one of the two tables.
        (Ok(text), Value::Untyped(_)) => value.table().map_or_else(|| Ok(text.to_owned()), |from| read_from(&from)),
        (Ok(text), _) => Ok(text.to_owned()),
        (Err(_), Value::Table(from)) => read_from(from),
        (Err(_), _) => Err(FORM.to_owned()),
    }?;
    if text.is_empty() {
        return Err("the secret is empty".to_owned());
    }
    if text.len() > VALUE_BYTES_MAX {
        return Err(format!("the secret has more than {VALUE_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

fn read_from(members: &[(String, Value)]) -> Result<String, String> {
    let [(key, value)] = members else { return Err(FORM.to_owned()) };
    let place = value.text().map_err(|_| FORM)?;
    match key.as_str() {
        "env" => std::env::var(place).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the variable {} is not set", place.escape_debug()),
            std::env::VarError::NotUnicode(_) => format!("the variable {} is not UTF-8", place.escape_debug()),
        }),
        "file" => read_file(Path::new(place)),
        _ => Err(FORM.to_owned()),
    }
}

/// The text of a file without the line's end that editors and orchestrators put there.
fn read_file(path: &Path) -> Result<String, String> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(VALUE_BYTES_MAX as u64 + 2).read_to_string(&mut text)?;
        Ok(text)
    };
    let mut text: String =
        read().map_err(|error: std::io::Error| format!("the file {} can't be read: {error}", path.display()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
