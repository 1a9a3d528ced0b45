//! The parts of the engine put together, and its end.
//!
//! Owns the order of starting and stopping. Invariant: when it has stopped, what ended is stored, and what had not is anybody's.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::committer::{self, Committer};
use super::delivery::Deliverer;
use super::handle::Handle;
use super::payloads::Payloads;
use super::revisions::Revisions;
use super::runner::{Notifier, StepRunner};
use super::snapshot::Jobs;
use super::steady::Steady;
use super::upkeep::Upkeep;
use super::watchers::Watchers;
use super::worker::{self, Worker};
use crate::blob::Blobs;
use crate::clock::Clock;
use crate::config;
use crate::model::EffectiveLimits;
use crate::registry::Registry;
use crate::store::{self, SharedStore};
use crate::telemetry::Metrics;

/// Other gateways' runs are found so soon at the latest; a database of one gateway has none.
const POLL_SHARED: Duration = Duration::from_millis(500);
const POLL_ALONE: Duration = Duration::from_secs(5);
const DAY_HOURS: i64 = 24;

/// What the engine works with.
pub struct Parts<'a> {
    /// Rows.
    pub store: SharedStore,
    /// What is too large for them.
    pub blobs: Blobs,
    /// What wasm steps may name.
    pub registry: Arc<Registry>,
    /// Who executes steps.
    pub runner: Arc<dyn StepRunner>,
    /// Who sends notifications.
    pub notifier: Arc<dyn Notifier>,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// `[jobs]`, `[databases]`, `[secrets]`, `[limits]`.
    pub config: &'a config::Config,
}

/// The tasks of the engine.
pub struct Service {
    worker: Arc<Worker>,
    committer: committer::Service,
    deliverer: Deliverer,
    upkeep: Upkeep,
}

/// Opens the engine: definitions are read, and nothing runs yet.
///
/// # Errors
/// What the store says.
pub async fn open(parts: Parts<'_>) -> Result<(Handle, Service), store::Error> {
    let Parts { store, blobs, registry, runner, notifier, clock, metrics, config } = parts;
    let (settings, clock) = (&config.jobs, Steady::new(clock));
    let (committer, committing) = Committer::new(Arc::clone(&store), metrics.clone());
    let revisions = Revisions::new(Arc::clone(&store));
    let payloads = Payloads { blobs: blobs.clone(), metrics: metrics.clone() };
    let wake_deliveries = Arc::<Notify>::default();
    let worker = Worker::new(worker::Parts {
        config: worker::Config {
            places: settings.workers,
            lease: Duration::from_millis(settings.lease_ms),
            poll: if store.shared().is_some() { POLL_SHARED } else { POLL_ALONE },
            data_bytes_max: settings.data_bytes,
            drain: Duration::from_millis(config.server.drain_ms),
        },
        store: Arc::clone(&store),
        committer,
        payloads,
        revisions,
        runner,
        watchers: Watchers::default(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        wake_deliveries: Arc::clone(&wake_deliveries),
    });
    let days = i64::try_from(settings.retention_days).unwrap_or(i64::MAX);
    let upkeep = Upkeep {
        store: Arc::clone(&store),
        blobs,
        clock,
        metrics,
        retention: SignedDuration::from_hours(days.saturating_mul(DAY_HOURS).min(i64::MAX / 3_600)),
    };
    let deliverer = Deliverer::new(Arc::clone(&worker), Arc::clone(&notifier), wake_deliveries);
    let jobs = Jobs::open(store, worker.revisions.clone()).await?;
    let world = super::snapshot::World {
        registry,
        databases: config.databases.keys().cloned().collect(),
        secrets: config.secrets.clone(),
        ceilings: ceilings(config),
    };
    let handle =
        Handle::new(super::handle::Parts { worker: Arc::clone(&worker), jobs, world, settings: settings.clone() });
    Ok((handle, Service { worker, committer: committing, deliverer, upkeep }))
}

fn ceilings(config: &config::Config) -> EffectiveLimits {
    config.limits.effective()
}

impl Service {
    /// Runs until `shutdown` completes, lets attempts end within the drain time, and stores what ended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { worker, committer, deliverer, upkeep } = self;
        let end = CancellationToken::new();
        let committing = tokio::spawn(committer.run(end.clone().cancelled_owned()));
        let session = {
            let worker = Arc::clone(&worker);
            AbortOnDropHandle::new(tokio::spawn(async move { worker.keep_session().await }))
        };
        tokio::select! {
            () = shutdown => {}
            () = worker.claim() => {}
            () = deliverer.run() => {}
            () = upkeep.run() => {}
        }
        worker.drain().await;
        drop(session);
        end.cancel();
        let _ = committing.await;
    }
}
