//! Security alerts on their way to the audit.
//!
//! Owns the pace. Does not own what is an alert (`telemetry`) nor rows (`store`). Invariant: whoever
//! raises an alert never waits for a row, and each alert is in a row's `count`, but after `kill -9`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::model::{AuditEntry, Digest, action};
use crate::store::SharedStore;
use crate::telemetry::{Metrics, SecurityAlert};

/// In which a component has one row a kind, however often it is asked for: who may invoke it fills no disk.
const WINDOW: Duration = Duration::from_mins(1);

/// Writes alerts into the audit, until it is told to stop.
pub(super) struct Service {
    pending: Arc<Pending>,
    store: SharedStore,
}

#[derive(Default)]
struct Pending {
    /// No more than there are components, by three kinds.
    tallies: Mutex<Tallies>,
    arrived: Notify,
}

type Tallies = HashMap<(SecurityAlert, Digest), Tally>;

struct Tally {
    first_at: Timestamp,
    count: u64,
}

impl Service {
    /// Listens from now on; what is heard is written by [`run`](Self::run).
    pub(super) fn listen(metrics: &Metrics, store: SharedStore, clock: Clock) -> Self {
        let pending = Arc::new(Pending::default());
        let heard = Arc::clone(&pending);
        metrics.on_security_alert(Box::new(move |alert, digest| heard.add((alert, digest), clock.now())));
        Self { pending, store }
    }

    /// Runs until `shutdown` completes, and stores what is left.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let stopping = tokio::select! {
                () = self.pending.arrived.notified() => false,
                () = &mut shutdown => true,
            };
            self.write().await;
            if stopping {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(WINDOW) => {}
                () = &mut shutdown => return self.write().await,
            }
        }
    }

    async fn write(&self) {
        let tallies = self.pending.take();
        if tallies.is_empty() {
            return;
        }
        if let Err(error) = self.store.append_audit(tallies.iter().map(row).collect()).await {
            // Each of them was logged where it was raised. At the stop these words are the last of it.
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(rows = tallies.len(), error, "security alerts are not in the audit yet");
            self.pending.put_back(tallies);
        }
    }
}

impl Pending {
    fn add(&self, about: (SecurityAlert, Digest), at: Timestamp) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(about).or_insert(Tally { first_at: at, count: 0 });
        tally.count = tally.count.saturating_add(1);
        drop(tallies);
        self.arrived.notify_one();
    }

    fn take(&self) -> Tallies {
        std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could not be written is written with what has come since.
    fn put_back(&self, taken: Tallies) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for (about, tally) in taken {
            let later = tallies.entry(about).or_insert(Tally { count: 0, ..tally });
            later.first_at = tally.first_at;
            later.count = later.count.saturating_add(tally.count);
        }
        drop(tallies);
        self.arrived.notify_one();
    }
}

fn row(((alert, digest), tally): (&(SecurityAlert, Digest), &Tally)) -> AuditEntry {
    AuditEntry::by_gateway(tally.first_at, action::SECURITY_ALERT, digest.to_string())
        .refused()
        .with("kind", alert.as_str())
        .with("count", tally.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_that_could_not_be_written_are_written_with_later_ones() {
        let (pending, about) = (Pending::default(), (SecurityAlert::Integrity, Digest::of(b"a")));
        let at = |second| Timestamp::from_second(second).unwrap();
        pending.add(about, at(1));
        pending.add(about, at(2));
        let taken = pending.take();
        pending.add(about, at(3));
        pending.put_back(taken);
        let all = pending.take();
        let row = row(all.iter().next().unwrap());
        assert_eq!((all.len(), row.at, &row.detail["count"]), (1, at(1), &serde_json::json!(3)));
        assert!(pending.take().is_empty());
    }
}
