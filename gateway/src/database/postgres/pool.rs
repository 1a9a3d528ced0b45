//! Connections that wait, and who has one.
//!
//! Owns how many there are and what becomes of one afterwards. Invariants: no more connections than the
//! operator allowed, those counted that are being cleaned or whose statement is being cancelled; one that
//! waits is clean; one whose statement didn't end is never used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Connector;
use super::failure::Failure;
use super::session::Session;

/// To clean a connection takes far less than a millisecond; a server that takes longer isn't worth waiting for.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections to one database.
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    connector: Connector,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    wire_bytes_max: u64,
}

/// A connection for one statement. Dropped, what runs on it is cancelled, and it is closed.
pub(super) struct Lease {
    held: Option<(Session, OwnedSemaphorePermit)>,
    connections: Arc<Inner>,
}

impl Connections {
    /// Up to so many, each of which may be sent so many bytes for a statement.
    pub(super) fn new(connector: Connector, connections_max: u32, wire_bytes_max: u64) -> Self {
        let slots = Arc::new(Semaphore::new(connections_max as usize));
        Self(Arc::new(Inner { connector, slots, idle: Mutex::default(), wire_bytes_max }))
    }

    /// One that waits, or a new one; where all are in use, after a wait without an end.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let slot =
            Arc::clone(&self.0.slots).acquire_owned().await.map_err(|closed| Failure::Unreachable(closed.into()))?;
        let session = match self.0.take_idle() {
            Some(session) => session,
            None => Session::new(self.0.connector.connect().await?),
        };
        session.wire.budget.grant(self.0.wire_bytes_max);
        Ok(Lease { held: Some((session, slot)), connections: Arc::clone(&self.0) })
    }

    /// Closes those that wait.
    pub(super) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.0.lock());
        drop(idle);
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("free", &self.0.slots.available_permits()).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that served last: its caches are warm, and those that aren't needed stay idle.
    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.lock();
        std::iter::from_fn(|| idle.pop()).find(|session| !session.wire.client.is_closed())
    }
}

impl Lease {
    #[expect(clippy::expect_used, reason = "it is taken by what consumes the lease only")]
    pub(super) fn session(&mut self) -> &mut Session {
        let (session, _) = self.held.as_mut().expect("a lease holds its connection");
        session
    }

    /// Has the connection cleaned, by a task of its own since nobody has to wait for it, and used again.
    pub(super) fn give_back(mut self) {
        let Some((mut session, slot)) = self.held.take() else { return };
        let connections = Arc::clone(&self.connections);
        tokio::spawn(async move {
            if tokio::time::timeout(RESET_TIMEOUT, session.reset()).await == Ok(true) {
                connections.lock().push(session);
            }
            drop(slot);
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some((session, slot)), Ok(runtime)) = (self.held.take(), Handle::try_current()) else { return };
        let connections = Arc::clone(&self.connections);
        // Also one that is lost: a server doesn't notice while a statement runs. The connection stays until its
        // statement ended, and so does its slot: whoever starts what takes long and leaves has no more of the server
        // than whoever waits. Only what can't be cancelled, or whose connection is lost, may run on without a slot,
        // until the server's own timeout.
        runtime.spawn(async move {
            connections.connector.cancel(&session.wire).await;
            drop((session, slot));
        });
    }
}
