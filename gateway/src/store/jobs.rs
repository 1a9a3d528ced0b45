//! Definitions of jobs, runs, and notifications: what is kept of them.
//!
//! Invariants: a batch of changes is one transaction; a change of a run by a worker that does not hold it any
//! more changes nothing; times of leases are the database's, all others the caller's.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, Page, PageRequest};
use crate::model::job::{
    Delivery, DeliveryAttempt, DeliveryStatus, Job, JobName, Payload, Run, RunEvent, RunStatus, RunStep, StepError,
};
use crate::model::{AuditEntry, DeliveryId, Digest, JsonText, NameGlobs, RunId};

/// Attempts of a notification that are kept: two schedules, or one and the outage of a circuit.
pub(super) const ATTEMPTS_KEPT: usize = 20;

/// A gateway's session as a worker: what it holds is its alone while the session lives. A gateway whose session
/// ended begins a new one, with a new id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub Uuid);

/// What became of a definition that was to be saved.
#[derive(Debug, Clone, PartialEq)]
pub enum JobSaved {
    /// There was none of this name; with its revision, which is above 1 where one had been deleted.
    Created(Job),
    /// A new revision.
    Updated(Job),
    /// The same definition was stored already.
    Unchanged(Job),
    /// Only a new one was wanted, and there is one.
    Exists,
    /// There are as many jobs as there may be.
    Full,
}

/// Whether a save may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveJob {
    /// Only a job that is not there.
    Create,
    /// That, or a new revision of one that is.
    CreateOrReplace,
}

/// A definition that is to be saved.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name.
    pub name: JobName,
    /// As `model::job::Definition` serializes.
    pub definition: JsonText,
    /// When.
    pub at: Timestamp,
    /// The name of the key.
    pub by: String,
}

/// What the list of runs is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this job.
    pub job: Option<JobName>,
    /// In this state.
    pub status: Option<RunStatus>,
    /// Of jobs whose names these match: all that a restricted key sees.
    pub visible: Option<NameGlobs>,
    /// Made at or after.
    pub from: Option<Timestamp>,
    /// Made before.
    pub to: Option<Timestamp>,
}

/// What the list of notifications is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Of this job.
    pub job: Option<JobName>,
    /// In this state.
    pub status: Option<DeliveryStatus>,
    /// Of jobs whose names these match.
    pub visible: Option<NameGlobs>,
}

/// A request that is to start one run, however often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose keys these are: the API key's id and the job, or the job's hook.
    pub scope: String,
    /// As the request has it.
    pub key: String,
    /// Of the request's body.
    pub fingerprint: Digest,
    /// Until when it is remembered.
    pub expires_at: Timestamp,
    /// Whether a run that failed or was canceled makes way for a new one: for callers of the API it does; a webhook
    /// that was taken once is never taken again.
    pub is_free_after_failure: bool,
}

/// A run that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// Its job.
    pub job: JobName,
    /// The revision.
    pub revision: u64,
    /// What starts it.
    pub trigger: Payload,
    /// What the data is at first.
    pub data: Payload,
    /// Every step, `pending`.
    pub steps: Vec<RunStep>,
    /// When.
    pub created_at: Timestamp,
    /// Of the request.
    pub traceparent: Option<String>,
    /// Of the request.
    pub idempotency: Option<IdempotencyKey>,
    /// Who holds it from the start, so that no claim is needed; `None`: nobody.
    pub worker: Option<WorkerId>,
}

/// What a worker writes of a run that it holds, in one go: what one or several steps did, and what comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSaved {
    /// Which.
    pub id: RunId,
    /// Who writes: refused where the run is not this worker's any more.
    pub worker: WorkerId,
    /// How far it is now.
    pub status: RunStatus,
    /// The data where it changed.
    pub data: Option<Payload>,
    /// Why it failed.
    pub error: Option<StepError>,
    /// When its first step began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether the worker goes on holding it, or when somebody has to look at it again.
    pub hold: Hold,
    /// The steps that changed, whole; attempts that are stored and unchanged need not be written again.
    pub steps: Vec<RunStep>,
    /// What changed, for listeners; ids go on from the run's last.
    pub events: Vec<RunEvent>,
    /// Notifications that its end brings about.
    pub deliveries: Vec<Delivery>,
    /// Whether requests to cancel and to retry have been answered by this change.
    pub clears_requests: bool,
}

/// Who has a run after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The worker that wrote it.
    Keep,
    /// Nobody, until this time: a retry or the end of a wait is due then.
    Until(Timestamp),
    /// Nobody: it has ended.
    Ended,
}

/// A change of runs that shares a transaction with others.
#[derive(Debug, Clone, PartialEq)]
pub enum RunChange {
    /// A new run.
    Create(Box<NewRun>),
    /// What a worker did.
    Save(Box<RunSaved>),
}

/// What became of one change of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunChanged {
    /// It is stored.
    Done,
    /// A run was made for this key and this body before.
    Existing(RunId),
    /// The key was used with another body.
    Mismatch,
    /// The worker does not hold the run any more: nothing was changed.
    Lost,
}

/// What became of a request to cancel or retry a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// Its worker, or whoever claims it, will see to it.
    Accepted,
    /// There is no such run.
    NotFound,
    /// It has ended (of a cancel), or has not failed or been canceled (of a retry).
    Refused(RunStatus),
}

/// A run that a worker holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRun {
    /// All of it.
    pub run: Run,
    /// Somebody wants it to go on after it ended.
    pub retry_requested: bool,
}

/// What a worker learns when it tells that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// Its session goes on; somebody wants these of its runs to end.
    Alive {
        /// Which.
        cancel: Vec<RunId>,
    },
    /// Its session was over, and what it held is, or may be, another's.
    Over,
}

/// Definitions. A change and its audit row are one transaction, and are told to other gateways as modules' are.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Stores a definition as a new revision, unless it is the one that is there (text for text).
    async fn save_job(&self, job: &NewJob, how: SaveJob, jobs_max: u32, audit: &AuditEntry) -> Result<JobSaved, Error>;
    /// The newest revision of every job, for the snapshot.
    async fn all_jobs(&self) -> Result<Vec<Job>, Error>;
    /// Takes a job away; its runs stay, and so do the revisions that they need. Tells whether it was there.
    async fn delete_job(&self, name: &JobName, audit: &AuditEntry) -> Result<bool, Error>;
    /// One revision's definition, also of a job that was deleted while runs of it are kept.
    async fn job_revision(&self, name: &JobName, revision: u64) -> Result<Option<JsonText>, Error>;
}

/// Runs.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Applies a batch in one transaction, in order; the answers are in the order of the changes.
    async fn change_runs(&self, changes: Vec<RunChange>) -> Result<Vec<RunChanged>, Error>;
    /// Begins or extends a session: what the worker holds is its alone for `lease_ms` more, by the database's clock.
    /// `is_first` begins one; else a session that is over, or that somebody took from, is not revived.
    async fn worker_beat(&self, worker: WorkerId, lease_ms: u64, is_first: bool) -> Result<Beat, Error>;
    /// Ends a session: what it holds is anybody's at once.
    async fn worker_left(&self, worker: WorkerId) -> Result<(), Error>;
    /// Takes up to `max` runs that are due by `now` and nobody's, or whose holder's session is over; at most one in
    /// turn from each job, so that a job with many runs keeps no other's waiting. Those that somebody wants to end or to
    /// retry are due at once. Skips what others are taking.
    async fn claim_runs(&self, worker: WorkerId, now: Timestamp, max: u32) -> Result<Vec<HeldRun>, Error>;
    /// When the next run that nobody holds is due; `None` where there is none.
    async fn next_run_due(&self) -> Result<Option<Timestamp>, Error>;
    /// One run.
    async fn run(&self, id: RunId) -> Result<Option<Run>, Error>;
    /// A page of runs, newest first. Their steps are left out.
    async fn list_runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, Error>;
    /// Events of a run after `after`, in order, at most `max`.
    async fn run_events(&self, id: RunId, after: u64, max: u32) -> Result<Vec<RunEvent>, Error>;
    /// Asks for the end of a run that has not ended.
    async fn request_cancel(&self, id: RunId, audit: &AuditEntry) -> Result<Requested, Error>;
    /// Asks that a run that failed or was canceled goes on at the steps that did not complete.
    async fn request_retry(&self, id: RunId, audit: &AuditEntry) -> Result<Requested, Error>;
    /// How many runs are in each state of `queued` and `running`, and since when the oldest is due that nobody holds.
    async fn run_backlog(&self, now: Timestamp) -> Result<Backlog, Error>;
    /// Deletes up to `max` runs that ended before `ended_before`, with their steps, events, notifications that are not
    /// retrying, and keys; remembers whose blobs are to go. Tells how many.
    async fn delete_ended_runs(&self, ended_before: Timestamp, max: u32) -> Result<u64, Error>;
    /// Deletes idempotency keys that are over, and revisions that neither a job nor a run needs, up to `max`.
    async fn delete_expired_keys(&self, now: Timestamp, max: u32) -> Result<u64, Error>;
    /// Runs that are gone and whose blobs may not be, up to `max`.
    async fn runs_without_rows(&self, max: u32) -> Result<Vec<RunId>, Error>;
    /// The blobs of these are gone, too.
    async fn forget_runs(&self, ids: &[RunId]) -> Result<(), Error>;
}

/// How much is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Runs that have not begun.
    pub queued: u64,
    /// Runs that have, and have not ended.
    pub running: u64,
    /// The earliest time at which a run that nobody holds was due.
    pub oldest_due: Option<Timestamp>,
}

/// What became of an attempt at a notification.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryTried {
    /// Which.
    pub id: DeliveryId,
    /// Who tried: refused where it is not this worker's any more.
    pub worker: WorkerId,
    /// What happened.
    pub attempt: DeliveryAttempt,
    /// How far it is now.
    pub status: DeliveryStatus,
    /// Its place in the schedule.
    pub tries: u32,
    /// When it is due again.
    pub due_at: Option<Timestamp>,
    /// Whether the endpoint wants nothing more (410): all of this job's notifications to this URL that are not
    /// delivered are dead from now on, with those to come until the job is saved again.
    pub disables_endpoint: bool,
}

/// What became of a request to send a notification again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// It is due now, with a new schedule.
    Accepted,
    /// There is none of this id.
    NotFound,
}

/// Notifications.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Takes up to `max` that are due by `now` and nobody's, or whose holder's session is over; few of one URL at once.
    async fn claim_deliveries(&self, worker: WorkerId, now: Timestamp, max: u32) -> Result<Vec<Delivery>, Error>;
    /// Stores what became of an attempt, and lets go. Tells whether it was this worker's still.
    async fn delivery_tried(&self, tried: &DeliveryTried) -> Result<bool, Error>;
    /// When the next one that nobody holds is due.
    async fn next_delivery_due(&self) -> Result<Option<Timestamp>, Error>;
    /// One notification.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Error>;
    /// A page of them, newest first.
    async fn list_deliveries(&self, filter: &DeliveryFilter, page: PageRequest) -> Result<Page<Delivery>, Error>;
    /// Makes one due now; opens its endpoint again where 410 had closed it.
    async fn replay_delivery(&self, id: DeliveryId, now: Timestamp, audit: &AuditEntry) -> Result<Replayed, Error>;
}
