//! The way from a digest to code that can be instantiated.
//!
//! Owns the order of the places to look: cache, this machine's artefacts, the
//! blob store and the compiler. Invariant: the bytes that are compiled are the ones
//! whose digest was verified, and a component that can't be linked is never kept.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tracing::Instrument as _;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::artifact::{self, Artifacts};
use super::cache::{self, Cache};
use super::compile::{self, CompileIn, CompileQueue, Lane};
use super::engine::{Metering, TABLES_PER_SLOT};
use super::host;
use super::refusals::Refusals;
use super::state::State;
use crate::blob::{self, Blobs, Spool};
use crate::config;
use crate::error::Code;
use crate::model::Digest;
use crate::telemetry::{Metrics, Sampled, SecurityAlert};

/// A component that is ready to be instantiated.
pub struct Artifact {
    pre: InstancePre<State>,
    functions: HashMap<String, ComponentExportIndex>,
    bytes: u64,
    slots: u32,
}

impl Artifact {
    pub(super) const fn pre(&self) -> &InstancePre<State> {
        &self.pre
    }

    pub(super) fn function(&self, name: &str) -> Option<ComponentExportIndex> {
        self.functions.get(name).copied()
    }

    /// Slots of the pool that one instance needs.
    pub(super) const fn slots(&self) -> u32 {
        self.slots
    }
}

impl cache::Weigh for Artifact {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Why there is no code. Cheap to clone, since several calls may wait for one load.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The stored bytes are not what they should be: refused, alert raised.
    #[error("the stored bytes of {0} do not have that digest")]
    Integrity(Digest),
    /// The bytes could not be had.
    #[error("the component's bytes could not be had")]
    Blob(#[source] Arc<blob::Error>),
    /// The compiler or the linker does not take the component; the text says why.
    #[error("{0}")]
    Rejected(String),
    /// It was not compiled in time, or for want of memory: the component's fault or this machine's.
    #[error("{0}")]
    Starved(String),
    /// This machine could not do it.
    #[error("{0}")]
    Failed(String),
}

impl LoadError {
    /// The contract's code. An upload that is rejected is `invalid-module`; a stored
    /// component that is no longer taken is ours to explain.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Integrity(_) => Code::Integrity,
            Self::Rejected(_) | Self::Blob(_) | Self::Starved(_) | Self::Failed(_) => Code::Internal,
        }
    }
}

/// Components that are fetched at once: one compiles, and the next ones are there when it has.
const FETCHES_MAX: usize = 4;

/// Loads components. Shared behind an `Arc`.
pub(super) struct Loader {
    engine: Engine,
    linker: Linker<State>,
    artifacts: Arc<Artifacts>,
    compiler: CompileQueue,
    refusals: Refusals,
    /// Of uploads, what may have been this machine's fault: a call that needs the same bytes tries again.
    starved_uploads: Refusals,
    cache: Arc<Cache<Artifact, LoadError>>,
    blobs: Blobs,
    /// Components that are fetched and not compiled yet, each in a file of up to `limits.module_bytes`.
    fetches: Semaphore,
    metrics: Metrics,
}

/// What a loader is made of.
pub(super) struct Parts<'a> {
    pub(super) folder: &'a Path,
    pub(super) engine: Engine,
    pub(super) metering: Metering,
    pub(super) compile_in: CompileIn,
    pub(super) blobs: Blobs,
    pub(super) metrics: Metrics,
    pub(super) config: &'a config::Runtime,
}

impl Loader {
    pub(super) fn open(parts: Parts<'_>) -> Result<Self, LoadError> {
        let Parts { folder, engine, metering, compile_in, blobs, metrics, config } = parts;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).map_err(|error| LoadError::Failed(format!("{error:#}")))?;
        let artifacts =
            Artifacts::open(folder, &engine, metering).map_err(|error| LoadError::Failed(with_source(&error)))?;
        let bounds = cache::Bounds { bytes_max: config.cache_bytes, entries_max: config.cache_modules };
        Ok(Self {
            compiler: CompileQueue::new(engine.clone(), metering, compile_in, config),
            refusals: Refusals::default(),
            starved_uploads: Refusals::default(),
            cache: Arc::new(Cache::new(bounds, metrics.clone())),
            artifacts: Arc::new(artifacts),
            engine,
            linker,
            blobs,
            fetches: Semaphore::new(FETCHES_MAX),
            metrics,
        })
    }

    /// What is mapped already: a hit of the cache. Who finds nothing goes on to `load`.
    pub(super) fn cached(&self, digest: Digest) -> Option<Arc<Artifact>> {
        let found = self.cache.get(&digest);
        if found.is_some() {
            self.metrics.cache_hit();
        }
        found
    }

    /// Loads a component that is in the blob store: a miss of the cache. Cancelled, the
    /// load goes on.
    pub(super) async fn load(
        self: &Arc<Self>,
        digest: Digest,
        trace: Option<&Sampled>,
    ) -> Result<Arc<Artifact>, LoadError> {
        self.metrics.cache_miss();
        let loader = Arc::clone(self);
        let trace = trace.map(|trace| trace.child("load"));
        let span = trace.as_ref().map_or_else(tracing::Span::none, |trace| trace.span().clone());
        let load = async move { loader.find(digest, trace.as_ref()).await };
        self.cache.get_or_load(digest, load.instrument(span)).await
    }

    /// Compiles bytes that are about to be stored, keeps the code and maps it, so that
    /// the first call finds it ready.
    pub(super) async fn compile(self: &Arc<Self>, digest: Digest, component: Spool) -> Result<(), LoadError> {
        let loader = Arc::clone(self);
        let load = async move {
            match loader.mapped(digest).await? {
                Some(artifact) => Ok(artifact),
                None => loader.compile_and_map(digest, component, Lane::Upload).await,
            }
        };
        self.cache.get_or_load(digest, load).await.map(|_| ())
    }

    /// Forgets a component whose bytes are gone. Waits for a load that began while they
    /// were there: it would bring the code back.
    pub(super) async fn forget(&self, digest: Digest) {
        self.cache.settled(&digest).await;
        self.remove(digest).await;
    }

    /// Removes the artefacts of all components but these.
    pub(super) async fn retain(&self, digests: HashSet<Digest>) {
        let artifacts = Arc::clone(&self.artifacts);
        let _ = tokio::task::spawn_blocking(move || artifacts.retain(&digests)).await;
    }

    async fn remove(&self, digest: Digest) {
        self.cache.remove(&digest);
        let artifacts = Arc::clone(&self.artifacts);
        let _ = tokio::task::spawn_blocking(move || artifacts.remove(digest)).await;
    }

    async fn find(&self, digest: Digest, trace: Option<&Sampled>) -> Result<Artifact, LoadError> {
        let started = Instant::now();
        let artifact = match self.mapped(digest).await? {
            Some(artifact) => artifact,
            None => {
                let _turn = self.fetches.acquire().await.map_err(|error| LoadError::Failed(error.to_string()))?;
                let component = self.blobs.get(digest).await.map_err(|error| self.blob_error(error))?;
                let trace = trace.map(|trace| trace.child("compile"));
                let span = trace.map_or_else(tracing::Span::none, |trace| trace.span().clone());
                self.compile_and_map(digest, component, Lane::Load).instrument(span).await?
            }
        };
        self.metrics.loaded(started.elapsed().as_secs_f64());
        Ok(artifact)
    }

    fn blob_error(&self, error: blob::Error) -> LoadError {
        match error {
            blob::Error::Integrity { expected, found } => {
                self.metrics.security_alert(SecurityAlert::Integrity, expected);
                tracing::error!(%expected, %found, "stored bytes do not have their digest; refused");
                LoadError::Integrity(expected)
            }
            error @ (blob::Error::Missing(_) | blob::Error::Unavailable { .. }) => LoadError::Blob(Arc::new(error)),
        }
    }

    /// Compiles, unless these bytes were refused a while ago. What a busy machine did not get done is
    /// remembered of uploads, so that a bomb goes off once, and not of calls: what they need was compiled before.
    async fn compile_and_map(&self, digest: Digest, component: Spool, lane: Lane) -> Result<Artifact, LoadError> {
        if let Some(reason) = self.refusals.get(digest, Instant::now()) {
            return Err(LoadError::Rejected(reason));
        }
        if lane == Lane::Upload
            && let Some(reason) = self.starved_uploads.get(digest, Instant::now())
        {
            return Err(LoadError::Starved(reason));
        }
        let made = match self.compile_and_keep(digest, component, lane).await {
            Ok(()) => self.map_and_link(digest).await,
            Err(error) => Err(error),
        };
        match (&made, lane) {
            (Err(LoadError::Rejected(reason)), _) => self.refusals.add(digest, reason.clone(), Instant::now()),
            (Err(LoadError::Starved(reason)), Lane::Upload) => {
                self.starved_uploads.add(digest, reason.clone(), Instant::now());
            }
            _ => {}
        }
        made
    }

    async fn compile_and_keep(&self, digest: Digest, component: Spool, lane: Lane) -> Result<(), LoadError> {
        let started = Instant::now();
        let (component, code) = self.blocking(move |artifacts| Ok((component.file(), artifacts.begin()?))).await?;
        let component = component.map_err(|error| LoadError::Failed(with_source(&error)))?;
        let into = code.as_file().try_clone().map_err(|error| LoadError::Failed(error.to_string()))?;
        self.compiler.compile(lane, component, into).await.map_err(|error| match error {
            compile::Error::Rejected(reason) => LoadError::Rejected(reason),
            compile::Error::Starved(reason) => LoadError::Starved(reason),
            compile::Error::Failed(reason) => LoadError::Failed(reason),
        })?;
        self.metrics.compiled(started.elapsed().as_secs_f64());
        self.blocking(move |artifacts| artifacts.keep(digest, code)).await
    }

    async fn map_and_link(&self, digest: Digest) -> Result<Artifact, LoadError> {
        let engine = self.engine.clone();
        let mapped = self.blocking(move |artifacts| match artifacts.load(&engine, digest) {
            // Just made, so it is whole: what the pool has no room for is the component's fault.
            Err(artifact::Error::Unusable(_, error)) => Ok(Err(LoadError::Rejected(format!("{error:#}")))),
            loaded => loaded.map(Ok),
        });
        let linked = match mapped.await?? {
            Some((component, bytes)) => self.link(&component, bytes),
            None => Err(LoadError::Failed("the artefact vanished".to_owned())),
        };
        if linked.is_err() {
            // What can't be linked will not be asked for again.
            self.remove(digest).await;
        }
        linked
    }

    /// The component from this machine's artefacts, if it is there and whole.
    async fn mapped(&self, digest: Digest) -> Result<Option<Artifact>, LoadError> {
        let engine = self.engine.clone();
        let artifacts = Arc::clone(&self.artifacts);
        let loaded = tokio::task::spawn_blocking(move || artifacts.load(&engine, digest))
            .await
            .map_err(|error| LoadError::Failed(error.to_string()))?;
        match loaded {
            Ok(Some((component, bytes))) => self.link(&component, bytes).map(Some),
            Ok(None) => Ok(None),
            // Both are gone from the disk by now; compiling again mends them.
            Err(error @ artifact::Error::Forged(_)) => {
                self.metrics.security_alert(SecurityAlert::Artifact, digest);
                tracing::error!(%digest, %error, "a compiled artefact was tampered with; compiling again");
                Ok(None)
            }
            Err(error @ artifact::Error::Unusable(..)) => {
                tracing::warn!(%digest, %error, "a compiled artefact is not usable; compiling again");
                Ok(None)
            }
            Err(error @ (artifact::Error::Disk { .. } | artifact::Error::Foreign { .. })) => {
                Err(LoadError::Failed(with_source(&error)))
            }
        }
    }

    fn link(&self, component: &Component, bytes: u64) -> Result<Artifact, LoadError> {
        let pre = self.linker.instantiate_pre(component).map_err(|error| LoadError::Rejected(format!("{error:#}")))?;
        let functions = component
            .component_type()
            .exports(&self.engine)
            .filter(|(_, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)))
            .filter_map(|(name, _)| Some((name.to_owned(), component.get_export_index(None, name)?)))
            .collect();
        let slots = component
            .resources_required()
            .map_or(1, |needed| needed.num_memories.max(needed.num_tables.div_ceil(TABLES_PER_SLOT)).max(1));
        Ok(Artifact { pre, functions, bytes, slots })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Artifacts) -> Result<T, artifact::Error> + Send + 'static,
    ) -> Result<T, LoadError> {
        let artifacts = Arc::clone(&self.artifacts);
        tokio::task::spawn_blocking(move || work(&artifacts))
            .await
            .map_err(|error| LoadError::Failed(error.to_string()))?
            .map_err(|error| LoadError::Failed(with_source(&error)))
    }
}

/// The message of an error and of what caused it.
fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
