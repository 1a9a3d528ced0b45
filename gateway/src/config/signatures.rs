//! `[signatures]`: whose modules are taken.
//!
//! Owns which keys are trusted, and when. Does not own what a signature is (`model`).
//! Invariant: no two keys have one id, and where signatures are required there is a key
//! that can make them.

use std::fmt;

use jiff::Timestamp;

use super::print::Printer;
use super::reader::Section;
use crate::model::PublicKey;

/// The list's name in reports and in what is printed.
const KEYS: &str = "signatures.keys";

/// The id of a key: it is in answers, logs and audit rows.
const KEY_ID_CHARACTERS_MAX: usize = 128;

/// `[signatures]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signatures {
    /// What is asked of a module.
    pub mode: SignatureMode,
    /// The keys that are known, in the order of the file.
    pub keys: Vec<TrustedKey>,
}

/// What is asked of a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignatureMode {
    /// Signatures are stored and not checked.
    Off,
    /// A module needs no signature; one that it has must hold.
    #[default]
    Optional,
    /// A module without a signature that holds is neither taken nor run.
    Required,
}

/// A key that may sign modules.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedKey {
    /// What an upload names it by.
    pub id: String,
    /// What its signatures are checked with.
    pub public_key: PublicKey,
    /// It may not sign before; `None` sets no bound.
    pub not_before: Option<Timestamp>,
    /// It may not sign at this time or later; `None` sets no bound.
    pub not_after: Option<Timestamp>,
    /// Whether nothing of it is trusted any more, whenever it was signed.
    pub revoked: bool,
}

/// Why a key that is known is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// The operator took the trust back.
    Revoked,
    /// Its time has not come.
    NotYetValid(Timestamp),
    /// Its time is over.
    Expired(Timestamp),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("it is revoked"),
            Self::NotYetValid(from) => write!(f, "it is not valid before {from}"),
            Self::Expired(at) => write!(f, "it expired at {at}"),
        }
    }
}

impl TrustedKey {
    /// Whether a signature that came at `at` may be this key's.
    pub fn trusted_at(&self, at: Timestamp) -> Result<(), Untrusted> {
        if self.revoked {
            return Err(Untrusted::Revoked);
        }
        match (self.not_before, self.not_after) {
            (Some(from), _) if at < from => Err(Untrusted::NotYetValid(from)),
            (_, Some(until)) if at >= until => Err(Untrusted::Expired(until)),
            _ => Ok(()),
        }
    }
}

impl SignatureMode {
    const ALL: [Self; 3] = [Self::Off, Self::Optional, Self::Required];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl Signatures {
    /// The key of this id.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mode = section.text("mode", SignatureMode::default(), |text| {
            let known = SignatureMode::ALL.into_iter().find(|mode| mode.as_str() == text);
            known.ok_or("expected `off`, `optional` or `required`")
        });
        let mut ids = Vec::new();
        let mut broken = false;
        let keys: Vec<_> = section.tables("keys", KEYS, |table| {
            let key = read_key(table, &ids);
            broken |= key.is_none();
            ids.extend(key.as_ref().map(|key| key.id.clone()));
            key
        });
        let keys: Vec<_> = keys.into_iter().flatten().collect();
        // Where a key is broken that is the mistake to mend.
        if mode == SignatureMode::Required && !broken && keys.iter().all(|key| key.revoked) {
            section.mistake("mode", "`required` needs a key in [[signatures.keys]] that is not revoked");
        }
        Self { mode, keys }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("signatures");
        printer.string("mode", self.mode.as_str());
        for key in &self.keys {
            printer.table(KEYS);
            printer.string("id", &key.id);
            printer.string("public_key", &key.public_key.to_string());
            for (name, time) in [("not_before", key.not_before), ("not_after", key.not_after)] {
                match time {
                    Some(time) => printer.string(name, &time.to_string()),
                    None => printer.unset(name),
                }
            }
            printer.number("revoked", key.revoked);
        }
    }
}

/// A key, unless something is wrong with it, which is recorded.
fn read_key(table: &mut Section<'_>, ids: &[String]) -> Option<TrustedKey> {
    let id = table.required("id", |text| check_id(text, ids));
    let public_key = table.required("public_key", |text| text.parse::<PublicKey>().map_err(|error| error.to_string()));
    let not_before = table.text("not_before", None, time);
    let not_after = table.text("not_after", None, time);
    let revoked = table.flag("revoked");
    if not_before.zip(not_after).is_some_and(|(from, until)| from >= until) {
        table.mistake("not_after", "expected a time after `not_before`");
        return None;
    }
    Some(TrustedKey { id: id?, public_key: public_key?, not_before, not_after, revoked })
}

fn check_id(text: &str, ids: &[String]) -> Result<String, String> {
    let characters = text.chars().count();
    if characters == 0 || characters > KEY_ID_CHARACTERS_MAX || text.chars().any(char::is_control) {
        return Err(format!("expected 1 to {KEY_ID_CHARACTERS_MAX} characters, none of them a control character"));
    }
    if ids.iter().any(|id| id == text) {
        return Err("another key has this id".to_owned());
    }
    Ok(text.to_owned())
}

fn time(text: &str) -> Result<Option<Timestamp>, &'static str> {
    text.parse().map(Some).map_err(|_| "expected a time with a zone, such as \"2026-01-01T00:00:00Z\"")
}

#[cfg(test)]
mod tests;
