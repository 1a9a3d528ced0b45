//! Turns at a host.
//!
//! Owns how many exchanges with one host there are at once, of all executions together. Invariant: a host
//! takes memory only while somebody has a turn at it or waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Target;

type Known = Arc<Mutex<HashMap<Box<str>, Arc<Semaphore>>>>;

/// All hosts with somebody at them.
#[derive(Debug)]
pub(super) struct Hosts {
    known: Known,
    at_once: usize,
}

/// One turn; it is over when this is dropped. In this order: the permit is part of the place's count.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
}

/// Somebody who has a turn at a host, or waits for one.
#[derive(Debug)]
struct Place {
    known: Known,
    host: Box<str>,
    turns: Option<Arc<Semaphore>>,
}

impl Hosts {
    pub(super) fn new(at_once: usize) -> Self {
        Self { known: Known::default(), at_once }
    }

    /// Waits for a turn. Who leaves the queue leaves nothing behind.
    pub(super) async fn turn(&self, target: &Target) -> Turn {
        let host: Box<str> = target.url().authority().into();
        let turns = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(host.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once))))
        };
        let place = Place { known: Arc::clone(&self.known), host, turns: Some(Arc::clone(&turns)) };
        // Never closed.
        let permit = turns.acquire_owned().await.ok();
        Turn { _permit: permit, _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.turns = None;
        // Everybody else at it has one too, and takes and leaves it under this lock only.
        if known.get(&self.host).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            known.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_host_has_so_many_turns_and_is_forgotten_with_the_last() {
        let hosts = Hosts::new(2);
        let target = |url: &str| Target::parse(url).unwrap();
        let (one, two) =
            (hosts.turn(&target("https://a.example/x")).await, hosts.turn(&target("https://a.example/y")).await);
        assert!(hosts.turn(&target("https://a.example/")).now_or_never().is_none());
        // Another port is another server.
        let other = hosts.turn(&target("https://a.example:444/")).now_or_never();
        assert!(other.is_some());
        drop(one);
        let three = hosts.turn(&target("https://a.example/")).now_or_never();
        assert!(three.is_some());
        assert_eq!(hosts.known.lock().unwrap().len(), 2);
        drop((two, three, other));
        assert!(hosts.known.lock().unwrap().is_empty());
    }
}
