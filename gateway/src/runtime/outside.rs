//! What lies outside of an execution, and is reached through host calls only.
//!
//! Owns nothing of one execution. Invariant: it is opened once a process, so that connections are shared by
//! all executions.

use crate::config::{Config, Secrets};
use crate::database::{self, Databases};
use crate::egress::{self, Egress};

/// The way out over HTTP, the databases, and the operator's secrets. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Outside {
    pub(super) egress: Egress,
    pub(super) databases: Databases,
    pub(super) secrets: Secrets,
}

/// Why it can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// HTTP.
    #[error(transparent)]
    Egress(#[from] egress::OpenError),
    /// A database.
    #[error(transparent)]
    Database(#[from] database::OpenError),
}

impl Outside {
    /// Opens it; nothing is connected to yet.
    ///
    /// # Errors
    /// What an operator has to mend.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Ok(Self {
            egress: Egress::open(&config.egress)?,
            databases: Databases::open(&config.databases)?,
            secrets: config.secrets.clone(),
        })
    }
}
