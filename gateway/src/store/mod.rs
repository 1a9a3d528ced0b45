//! The control plane's persistence, by use case.
//!
//! Owns rows: modules, executions, their logs and denials, keys, the audit. Does not own bytes of
//! components (`blob`) nor what a module may be (`registry`). One file an
//! aggregate a backend; SQL is visible there. Invariant: what a method returned
//! `Ok` for survives `kill -9`.

pub mod postgres;
pub mod recorder;
pub mod refusals;
pub mod schema;
pub mod shared;
pub mod sqlite;

mod audit;
mod denials;
mod jobs;
mod keys;
mod retention;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod contract_audit;
#[cfg(test)]
mod contract_claims;
#[cfg(test)]
mod contract_deliveries;
#[cfg(test)]
mod contract_denials;
#[cfg(test)]
mod contract_jobs;
#[cfg(test)]
mod contract_keys;
#[cfg(test)]
mod contract_logs;
#[cfg(test)]
mod contract_runs;
mod version_key;

pub use audit::{Audit, AuditFilter};
pub use denials::{DENIALS_OF_MODULE_MAX, DenialBatch, Denials};
pub use jobs::{
    Backlog, Beat, Deliveries, DeliveryFilter, DeliveryTried, HeldRun, Hold, IdempotencyKey, JobSaved, Jobs, NewJob,
    NewRun, Replayed, Requested, RunChange, RunChanged, RunFilter, RunSaved, Runs, SaveJob, WorkerId,
};
pub use keys::{KeyDeleted, KeyInserted, Keys};
pub use retention::Retention;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::model::job::JobName;
use crate::model::{AuditEntry, ExecutionId, ExecutionRecord, Level, Limits, Module, ModuleId, Permission, Status};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer, or not as it should. Retry later.
    #[error("the database failed: {context}")]
    Unavailable {
        /// What was being done.
        context: &'static str,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database answers, and refuses: the same again would be refused again.
    #[error("the database refused: {context}")]
    Rejected {
        /// What was being done.
        context: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It takes longer than a request may. The same may be quicker when less goes on, or is asked for.
    #[error("the database takes too long: {context}")]
    TooSlow {
        /// What was being done.
        context: &'static str,
    },
    /// A row that this program did not write. An operator has to look.
    #[error("a stored {what} is not readable")]
    Corrupt {
        /// What it was.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data can't be opened: not writable, in use by another process, of a newer version.
    #[error("{reason}")]
    Open {
        /// For the operator, with what to do.
        reason: String,
        /// What the driver said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A page of a longer list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: u32,
    /// 1 to [`Self::LIMIT_MAX`].
    pub limit: u32,
}

impl PageRequest {
    /// The longest page; whoever reads many asks for these.
    pub const LIMIT_MAX: u32 = 200;

    /// How many items are on the pages before.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.page.saturating_sub(1)) * u64::from(self.limit)
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: u64,
}

/// What the list of modules is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct ModuleFilter {
    /// In the name or the description, any case; `%` and `_` are plain characters.
    pub query: Option<String>,
    /// The exact name (any text: one that is no name matches nothing).
    pub name: Option<String>,
    /// The exact kind.
    pub kind: Option<crate::model::ModuleKind>,
}

/// What became of a module that was to be inserted.
#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    /// It is stored now.
    Created,
    /// Name and version were taken by this module; the caller compares digests.
    Existed(Box<Module>),
}

/// Modules: name, version, permissions, limits. A change and its audit row are one transaction;
/// where nothing was changed there is no row.
#[async_trait]
pub trait Modules: Send + Sync {
    /// Stores a module unless its name and version are taken (builds count:
    /// `1.0.0+a` and `1.0.0+b` are two versions). One of two concurrent calls wins.
    async fn insert_module(&self, module: &Module, audit: &AuditEntry) -> Result<Inserted, Error>;
    /// Every module, for the snapshot.
    async fn all_modules(&self) -> Result<Vec<Module>, Error>;
    /// A page of modules by name, then newest version first (semver order).
    async fn list_modules(&self, filter: &ModuleFilter, page: PageRequest) -> Result<Page<Module>, Error>;
    /// Deletes the executions and logs of a version, in many short transactions: a million take
    /// seconds. For whoever deletes it next, and wants to be quick then. A call that fails or is
    /// cancelled leaves a version with a shorter history.
    async fn delete_executions_of(&self, id: ModuleId) -> Result<(), Error>;
    /// Deletes a version with its permissions, and what is left of its executions and logs, in one
    /// transaction. Tells whether it was there, and whether another version still has the same digest.
    async fn delete_module(&self, id: ModuleId, audit: &AuditEntry) -> Result<Option<DeletedModule>, Error>;
    /// Replaces a version's permissions, and with them its warnings, which are about permissions too.
    /// All or nothing; tells whether the version is there.
    async fn replace_permissions(
        &self,
        id: ModuleId,
        permissions: &[Permission],
        warnings: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, Error>;
    /// Replaces a version's own limits; tells whether the version is there.
    async fn replace_limits(&self, id: ModuleId, limits: &Limits, audit: &AuditEntry) -> Result<bool, Error>;
    /// Whether any module has these bytes.
    async fn digest_in_use(&self, digest: crate::model::Digest) -> Result<bool, Error>;
}

/// What is left after a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedModule {
    /// The digest of its bytes.
    pub digest: crate::model::Digest,
    /// Whether another version has them too.
    pub digest_in_use: bool,
}

/// What the list of executions is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Of this version.
    pub module_id: Option<ModuleId>,
    /// Of one of these versions: all that a restricted key sees. `None`: of any.
    pub visible: Option<Vec<ModuleId>>,
    /// In this state.
    pub status: Option<Status>,
    /// Steps of runs of this job.
    pub job: Option<JobName>,
    /// Started at or after.
    pub from: Option<Timestamp>,
    /// Started before.
    pub to: Option<Timestamp>,
}

/// Executions and their logs.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Stores a batch in one transaction. A record whose id is stored already
    /// replaces it when the stored one is still running, and is ignored otherwise.
    /// Records of modules that are gone by now are ignored.
    /// Shared, because a backend takes them to another thread, and a batch may be tried again.
    async fn record_executions(&self, records: Arc<[ExecutionRecord]>) -> Result<(), Error>;
    /// Marks what was running when this gateway last ended as failed with `error`; at start.
    /// What other gateways on the same store run is theirs.
    async fn end_interrupted(&self, error: &crate::model::ExecutionError) -> Result<u64, Error>;
    /// One execution, without its log lines.
    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error>;
    /// A page of executions without their log lines, newest first: by their ids, which
    /// begin with the time of the start.
    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: PageRequest,
    ) -> Result<Page<ExecutionRecord>, Error>;
    /// The log entry of an execution, or those of all executions of a run, the oldest first: the id may be
    /// a run's, too. With the lines of `level` and above, of one module if given. `None` where there is neither.
    async fn execution_logs(
        &self,
        id: ExecutionId,
        module_id: Option<ModuleId>,
        level: Level,
        page: PageRequest,
    ) -> Result<Option<Page<ExecutionRecord>>, Error>;
}

/// A whole backend.
#[async_trait]
pub trait Store: Modules + Executions + Denials + Keys + Audit + Retention + Jobs + Runs + Deliveries {
    /// Which store this is: made with its schema, the same for all gateways on it and for good.
    async fn id(&self) -> Result<Uuid, Error>;
    /// A round trip, for readiness.
    async fn ping(&self) -> Result<(), Error>;
    /// Waits for what is being written and closes the files.
    async fn close(&self);
    /// What several gateways on this store tell each other; `None` where it is this
    /// process's alone.
    fn shared(&self) -> Option<&dyn shared::Shared> {
        None
    }
}

/// A backend that is shared.
pub type SharedStore = Arc<dyn Store>;

/// The words of a text without case, for a search. Letter by letter, so that a
/// part of a text folds as it does within the whole.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
