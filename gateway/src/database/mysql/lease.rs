//! Who has which connection, and for how long.
//!
//! Owns slots and idle connections. Invariants: a connection that goes back has been reset by its server, so that
//! variables, locks, temporary tables and transactions are gone; one that does not go back is killed at its
//! server, with what runs on it, before its slot is free, or closed where its server can't be reached for that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Access;
use super::connect::{Link, Server};
use super::failure;
use crate::database::Error;

/// For connecting once more and killing. A server that needs longer has other worries than one statement.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// All of them to one server.
#[derive(Debug)]
pub(super) struct Leases {
    server: Server,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Link>>,
}

/// One connection, for one statement.
pub(super) struct Lease {
    leases: Arc<Leases>,
    /// There until it goes back.
    link: Option<Link>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Leases {
    pub(super) fn new(server: Server, slots: usize) -> Arc<Self> {
        Arc::new(Self { server, slots: Arc::new(Semaphore::new(slots)), idle: Mutex::default() })
    }

    /// A connection that is ready for a statement. Idle ones that have died are passed over.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(super) async fn lease(self: &Arc<Self>, access: Access) -> Result<Lease, Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| failure::Failure::lost().into_error())?;
        let mut lease = Lease { leases: Arc::clone(self), link: None, slot: Some(slot) };
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_new = idle.is_none();
            let link = match idle {
                Some(link) => link,
                None => self.server.connect().await.map_err(failure::unreachable)?,
            };
            let begin = self.server.begin(&link, access);
            let link = lease.link.insert(link);
            match link.connection.query_drop(begin).await {
                Ok(()) => return Ok(lease),
                Err(error) if is_new => {
                    let error = failure::unreachable(error);
                    lease.link = None;
                    return Err(error);
                }
                Err(_) => lease.link = None,
            }
        }
    }

    /// Ends what runs on the connection, and the connection.
    async fn kill(&self, link: Link) {
        let killed = tokio::time::timeout(KILL_TIMEOUT, self.server.kill(&link)).await;
        let problem = match killed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(elapsed) => Some(elapsed.to_string()),
        };
        if let Some(error) = problem {
            tracing::warn!(
                error,
                "a statement that nobody waits for could not be killed; its server may go on with it"
            );
        }
        // Not before: the number could be another's. Merely dropped, it would wait for the rest of the answer.
        let closed = tokio::time::timeout(KILL_TIMEOUT, link.connection.disconnect()).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("the connection of a killed statement was gone before it could be closed");
        }
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> Option<&mut Conn> {
        self.link.as_mut().map(|link| &mut link.connection)
    }

    /// Resets the connection and leaves it to the next. Dropped meanwhile, it is killed.
    pub(super) async fn give_back(mut self) {
        let Some(connection) = self.connection() else { return };
        let reset = connection.reset().await;
        if let Some(link) = self.link.take()
            && matches!(reset, Ok(true))
        {
            self.leases.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(link), Ok(runtime)) = (self.link.take(), tokio::runtime::Handle::try_current()) else { return };
        let (leases, slot) = (Arc::clone(&self.leases), self.slot.take());
        runtime.spawn(async move {
            leases.kill(link).await;
            drop(slot);
        });
    }
}
