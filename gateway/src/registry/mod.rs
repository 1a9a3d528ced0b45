//! What a module is: intake, versions, references, permissions.
//!
//! Owns the way from uploaded bytes to a stored version, and the snapshot that
//! requests are resolved in. Does not own bytes (`blob`), rows (`store`) or
//! compiled code (`runtime`; a [`Compiler`] is passed in). Invariant: a version in
//! the snapshot has bytes in the blob store and was compiled once. Bytes come
//! before their row and go after it, so a crash leaves at most a blob without a
//! row, which the next start sweeps.

mod intake;
mod locks;
mod request;
mod service;
mod settings;
mod snapshot;
mod sweep;
mod trust;
mod wit;

pub use intake::{Component, inspect};
pub use request::{DESCRIPTION_CHARACTERS_MAX, PERMISSIONS_MAX};
pub use service::{Parts, Registry};
pub use snapshot::{Revision, Snapshot};
pub use trust::{Refusal, Trust, UploadedSignature};
pub use wit::step_signature;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::FieldError;
use crate::model::{Digest, Limits, Module, ModuleName, ModuleRef, Permission};
use crate::{blob, store};

/// Turns bytes into code ahead of the first call; the runtime is one.
#[async_trait]
pub trait Compiler: Send + Sync {
    /// Compiles a component that passed the intake and keeps the result.
    ///
    /// # Errors
    /// A sentence for the author.
    async fn compile(&self, digest: Digest, component: blob::Spool) -> Result<(), CompileError>;
    /// Forgets what was compiled of a component whose bytes are gone.
    async fn forget(&self, digest: Digest);
    /// Forgets what was compiled of all components but these.
    async fn retain(&self, digests: HashSet<Digest>);
}

/// Why a component can't be compiled here.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is the component's fault; the text says why.
    #[error("{0}")]
    Rejected(String),
    /// It is ours.
    #[error("compiling failed: {0}")]
    Failed(String),
}

/// A module that somebody wants to store.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The component.
    pub component: blob::Spool,
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: semver::Version,
    /// For people.
    pub description: String,
    /// What it is allowed.
    pub permissions: Vec<Permission>,
    /// Its own limits.
    pub limits: Limits,
    /// Who signed it.
    pub signature: Option<UploadedSignature>,
    /// The name of the key that uploads.
    pub created_by: String,
}

/// What became of an upload.
#[derive(Debug, Clone)]
pub enum Uploaded {
    /// It is stored now.
    Created(Arc<Module>),
    /// The same bytes were there already under this name and version.
    Existed(Arc<Module>),
}

/// Why the registry did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component can't run here; each reason with its path.
    #[error("the module can't run here")]
    Invalid(Vec<FieldError>),
    /// Permissions or limits are wrong; each with its path (`/permissions/0/resource`).
    #[error("the request is malformed")]
    BadRequest(Vec<FieldError>),
    /// It is not signed as the operator asks.
    #[error(transparent)]
    Signature(#[from] Refusal),
    /// Name and version are taken by other bytes.
    #[error("{name} {version} is taken by a module with other bytes")]
    VersionExists {
        /// The name.
        name: ModuleName,
        /// The version.
        version: semver::Version,
    },
    /// There is no such module.
    #[error("there is no module {0}")]
    NotFound(ModuleRef),
    /// The rows could not be had.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The bytes could not be had.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// Compiling failed for a reason that is ours.
    #[error("compiling failed: {0}")]
    Compile(String),
    /// A task of ours panicked, or the process ends.
    #[error("{0}")]
    Defect(String),
}

#[cfg(test)]
pub(crate) mod fixtures;
