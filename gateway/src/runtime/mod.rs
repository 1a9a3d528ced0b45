//! Guests: compiled, admitted, run within bounds.
//!
//! Owns everything of wasmtime. Does not own rows (`store`), names (`registry`)
//! or HTTP. The way of a call: [`Runtime::prepare`] finds the code and a slot, or
//! tells why not, before anything runs; [`Runtime::run`] executes, and always
//! has an [`Execution`] to tell of. Invariant: whatever a guest does ends that
//! execution at most.

mod admission;
mod artifact;
#[expect(missing_docs, reason = "it is generated; the WIT has the words")]
mod bindings;
pub mod cache;
mod compile;
mod denials;
mod engine;
mod host;
mod instance;
mod limits;
mod load;
mod outcome;
mod outside;
mod refusals;
mod stand_in;
mod state;
pub mod worker;

pub use bindings::sluice::step::http::{Request as HttpRequest, Response as HttpResponse};
pub use bindings::sluice::step::types::HostError;
pub use compile::CompileIn;
pub use engine::Metering;
pub use host::log::{Cancelled, Witness};
pub use host::request::{CLOSED, Gate, Permits, Prepared, Refused, origin_of, settle};
pub use load::{Artifact, LoadError};
pub use outside::{OpenError, Outside};
pub use stand_in::StandIn;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument as _;
use wasmtime::component::ComponentExportIndex;

use crate::blob::{Blobs, Spool};
use crate::clock::Clock;
use crate::config::{self, ARTEFACTS_FOLDER, Config};
use crate::error::{Code, FieldError};
use crate::model::job::{JobName, StepId};
use crate::model::{Denial, Digest, EffectiveLimits, ExecutionId, JsonText, LogLine, Module, PermissionSet, RunId};
use crate::telemetry::{Metrics, ModuleMetrics, Sampled, TraceContext};

/// Runs steps. Shared behind an `Arc`.
pub struct Runtime {
    engine: wasmtime::Engine,
    admission: admission::Admission,
    loader: Arc<load::Loader>,
    bounds: Bounds,
    outside: Arc<Outside>,
}

/// What a runtime is made of.
pub struct Parts<'a> {
    /// The pool, the cache and the limits.
    pub config: &'a Config,
    /// Components.
    pub blobs: Blobs,
    /// What steps may reach.
    pub outside: Arc<Outside>,
    /// Counters.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Where components are compiled.
    pub compile_in: CompileIn,
}

/// Bounds of an execution that neither a module nor a call can change.
#[derive(Debug, Clone)]
struct Bounds {
    output_bytes: u64,
    log_lines: u32,
    log_bytes: u64,
    host_calls: u32,
    clock: Clock,
}

/// One call of one function.
#[derive(Debug, Clone)]
pub struct Call {
    /// The id that the caller made for it.
    pub execution_id: ExecutionId,
    /// When it starts; the id begins with it.
    pub started_at: Timestamp,
    /// What runs.
    pub module: Arc<Module>,
    /// What it may do.
    pub permissions: Arc<PermissionSet>,
    /// The counters of the module.
    pub metrics: ModuleMetrics,
    /// The step function.
    pub function: String,
    /// Set where it is a step of a run.
    pub in_run: Option<Arc<InRun>>,
    /// Handed to the function as it is.
    pub input: JsonText,
    /// What `context` reads and writes: an object; `None` is an empty one.
    pub data: Option<JsonText>,
    /// What `wasi:cli/environment` tells.
    pub env: Vec<(String, String)>,
    /// What applies.
    pub limits: EffectiveLimits,
    /// Set when the request is traced.
    pub trace: Option<Sampled>,
    /// What the request said of its trace, for what is asked of others on its behalf.
    pub trace_context: TraceContext,
    /// Tells what the execution did when it is cancelled; a new one for each call.
    pub witness: Witness,
}

/// The run that a call is a step of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRun {
    /// Which run.
    pub run_id: RunId,
    /// Of which job.
    pub job: JobName,
    /// Which step.
    pub step: StepId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The same for each attempt at the step.
    pub idempotency_key: String,
}

/// Code and a slot for one call; the slot is given back when it is dropped.
pub struct Ready {
    artifact: Arc<Artifact>,
    function: ComponentExportIndex,
    _slots: admission::Slots,
}

/// How an execution ended, whatever it did.
#[derive(Debug)]
pub struct Execution {
    /// What the step returned, or what ended it.
    pub result: Result<Outcome, Failure>,
    /// The data as the step left it; as given where it was not touched.
    pub data: Option<JsonText>,
    /// What it used.
    pub usage: Usage,
    /// What it logged.
    pub lines: Vec<LogLine>,
    /// Lines over its bounds.
    pub lines_dropped: u64,
    /// What it tried and may not, each once, the first of them.
    pub denials: Vec<Denial>,
}

/// What an execution used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// `None` where it isn't metered.
    pub fuel: Option<u64>,
    /// The peak of all its memories and tables.
    pub memory_bytes: u64,
    /// Wall-clock time, instantiation included.
    pub duration_us: u64,
}

/// What a step returned.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did its work.
    Completed {
        /// Its output.
        output: JsonText,
        /// The steps to run next; `None` as the job is defined.
        next: Option<Vec<String>>,
    },
    /// The data is invalid.
    Invalid(Vec<FieldError>),
    /// It could not do its work.
    Failed(StepFailure),
}

/// Why a step could not do its work, in its own words.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct StepFailure {
    /// Stable and machine-readable.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Not before so many milliseconds.
    #[schema(required = true)]
    pub retry_after_ms: Option<u32>,
    /// Anything more.
    #[schema(value_type = serde_json::Value, required = true)]
    pub details: Option<JsonText>,
}

/// What ended an execution that returned nothing, or nothing of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of origin guest, but where it is ours: `internal`, `overloaded`.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The bound that was reached.
    pub limit: Option<u64>,
    /// What was used of it.
    pub used: Option<u64>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No slot was free in time. Retry later.
    #[error("no slot was free within {waited_ms} ms")]
    Overloaded {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The component exports no such function.
    #[error("the component has no function {0}")]
    NoSuchFunction(String),
    /// The code could not be had.
    #[error(transparent)]
    Load(LoadError),
    /// The engine could not be started.
    #[error("the engine can't be started: {0:#}")]
    Engine(wasmtime::Error),
}

impl Error {
    /// The contract's code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Overloaded { .. } => Code::Overloaded,
            Self::NoSuchFunction(_) => Code::NoSuchFunction,
            Self::Load(error) => error.code(),
            Self::Engine(_) => Code::Internal,
        }
    }
}

impl Runtime {
    /// Starts the engine: reserves the pool's addresses and opens the artefact folder.
    ///
    /// # Errors
    /// When not even a small pool can be had, or the folder can't be written.
    pub fn open(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { config, blobs, outside, metrics, clock, compile_in } = parts;
        let metering = if config.limits.fuel.is_some() { Metering::Fuel } else { Metering::Off };
        let pool = engine::open(config.runtime.instances, metering).map_err(Error::Engine)?;
        let folder = config.data_dir.join(ARTEFACTS_FOLDER);
        let loader = load::Loader::open(load::Parts {
            folder: &folder,
            engine: pool.engine.clone(),
            metering,
            compile_in,
            blobs,
            metrics: metrics.clone(),
            config: &config.runtime,
        })
        .map_err(Error::Load)?;
        let wait = Duration::from_millis(config.runtime.wait_ms);
        Ok(Self {
            admission: admission::Admission::new(pool.slots, wait, metrics),
            engine: pool.engine,
            loader: Arc::new(loader),
            bounds: Bounds::new(&config.limits, clock),
            outside,
        })
    }

    /// Finds the code of `module` (in the cache, on disk, or compiled anew) and a
    /// slot to run it in. Cancelled, it leaves the queue; a load goes on for others.
    ///
    /// # Errors
    /// Why the call can't start.
    pub async fn prepare(&self, module: &Module, function: &str, trace: Option<&Sampled>) -> Result<Ready, Error> {
        let artifact = match self.loader.cached(module.sha256) {
            Some(artifact) => artifact,
            None => self.loader.load(module.sha256, trace).await.map_err(Error::Load)?,
        };
        let function = artifact.function(function).ok_or_else(|| Error::NoSuchFunction(function.to_owned()))?;
        let slots = self
            .admission
            .admit(artifact.slots())
            .await
            .ok_or_else(|| Error::Overloaded { waited_ms: self.admission.wait_ms() })?;
        Ok(Ready { artifact, function, _slots: slots })
    }

    /// Runs `call`. Cancelled, the execution ends at once, and the call's witness tells of it.
    pub async fn run(&self, ready: Ready, call: Call) -> Execution {
        let span = call.trace.as_ref().map(|trace| trace.span().clone());
        let surroundings = instance::Surroundings { bounds: &self.bounds, outside: &self.outside };
        let run = instance::run(&self.engine, &ready, call, surroundings);
        match span {
            None => run.await,
            Some(span) => run.instrument(span).await,
        }
    }

    /// Compiles a component that passed the intake, before its version is known to
    /// anybody, and keeps the code. Cancelled, compiling goes on.
    ///
    /// # Errors
    /// `Rejected` when it is the component's fault.
    pub async fn compile(&self, digest: Digest, component: Spool) -> Result<(), LoadError> {
        self.loader.compile(digest, component).await
    }

    /// Forgets all compiled code on the disk but that of these components.
    pub async fn retain(&self, digests: std::collections::HashSet<Digest>) {
        self.loader.retain(digests).await;
    }

    /// Forgets the code of a component whose bytes are gone; executions that run
    /// keep it until they end. Waits for the end of a load that is under way.
    pub async fn forget(&self, digest: Digest) {
        self.loader.forget(digest).await;
    }
}

impl Bounds {
    fn new(limits: &config::Limits, clock: Clock) -> Self {
        Self {
            output_bytes: limits.output_bytes,
            log_lines: limits.log_lines,
            log_bytes: limits.log_bytes,
            host_calls: limits.host_calls,
            clock,
        }
    }
}
