//! Connections that wait, and who has one.
//!
//! Owns how many there are and what becomes of one afterwards. Invariants: no more connections than the
//! operator allowed, those counted that are being cleaned or whose statement is being cancelled; whoever gets one
//! finds nothing of another's; one whose statement didn't end is never used again.
//!
//! What a query leaves matters to others only, so to look for it is *owed*: the one that left it has the connection
//! again as it is, and it is made clean when that one leaves, or by who needs it before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::caller::CallerId;
use super::connect::Connector;
use super::failure::Failure;
use super::session::Session;

/// To clean a connection takes far less than a millisecond; a server that takes longer isn't worth waiting for.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections to one database. A clone is the same.
#[derive(Clone)]
pub(in super::super) struct Connections(Arc<Inner>);

struct Inner {
    connector: Connector,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    wire_bytes_max: u64,
}

/// One that nobody uses.
struct Idle {
    session: Session,
    /// Who had it last, where it isn't clean.
    owed_by: Option<CallerId>,
}

/// A connection for one statement. Dropped, what runs on it is cancelled, and it is closed.
pub(super) struct Lease {
    session: Option<Session>,
    slot: Option<OwnedSemaphorePermit>,
    connections: Arc<Inner>,
    caller: CallerId,
}

impl Connections {
    /// Up to so many, each of which may be sent so many bytes for a statement.
    pub(super) fn new(connector: Connector, connections_max: u32, wire_bytes_max: u64) -> Self {
        let slots = Arc::new(Semaphore::new(connections_max as usize));
        Self(Arc::new(Inner { connector, slots, idle: Mutex::default(), wire_bytes_max }))
    }

    /// One that waits, or a new one; where all are in use, after a wait without an end.
    pub(super) async fn lease(&self, caller: CallerId) -> Result<Lease, Failure> {
        let slot =
            Arc::clone(&self.0.slots).acquire_owned().await.map_err(|closed| Failure::Unreachable(closed.into()))?;
        let mut lease = self.leased(None, slot, caller);
        while let Some(Idle { session, owed_by }) = self.0.take_idle(caller) {
            lease.session = Some(session);
            // Boxed, as connecting is: who seldom needs them moves what they take all the same.
            if owed_by.is_none_or(|owing| owing == caller) || Box::pin(lease.clean()).await {
                lease.session().wire.budget.grant(self.0.wire_bytes_max);
                return Ok(lease);
            }
            lease.session = None;
        }
        let wire = Box::pin(self.0.connector.connect()).await?;
        let session = lease.session.insert(Session::new(wire));
        session.wire.budget.grant(self.0.wire_bytes_max);
        Ok(lease)
    }

    fn leased(&self, session: Option<Session>, slot: OwnedSemaphorePermit, caller: CallerId) -> Lease {
        Lease { session, slot: Some(slot), connections: Arc::clone(&self.0), caller }
    }

    /// Has the connection cleaned that somebody left who asks no more.
    pub(in super::super) fn leave(&self, caller: CallerId) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.0.is_owed_by(caller) {
            return;
        }
        let connections = self.clone();
        runtime.spawn(async move {
            // Waited for, though there is one for each connection that waits: who came for this one may leave before
            // it is theirs, or have another. It would hold its locks until somebody comes.
            let Ok(slot) = Arc::clone(&connections.0.slots).acquire_owned().await else { return };
            if let Some(session) = connections.0.take_owed(caller) {
                connections.leased(Some(session), slot, caller).clean_and_put_back().await;
            }
        });
    }

    /// Closes those that wait.
    pub(super) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.0.lock());
        drop(idle);
    }

    /// Whether both are of one pool.
    pub(in super::super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("free", &self.0.slots.available_permits()).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller's own, or one that is clean, or the one that somebody else left longest ago. Of several the one that
    /// served last: its caches are warm, and those that aren't needed stay idle.
    fn take_idle(&self, caller: CallerId) -> Option<Idle> {
        let mut idle = self.lock();
        loop {
            if idle.is_empty() {
                return None;
            }
            let own = idle.iter().rposition(|idle| idle.owed_by == Some(caller));
            let place = own.or_else(|| idle.iter().rposition(|idle| idle.owed_by.is_none())).unwrap_or(0);
            let taken = idle.remove(place);
            if !taken.session.wire.client.is_closed() {
                return Some(taken);
            }
        }
    }

    fn is_owed_by(&self, caller: CallerId) -> bool {
        self.lock().iter().any(|idle| idle.owed_by == Some(caller))
    }

    fn take_owed(&self, caller: CallerId) -> Option<Session> {
        let mut idle = self.lock();
        let place = idle.iter().rposition(|idle| idle.owed_by == Some(caller))?;
        Some(idle.remove(place).session)
    }
}

impl Lease {
    #[expect(clippy::expect_used, reason = "it is taken by what consumes the lease only")]
    pub(super) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a lease holds its connection")
    }

    /// Has the connection used again: by the same caller as it is, where only a query was on it; else when it is clean,
    /// for which nobody has to wait.
    pub(super) fn give_back(mut self) {
        if self.session().is_rolled_back() {
            let owed_by = Some(self.caller);
            self.put_back(owed_by);
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.clean_and_put_back());
        }
    }

    async fn clean_and_put_back(mut self) {
        if self.clean().await {
            self.put_back(None);
        }
        // Nothing runs on one that isn't clean that would have to be cancelled.
        drop(self.session.take());
    }

    fn put_back(&mut self, owed_by: Option<CallerId>) {
        let Some(session) = self.session.take() else { return };
        self.connections.lock().push(Idle { session, owed_by });
        // After the connection, which is counted by it until then.
        self.slot = None;
    }

    async fn clean(&mut self) -> bool {
        tokio::time::timeout(RESET_TIMEOUT, self.session().reset()).await == Ok(true)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(mut session), Ok(runtime)) = (self.session.take(), Handle::try_current()) else { return };
        let (connections, slot) = (Arc::clone(&self.connections), self.slot.take());
        // Also one that is lost: a server doesn't notice while a statement runs. The connection stays until its
        // statement ended, and so does its slot: whoever starts what takes long and leaves has no more of the server
        // than whoever waits. Only what can't be cancelled, or whose connection is lost, may run on without a slot,
        // until the server's own timeout.
        runtime.spawn(async move {
            connections.connector.cancel(&mut session.wire).await;
            drop((session, slot));
        });
    }
}
