//! The runtime in this process, with one guest loaded: what the criterion benches call.
//!
//! Does not own sockets or the registry. Invariant: a call goes through
//! `Runtime::prepare` and `Runtime::run` exactly as a request does, and one that
//! ends otherwise than expected ends the bench.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use sluice::blob::{Blobs, Spool};
use sluice::circuit::Circuits;
use sluice::clock::Clock;
use sluice::config::{self, Config};
use sluice::model::{Digest, ExecutionId, JsonText, Limits, Module, ModuleId, ModuleKind, Permission, PermissionSet};
use sluice::runtime::{Call, CompileIn, Execution, Outcome, Outside, Parts, Runtime, Witness};
use sluice::telemetry::{Metrics, ModuleMetrics, TraceContext};

use crate::guest;

/// A runtime on a folder of its own, which goes with it.
pub struct InProcess {
    runtime: Runtime,
    metrics: Metrics,
    config: Config,
    _folder: tempfile::TempDir,
}

/// A guest that a runtime has compiled.
pub struct Guest {
    /// The component.
    pub bytes: bytes::Bytes,
    /// As the registry would describe it.
    pub module: Arc<Module>,
    permissions: Arc<PermissionSet>,
    metrics: ModuleMetrics,
}

impl InProcess {
    /// Opens a runtime with the default configuration, as `adjust` changes it.
    ///
    /// # Errors
    /// What an operator would have to mend.
    pub async fn open(adjust: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // As many slots as the product has: a larger pool is not free.
        let mut config = Config { runtime: config::Runtime::default(), ..Config::in_folder(folder.path().to_owned()) };
        adjust(&mut config);
        let metrics = Metrics::new();
        let blobs = Blobs::open(&config.blobs, &config.data_dir, Clock::system()).await?;
        let runtime = Runtime::open(Parts {
            config: &config,
            blobs,
            outside: Arc::new(Outside::open(&config, Circuits::unwatched())?),
            metrics: metrics.clone(),
            clock: Clock::system(),
            compile_in: CompileIn::ThisProcess,
        })?;
        Ok(Self { runtime, metrics, config, _folder: folder })
    }

    /// Compiles a guest; a second call finds the code.
    ///
    /// # Errors
    /// When it is not built, or the compiler does not take it.
    pub async fn load(&self, name: &str) -> Result<Guest> {
        self.load_with(name, &[]).await
    }

    /// The same with permissions.
    ///
    /// # Errors
    /// As those of [`load`](Self::load).
    pub async fn load_with(&self, name: &str, permissions: &[Permission]) -> Result<Guest> {
        let bytes = bytes::Bytes::from(guest::read(name)?);
        let module = Arc::new(describe(name, &bytes)?);
        let permissions = Arc::new(PermissionSet::new(permissions)?);
        let metrics = self.metrics.module(&module.name, &module.version);
        let guest = Guest { bytes, module, permissions, metrics };
        self.compile(&guest).await?;
        Ok(guest)
    }

    /// Compiles, keeps the code on disk and maps it; nothing happens where that is done.
    ///
    /// # Errors
    /// When the compiler does not take it.
    pub async fn compile(&self, guest: &Guest) -> Result<()> {
        Ok(self.runtime.compile(guest.module.sha256, Spool::of(&guest.bytes)?).await?)
    }

    /// Forgets the code, on disk too.
    pub async fn forget(&self, guest: &Guest) {
        self.runtime.forget(guest.module.sha256).await;
    }

    /// Finds the code of `run` and a slot, and runs nothing.
    ///
    /// # Errors
    /// Why it can't be run.
    pub async fn prepare(&self, guest: &Guest) -> Result<()> {
        self.runtime.prepare(&guest.module, "run", None).await?;
        Ok(())
    }

    /// Calls `run` on a fresh instance.
    ///
    /// # Errors
    /// Why nothing was run.
    pub async fn call(&self, guest: &Guest, input: &JsonText) -> Result<Execution> {
        let ready = self.runtime.prepare(&guest.module, "run", None).await?;
        let started_at = Clock::system().now();
        let call = Call {
            execution_id: ExecutionId::starting(started_at),
            started_at,
            module: Arc::clone(&guest.module),
            permissions: Arc::clone(&guest.permissions),
            metrics: guest.metrics.clone(),
            function: "run".to_owned(),
            in_run: None,
            input: input.clone(),
            data: None,
            env: Vec::new(),
            limits: self.config.limits.effective(),
            trace: None,
            trace_context: TraceContext::default(),
            witness: Witness::default(),
        };
        Ok(self.runtime.run(ready, call).await)
    }

    /// Calls `run` once and says how it ended, so that no bench measures a mistake.
    ///
    /// # Errors
    /// When it did not end as `expected`.
    pub async fn check(&self, guest: &Guest, input: &JsonText, expected: Ending) -> Result<()> {
        let execution = self.call(guest, input).await?;
        let ending = match &execution.result {
            Ok(Outcome::Completed { .. }) => Ending::Completed,
            Ok(Outcome::Invalid(_)) => Ending::Invalid,
            other => bail!("{} ended with {other:?}", guest.module.name),
        };
        if ending != expected {
            bail!("{} ended as {ending:?}, not {expected:?}", guest.module.name);
        }
        Ok(())
    }
}

/// How an execution should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did its work.
    Completed,
    /// It refused its input.
    Invalid,
}

/// A JSON text.
///
/// # Errors
/// When it is none.
pub fn json(text: &str) -> Result<JsonText> {
    JsonText::parse(text).context("not JSON")
}

/// A step module of these bytes, as the registry would have it.
///
/// # Errors
/// When it may not be called so.
pub fn describe(name: &str, bytes: &[u8]) -> Result<Module> {
    Ok(Module {
        id: ModuleId::generate(),
        name: name.parse()?,
        version: semver::Version::new(1, 0, 0),
        description: String::new(),
        kind: ModuleKind::JobStep,
        sha256: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        functions: vec!["run".to_owned()],
        imports: Vec::new(),
        permissions: Vec::new(),
        limits: Limits::default(),
        signature: None,
        warnings: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "bench".to_owned(),
    })
}
