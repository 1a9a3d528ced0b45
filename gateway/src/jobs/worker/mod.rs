//! Who works at runs.
//!
//! Owns this gateway's session, the places for runs, and a task for each run that is held. Does not own what comes next in a run
//! (`plan`) nor how a step is executed ([`StepRunner`]). Invariants: a run is driven by the task of the session that holds it and by no
//! other; a session that was lost, or may be, drives nothing any more; nothing begins that is not stored before.

mod claims;
mod context;
mod drive;
mod session;

pub(super) use context::{Held, Next, State, later};
pub(super) use drive::{Begun, Told, fraction};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::session::{Session, Sessions};
use super::committer::Committer;
use super::payloads::Payloads;
use super::revision::Revision;
use super::revisions::Revisions;
use super::runner::StepRunner;
use super::steady::Steady;
use super::watchers::Watchers;
use crate::model::RunId;
use crate::store::{HeldRun, SharedStore, WorkerId};
use crate::telemetry::Metrics;

/// What a worker is told.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Runs at once.
    pub(super) places: usize,
    /// How long the store believes in a session that it does not hear of.
    pub(super) lease: Duration,
    /// Between two looks for runs that nobody told of: other gateways' are only found so.
    pub(super) poll: Duration,
    /// Of a run's data, and of an output.
    pub(super) data_bytes_max: u64,
    /// For attempts that run when the gateway stops.
    pub(super) drain: Duration,
}

/// What drives runs. Shared by the tasks of all of them.
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) store: SharedStore,
    pub(super) committer: Committer,
    pub(super) payloads: Payloads,
    pub(super) revisions: Revisions,
    pub(super) runner: Arc<dyn StepRunner>,
    pub(super) watchers: Watchers,
    pub(super) clock: Steady,
    pub(super) metrics: Metrics,
    pub(super) sessions: Sessions,
    /// There may be something to claim, or to deliver.
    pub(super) wake: Arc<Notify>,
    pub(super) wake_deliveries: Arc<Notify>,
    places: Arc<Semaphore>,
    held: Mutex<HashMap<RunId, Arc<Notify>>>,
    tasks: TaskTracker,
    /// Nothing begins any more; what runs may end.
    draining: CancellationToken,
}

/// A place for one run, with the session that it would be held in.
pub(super) struct Place {
    pub(super) session: Session,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whose the run is.
    pub(super) fn worker(&self) -> WorkerId {
        self.session.id
    }
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) store: SharedStore,
    pub(super) committer: Committer,
    pub(super) payloads: Payloads,
    pub(super) revisions: Revisions,
    pub(super) runner: Arc<dyn StepRunner>,
    pub(super) watchers: Watchers,
    pub(super) clock: Steady,
    pub(super) metrics: Metrics,
    pub(super) wake_deliveries: Arc<Notify>,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, store, committer, payloads, revisions, runner, watchers, clock, metrics, wake_deliveries } =
            parts;
        Arc::new(Self {
            places: Arc::new(Semaphore::new(config.places)),
            config,
            store,
            committer,
            payloads,
            revisions,
            runner,
            watchers,
            clock,
            metrics,
            sessions: Sessions::default(),
            wake: Arc::default(),
            wake_deliveries,
            held: Mutex::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
        })
    }

    /// A place, where one is free and there is a session.
    pub(super) fn place(&self) -> Option<Place> {
        if self.draining.is_cancelled() {
            return None;
        }
        let session = self.sessions.current()?;
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { session, permit })
    }

    /// How many places are free.
    fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Drives a run that this session holds, in a task of its own.
    pub(super) fn drive(self: &Arc<Self>, place: Place, begun: drive::Begun) {
        let worker = Arc::clone(self);
        let cancel = Arc::new(Notify::new());
        let id = begun.id();
        self.lock().insert(id, Arc::clone(&cancel));
        self.metrics.jobs().held(1);
        self.tasks.spawn(async move {
            let Place { session, permit } = place;
            tokio::select! {
                () = session.lost.cancelled() => {}
                () = drive::run(&worker, &session, begun, &cancel) => {}
            }
            worker.lock().remove(&id);
            worker.metrics.jobs().held(-1);
            drop(permit);
            // The place is free for a run that waits for one.
            worker.wake.notify_one();
        });
    }

    /// Drives a run that was claimed.
    fn drive_claimed(self: &Arc<Self>, place: Place, held: HeldRun) {
        self.drive(place, drive::Begun::Claimed(Box::new(held)));
    }

    /// Tells the task of a run that somebody wants it to end; nothing happens where it is not held here.
    pub(super) fn cancel(&self, id: RunId) {
        if let Some(cancel) = self.lock().get(&id) {
            cancel.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Notify>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets attempts that run end within the drain time, and gives up the rest: another session makes them again.
    pub(super) async fn drain(&self) {
        self.draining.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.config.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!(count = self.tasks.len(), "attempts at steps were cut off, and are made again");
        }
        if let Some(session) = self.sessions.end() {
            // Futures that are dropped are not waited for: their runs are anybody's from here on, and fenced.
            if let Err(error) = self.store.worker_left(session).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the session could not be ended: its runs go on when it is over");
            }
        }
    }
}

/// A revision that can't be had is looked for again after so long.
pub(super) const REVISION_AGAIN: Duration = Duration::from_secs(30);

/// The revision of a run.
pub(super) async fn revision_of(worker: &Worker, held: &HeldRun) -> Option<Arc<Revision>> {
    worker.revisions.get(&held.run.job, held.run.revision).await
}
