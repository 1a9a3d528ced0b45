//! What the exchanges of one owner may take of what all owners share.
//!
//! Owns each owner's part of the look-ups, the connections, and the memory for answers. Does not know what an owner is: who sends names it.
//! Invariant: whatever one owner's hosts and name servers do, it holds no more than its part, and what is looked up or
//! connected to counts for whoever asked first.
//!
//! The client is told of a host only, and hands out connections to whoever asks for that host next. So who asks is
//! known to the task that polls the request ([`asking`]), and the connector reads it where it begins a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::allowance::{ANSWERS_BYTES_MAX, Room};

/// Of the look-ups at once: a quarter of all. A page in a browser has names of about as many hosts.
pub(super) const LOOK_UPS_MAX: usize = super::resolver::LOOK_UPS_MAX / 4;

/// The connections of one owner are all of them by this: an owner with many hosts leaves others theirs.
const CONNECTIONS_DIVISOR: usize = 4;

/// The memory for whole answers of one owner is all of it by this, or that of the largest answer.
const ANSWERS_DIVISOR: u64 = 4;

type Known = Arc<Mutex<HashMap<Box<str>, Weak<Owner>>>>;

/// All owners with something under way.
#[derive(Debug)]
pub(super) struct Owners {
    known: Known,
    connections: usize,
    answers_bytes: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Owner {
    name: Box<str>,
    known: Known,
    look_ups: Semaphore,
    connections: Arc<Semaphore>,
    connections_max: usize,
    answers: Room,
}

/// A connection's place among its owner's, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Known by its name for as long as anything of it is counted.
    _owner: Arc<Owner>,
}

tokio::task_local! {
    static ASKING: Arc<Owner>;
}

/// Polls `work` as the owner's.
pub(super) fn asking<F: Future>(owner: Arc<Owner>, work: F) -> impl Future<Output = F::Output> {
    ASKING.scope(owner, work)
}

/// Whose work is polled.
pub(super) fn current() -> Option<Arc<Owner>> {
    ASKING.try_with(Arc::clone).ok()
}

impl Owners {
    /// Of so many connections to all hosts, and answers of so many bytes at most.
    pub(super) fn new(connections: usize, answer_bytes_max: u64) -> Self {
        Self {
            known: Known::default(),
            connections: (connections / CONNECTIONS_DIVISOR).max(1),
            answers_bytes: answer_bytes_max.max(ANSWERS_BYTES_MAX / ANSWERS_DIVISOR),
        }
    }

    pub(super) fn get(&self, name: &str) -> Arc<Owner> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = known.get(name).and_then(Weak::upgrade) {
            return owner;
        }
        let owner = Arc::new(Owner {
            name: name.into(),
            known: Arc::clone(&self.known),
            look_ups: Semaphore::new(LOOK_UPS_MAX),
            connections: Arc::new(Semaphore::new(self.connections)),
            connections_max: self.connections,
            answers: Room::of(self.answers_bytes),
        });
        known.insert(name.into(), Arc::downgrade(&owner));
        owner
    }
}

impl Owner {
    /// Waits for a turn at the name servers.
    pub(super) async fn look_up(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.look_ups.acquire().await
    }

    /// Waits for a place for a connection.
    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, AcquireError> {
        let permit = Arc::clone(&self.connections).acquire_owned().await?;
        Ok(Place { _permit: permit, _owner: Arc::clone(self) })
    }

    /// Its part of the memory for answers that are held whole.
    pub(super) fn answers(&self) -> &Room {
        &self.answers
    }

    /// Whether there is so much room that a connection may stay when nobody uses it.
    pub(super) fn has_room(&self) -> bool {
        self.connections.available_permits() * 2 >= self.connections_max
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have come under the same name since the last of this one was dropped.
        if known.get(&self.name).is_some_and(|owner| owner.strong_count() == 0) {
            known.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::allowance::AnswerRoom;
    use super::*;

    #[tokio::test]
    async fn an_owner_has_its_part_and_is_forgotten_with_its_last_connection() {
        let owners = Owners::new(8, 1_000);
        let (one, other) = (owners.get("one"), owners.get("other"));
        let places = [one.place().await.unwrap(), owners.get("one").place().await.unwrap()];
        assert!(one.place().now_or_never().is_none());
        assert!(other.place().now_or_never().is_some());
        drop((one, other));
        // It is the same owner as long as a connection of it is open.
        assert!(owners.get("one").place().now_or_never().is_none());
        assert_eq!(owners.known.lock().unwrap().len(), 1);
        drop(places);
        assert!(owners.known.lock().unwrap().is_empty());
        assert!(owners.get("one").place().now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_owner_has_its_part_of_the_memory_for_answers() {
        let all = Room::of(ANSWERS_BYTES_MAX);
        let owners = Owners::new(8, 1_000);
        let (one, other) = (owners.get("one"), owners.get("other"));
        let quarter = ANSWERS_BYTES_MAX / ANSWERS_DIVISOR;
        let held = AnswerRoom::take([one.answers(), &all], quarter).await.unwrap();
        assert!(AnswerRoom::take([one.answers(), &all], 1).now_or_never().is_none());
        assert!(AnswerRoom::take([other.answers(), &all], quarter).now_or_never().flatten().is_some());
        drop(held);
        assert!(AnswerRoom::take([one.answers(), &all], 1).now_or_never().flatten().is_some());
        // One that may be larger than a quarter fits once.
        let large = Owners::new(8, ANSWERS_BYTES_MAX).get("one");
        assert!(AnswerRoom::take([large.answers(), &all], ANSWERS_BYTES_MAX).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn work_is_known_by_its_owner_while_it_is_polled() {
        let owner = Owners::new(8, 1_000).get("one");
        let asked = asking(owner, async { current().map(|owner| owner.name.clone()) }).await;
        assert_eq!(asked.as_deref(), Some("one"));
        assert!(current().is_none());
    }
}
