//! Who calls: keys and what their role allows.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{KeyId, NameGlobs};

/// What a key may do; each role may all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// Every role, lowest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Invoker, Self::Editor, Self::Admin];

    /// The role of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

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

/// Whose key it is, as the audit says it: by name for people, and by id, since names are not unique. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyHolder {
    /// The key's id.
    pub id: KeyId,
    /// The key's name.
    pub name: Arc<str>,
}

/// A key that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Who it is, in records and logs.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// From when on it opens nothing; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// The modules that it sees; `None`: all.
    pub modules: Option<NameGlobs>,
    /// The jobs that it sees; `None`: all.
    pub jobs: Option<NameGlobs>,
}

impl NewKey {
    /// A key for everything that its role allows, for ever.
    #[must_use]
    pub fn unrestricted(name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, expires_at: None, modules: None, jobs: None }
    }
}

/// An API key as the store knows it: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// By which it is spoken of.
    pub id: KeyId,
    /// The public part, by which it is found: the first 12 characters after `sk_`.
    pub prefix: String,
    /// SHA-256 of the whole key as it is sent.
    pub hash: [u8; 32],
    /// Who it is, in records and logs.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a few seconds; `None`: never.
    pub last_used_at: Option<Timestamp>,
    /// The modules that it sees; `None`: all.
    pub modules: Option<NameGlobs>,
    /// The jobs that it sees; `None`: all.
    pub jobs: Option<NameGlobs>,
}
