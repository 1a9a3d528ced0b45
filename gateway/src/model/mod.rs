//! Plain data and pure rules: names, versions, permissions, limits, modules,
//! executions.
//!
//! Owns the types that can't be wrong once they exist. Does no I/O, knows no
//! clock, and depends on nothing of this crate but `error`'s vocabulary.

mod digest;
mod execution;
mod id;
mod json;
mod key;
mod limits;
mod module;
mod name;
mod permission;
mod signature;

pub use digest::{Digest, ParseDigestError};
pub use execution::{ExecutionError, ExecutionRecord, Level, LogLine, Status};
pub use id::{ExecutionId, ModuleId};
#[cfg(test)]
pub(crate) use json::any_json;
pub use json::{JSON_DEPTH_MAX, JsonText, NotJson};
pub use key::{Key, Role};
pub use limits::{EffectiveLimits, LimitAboveCeiling, Limits, RESIDENT_MEMORY_BYTES};
pub use module::{Module, ModuleKind, NOTE_PREFIX};
pub use name::{ModuleName, ModuleRef, ParseNameError, ParseRefError, parse_version};
pub use permission::{BadPermission, Permission, PermissionKind};
pub use signature::{
    ParseKeyError, ParseSignatureError, PrivateKey, PublicKey, Signature, SignatureValue, SignedModule, StoredSignature,
};
