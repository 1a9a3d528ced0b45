//! What an operator allows a module; everything else is denied.

use globset::{GlobBuilder, GlobSetBuilder};
use serde::{Deserialize, Serialize};

/// What kind of thing may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PermissionKind {
    /// GET, HEAD, OPTIONS.
    #[serde(rename = "http:read")]
    HttpRead,
    /// All other methods.
    #[serde(rename = "http:write")]
    HttpWrite,
    /// Statements that only read.
    #[serde(rename = "database:read")]
    DatabaseRead,
    /// Statements that may write.
    #[serde(rename = "database:write")]
    DatabaseWrite,
    /// Putting a secret into a request.
    #[serde(rename = "secret:use")]
    SecretUse,
}

impl PermissionKind {
    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpRead => "http:read",
            Self::HttpWrite => "http:write",
            Self::DatabaseRead => "database:read",
            Self::DatabaseWrite => "database:write",
            Self::SecretUse => "secret:use",
        }
    }
}

/// One permission of one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// What may be done.
    pub permission: PermissionKind,
    /// On what: a glob.
    pub resource: String,
}

/// Long enough for any URL pattern, short enough to compile at once.
const RESOURCE_LENGTH_MAX: usize = 2048;

/// A resource that is no glob.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BadPermission(String);

impl Permission {
    /// Checks that the resource is a glob, and that a matcher can be made of it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), BadPermission> {
        if self.resource.is_empty() {
            return Err(BadPermission("the resource is empty".to_owned()));
        }
        if self.resource.len() > RESOURCE_LENGTH_MAX {
            return Err(BadPermission(format!("the resource has more than {RESOURCE_LENGTH_MAX} characters")));
        }
        GlobBuilder::new(&self.resource)
            .literal_separator(true)
            .build()
            .and_then(|glob| GlobSetBuilder::new().add(glob).build())
            .map(|_| ())
            .map_err(|error| BadPermission(error.to_string()))
    }
}
