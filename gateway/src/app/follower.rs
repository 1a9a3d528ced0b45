//! What other gateways on the same store did, taken over into this one.
//!
//! Owns when to look. Does not own what is looked at (`registry`, the keys) nor how
//! gateways tell each other (`store::shared`). Invariants: a change that is told
//! is taken over at once; one that was not told, because the connection was lost,
//! soon after the store answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::http::auth::SharedKeys;
use crate::jobs;
use crate::model::ExecutionError;
use crate::registry::{self, Registry};
use crate::store::shared::{Listener, Shared};
use crate::store::{self, SharedStore};

/// When to look.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Between two heartbeats; as often it is asked whether there was a change that nobody told.
    pub(super) beat: Duration,
    /// Between two attempts to listen, where that fails; the changes are asked for then, too.
    pub(super) relisten: Duration,
    /// A gateway that is silent for so long is dead: twelve heartbeats. One that only could
    /// not reach the store has long been cut off from its callers' records, too.
    pub(super) silence_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { beat: Duration::from_secs(5), relisten: Duration::from_secs(1), silence_max: Duration::from_mins(1) }
    }
}

/// Follows the other gateways until it is told to stop.
pub(super) struct Follower {
    pub(super) config: Config,
    pub(super) store: SharedStore,
    pub(super) registry: Arc<Registry>,
    pub(super) keys: SharedKeys,
    pub(super) jobs: jobs::Handle,
    /// What is said of executions whose gateway is dead.
    pub(super) abandoned: ExecutionError,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

impl Follower {
    /// Follows until `shutdown` completes. A store that is away is no reason to end.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        // Where nobody else can change anything there is nothing to follow.
        let Some(shared) = self.store.shared() else { return };
        tokio::select! {
            () = self.follow(shared) => {}
            () = self.live(shared) => {}
            () = shutdown => {}
        }
    }

    /// Listens, and listens again when the connection is lost. Never returns.
    async fn follow(&self, shared: &dyn Shared) {
        let mut known = None;
        loop {
            match shared.listen().await {
                Ok(mut listener) => {
                    // What was changed before, nobody has told.
                    known = None;
                    if let Err(error) = self.hear(shared, &mut *listener, &mut known).await {
                        warn(&error, "the connection that tells of other gateways' changes was lost");
                    }
                }
                Err(error) => warn(&error.into(), "other gateways' changes can't be listened to; they are asked for"),
            }
            tokio::time::sleep(self.config.relisten).await;
            if let Err(error) = self.look(shared, &mut known).await {
                // Most likely why there is no connection, which was told.
                tracing::debug!(%error, "other gateways' changes could not be taken over");
            }
        }
    }

    /// Takes over what is told, until the connection is lost.
    async fn hear(
        &self,
        shared: &dyn Shared,
        listener: &mut dyn Listener,
        known: &mut Option<i64>,
    ) -> Result<(), Error> {
        loop {
            // Sleeping behind a proxy that doesn't pass notifications on must not mean never.
            let told = tokio::time::timeout(self.config.beat, async {
                if known.is_some() { listener.changed().await } else { Ok(()) }
            });
            if let Ok(told) = told.await {
                told?;
            }
            // A failure here leaves `known` as it was: the next look makes good for it.
            if let Err(error) = self.look(shared, known).await {
                warn(&error, "other gateways' changes could not be taken over");
                tokio::time::sleep(self.config.relisten).await;
            }
        }
    }

    /// Takes everything over when the number is not the known one.
    async fn look(&self, shared: &dyn Shared, known: &mut Option<i64>) -> Result<(), Error> {
        // The number first: a change in between is then taken over twice, and not missed.
        let number = shared.change_number().await?;
        if *known == Some(number) {
            return Ok(());
        }
        // First, and for themselves: a key that was revoked does not stay because modules can't be read.
        let keys = self.keys.refresh(self.store.all_keys()).await;
        self.registry.reload().await?;
        self.jobs.reload().await?;
        keys?;
        *known = Some(number);
        Ok(())
    }

    /// Tells that this gateway lives, and ends what those left that don't. Never returns.
    async fn live(&self, shared: &dyn Shared) {
        let mut ticks = tokio::time::interval(self.config.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_touch_since = None;
        loop {
            ticks.tick().await;
            if let Err(error) = shared.heartbeat().await {
                warn(&error.into(), "the other gateways were not told that this one lives");
                in_touch_since = None;
                continue;
            }
            let since = *in_touch_since.get_or_insert_with(Instant::now);
            // After an outage everybody else seems silent: they get the time to speak first.
            if since.elapsed() < self.config.silence_max {
                continue;
            }
            match shared.end_abandoned(self.config.silence_max, &self.abandoned).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "executions were ended whose gateway is gone"),
                Err(error) => warn(&error.into(), "executions of gateways that are gone were not ended"),
            }
        }
    }
}

fn warn(error: &Error, what: &'static str) {
    let error: &(dyn std::error::Error + 'static) = error;
    tracing::warn!(error, "{what}");
}
