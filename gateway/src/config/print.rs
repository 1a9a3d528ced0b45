//! A configuration as TOML, for `sluice config print`.
//!
//! Invariant: what is printed loads to the same configuration, except that
//! secrets are `***`.

use std::fmt::{Display, Write};
use std::path::Path;

/// Collects the lines.
#[derive(Debug, Default)]
pub(super) struct Printer {
    text: String,
}

impl Printer {
    /// A line that is not read back.
    pub(super) fn comment(&mut self, text: &str) {
        self.line(format_args!("# {}", text.escape_debug()));
    }

    /// Begins a section.
    pub(super) fn section(&mut self, name: &str) {
        self.line(format_args!("\n[{name}]"));
    }

    /// Begins one table of a list.
    pub(super) fn table(&mut self, name: &str) {
        self.line(format_args!("\n[[{name}]]"));
    }

    /// A number, in the form that TOML has for it.
    pub(super) fn number(&mut self, key: &str, number: impl Display) {
        self.line(format_args!("{key} = {number}"));
    }

    /// A string.
    pub(super) fn string(&mut self, key: &str, text: &str) {
        self.line(format_args!("{key} = {}", toml::Value::from(text)));
    }

    /// A list of strings.
    pub(super) fn strings(&mut self, key: &str, texts: impl Iterator<Item = impl Display>) {
        let list = texts.map(|text| toml::Value::from(text.to_string())).collect::<Vec<_>>();
        self.line(format_args!("{key} = {}", toml::Value::from(list)));
    }

    /// A key that is not set.
    pub(super) fn unset(&mut self, key: &str) {
        self.line(format_args!("# {key} is not set"));
    }

    /// The lines.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A `String` takes everything.
        let _ = writeln!(self.text, "{line}");
    }
}

/// `SCHEME:PATH`, with a path below the data folder relative to it.
pub(super) fn path_url(scheme: &str, path: &Path, data_dir: &Path) -> String {
    let below = path.strip_prefix(data_dir).unwrap_or(path);
    format!("{scheme}:{}", below.display())
}
