//! Who calls: keys and what their role allows.

use serde::{Deserialize, Serialize};

/// What a key may do; each role may all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs modules and jobs.
    Invoker,
    /// Changes jobs.
    Editor,
    /// Changes everything.
    Admin,
}

impl Role {
    /// The role as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Invoker => "invoker",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

/// An API key as the store knows it: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The public part, by which it is found: the first 12 characters after `sk_`.
    pub prefix: String,
    /// SHA-256 of the whole key as it is sent.
    pub hash: [u8; 32],
    /// Who it is, in records and logs.
    pub name: String,
    /// What it may do.
    pub role: Role,
}
