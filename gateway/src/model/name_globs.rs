//! Which names a key reaches: a list of globs.
//!
//! Owns their bounds and their compilation. Invariant: a [`NameGlobs`] that exists
//! is compiled, and asking it costs no allocation of ours.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Globs over names of modules or jobs; none of them reaches nothing.
#[derive(Clone)]
pub struct NameGlobs {
    patterns: Vec<String>,
    set: GlobSet,
}

/// A list that is no list of globs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadGlob {
    /// Which of them; `None` where the list is too long.
    pub index: Option<usize>,
    /// For people.
    pub message: String,
}

impl NameGlobs {
    /// Enough for one a team; more is a pattern that nobody can check by eye.
    pub const PATTERNS_MAX: usize = 100;

    /// A name has 63 characters; the rest is for alternatives.
    pub const PATTERN_CHARACTERS_MAX: usize = 256;

    /// Compiles the patterns.
    ///
    /// # Errors
    /// Which pattern is wrong, and why.
    pub fn new(patterns: Vec<String>) -> Result<Self, BadGlob> {
        if patterns.len() > Self::PATTERNS_MAX {
            return Err(BadGlob { index: None, message: format!("has at most {} globs", Self::PATTERNS_MAX) });
        }
        let mut set = GlobSetBuilder::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let bad = |message| BadGlob { index: Some(index), message };
            if pattern.is_empty() || pattern.chars().count() > Self::PATTERN_CHARACTERS_MAX {
                return Err(bad(format!("has 1 to {} characters", Self::PATTERN_CHARACTERS_MAX)));
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            set.add(glob.map_err(|error| bad(error.to_string()))?);
        }
        let set = set.build().map_err(|error| BadGlob { index: None, message: error.to_string() })?;
        Ok(Self { patterns, set })
    }

    /// Whether one of them matches all of `name`.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The globs as they were written.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl PartialEq for NameGlobs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for NameGlobs {}

impl fmt::Debug for NameGlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.patterns.fmt(f)
    }
}

impl Serialize for NameGlobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.patterns.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NameGlobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn globs(patterns: &[&str]) -> NameGlobs {
        NameGlobs::new(patterns.iter().map(|&pattern| pattern.to_owned()).collect()).unwrap()
    }

    #[test]
    fn one_match_is_enough_and_no_glob_matches_nothing() {
        let some = globs(&["order-*", "tax"]);
        assert!(some.is_match("order-rules") && some.is_match("tax") && some.is_match("order-"));
        assert!(!some.is_match("taxes") && !some.is_match("my-order-rules") && !some.is_match(""));
        assert!(!globs(&[]).is_match("tax"));
        assert!(globs(&["*"]).is_match("anything"));
    }

    #[test]
    fn a_pattern_that_is_no_glob_is_told_by_its_index() {
        let long = "a".repeat(257);
        for bad in ["[a", "{a", "", long.as_str()] {
            let error = NameGlobs::new(vec!["a".to_owned(), bad.to_owned()]).unwrap_err();
            assert_eq!(error.index, Some(1), "{bad}");
        }
        assert_eq!(NameGlobs::new(vec!["a".to_owned(); 101]).unwrap_err().index, None);
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let text = r#"["order-*","t[ao]x"]"#;
        let read: NameGlobs = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<NameGlobs>(r#"["[a"]"#).is_err());
    }

    /// Stars and question marks as anybody would write them.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                naive(rest, name) || name.split_first().is_some_and(|(_, later)| naive(pattern, later))
            }
            (Some((wanted, rest)), Some((found, later))) => (*wanted == '?' || wanted == found) && naive(rest, later),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn p_key_globs_agree_with_a_naive_matcher(
            patterns in proptest::collection::vec("[ab?*-]{1,6}", 0..4), name in "[ab-]{0,8}"
        ) {
            // Two stars are a word of their own only beside separators, which names don't have.
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = patterns.iter().any(|pattern| naive(&letters(pattern), &letters(&name)));
            prop_assert_eq!(NameGlobs::new(patterns).unwrap().is_match(&name), expected);
        }
    }
}
