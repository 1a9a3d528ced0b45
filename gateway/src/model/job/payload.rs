//! JSON of a run: in its row while it is small, else in the blob store.

use crate::model::{Digest, JsonText};

/// A JSON document of a run as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// In the row.
    Inline(JsonText),
    /// Among the run's own blobs, under this digest.
    Blob {
        /// Of the text.
        digest: Digest,
        /// Of the text.
        size_bytes: u64,
    },
}

impl Payload {
    /// What goes into a row at most; more goes to blobs.
    pub const INLINE_BYTES_MAX: usize = 64 * 1024;
}
