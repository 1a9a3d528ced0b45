//! What lies outside of an execution, and is reached through host calls only.
//!
//! Owns nothing of one execution. Invariant: it is opened once a process, so that connections are shared by
//! all executions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::stand_in::StandIn;
use crate::circuit::Circuits;
use crate::config::{Config, Secrets};
use crate::database::{self, Databases};
use crate::egress::{self, Egress};

/// The way out over HTTP, the databases, and the operator's secrets. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Outside {
    pub(super) egress: Egress,
    pub(super) databases: Databases,
    pub(super) secrets: Secrets,
    pub(super) circuits: Circuits,
    /// Answers in the place of all of them.
    pub(super) stand_in: Option<Arc<dyn StandIn>>,
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
    /// `None` where nothing is sent that they could be put in.
    pub(super) fn secrets(&self) -> Option<&Secrets> {
        self.stand_in.is_none().then_some(&self.secrets)
    }

    /// The way out over HTTP.
    #[must_use]
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The databases.
    #[must_use]
    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    /// The operator's secrets.
    #[must_use]
    pub fn all_secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Who fails and is left alone.
    #[must_use]
    pub fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// Opens it; nothing is connected to yet.
    ///
    /// # Errors
    /// What an operator has to mend.
    pub fn open(config: &Config, circuits: Circuits) -> Result<Self, OpenError> {
        Ok(Self {
            egress: Egress::open(&config.egress)?,
            databases: Databases::open(&config.databases)?,
            secrets: config.secrets.clone(),
            circuits,
            stand_in: None,
        })
    }

    /// Nothing but somebody who answers.
    ///
    /// # Errors
    /// The defaults of `[egress]` can't be used on this machine.
    pub fn standing_in(stand_in: Arc<dyn StandIn>) -> Result<Self, OpenError> {
        Ok(Self {
            egress: Egress::open(&crate::config::Egress::default())?,
            databases: Databases::open(&BTreeMap::new())?,
            secrets: Secrets::default(),
            circuits: Circuits::unwatched(),
            stand_in: Some(stand_in),
        })
    }
}
