//! Engines on one real store, with a world outside that remembers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot};

use crate::blob::{self, Blobs};
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::jobs::definition::{self, tests::Operator};
use crate::jobs::runner::{Again, Notifier, Posted, StepRunner, Task, TaskEnd};
use crate::jobs::{self, Handle, Start, Started};
use crate::model::job::{Attempt, Payload, Run, RunStatus, RunStep, StepStatus};
use crate::model::{AuditEntry, Digest, JsonText, RunId};
use crate::registry::{CompileError, Compiler, Registry, Trust};
use crate::store::sqlite::SqliteStore;
use crate::store::{IdempotencyKey, SaveJob, SharedStore};
use crate::telemetry::Metrics;

/// No test waits longer: what has not come by then does not come.
pub(super) const AT_MOST: Duration = Duration::from_secs(30);
/// `whsec_` and 24 bytes.
pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What an attempt does, and when.
pub(super) enum Act {
    /// It ends so at once.
    End(TaskEnd),
    /// It ends so once there is a permit, which it takes.
    Once(Arc<Semaphore>, TaskEnd),
    /// It never ends.
    Hang,
}

/// What was done outside. It outlives every engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Vec<(Moment, Task)>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Began,
    Ended,
}

impl Ledger {
    fn add(&self, moment: Moment, task: Task) {
        self.0.lock().unwrap().push((moment, task));
    }

    /// The attempts at a step, of all runs.
    pub(super) fn of(&self, moment: Moment, step: &str) -> Vec<Task> {
        let all = self.0.lock().unwrap();
        let wanted = all.iter().filter(|(at, task)| *at == moment && task.step.as_str() == step);
        wanted.map(|(_, task)| task.clone()).collect()
    }

    /// How often a step was begun.
    pub(super) fn began(&self, step: &str) -> usize {
        self.of(Moment::Began, step).len()
    }

    /// Where the first mark of a step is, among all that was done.
    pub(super) fn place(&self, moment: Moment, step: &str) -> usize {
        let all = self.0.lock().unwrap();
        all.iter().position(|(at, task)| *at == moment && task.step.as_str() == step).unwrap()
    }
}

/// Does what a script says.
struct Scripted {
    ledger: Ledger,
    script: Box<dyn Fn(&Task) -> Act + Send + Sync>,
}

#[async_trait]
impl StepRunner for Scripted {
    async fn run(&self, task: Task) -> TaskEnd {
        self.ledger.add(Moment::Began, task.clone());
        let end = match (self.script)(&task) {
            Act::End(end) => end,
            Act::Once(gate, end) => {
                gate.acquire().await.unwrap().forget();
                end
            }
            Act::Hang => std::future::pending().await,
        };
        self.ledger.add(Moment::Ended, task);
        end
    }
}

/// A notification as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What a request with this number to this URL is answered with; `None`: nothing, ever.
type Answer = Box<dyn Fn(usize, &str) -> Option<Posted> + Send + Sync>;

/// A receiver of notifications. `None` is one that hangs.
pub(super) struct Receiver {
    posts: Mutex<Vec<Post>>,
    answer: Answer,
}

impl Receiver {
    /// Answers by how many of the URL came before, and the URL.
    pub(super) fn new(answer: impl Fn(usize, &str) -> Option<Posted> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { posts: Mutex::default(), answer: Box::new(answer) })
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }
}

#[async_trait]
impl Notifier for Receiver {
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: String) -> Posted {
        let answer = {
            let mut posts = self.posts.lock().unwrap();
            let before = posts.iter().filter(|post| post.url == url).count();
            posts.push(Post { url: url.to_owned(), headers, body });
            (self.answer)(before, url)
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn secret(&self, _name: &str) -> Option<SecretString> {
        None
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a script of answers has")]
pub(super) fn answered(status: u16) -> Option<Posted> {
    Some(Posted::Answered { status, retry_after: None })
}

/// Compiling is the runtime's part.
struct NotCompiled;

#[async_trait]
impl Compiler for NotCompiled {
    async fn compile(&self, _digest: Digest, _component: blob::Spool) -> Result<(), CompileError> {
        Ok(())
    }

    async fn forget(&self, _digest: Digest) {}

    async fn retain(&self, _digests: std::collections::HashSet<Digest>) {}
}

/// What engines share, and what is outside.
pub(super) struct World {
    pub(super) store: SharedStore,
    pub(super) config: Config,
    pub(super) hand: ManualClock,
    pub(super) clock: Clock,
    pub(super) ledger: Ledger,
    blobs: Blobs,
    folder: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap();
        Self::on(folder, Arc::new(store)).await
    }

    pub(super) async fn on(folder: TempDir, store: SharedStore) -> Self {
        let mut config = Config::in_folder(folder.path().to_owned());
        config.jobs.workers = 16;
        config.server.drain_ms = 1_000;
        let (clock, hand) = Clock::manual("2026-03-01T12:00:00Z".parse().unwrap());
        let blobs = Blobs::open(&config.blobs, &config.data_dir, clock.clone()).await.unwrap();
        Self { store, config, hand, clock, ledger: Ledger::default(), blobs, folder }
    }

    /// Another engine, whose steps do as the script says and whose notifications are taken.
    pub(super) async fn engine(&self, script: impl Fn(&Task) -> Act + Send + Sync + 'static) -> Engine {
        self.engine_with(script, Receiver::new(|_, _| answered(204))).await
    }

    pub(super) async fn engine_with(
        &self,
        script: impl Fn(&Task) -> Act + Send + Sync + 'static,
        notifier: Arc<Receiver>,
    ) -> Engine {
        let metrics = Metrics::new();
        let registry = Registry::open(crate::registry::Parts {
            store: Arc::clone(&self.store),
            blobs: self.blobs.clone(),
            compiler: Arc::new(NotCompiled),
            limits: self.config.limits.clone(),
            trust: Trust::new(self.config.signatures.clone(), metrics.clone()),
            metrics: metrics.clone(),
            clock: self.clock.clone(),
            changes: tokio_util::task::TaskTracker::new(),
        });
        let parts = jobs::Parts {
            store: Arc::clone(&self.store),
            blobs: self.blobs.clone(),
            registry: registry.await.unwrap(),
            runner: Arc::new(Scripted { ledger: self.ledger.clone(), script: Box::new(script) }),
            notifier,
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            config: &self.config,
        };
        let (handle, service) = jobs::open(parts).await.unwrap();
        // Its own threads, so that a kill takes everything at once, what was spawned included.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let threads = builder.worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = threads.spawn(service.run(async {
            let _ = stopped.await;
        }));
        Engine { handle, metrics, threads: Some(threads), stop: Some(stop), service: Some(service) }
    }

    /// What an outage of the database is: nobody can write until this is dropped.
    pub(super) fn lock_database(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.folder.path().join("sluice.db")).unwrap();
        connection.busy_timeout(AT_MOST).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Where the blobs of runs are.
    pub(super) fn run_blobs(&self) -> std::path::PathBuf {
        match &self.config.blobs {
            crate::config::Blobs::Folder { path } => path.join("runs"),
            crate::config::Blobs::S3(_) => panic!("the blobs of tests are in a folder"),
        }
    }
}

/// A gateway's engine.
pub(super) struct Engine {
    pub(super) handle: Handle,
    metrics: Metrics,
    threads: Option<tokio::runtime::Runtime>,
    stop: Option<oneshot::Sender<()>>,
    service: Option<tokio::task::JoinHandle<()>>,
}

impl Engine {
    /// What `kill -9` does, as far as one process can: nothing of it goes on.
    pub(super) fn kill(mut self) {
        self.threads.take().unwrap().shutdown_background();
    }

    /// What SIGTERM does.
    pub(super) async fn stop(mut self) {
        let service = self.service.take().unwrap();
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(AT_MOST, service).await.unwrap().unwrap();
        self.threads.take().unwrap().shutdown_background();
    }

    pub(super) async fn save(&self, definition: Value) {
        let checked = definition::check(definition, &Operator).unwrap();
        let audit = AuditEntry::by_gateway(Timestamp::UNIX_EPOCH, "job.save", "a job");
        self.handle.save(checked, SaveJob::CreateOrReplace, "tests", audit).await.unwrap();
    }

    pub(super) async fn start(&self, job: &str, trigger: Value) -> RunId {
        match self.start_with(job, trigger, None).await {
            Ok(Started::New(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn start_with(
        &self,
        job: &str,
        trigger: Value,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Started, jobs::Error> {
        let job = self.handle.find(job).unwrap();
        let (handle, trigger) = (self.handle.clone(), JsonText::of(&trigger));
        let start = async move { handle.start(Start { job, trigger, idempotency, traceparent: None }).await };
        self.threads.as_ref().unwrap().spawn(start).await.unwrap()
    }

    /// The run once it has ended.
    pub(super) async fn ended(&self, id: RunId) -> Run {
        let run = self.handle.wait(id, AT_MOST).await.unwrap().unwrap();
        assert!(run.status.is_end(), "{run:#?}");
        run
    }

    /// The run once it is as wanted.
    pub(super) async fn once(&self, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
        let until = tokio::time::Instant::now() + AT_MOST;
        loop {
            let run = self.handle.run(id).await.unwrap().unwrap();
            if wanted(&run) {
                return run;
            }
            assert!(tokio::time::Instant::now() < until, "{run:#?}");
            self.handle.changed(id, run.last_event).await;
        }
    }

    pub(super) async fn value(&self, id: RunId, payload: &Payload) -> Value {
        serde_json::from_str(self.handle.text(id, payload).await.unwrap().as_str()).unwrap()
    }

    /// A counter without labels.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Waits until something is so that nobody tells of.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + AT_MOST;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn audit() -> AuditEntry {
    AuditEntry::by_gateway(Timestamp::UNIX_EPOCH, "run.change", "a run")
}

/// A step that a script answers for.
pub(super) fn step(id: &str) -> Value {
    json!({"id": id, "type": "http", "method": "POST", "url": "https://effects.test/"})
}

/// The same, with more members.
pub(super) fn step_with(id: &str, more: Value) -> Value {
    let mut step = step(id);
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

/// A job whose failed steps are tried again after these intervals, without chance.
pub(super) fn job(name: &str, steps: Vec<Value>) -> Value {
    json!({"name": name, "steps": steps, "retry": {
        "max_attempts": 3, "initial_interval_ms": 60_000, "multiplier": 2.0, "max_interval_ms": 600_000, "jitter": false,
    }})
}

pub(super) fn completed(output: Value) -> TaskEnd {
    TaskEnd::Completed { output: JsonText::of(&output), data: None, next: None }
}

/// A failure that is worth another attempt.
pub(super) fn failed() -> TaskEnd {
    TaskEnd::failed("upstream-status", "gateway", "it answered 503", Again::Policy)
}

/// A failure that is not.
pub(super) fn failed_for_good() -> TaskEnd {
    TaskEnd::failed("upstream-status", "gateway", "it answered 400", Again::Never)
}

/// An output that tells the step and the attempt.
pub(super) fn told(task: &Task) -> Act {
    let mut output = serde_json::Map::new();
    output.insert(task.step.to_string(), json!(task.attempt));
    Act::End(completed(Value::Object(output)))
}

pub(super) fn step_of<'a>(run: &'a Run, id: &str) -> &'a RunStep {
    run.steps.iter().find(|step| step.id.as_str() == id).unwrap()
}

pub(super) fn statuses(run: &Run) -> Vec<StepStatus> {
    run.steps.iter().map(|step| step.status).collect()
}

/// The codes of the errors of a step's attempts; empty where there was none.
pub(super) fn codes(run: &Run, id: &str) -> Vec<String> {
    let code = |attempt: &Attempt| attempt.error.as_ref().map_or_else(String::new, |error| error.code.clone());
    step_of(run, id).attempts.iter().map(code).collect()
}

/// Every step has ended as it should in a run that completed.
pub(super) fn assert_completed(run: &Run) {
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    let mut completions: Vec<_> = run.steps.iter().filter_map(|step| step.completion).collect();
    completions.sort_unstable();
    let count = u32::try_from(completions.len()).unwrap();
    assert_eq!(completions, (1..=count).collect::<Vec<_>>(), "{run:#?}");
}
