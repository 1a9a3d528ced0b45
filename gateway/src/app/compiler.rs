//! The runtime as the registry's compiler: the two don't know each other.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::blob::Spool;
use crate::model::Digest;
use crate::registry::{CompileError, Compiler};
use crate::runtime::{LoadError, Runtime};

/// Compiles uploads with the runtime that will run them.
pub(super) struct RuntimeCompiler(pub(super) Arc<Runtime>);

#[async_trait]
impl Compiler for RuntimeCompiler {
    async fn compile(&self, digest: Digest, component: Spool) -> Result<(), CompileError> {
        self.0.compile(digest, component).await.map_err(|error| match error {
            LoadError::Rejected(reason) | LoadError::Starved(reason) => CompileError::Rejected(reason),
            error @ (LoadError::Integrity(_) | LoadError::Blob(_) | LoadError::Failed(_)) => {
                CompileError::Failed(error.to_string())
            }
        })
    }

    async fn forget(&self, digest: Digest) {
        self.0.forget(digest).await;
    }

    async fn retain(&self, digests: HashSet<Digest>) {
        self.0.retain(digests).await;
    }
}
