//! What is wrong with a configuration: every mistake, each with its place.
//!
//! Owns the wording of a place (`sluice.toml:12: [limits] fuel: …`). Does not
//! own what is right (the sections). Invariant: a mistake is one line, whatever
//! was given.

use std::fmt;

/// Where a value was given; in the order of a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A line of the file, from 1.
    File { path: String, line: usize },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub(super) origin: Origin,
    /// `[limits] fuel`; empty where the mistake is in no section.
    pub(super) path: String,
    pub(super) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, path, message } = self;
        if path.is_empty() { write!(f, "{origin}: {message}") } else { write!(f, "{origin}: {path}: {message}") }
    }
}

/// Everything that is wrong with a configuration, one mistake a line: the
/// file's from top to bottom, then variables, then flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Error {
    mistakes: Vec<Mistake>,
}

impl Error {
    /// An error with these mistakes; nothing where there are none.
    pub(super) fn of(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(Self { mistakes })
    }

    /// The mistakes, at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

/// What was given, fit for a line of a report: escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("`{}{rest}`", shown.escape_debug())
}
