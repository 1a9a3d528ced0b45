//! One transaction for the changes of many runs.
//!
//! Owns the order of changes on their way to the store. Whoever has a change waits for its answer; meanwhile others' changes
//! gather for the next transaction, so a busy gateway commits far less often than steps end. Invariants: the changes of one
//! call are in one transaction, in order; a store that is away is asked again until it answers, and nothing is dropped meanwhile.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::store::{self, RunChange, RunChanged, SharedStore};
use crate::telemetry::Metrics;

/// Of one transaction: enough that a commit's own cost is spread thin, and short enough to hold up nobody.
const BATCH_MAX: usize = 256;
/// Calls that wait for a transaction. Each is of a run that is held, or of a caller that waits for its answer.
const QUEUE: usize = 4_096;
/// Between two tries at a store that is away.
const AGAIN: Duration = Duration::from_millis(200);

type Call = (Vec<RunChange>, oneshot::Sender<Result<Vec<RunChanged>, store::Error>>);

/// Takes changes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Committer(mpsc::Sender<Call>);

/// What stores them.
pub(super) struct Service {
    calls: mpsc::Receiver<Call>,
    store: SharedStore,
    metrics: Metrics,
}

impl Committer {
    pub(super) fn new(store: SharedStore, metrics: Metrics) -> (Self, Service) {
        let (sender, calls) = mpsc::channel(QUEUE);
        (Self(sender), Service { calls, store, metrics })
    }

    /// Stores changes in one transaction. Cancelled, they are stored or not.
    ///
    /// # Errors
    /// What no later try mends, and that the engine has ended.
    pub(super) async fn commit(&self, changes: Vec<RunChange>) -> Result<Vec<RunChanged>, store::Error> {
        let (answer, answered) = oneshot::channel();
        if self.0.send((changes, answer)).await.is_ok()
            && let Ok(result) = answered.await
        {
            return result;
        }
        Err(ended())
    }
}

fn ended() -> store::Error {
    let source = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the job engine has ended");
    store::Error::Unavailable { context: "changing runs", source: source.into() }
}

impl Service {
    /// Runs until every sender is gone, or `shutdown` completes and nothing waits.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let call = tokio::select! {
                biased;
                call = self.calls.recv() => call,
                () = &mut shutdown => return,
            };
            let Some(call) = call else { return };
            self.store(call).await;
        }
    }

    /// Stores a call, with those that wait.
    async fn store(&mut self, call: Call) {
        let (mut changes, mut answers) = (call.0, Vec::new());
        answers.push((changes.len(), call.1));
        while changes.len() < BATCH_MAX {
            let Ok((more, answer)) = self.calls.try_recv() else { break };
            answers.push((more.len(), answer));
            changes.extend(more);
        }
        match self.apply(changes.clone()).await {
            Ok(done) => {
                let mut done = done.into_iter();
                for (count, answer) in answers {
                    let _ = answer.send(Ok(done.by_ref().take(count).collect()));
                }
            }
            Err(error) if answers.len() == 1 => {
                for (_, answer) in answers {
                    let _ = answer.send(Err(rejected(&error)));
                }
            }
            Err(_) => {
                // One of them is refused: each by itself then, so that the others are not.
                let mut changes = changes.into_iter();
                for (count, answer) in answers {
                    let own = changes.by_ref().take(count).collect();
                    let _ = answer.send(self.apply(own).await.map_err(|error| rejected(&error)));
                }
            }
        }
    }

    /// As often as it takes, where the store is only away.
    async fn apply(&self, changes: Vec<RunChange>) -> Result<Vec<RunChanged>, store::Error> {
        loop {
            match self.store.change_runs(changes.clone()).await {
                Ok(done) => {
                    self.metrics.jobs().committed();
                    return Ok(done);
                }
                Err(error @ (store::Error::Unavailable { .. } | store::Error::TooSlow { .. })) => {
                    warn(&error, "the changes of runs wait: the store does not take them");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// In a function of its own: what is logged can't be held over an await.
fn warn(error: &store::Error, what: &'static str) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}

fn rejected(error: &store::Error) -> store::Error {
    tracing::error!(error = error as &dyn std::error::Error, "the store refused a change of a run");
    let source = std::io::Error::other(error.to_string());
    store::Error::Rejected { context: "changing runs", source: source.into() }
}
