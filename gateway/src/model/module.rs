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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d", "name": "order-rules", "version": "1.2.0",
    "description": "Checks and prices orders.", "kind": "job-step",
    "sha256": "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865", "size_bytes": 72450,
    "functions": ["run", "summarize"], "imports": ["sluice:step/log@0.1.0", "wasi:cli/environment@0.2.6"],
    "permissions": [{"permission": "http:write", "resource": "https://api.example.com/*"}],
    "limits": {"fuel": null, "memory_bytes": 67_108_864, "timeout_ms": 5000},
    "signature": null, "warnings": [], "created_at": "2026-01-31T12:00:00Z", "created_by": "admin",
}))]
pub struct Module {
    /// The id of this version.
    pub id: ModuleId,
    /// The name that all versions share.
    pub name: ModuleName,
    /// The version.
    #[schema(value_type = String, example = "1.2.0")]
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
    #[schema(required = true)]
    pub signature: Option<Signature>,
    // The prefix is `NOTE_PREFIX`; the comment is in the document of the API too.
    /// What the intake found odd about it; the ordinary begins with `note: `.
    pub warnings: Vec<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// The name of the key that uploaded it.
    pub created_by: String,
}
