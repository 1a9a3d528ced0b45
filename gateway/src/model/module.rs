//! A module: one immutable version of a component, with what the operator
//! allows it.

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Digest, Limits, ModuleId, ModuleName, Permission, Signature};

/// Begins a warning of what compilers' ordinary output has too: it is kept and shown
/// with the module, but isn't worth a line at every build and upload.
pub const NOTE_PREFIX: &str = "note: ";

/// What a component is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleKind {
    /// It exports step functions (and perhaps a `wasi:http` handler too).
    JobStep,
    /// It exports a `wasi:http` handler only.
    Http,
}

impl ModuleKind {
    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobStep => "job-step",
            Self::Http => "http",
        }
    }
}

/// One version of a module, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// The id of this version.
    pub id: ModuleId,
    /// The name that all versions share.
    pub name: ModuleName,
    /// The version.
    pub version: Version,
    /// For people; may be empty.
    pub description: String,
    /// What it is for.
    pub kind: ModuleKind,
    /// The digest of its bytes.
    pub sha256: Digest,
    /// The length of its bytes.
    pub size_bytes: u64,
    /// The exported step functions, sorted.
    pub functions: Vec<String>,
    /// The imported interfaces with their versions, sorted.
    pub imports: Vec<String>,
    /// What the operator allows it.
    pub permissions: Vec<Permission>,
    /// Its own limits, below the operator's.
    pub limits: Limits,
    /// Who signed it.
    pub signature: Option<Signature>,
    /// What the intake found odd about it; the ordinary begins with [`NOTE_PREFIX`].
    pub warnings: Vec<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// The name of the key that uploaded it.
    pub created_by: String,
}
