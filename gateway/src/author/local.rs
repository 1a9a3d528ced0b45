//! One component in the gateway's own runtime, in this process.
//!
//! Owns the runtime and where its code is kept. Does not own what is called with what. Invariant: a call goes through
//! the runtime as a request's does, with the bounds that the gateway has by default.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MANIFEST, Manifest, Mistake, Prebuilt};
use crate::blob::{self, Blobs, Spool};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{
    BadPermission, Digest, EffectiveLimits, ExecutionId, JsonText, LimitAboveCeiling, Limits, Module, ModuleId,
    ModuleKind, ModuleName, PermissionSet,
};
use crate::runtime::{self, Call, CompileIn, Execution, Outside, Parts, Runtime, StandIn, Witness};
use crate::telemetry::{Metrics, ModuleMetrics, TraceContext};

/// Slots: one call at a time, and one more for what has not ended yet.
const INSTANCES: u32 = 2;

/// A component that can be called.
pub struct Local {
    runtime: Runtime,
    module: Arc<Module>,
    permissions: Arc<PermissionSet>,
    metrics: ModuleMetrics,
    limits: EffectiveLimits,
}

/// What it is called with.
#[derive(Debug)]
pub struct Called {
    /// The exported function.
    pub function: String,
    /// Its input.
    pub input: JsonText,
    /// The job's data; an object.
    pub data: Option<JsonText>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Lower than those of the manifest.
    pub limits: Limits,
}

/// Why nothing was called.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for compiled code can't be made, or an earlier one removed.
    #[error("the folder of compiled code can't be written")]
    Folder(#[source] io::Error),
    /// The folder for compiled code.
    #[error("the folder of compiled code can't be used")]
    Blobs(#[from] blob::Error),
    /// The compiler.
    #[error(transparent)]
    Compile(#[from] runtime::LoadError),
    /// The runtime can't be started, or has no room.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The way out that isn't used.
    #[error(transparent)]
    Outside(#[from] runtime::OpenError),
    /// An input or data that the gateway wouldn't take; in words.
    #[error("{0}")]
    Json(String),
    /// A call's or a case's, all that are too high.
    #[error("{}", in_a_line(.0))]
    Limits(Vec<Mistake>),
    /// The manifest's, all that are too high.
    #[error("{MANIFEST}: {}", in_a_line(mistakes))]
    ManifestLimits {
        /// Each with its key.
        mistakes: Vec<Mistake>,
        /// Why they are.
        #[source]
        reason: GatewayDefaults,
    },
    /// There is no such function.
    #[error("the component has no function {function}; it has {}", functions.join(", "))]
    NoFunction {
        /// The name that was given.
        function: String,
        /// Those that there are.
        functions: Vec<String>,
    },
    /// The manifest's.
    #[error(transparent)]
    Permissions(#[from] BadPermission),
}

/// Why a limit is too high that some gateway may allow.
#[derive(Debug, thiserror::Error)]
#[error(
    "a step runs here with the limits that a gateway has by default; one that is given more is tried on its gateway"
)]
pub struct GatewayDefaults;

impl Local {
    /// Compiles, or finds the code of an earlier time in `folder`.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(
        component: &Prebuilt,
        manifest: &Manifest,
        folder: &Path,
        stand_in: Arc<dyn StandIn>,
    ) -> Result<Self, Error> {
        let digest = Digest::of(&component.bytes);
        let folder = alone(folder, &digest.to_string()).map_err(Error::Folder)?;
        let mut config = Config::in_folder(folder);
        config.runtime.instances = INSTANCES;
        let limits = lowered(config.limits.effective(), &manifest.limits).map_err(above_defaults)?;
        let metrics = Metrics::new();
        let blobs = Blobs::open(&config.blobs, &config.data_dir, Clock::system()).await?;
        let runtime = Runtime::open(Parts {
            config: &config,
            blobs,
            outside: Arc::new(Outside::standing_in(stand_in)?),
            metrics: metrics.clone(),
            clock: Clock::system(),
            compile_in: CompileIn::ThisProcess,
        })?;
        #[expect(clippy::expect_used, reason = "it is a name")]
        let name = manifest.name.clone().unwrap_or_else(|| "step".parse().expect("a name"));
        let module = Arc::new(describe(component, name, manifest));
        runtime.compile(module.sha256, Spool::of(&component.bytes)?).await?;
        let metrics = metrics.module(&module.name, &module.version);
        Ok(Self { runtime, module, permissions: Arc::new(PermissionSet::new(&manifest.permissions)?), metrics, limits })
    }

    /// Calls it on a fresh instance.
    ///
    /// # Errors
    /// Why nothing was run.
    pub async fn call(&self, called: Called) -> Result<Execution, Error> {
        if !self.module.functions.contains(&called.function) {
            let functions = self.module.functions.clone();
            return Err(Error::NoFunction { function: called.function, functions });
        }
        let limits = lowered(self.limits, &called.limits).map_err(Error::Limits)?;
        let ready = self.runtime.prepare(&self.module, &called.function, None).await?;
        let started_at = Clock::system().now();
        let call = Call {
            execution_id: ExecutionId::starting(started_at),
            started_at,
            module: Arc::clone(&self.module),
            permissions: Arc::clone(&self.permissions),
            metrics: self.metrics.clone(),
            function: called.function,
            in_run: None,
            input: called.input,
            data: called.data,
            env: called.env,
            limits,
            trace: None,
            trace_context: TraceContext::default(),
            witness: Witness::default(),
        };
        Ok(self.runtime.run(ready, call).await)
    }
}

fn above_defaults(mistakes: Vec<Mistake>) -> Error {
    Error::ManifestLimits { mistakes, reason: GatewayDefaults }
}

fn in_a_line(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The limits with those that are asked for, or every one of these that is higher than what it may only lower.
fn lowered(limits: EffectiveLimits, asked: &Limits) -> Result<EffectiveLimits, Vec<Mistake>> {
    let Limits { fuel, memory_bytes, timeout_ms } = *asked;
    let one_by_one = [
        Limits { fuel, ..Limits::default() },
        Limits { memory_bytes, ..Limits::default() },
        Limits { timeout_ms, ..Limits::default() },
    ];
    let mut mistakes = Vec::new();
    let mut lowered = limits;
    for asked in one_by_one {
        match lowered.lowered_by(&asked) {
            Ok(lower) => lowered = lower,
            Err(LimitAboveCeiling { field, ceiling }) => {
                mistakes
                    .push(Mistake { path: format!("limits.{field}"), message: format!("may be at most {ceiling}") });
            }
        }
    }
    if mistakes.is_empty() { Ok(lowered) } else { Err(mistakes) }
}

/// The folder of this digest, and no other: the code of a component that was built anew is of no use any more. What
/// isn't called like a component's code is somebody else's.
fn alone(folder: &Path, name: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Another run may remove it at this moment.
        let is_code = entry.file_name().to_str().is_some_and(|name| name.parse::<Digest>().is_ok());
        if is_code && entry.file_name() != name && entry.file_type()?.is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(folder.join(name))
}

/// As the registry would have it.
fn describe(Prebuilt { bytes, component }: &Prebuilt, name: ModuleName, manifest: &Manifest) -> Module {
    Module {
        id: ModuleId::generate(),
        name,
        version: manifest.version.clone().unwrap_or_else(|| semver::Version::new(0, 0, 0)),
        description: String::new(),
        kind: ModuleKind::JobStep,
        sha256: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        functions: component.functions.clone(),
        imports: component.imports.clone(),
        permissions: Vec::new(),
        limits: manifest.limits,
        signature: None,
        warnings: Vec::new(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        created_by: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_other_components_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = [b"old", b"new"].map(|bytes| Digest::of(bytes).to_string());
        for name in [&*old, &*new, "mine", &old.to_uppercase()] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(alone(folder.path(), &new).unwrap(), folder.path().join(&new));
        let is_there = |name: &str| folder.path().join(name).is_dir();
        assert_eq!([&*old, &*new, "mine", &old.to_uppercase()].map(is_there), [false, true, true, true]);
    }

    #[test]
    fn every_limit_that_is_too_high_is_told() {
        let limits = Config::in_folder(PathBuf::new()).limits.effective();
        let asked = Limits { fuel: Some(1_000_000_001), memory_bytes: Some(65_536), timeout_ms: Some(30_001) };
        let told = above_defaults(lowered(limits, &asked).unwrap_err()).to_string();
        let both = "limits.fuel: may be at most 1000000000; limits.timeout_ms: may be at most 30000";
        assert_eq!(told, format!("sluice.step.toml: {both}"));
        let asked = Limits { fuel: Some(5), memory_bytes: None, timeout_ms: Some(7) };
        assert_eq!(lowered(limits, &asked).unwrap(), EffectiveLimits { fuel: Some(5), timeout_ms: 7, ..limits });
    }
}
