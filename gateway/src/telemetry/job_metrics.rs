//! What the job engine counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    status: &'static str,
}

/// The families of runs, steps and notifications.
#[derive(Debug, Default)]
pub struct JobMetrics {
    runs_started: Counter,
    runs_ended: Family<Labels, Counter>,
    steps_ended: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    commits: Counter,
    bytes_offloaded: Counter,
    sessions_lost: Counter,
    deliveries: Family<Labels, Counter>,
    runs_held: Gauge,
    runs_queued: Gauge,
    runs_running: Gauge,
    oldest_due: Gauge<f64, AtomicU64>,
}

impl JobMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("job_runs_started", "Runs that were started here", self.runs_started.clone());
        registry.register("job_runs_ended", "Runs that ended here", self.runs_ended.clone());
        registry.register("job_steps_ended", "Steps of runs that ended here", self.steps_ended.clone());
        registry.register("job_attempts", "Attempts at steps that ended here", self.attempts.clone());
        let help = "Transactions that changed runs; one may have the changes of many";
        registry.register("job_commits", help, self.commits.clone());
        let bytes = self.bytes_offloaded.clone();
        let help = "Triggers, data and outputs that were too large for a row";
        registry.register_with_unit("job_offloaded", help, Unit::Bytes, bytes);
        let help = "Times that this gateway lost its runs, because it could not tell the store that it lives";
        registry.register("job_sessions_lost", help, self.sessions_lost.clone());
        registry.register("job_deliveries", "Attempts at notifications", self.deliveries.clone());
        registry.register("job_runs_held", "Runs that this gateway works at", self.runs_held.clone());
        registry.register("job_runs_queued", "Runs in the store that have not begun", self.runs_queued.clone());
        registry.register(
            "job_runs_running",
            "Runs in the store that have begun and not ended",
            self.runs_running.clone(),
        );
        let help = "Since when the oldest run waits that is due and that nobody works at";
        registry.register_with_unit("job_oldest_due_age", help, Unit::Seconds, self.oldest_due.clone());
    }

    /// A run was started.
    pub fn run_started(&self) {
        self.runs_started.inc();
    }

    /// A run ended.
    pub fn run_ended(&self, status: &'static str) {
        self.runs_ended.get_or_create_owned(&Labels { status }).inc();
    }

    /// A step ended.
    pub fn step_ended(&self, status: &'static str) {
        self.steps_ended.get_or_create_owned(&Labels { status }).inc();
    }

    /// An attempt ended: `completed`, `invalid`, `failed` or `parked`.
    pub fn attempt_ended(&self, status: &'static str) {
        self.attempts.get_or_create_owned(&Labels { status }).inc();
    }

    /// A transaction was committed.
    pub fn committed(&self) {
        self.commits.inc();
    }

    /// So many bytes went to the blob store.
    pub fn offloaded(&self, bytes: u64) {
        self.bytes_offloaded.inc_by(bytes);
    }

    /// The session was over before this gateway ended it.
    pub fn session_lost(&self) {
        self.sessions_lost.inc();
    }

    /// A notification was tried.
    pub fn delivery_tried(&self, status: &'static str) {
        self.deliveries.get_or_create_owned(&Labels { status }).inc();
    }

    /// One run more, or one fewer, is held.
    pub fn held(&self, change: i64) {
        self.runs_held.inc_by(change);
    }

    /// What the store has.
    pub fn backlog(&self, queued: u64, running: u64, oldest_due_age_s: f64) {
        self.runs_queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.runs_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.oldest_due.set(oldest_due_age_s);
    }
}
