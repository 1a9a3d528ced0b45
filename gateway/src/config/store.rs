//! `[store]`: where the control plane keeps its rows.

use std::path::PathBuf;

/// `[store]`, as its `url` says.
#[derive(Debug, Clone)]
pub enum Store {
    /// `sqlite:PATH`.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
}
