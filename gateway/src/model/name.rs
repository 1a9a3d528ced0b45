//! Names, versions, and references to modules.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ModuleId;

/// Long enough for `1.2.3-rc.1+build.…`, short enough for an index and a log line.
const VERSION_LENGTH_MAX: usize = 128;

/// A DNS label's.
const NAME_LENGTH_MAX: usize = 63;

/// The hyphenated form of a UUID's.
const ID_LENGTH: usize = 36;

/// A module's name: `[a-z][a-z0-9-]{0,62}`, so that it can be a DNS label, and not in the
/// form of an id, which would be taken for one.
/// Cheap to clone: every execution's record has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(description = "The name that all versions of a module share; also a DNS label.", value_type = String, pattern = "^[a-z][a-z0-9-]{0,62}$", example = "order-rules")]
pub struct ModuleName(Arc<str>);

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
        if is_name { Ok(Self(Arc::from(text))) } else { Err(ParseNameError) }
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

impl Serialize for ModuleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_a_dns_label_that_starts_with_a_letter() {
        for name in ["a", "order-rules", "a--", &"a".repeat(63)] {
            assert_eq!(name.parse::<ModuleName>().expect("a name").as_str(), name);
        }
        for text in ["", "1a", "-a", "A", "a_b", "a.b", "a/b", "ä", "a b", &"a".repeat(64)] {
            assert_eq!(text.parse::<ModuleName>(), Err(ParseNameError), "{text}");
        }
    }

    #[test]
    fn an_id_is_never_a_name_though_it_may_look_like_one() {
        let text = "a1b2c3d4-0000-7000-8000-000000000000";
        assert_eq!(text.parse::<ModuleName>(), Err(ParseNameError));
        assert!(matches!(text.parse(), Ok(ModuleRef::Id(_))));
        assert!(matches!("a1b2c3d4000070008000000000000000".parse(), Ok(ModuleRef::Newest(_))));
    }

    #[test]
    fn what_follows_the_at_sign_decides_between_a_version_and_a_requirement() {
        assert!(matches!("orders@1.2.3".parse(), Ok(ModuleRef::Exact(..))));
        assert!(matches!("orders@1.2.3-rc.1+b".parse(), Ok(ModuleRef::Exact(..))));
        for text in ["orders@1", "orders@1.2", "orders@^1.2", "orders@=1.2.3", "orders@*", "orders@>1, <3"] {
            assert!(matches!(text.parse(), Ok(ModuleRef::Matching(..))), "{text}");
        }
        for text in ["orders@", "orders@latest", "@1.0.0", "orders@1@2", &format!("orders@{}", "1".repeat(129))] {
            assert_eq!(text.parse::<ModuleRef>(), Err(ParseRefError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn p_name_parsing_is_the_pattern_of_the_contract_but_for_ids(text in "[a-z0-9A-Z_-]{0,66}") {
            let pattern = text.starts_with(|first: char| first.is_ascii_lowercase())
                && text.len() <= 63
                && text.chars().all(|one| matches!(one, 'a'..='z' | '0'..='9' | '-'))
                && !(text.len() == 36 && text.parse::<ModuleId>().is_ok());
            prop_assert_eq!(text.parse::<ModuleName>().is_ok(), pattern);
        }

        #[test]
        fn p_reference_parsing_reads_what_it_writes(text in "[a-z][a-z0-9-]{0,8}(@[\\^~=<>*0-9., -]{0,12})?") {
            if let Ok(reference) = text.parse::<ModuleRef>() {
                prop_assert_eq!(reference.to_string().parse::<ModuleRef>(), Ok(reference));
            }
        }
    }
}
