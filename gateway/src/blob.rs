//! Bytes by digest, over `OpenDAL`.
//!
//! Owns where components' bytes are. Does not own what they mean (`registry`)
//! nor compiled code (`runtime::artifact`). Invariant: what `get` returns has
//! the digest that was asked for.

use bytes::Bytes;

use crate::config;
use crate::model::Digest;

/// The blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {}

/// Why bytes could not be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is stored under this digest.
    #[error("no blob {0}")]
    Missing(Digest),
    /// What is stored is not what was put there: an alert, never a retry.
    #[error("the stored bytes of {expected} have the digest {found}")]
    Integrity {
        /// What was asked for.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The storage does not answer, or not as it should. Retry later.
    #[error("the blob store failed: {context}")]
    Unavailable {
        /// What was being done.
        context: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Blobs {
    /// Opens the store, and makes its folder.
    pub async fn open(_config: &config::Blobs) -> Result<Self, Error> {
        todo!()
    }
    /// Stores `bytes`: temporary name, fsync, rename, read back and verified.
    pub async fn put(&self, _bytes: Bytes) -> Result<Digest, Error> {
        todo!()
    }
    /// The bytes of `digest`, verified.
    pub async fn get(&self, _digest: Digest) -> Result<Bytes, Error> {
        todo!()
    }
    /// Removes the bytes of `digest`; nothing happens where there are none.
    pub async fn delete(&self, _digest: Digest) -> Result<(), Error> {
        todo!()
    }
    /// Every digest that is stored, for the sweep at start.
    pub async fn list(&self) -> Result<Vec<Digest>, Error> {
        todo!()
    }
    /// A round trip, for readiness.
    pub async fn ping(&self) -> Result<(), Error> {
        todo!()
    }
}
