//! This gateway's session with the store.
//!
//! Owns when the store is told that the gateway lives, and what follows when it could not be. Invariant: by the monotonic clock, a session
//! counts as lost here before the store may give its runs to another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Worker;
use crate::store::{self, Beat, WorkerId};

/// Between two tries at a store that is away.
const AGAIN: Duration = Duration::from_millis(200);

/// A session that was begun.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct Session {
    pub(in crate::jobs) id: WorkerId,
    /// Set when it is over, or may be.
    pub(super) lost: CancellationToken,
}

/// The session of the moment.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Sessions(Mutex<Option<Session>>);

impl Sessions {
    /// The one that lives.
    pub(in crate::jobs) fn current(&self) -> Option<Session> {
        self.lock().clone().filter(|session| !session.lost.is_cancelled())
    }

    fn begin(&self, id: WorkerId) -> Session {
        let session = Session { id, lost: CancellationToken::new() };
        *self.lock() = Some(session.clone());
        session
    }

    /// Ends it; gives its id where there was one.
    pub(super) fn end(&self) -> Option<WorkerId> {
        let session = self.lock().take()?;
        session.lost.cancel();
        Some(session.id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Keeps a session until it is cancelled: begins one, tells the store that it lives, and begins another when it is lost.
    pub(in crate::jobs) async fn keep_session(self: &Arc<Self>) {
        loop {
            let id = WorkerId(Uuid::now_v7());
            let begun = Instant::now();
            match self.store.worker_beat(id, self.lease_ms(), true).await {
                Ok(_) => {
                    let session = self.sessions.begin(id);
                    self.wake.notify_one();
                    self.wake_deliveries.notify_one();
                    self.keep(&session, begun).await;
                    self.sessions.end();
                    self.metrics.jobs().session_lost();
                    // Where the store answers again, nobody has to wait for the rest of the lease.
                    let _ = tokio::time::timeout(self.config.lease, self.store.worker_left(id)).await;
                    tracing::warn!(
                        "the session of the job engine was lost; its runs go on when another session claims them"
                    );
                }
                Err(error) => {
                    warn(&error, "no session of the job engine could be begun; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tells the store that it lives, until that was not heard for as long as it is believed.
    async fn keep(&self, session: &Session, mut heard: Instant) {
        // The store's lease began when it was asked, or later.
        let until = |heard: Instant| heard + self.config.lease * 4 / 5;
        let mut next = heard + self.config.lease / 3;
        loop {
            tokio::time::sleep_until(next.min(until(heard))).await;
            let asked = Instant::now();
            let beat = self.store.worker_beat(session.id, self.lease_ms(), false);
            match tokio::time::timeout_at(until(heard), beat).await {
                Ok(Ok(Beat::Alive { cancel })) => {
                    heard = asked;
                    next = asked + self.config.lease / 3;
                    for run in cancel {
                        self.cancel(run);
                    }
                }
                Ok(Ok(Beat::Over)) | Err(_) => return,
                Ok(Err(error)) => {
                    warn(&error, "the store could not be told that the job engine lives; it is tried again");
                    next = Instant::now() + AGAIN;
                    if next >= until(heard) {
                        return;
                    }
                }
            }
        }
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// In a function of its own: what is logged can't be held over an await.
fn warn(error: &store::Error, what: &'static str) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}
