//! Names, versions, and references to modules.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer, Serialize};

use super::ModuleId;

/// Long enough for `1.2.3-rc.1+build.…`, short enough for an index and a log line.
const VERSION_LENGTH_MAX: usize = 128;

/// A DNS label's.
const NAME_LENGTH_MAX: usize = 63;

/// The hyphenated form of a UUID's.
const ID_LENGTH: usize = 36;

/// A module's name: `[a-z][a-z0-9-]{0,62}`, so that it can be a DNS label, and not in the
/// form of an id, which would be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ModuleName(String);

/// A text that is no module name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a module name starts with a lower-case letter, has only lower-case letters, digits and hyphens, at most 63 of them, \
     and is no UUID"
)]
pub struct ParseNameError;

impl ModuleName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let goes_on_well = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_name = starts_well && goes_on_well && text.len() <= NAME_LENGTH_MAX && parse_id(text).is_none();
        if is_name { Ok(Self(text.to_owned())) } else { Err(ParseNameError) }
    }
}

/// An id in its hyphenated form, the only one in which references are ids.
fn parse_id(text: &str) -> Option<ModuleId> {
    if text.len() == ID_LENGTH { text.parse().ok() } else { None }
}

/// So that maps by name are searched with the text of a request.
impl Borrow<str> for ModuleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A version as semver.org has it, within a length that indexes can bear.
///
/// # Errors
/// A sentence for people.
pub fn parse_version(text: &str) -> Result<Version, String> {
    if text.len() > VERSION_LENGTH_MAX {
        return Err(format!("a version has at most {VERSION_LENGTH_MAX} characters"));
    }
    Version::parse(text).map_err(|error| format!("not a semantic version such as 1.2.3: {error}"))
}

/// What `{module}` in a path, or `module` in a job, may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleRef {
    /// One version by its id.
    Id(ModuleId),
    /// `name`: the newest version that is not a pre-release.
    Newest(ModuleName),
    /// `name@1.2.3`: this version, a pre-release or build too.
    Exact(ModuleName, Version),
    /// `name@^1.2`: the newest version that matches.
    Matching(ModuleName, VersionReq),
}

/// A text that refers to no module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a module is an id, `name`, `name@1.2.3` or `name@^1.2`")]
pub struct ParseRefError;

impl FromStr for ModuleRef {
    type Err = ParseRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((name, version)) = text.split_once('@') {
            let name = name.parse().map_err(|_| ParseRefError)?;
            if let Ok(version) = parse_version(version) {
                return Ok(Self::Exact(name, version));
            }
            if version.is_empty() || version.len() > VERSION_LENGTH_MAX {
                return Err(ParseRefError);
            }
            return VersionReq::parse(version).map(|req| Self::Matching(name, req)).map_err(|_| ParseRefError);
        }
        match parse_id(text) {
            Some(id) => Ok(Self::Id(id)),
            None => text.parse().map(Self::Newest).map_err(|_| ParseRefError),
        }
    }
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Newest(name) => write!(f, "{name}"),
            Self::Exact(name, version) => write!(f, "{name}@{version}"),
            Self::Matching(name, req) => write!(f, "{name}@{req}"),
        }
    }
}
