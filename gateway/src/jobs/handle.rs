//! What the rest of the gateway asks of the engine.
//!
//! Owns no rule: it joins the snapshot of definitions, the store and the worker. Cheap to clone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::definition;
use super::plan::{Event, Plan};
use super::revision::Revision;
use super::snapshot::{Jobs, World};
use super::worker::{Begun, Held, Next, Place, State, Told, Worker};
use crate::config;

use crate::error::FieldError;
use crate::model::job::{Definition, Delivery, Job, JobName, Payload, Run, RunEvent, RunStatus, StepKind};
use crate::model::{AuditEntry, DeliveryId, JsonText, ModuleId, ModuleRef, RunId};
use crate::store::{
    self, DeliveryFilter, Hold, IdempotencyKey, JobSaved, NewJob, NewRun, Page, PageRequest, Replayed, Requested,
    RunChange, RunChanged, RunFilter, SaveJob,
};

/// The engine, as the API, the hooks and the dashboard have it.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    worker: Arc<Worker>,
    jobs: Jobs,
    world: World,
    settings: config::Jobs,
    /// Keys whose first request is being stored.
    starting: Mutex<HashSet<(String, String)>>,
    /// Room for starts that are being stored, in KiB.
    room: Arc<Semaphore>,
}

/// What a handle is made of.
pub(super) struct Parts {
    pub(super) worker: Arc<Worker>,
    pub(super) jobs: Jobs,
    pub(super) world: World,
    pub(super) settings: config::Jobs,
}

/// A run of another gateway is asked for this often.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// What starts that wait for the store may hold: it may be away, and callers that leave do not end their starts.
const ROOM_KIB: usize = 256 * 1024;
/// What a start holds besides its trigger, rounded up: so there are 8 192 at once at most.
const START_KIB: usize = 32;
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A job as the snapshot has it: the newest revision, read and checked.
#[derive(Debug)]
pub struct KnownJob {
    /// What is stored.
    pub job: Job,
    /// What it says.
    pub definition: Definition,
    pub(super) revision: Arc<Revision>,
}

/// A definition without mistakes.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The definition.
    pub definition: Definition,
    /// What is allowed and probably not meant: a step that nothing reaches.
    pub warnings: Vec<FieldError>,
}

/// What starts a run.
#[derive(Debug, Clone)]
pub struct Start {
    /// Of what.
    pub job: Arc<KnownJob>,
    /// With what.
    pub trigger: JsonText,
    /// Of the request; `None` where it has no key.
    pub idempotency: Option<IdempotencyKey>,
    /// Of the request.
    pub traceparent: Option<String>,
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// There is a run now.
    New(RunId),
    /// This key started this run before.
    Before(RunId),
    /// This key came with another body.
    Mismatch,
}

/// Why the engine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Bytes of a run could not be had or stored.
    #[error(transparent)]
    Blobs(#[from] crate::blob::Error),
    /// The trigger is over `[jobs] data_bytes`.
    #[error("the trigger has more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// As many starts are being stored as may be. Retry later.
    #[error("too many runs are being started")]
    Overloaded,
    /// The first request with this key is still being accepted.
    #[error("the first request with this key is still being accepted")]
    Conflict,
}

impl Handle {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { worker, jobs, world, settings } = parts;
        Self(Arc::new(Inner {
            worker,
            jobs,
            world,
            settings,
            starting: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
        }))
    }

    /// Checks a definition: every mistake at once, each with the JSON pointer to its place.
    ///
    /// # Errors
    /// The mistakes.
    pub fn check(&self, definition: Value) -> Result<Checked, Vec<FieldError>> {
        definition::check(definition, &self.0.world)
    }

    /// Stores a checked definition as a new revision, and swaps it in.
    pub async fn save(&self, checked: Checked, how: SaveJob, by: &str, audit: AuditEntry) -> Result<JobSaved, Error> {
        let Checked { definition, .. } = checked;
        let job = NewJob {
            definition: JsonText::of(&definition),
            name: definition.name,
            at: self.0.worker.clock.now(),
            by: by.to_owned(),
        };
        let jobs_max = u32::try_from(self.0.settings.jobs_max).unwrap_or(u32::MAX);
        let saved = self.0.worker.store.save_job(&job, how, jobs_max, &audit).await?;
        self.0.jobs.reload().await?;
        Ok(saved)
    }

    /// Takes a job away. Tells whether it was there. What runs of it ends as it is defined.
    pub async fn delete(&self, name: &JobName, audit: AuditEntry) -> Result<bool, Error> {
        let was_there = self.0.worker.store.delete_job(name, &audit).await?;
        self.0.jobs.reload().await?;
        Ok(was_there)
    }

    /// Takes over what another gateway saved.
    pub async fn reload(&self) -> Result<(), store::Error> {
        self.0.jobs.reload().await
    }

    /// A job by its name, of the snapshot: no database is asked.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<KnownJob>> {
        self.0.jobs.find(name)
    }

    /// All jobs by name, of the snapshot.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<KnownJob>> {
        self.0.jobs.all()
    }

    /// The jobs that a version's deletion would leave without a module. For `in-use`.
    #[must_use]
    pub fn users_of(&self, module: ModuleId) -> Vec<JobName> {
        let now = self.0.world.registry.snapshot();
        let then = now.without(module);
        let is_lost = |reference: &ModuleRef| now.resolve(reference).is_some() && then.resolve(reference).is_none();
        let needs = |job: &Arc<KnownJob>| {
            job.definition.steps.iter().any(|step| match &step.kind {
                StepKind::Wasm(wasm) => is_lost(&wasm.module),
                StepKind::Http(_) | StepKind::Database(_) | StepKind::Wait(_) => false,
            })
        };
        self.jobs().into_iter().filter(needs).map(|job| job.job.name.clone()).collect()
    }

    /// Starts a run. It is stored when this returns, and its first step is on its way. A caller that leaves has started it or not.
    pub async fn start(&self, start: Start) -> Result<Started, Error> {
        let limit = self.0.settings.data_bytes;
        if start.trigger.as_str().len() as u64 > limit {
            return Err(Error::TooLarge { limit });
        }
        let turn = match &start.idempotency {
            Some(key) => Some(Turn::take(&self.0, (key.scope.clone(), key.key.clone())).ok_or(Error::Conflict)?),
            None => None,
        };
        // The text, and what it is read to.
        let room = START_KIB + start.trigger.as_str().len() / 256;
        let room = u32::try_from(room.min(ROOM_KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0.room).try_acquire_many_owned(room).map_err(|_| Error::Overloaded)?;
        let handle = self.clone();
        // In a task of its own: a run that is stored as held has to be driven, whoever left.
        let started = tokio::spawn(async move {
            let started = handle.store_and_drive(start).await;
            drop((turn, room));
            started
        });
        started.await.unwrap_or(Err(Error::Overloaded))
    }

    async fn store_and_drive(&self, start: Start) -> Result<Started, Error> {
        let worker = &self.0.worker;
        let (id, now) = (RunId::generate(), worker.clock.now());
        let trigger: Value = serde_json::from_str(start.trigger.as_str()).unwrap_or_default();
        let stored = worker.payloads.put(id, &start.trigger).await?;
        let (data, stored_data) = if trigger.is_object() {
            (trigger.clone(), stored.clone())
        } else {
            let empty = Value::Object(serde_json::Map::new());
            (empty.clone(), Payload::Inline(JsonText::of(&empty)))
        };
        let revision = Arc::clone(&start.job.revision);
        let run = Run {
            id,
            job: start.job.job.name.clone(),
            revision: start.job.job.revision,
            status: RunStatus::Queued,
            trigger: stored,
            data: stored_data,
            error: None,
            steps: Plan::first_steps(&revision.graph),
            last_event: 0,
            cancel_requested: false,
            created_at: now,
            started_at: None,
            ended_at: None,
            traceparent: start.traceparent,
        };
        let new = |worker| NewRun {
            id,
            job: run.job.clone(),
            revision: run.revision,
            trigger: run.trigger.clone(),
            data: run.data.clone(),
            steps: run.steps.clone(),
            created_at: now,
            traceparent: run.traceparent.clone(),
            idempotency: start.idempotency.clone(),
            worker,
        };
        let Some(place) = worker.place() else {
            let done = worker.committer.commit(vec![RunChange::Create(Box::new(new(None)))]).await?;
            worker.wake.notify_one();
            return Ok(self.started(id, done.first()));
        };
        let create = RunChange::Create(Box::new(new(Some(place.worker()))));
        let held = Held {
            trigger: Arc::new(trigger),
            data: Arc::new(data),
            outputs: std::collections::HashMap::new(),
            poison: None,
        };
        self.begin(create, place, State::new(run, revision, held)).await
    }

    /// Stores a run with the beginning of its first step, in one transaction, and drives it.
    async fn begin(&self, create: RunChange, place: Place, mut state: State) -> Result<Started, Error> {
        let worker = &self.0.worker;
        let (id, now, mut next) = (state.run.id, worker.clock.now(), Next::default());
        state.apply(Event::Begin { at: now }, now, &mut next);
        let hold = state.hold(now, next.tasks.is_empty());
        let saved = state.saved(place.worker(), None, hold);
        let (told, has_deliveries) = (Told::of(&saved), !saved.deliveries.is_empty());
        let done = worker.committer.commit(vec![create, RunChange::Save(Box::new(saved))]).await?;
        let started = self.started(id, done.first());
        if !matches!(done.as_slice(), [RunChanged::Done, RunChanged::Done]) {
            // Another request's run, or the session was lost and another one drives it.
            worker.wake.notify_one();
            return Ok(started);
        }
        told.count(worker);
        if has_deliveries {
            worker.wake_deliveries.notify_one();
        }
        match hold {
            Hold::Keep => worker.drive(place, Begun::New(Box::new(state), next)),
            Hold::Until(_) | Hold::Ended => worker.wake.notify_one(),
        }
        Ok(started)
    }

    fn started(&self, id: RunId, done: Option<&RunChanged>) -> Started {
        match done {
            Some(RunChanged::Existing(before)) => Started::Before(*before),
            Some(RunChanged::Mismatch) => Started::Mismatch,
            Some(RunChanged::Done | RunChanged::Lost) | None => {
                self.0.worker.metrics.jobs().run_started();
                Started::New(id)
            }
        }
    }

    /// One run with its steps.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        Ok(self.0.worker.store.run(id).await?)
    }

    /// Waits until a run has ended, at most so long, and gives it as it is then. A run of another gateway is asked for
    /// four times a second; one of this gateway tells.
    pub async fn wait(&self, id: RunId, at_most: Duration) -> Result<Option<Run>, Error> {
        let until = tokio::time::Instant::now() + at_most;
        let watcher = self.0.worker.watchers.watch(id);
        loop {
            let mut changed = std::pin::pin!(watcher.changed());
            // Before the run is read, so that no change falls in between.
            changed.as_mut().enable();
            let run = self.run(id).await?;
            let is_over = run.as_ref().is_none_or(|run| run.status.is_end());
            if is_over || tokio::time::Instant::now() >= until {
                return Ok(run);
            }
            let again = until.min(tokio::time::Instant::now() + ASK_AGAIN);
            let _ = tokio::time::timeout_at(again, changed).await;
        }
    }

    /// A page of runs, newest first.
    pub async fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, Error> {
        Ok(self.0.worker.store.list_runs(filter, page).await?)
    }

    /// The text of a run's trigger, data or output, from the row or the blobs.
    pub async fn text(&self, run: RunId, payload: &Payload) -> Result<JsonText, Error> {
        Ok(self.0.worker.payloads.get(run, payload).await?)
    }

    /// Events of a run after `after`.
    pub async fn events(&self, id: RunId, after: u64, max: u32) -> Result<Vec<RunEvent>, Error> {
        Ok(self.0.worker.store.run_events(id, after, max).await?)
    }

    /// Returns when there may be new events of a run after `after`: at once when this gateway writes them, else after a quarter of
    /// a second.
    pub async fn changed(&self, id: RunId, after: u64) {
        let watcher = self.0.worker.watchers.watch(id);
        let mut changed = std::pin::pin!(watcher.changed());
        changed.as_mut().enable();
        // One that came before this was asked is seen so.
        if self.events(id, after, 1).await.is_ok_and(|events| !events.is_empty()) {
            return;
        }
        let _ = tokio::time::timeout(ASK_AGAIN, changed).await;
    }

    /// Asks for a run's end, and wakes its worker.
    pub async fn cancel(&self, id: RunId, audit: AuditEntry) -> Result<Requested, Error> {
        let requested = self.0.worker.store.request_cancel(id, &audit).await?;
        if requested == Requested::Accepted {
            self.0.worker.cancel(id);
            self.0.worker.wake.notify_one();
        }
        Ok(requested)
    }

    /// Asks that a run goes on at the steps that did not complete.
    pub async fn retry(&self, id: RunId, audit: AuditEntry) -> Result<Requested, Error> {
        let requested = self.0.worker.store.request_retry(id, &audit).await?;
        if requested == Requested::Accepted {
            self.0.worker.wake.notify_one();
        }
        Ok(requested)
    }

    /// A page of notifications, newest first.
    pub async fn deliveries(&self, filter: &DeliveryFilter, page: PageRequest) -> Result<Page<Delivery>, Error> {
        Ok(self.0.worker.store.list_deliveries(filter, page).await?)
    }

    /// One notification.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        Ok(self.0.worker.store.delivery(id).await?)
    }

    /// Sends a notification again, now.
    pub async fn replay(&self, id: DeliveryId, audit: AuditEntry) -> Result<Replayed, Error> {
        let replayed = self.0.worker.store.replay_delivery(id, self.0.worker.clock.now(), &audit).await?;
        self.0.worker.wake_deliveries.notify_one();
        Ok(replayed)
    }

    /// The secrets of a job's hook, those of `[secrets]` put in; a name that is not there any more is left out.
    #[must_use]
    pub fn hook_secrets(&self, job: &KnownJob) -> Vec<SecretString> {
        let secrets = job.definition.hook.iter().flat_map(|hook| &hook.secrets);
        secrets.filter_map(|text| put_in(text, |name| self.0.world.secrets.get(name).cloned())).collect()
    }

    /// How long an idempotency key is remembered from now on.
    #[must_use]
    pub fn idempotency_until(&self) -> Timestamp {
        let hours = i32::try_from(self.0.settings.idempotency_hours).unwrap_or(i32::MAX);
        let now = self.0.worker.clock.now();
        now.checked_add(HOUR.saturating_mul(hours)).unwrap_or(Timestamp::MAX)
    }
}

/// A secret as it stands, or by its name: `{{secret:NAME}}`.
pub(super) fn put_in(text: &str, named: impl FnOnce(&str) -> Option<SecretString>) -> Option<SecretString> {
    let inner = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
    match inner.and_then(|inner| inner.trim().strip_prefix("secret:")) {
        Some(name) => named(name.trim()),
        None => Some(SecretString::from(text)),
    }
}

/// A key's first request is being stored, until this is dropped.
struct Turn {
    inner: Arc<Inner>,
    key: (String, String),
}

impl Turn {
    fn take(inner: &Arc<Inner>, key: (String, String)) -> Option<Self> {
        let is_first = inner.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        is_first.then(|| Self { inner: Arc::clone(inner), key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
