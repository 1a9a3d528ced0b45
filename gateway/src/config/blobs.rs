//! `[blobs]`: where components' bytes are kept.

use std::path::PathBuf;

/// `[blobs]`, as its `url` says.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// `fs:PATH`.
    Folder {
        /// The folder; made where it is missing.
        path: PathBuf,
    },
}
