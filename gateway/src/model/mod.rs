//! Plain data and pure rules: names, versions, permissions, limits, modules,
//! executions, jobs and runs.
//!
//! Owns the types that can't be wrong once they exist. Does no I/O, knows no
//! clock, and depends on nothing of this crate but `error`'s vocabulary.

mod audit;
mod denial;
mod digest;
mod execution;
mod id;
pub mod job;
mod json;
mod key;
mod limits;
mod members;
mod module;
mod name;
mod name_globs;
mod permission;
mod signature;

pub use audit::{AuditEntry, AuditOutcome, action};
pub use denial::RecordedDenial;
pub use digest::{Digest, ParseDigestError};
pub use execution::{ExecutionError, ExecutionRecord, Level, LogLine, Status};
pub use id::{AuditId, DeliveryId, ExecutionId, KeyId, ModuleId, RunId};
#[cfg(test)]
pub(crate) use json::any_json;
pub use json::{JSON_DEPTH_MAX, JsonObject, JsonText, NotJson};
pub use key::{Key, KeyHolder, NewKey, Role};
pub use limits::{EffectiveLimits, LimitAboveCeiling, Limits, RESIDENT_MEMORY_BYTES, whole_number};
pub use members::{DistinctMembers, DistinctValue};
pub use module::{Module, ModuleKind, NOTE_PREFIX};
pub use name::{ModuleName, ModuleRef, ParseNameError, ParseRefError, parse_version};
pub use name_globs::{BadGlob, NameGlobs};
pub use permission::{
    BadPermission, Denial, Permission, PermissionKind, PermissionSet, RESOURCE_CHARACTERS_MAX, split_url,
};
pub use signature::{
    ParseKeyError, ParseSignatureError, PrivateKey, PublicKey, Signature, SignatureValue, SignedModule, StoredSignature,
};
