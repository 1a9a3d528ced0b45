//! Tasks that nobody waits for but the stop.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Told, spawn_until_told};

/// Services that run until the stop, each told and awaited then.
#[derive(Debug, Default)]
pub(super) struct Background(Vec<(watch::Sender<bool>, JoinHandle<()>)>);

impl Background {
    /// Starts one.
    pub(super) fn spawn<F>(&mut self, run: impl FnOnce(Told) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.push(spawn_until_told(run));
    }

    /// Tells all of them, and waits until they have ended.
    pub(super) async fn stop(self) {
        for (tell, _) in &self.0 {
            let _ = tell.send(true);
        }
        for (_, task) in self.0 {
            let _ = task.await;
        }
    }
}
