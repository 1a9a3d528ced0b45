//! The names of jobs and of their steps.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A DNS label's.
const NAME_LENGTH_MAX: usize = 63;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $error:ident, $pattern:literal, $example:literal, $also:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = text.bytes();
                let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
                let goes_on_well =
                    bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || $also.contains(char::from(byte)));
                if starts_well && goes_on_well && text.len() <= NAME_LENGTH_MAX { Ok(Self(Arc::from(text))) } else { Err($error) }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A job's name: `[a-z][a-z0-9-]{0,62}`. Cheap to clone.
    JobName, ParseJobNameError, "^[a-z][a-z0-9-]{0,62}$", "order-intake", "-"
}

name! {
    /// A step's name within its job: `[a-z][a-z0-9_-]{0,62}`. Cheap to clone.
    StepId, ParseStepIdError, "^[a-z][a-z0-9_-]{0,62}$", "validate", "-_"
}

/// A text that is no job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a job's name starts with a lower-case letter and has only lower-case letters, digits and hyphens, at most 63 of them"
)]
pub struct ParseJobNameError;

/// A text that is no step's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a step's id starts with a lower-case letter and has only lower-case letters, digits, `_` and `-`, at most 63 of them"
)]
pub struct ParseStepIdError;
