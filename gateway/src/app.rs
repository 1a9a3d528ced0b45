//! The composition root: from a configuration to a gateway that serves, and back.
//!
//! Owns the order of starting and stopping, and every task that outlives a
//! request. Invariant: what was answered is stored before the process ends, unless
//! it is killed.

mod admin_key;
mod alerts;
mod background;
mod compiler;
mod data_folder;
mod follower;
mod key_use;
mod retention;
mod schema;
mod sweeper;

pub use schema::{check_schema, migrate};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::background::Background;
use self::data_folder::DataFolder;
use self::follower::Follower;

use crate::api;
use crate::blob::{self, Blobs};
use crate::circuit::Circuits;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Code;
use crate::http::rate_limit::RateLimits;
use crate::http::service::{Door, Handler};
use crate::http::{self, invoke, listener};
use crate::jobs;
use crate::model::ExecutionError;
use crate::registry::{self, Registry};
use crate::runtime::{self, CompileIn, Outside, Runtime};
use crate::steps::{self, Steps};
use crate::store::postgres::PostgresStore;
use crate::store::recorder::{self, Recorder};
use crate::store::refusals::{self, Refusals};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, SharedStore};
use crate::telemetry::{self, Metrics, Sampler};

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {address}: {source}{}", hint(source))]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The data folder can't be made or written.
    #[error("the data folder {} can't be used: {source}", path.display())]
    DataFolder {
        /// Where.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process works in the data folder.
    #[error(
        "the data folder {} is in use by another process: stop that one, or give this one a data folder of its own",
        path.display()
    )]
    DataFolderInUse {
        /// Where.
        path: std::path::PathBuf,
    },
    /// The database can't be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The blob store can't be opened.
    #[error(transparent)]
    Blobs(#[from] blob::Error),
    /// The engine can't be started.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// What steps reach.
    #[error(transparent)]
    Outside(#[from] runtime::OpenError),
    /// The modules can't be loaded.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Logging or the exporter can't be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// The binary that compiles can't be found: it is this program's.
    #[error("the path of this program can't be had, and it is needed to compile: {0}")]
    Program(std::io::Error),
    /// Waiting for a signal is not possible here.
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program uses the port: stop it, or choose another with --listen",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose another with --listen",
        _ => "",
    }
}

/// A gateway that serves.
pub struct App {
    address: SocketAddr,
    first_key: Option<String>,
    readiness: api::Readiness,
    stop: watch::Sender<bool>,
    server: JoinHandle<listener::Report>,
    recording: JoinHandle<()>,
    stop_recording: watch::Sender<bool>,
    engine: JoinHandle<()>,
    stop_engine: watch::Sender<bool>,
    background: Background,
    requests: TaskTracker,
    changes: TaskTracker,
    detached: invoke::Detached,
    drain: Duration,
    store: SharedStore,
    blobs: Blobs,
    sweeper: Option<AbortOnDropHandle<()>>,
    data_folder: DataFolder,
}

/// How long the futures of requests whose connection was cut may take to be dropped:
/// those of HTTP/2 are tasks of their own.
const DROPPED_WITHIN: Duration = Duration::from_secs(1);

/// How a gateway stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections and executions that had to be cut off.
    pub cut: usize,
}

impl App {
    /// Starts a gateway; it serves when this returns.
    ///
    /// Cancelled, nothing is left running either, but a thread that was at work on a file.
    ///
    /// # Errors
    /// What an operator has to mend; nothing is left running.
    pub async fn start(config: Config, compile_in: CompileIn) -> Result<Self, Error> {
        // The port first: it is what most often is wrong, and nothing has been touched yet.
        let address = config.server.listen;
        let listen = |source| Error::Listen { address, source };
        let socket = TcpListener::bind(address).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;

        let data_folder = DataFolder::open(&config.data_dir)?;
        let parts = Parts::open(&config, &data_folder, compile_in).await?;
        let first_key = admin_key::ensure(&*parts.store, &parts.clock, &config.data_dir).await?;
        let keys = http::auth::Keys::new(&parts.store.all_keys().await?, parts.clock.clone());

        let (recorder, service) = {
            let metrics = parts.metrics.clone();
            let dropped = move |count| metrics.records_dropped(count);
            Recorder::new(recorder::Config::default(), Arc::clone(&parts.store), dropped)
        };
        let (stop_recording, recording) = spawn_until_told(|told| service.run(told));
        let (jobs, engine) = parts.engine(&config, &recorder).await?;
        let (stop_engine, engine) = spawn_until_told(|told| engine.run(told));
        let sweeper = sweeper::spawn(&parts.blobs, &parts.registry);
        let detached = invoke::Detached::default();
        let requests = TaskTracker::new();
        let plane = invoke::Plane {
            requests: requests.clone(),
            detached: detached.clone(),
            ..parts.plane(&config, recorder, Arc::clone(&keys))
        };
        let config = Arc::new(config);
        let (stop, stopping) = watch::channel(false);
        let readiness = api::Readiness::default();
        let mut background = Background::default();
        let door = parts.door(&config, &keys, &mut background);
        let follower = parts.follower(Arc::clone(&keys), jobs.clone());
        background.spawn(|told| follower.run(told));
        let control = api::router(parts.services(keys, Arc::clone(&config), readiness.clone(), jobs.clone()));
        let drain = Duration::from_millis(config.server.drain_ms);
        let hooks = http::hooks::Hooks { jobs, clock: parts.clock.clone(), body: plane.body, room: plane.room.clone() };
        let handler = Handler::new(plane, hooks, control, door);
        let server = tokio::spawn(listener::serve(socket, handler, (&config.server).into(), told(stopping)));
        tracing::info!(%address, data = %config.data_dir.display(), "serving");
        Ok(Self {
            address,
            first_key,
            readiness,
            stop,
            server,
            recording,
            stop_recording,
            engine,
            stop_engine,
            background,
            requests,
            changes: parts.changes,
            detached,
            drain,
            store: parts.store,
            blobs: parts.blobs,
            sweeper,
            data_folder,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin key, when this start made it.
    #[must_use]
    pub fn first_key(&self) -> Option<&str> {
        self.first_key.as_deref()
    }

    /// Stops accepting, lets what runs end within the drain time, cuts the rest,
    /// and stores what is known of all of it.
    pub async fn stop(self) -> Stopped {
        self.readiness.drain();
        let _ = self.stop.send(true);
        let deadline = Instant::now() + self.drain;
        // Requests first: as long as one runs it may leave an execution behind.
        let connections = self.server.await.map_or(0, |report| report.cut);
        self.requests.close();
        let _ = tokio::time::timeout(DROPPED_WITHIN, self.requests.wait()).await;
        let cut = connections + self.detached.drain(deadline).await;
        end_changes(&self.changes, deadline).await;
        let _ = self.stop_engine.send(true);
        let _ = self.engine.await;
        let _ = self.stop_recording.send(true);
        let _ = self.recording.await;
        self.background.stop().await;
        drop(self.sweeper);
        self.store.close().await;
        self.blobs.release();
        self.data_folder.release();
        Stopped { cut }
    }
}

/// Waits for changes whose caller has left. What is cut off is not there, or there with its audit row.
async fn end_changes(changes: &TaskTracker, deadline: Instant) {
    changes.close();
    let until = deadline.max(Instant::now() + DROPPED_WITHIN);
    if tokio::time::timeout_at(until, changes.wait()).await.is_err() {
        tracing::warn!(count = changes.len(), "changes were cut off whose callers had left");
    }
}

/// What is opened before anything is served.
struct Parts {
    store: SharedStore,
    blobs: Blobs,
    metrics: Metrics,
    clock: Clock,
    runtime: Arc<Runtime>,
    registry: Arc<Registry>,
    sampler: Sampler,
    changes: TaskTracker,
    circuits: Circuits,
    outside: Arc<Outside>,
}

impl Parts {
    async fn open(config: &Config, data_folder: &DataFolder, compile_in: CompileIn) -> Result<Self, Error> {
        let clock = Clock::system();
        let metrics = Metrics::new();
        let store = open_store(config, data_folder).await?;
        store.end_interrupted(&interrupted()).await?;
        let blobs = Blobs::open(&config.blobs, &config.data_dir, clock.clone()).await?;
        let circuits = Circuits::new(&config.jobs.circuits, clock.clone(), metrics.clone());
        let outside = Arc::new(Outside::open(config, circuits.clone())?);
        let runtime = Runtime::open(runtime::Parts {
            config,
            blobs: blobs.clone(),
            outside: Arc::clone(&outside),
            metrics: metrics.clone(),
            clock: clock.clone(),
            compile_in,
        })?;
        let runtime = Arc::new(runtime);
        let changes = TaskTracker::new();
        let registry = Registry::open(registry::Parts {
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            compiler: Arc::new(compiler::RuntimeCompiler(Arc::clone(&runtime))),
            limits: config.limits.clone(),
            trust: registry::Trust::new(config.signatures.clone(), metrics.clone()),
            metrics: metrics.clone(),
            clock: clock.clone(),
            changes: changes.clone(),
        })
        .await?;
        let sampler = Sampler::new(&config.telemetry);
        Ok(Self { store, blobs, metrics, clock, runtime, registry, sampler, changes, circuits, outside })
    }

    fn plane(&self, config: &Config, recorder: Recorder, keys: http::auth::SharedKeys) -> invoke::Plane {
        invoke::Plane {
            registry: Arc::clone(&self.registry),
            runtime: Arc::clone(&self.runtime),
            recorder,
            keys,
            metrics: self.metrics.clone(),
            sampler: self.sampler.clone(),
            clock: self.clock.clone(),
            body: http::body::Bounds {
                bytes_max: config.server.body_bytes as u64,
                timeout: Duration::from_millis(config.server.body_timeout_ms),
            },
            room: http::body::Room::new(Duration::from_millis(config.runtime.wait_ms)),
            requests: TaskTracker::new(),
            detached: invoke::Detached::default(),
        }
    }

    /// The engine of jobs, which serves when it is run.
    async fn engine(&self, config: &Config, recorder: &Recorder) -> Result<(jobs::Handle, jobs::Service), Error> {
        let steps = Steps::new(steps::Parts {
            registry: Arc::clone(&self.registry),
            runtime: Arc::clone(&self.runtime),
            outside: Arc::clone(&self.outside),
            recorder: recorder.clone(),
            sampler: self.sampler.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            config,
        });
        Ok(jobs::open(jobs::Parts {
            store: Arc::clone(&self.store),
            blobs: self.blobs.clone(),
            registry: Arc::clone(&self.registry),
            runner: Arc::new(steps.clone()),
            notifier: Arc::new(steps),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            config,
        })
        .await?)
    }

    fn follower(&self, keys: http::auth::SharedKeys, jobs: jobs::Handle) -> Follower {
        Follower {
            config: follower::Config::default(),
            store: Arc::clone(&self.store),
            registry: Arc::clone(&self.registry),
            keys,
            jobs,
            abandoned: interrupted(),
        }
    }

    /// The door, and the tasks that work behind it: what is refused, what is used, what is old, what was tampered with.
    fn door(&self, config: &Config, keys: &http::auth::SharedKeys, background: &mut Background) -> Door {
        let (refusals, service) =
            Refusals::new(refusals::Config::default(), Arc::clone(&self.store), self.clock.clone());
        background.spawn(|told| service.run(told));
        let uses = key_use::Service::new(Arc::clone(keys), Arc::clone(&self.store));
        background.spawn(|told| uses.run(told));
        let sweeper = retention::Sweeper::new(config.retention, Arc::clone(&self.store), self.clock.clone());
        background.spawn(|told| sweeper.run(told));
        let alerts = alerts::Service::listen(&self.metrics, Arc::clone(&self.store), self.clock.clone());
        background.spawn(|told| alerts.run(told));
        Door {
            metrics: self.metrics.clone(),
            head_bytes: config.server.head_bytes,
            rate_limits: RateLimits::new(config.rate_limits),
            refusals,
        }
    }

    fn services(
        &self,
        keys: http::auth::SharedKeys,
        config: Arc<Config>,
        readiness: api::Readiness,
        jobs: jobs::Handle,
    ) -> api::Services {
        api::Services {
            jobs,
            circuits: self.circuits.clone(),
            listeners: api::Listeners::default(),
            registry: Arc::clone(&self.registry),
            store: Arc::clone(&self.store),
            blobs: self.blobs.clone(),
            clock: self.clock.clone(),
            keys,
            metrics: self.metrics.clone(),
            config,
            readiness,
            transfers: api::Transfers::default(),
            changes: self.changes.clone(),
        }
    }
}

async fn open_store(config: &Config, data_folder: &DataFolder) -> Result<SharedStore, Error> {
    match &config.store {
        config::Store::Postgres(postgres) => {
            let gateway = data_folder
                .gateway_id()
                .map_err(|source| Error::DataFolder { path: config.data_dir.clone(), source })?;
            Ok(Arc::new(PostgresStore::open(postgres, gateway).await?))
        }
        config::Store::Sqlite { path } => Ok(Arc::new(SqliteStore::open(path).await?)),
    }
}

/// What is said of executions that ran when the process was killed.
fn interrupted() -> ExecutionError {
    ExecutionError {
        code: Code::Internal.as_str().to_owned(),
        message: "the gateway ended while it ran".to_owned(),
        origin: Code::Internal.origin().as_str().to_owned(),
    }
}

/// Spawns a service that runs until the sender says so, or is gone.
fn spawn_until_told<F>(run: impl FnOnce(Told) -> F) -> (watch::Sender<bool>, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (tell, receiver) = watch::channel(false);
    let service = run(Box::pin(told(receiver)));
    (tell, tokio::spawn(service))
}

type Told = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn told(mut receiver: watch::Receiver<bool>) {
    // An error is a sender that is gone: that is a stop too.
    let _ = receiver.wait_for(|told| *told).await;
}

/// `sluice serve`: starts, prints where it is, and stops at SIGTERM or SIGINT, also
/// while it starts. A second signal ends the process at once.
///
/// # Errors
/// What an operator has to mend.
#[expect(clippy::print_stdout, reason = "the address and the first key are for whoever started it")]
pub async fn run(config: Config) -> Result<(), Error> {
    let guard = telemetry::init(&config.telemetry)?;
    let key_file = admin_key::path(&config.data_dir);
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let compile_in = CompileIn::child_of_this_program().map_err(Error::Program)?;
    let app = tokio::select! {
        started = App::start(config, compile_in) => started?,
        () = signals.next() => {
            tracing::info!("stopped before it served");
            flush(guard).await;
            return Ok(());
        }
    };
    if let Some(key) = app.first_key() {
        println!("Admin key, shown this once and kept in {}:\n  {key}", key_file.display());
    }
    println!("Listening on http://{}", app.address());

    signals.next().await;
    tracing::info!("stopping; a second signal ends the process at once");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
    let stopped = app.stop().await;
    tracing::info!(cut = stopped.cut, "stopped");
    flush(guard).await;
    Ok(())
}

/// Sends the last spans, which blocks.
async fn flush(guard: telemetry::Guard) {
    let _ = tokio::task::spawn_blocking(move || guard.shutdown()).await;
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
