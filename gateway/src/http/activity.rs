//! What a connection is busy with, and when its time is over.
//!
//! Owns the clock of one connection: since when it has been idle, since when a
//! head has been arriving, since when its peer has not been reading. Does not
//! own the socket. Invariant: a connection on which a request runs is never
//! overdue for any other reason than a peer that stopped reading.
//!
//! hyper's own timer for heads also runs while a kept connection is idle, so it
//! can't tell the two apart, and it makes a new timer for every request. Here a
//! request costs two readings of the clock and no timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long each state may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// From a head's first byte to its last.
    pub(super) head: Duration,
    /// Without a request; also, of a peer that doesn't read its answer.
    pub(super) idle: Duration,
}

/// Why a connection's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head began and didn't end.
    Head,
    /// Nothing was asked.
    Idle,
    /// The peer doesn't take what is written.
    Reading,
}

/// The state of one connection, shared by its socket, its requests and its timer.
///
/// Times are microseconds since `born`, and 0 is "not"; each is on its own and
/// publishes nothing else, hence the relaxed orderings.
#[derive(Debug)]
pub(super) struct Activity {
    born: Instant,
    in_flight: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    answering: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            answering: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Bytes arrived: the first of a head, where no request is running. (Those of
    /// a head that came together with an earlier request are not noticed; the
    /// idle time bounds that one.)
    pub(super) fn received(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// No head is on its way after all.
    pub(super) fn no_head(&self) {
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// A head is complete: its request runs until the guard is dropped.
    pub(super) fn request_began(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.no_head();
        InFlight(Arc::clone(self))
    }

    /// Bytes could, or could not, be written.
    pub(super) fn wrote(&self, blocked: bool) {
        let since = self.blocked_since.load(Ordering::Relaxed);
        match (blocked, since) {
            (true, 0) => self.blocked_since.store(self.now(), Ordering::Relaxed),
            (false, 1..) => self.blocked_since.store(0, Ordering::Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }

    /// All that was to be written has been.
    pub(super) fn flushed(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.answering.store(false, Ordering::Relaxed);
        }
    }

    /// Whether anything that is written now belongs to an answer of ours.
    pub(super) fn owes_an_answer(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 || self.answering.load(Ordering::Relaxed)
    }

    /// Returns when the connection's time is over.
    pub(super) async fn overdue(&self, timeouts: &Timeouts) -> Overdue {
        loop {
            match self.due(self.now(), timeouts) {
                Ok(wake_at) => tokio::time::sleep_until(self.born + Duration::from_micros(wake_at)).await,
                Err(overdue) => return overdue,
            }
        }
    }

    /// When to look again. Looking once every shortest timeout misses nothing:
    /// what begins between two looks ends after the second.
    fn due(&self, now: u64, timeouts: &Timeouts) -> Result<u64, Overdue> {
        let (head, idle) = (micros(timeouts.head), micros(timeouts.idle));
        let next_look = now.saturating_add(head.min(idle));
        let deadline = match (self.blocked_since.load(Ordering::Relaxed), self.head_since.load(Ordering::Relaxed)) {
            (since @ 1.., _) => Some((since.saturating_add(idle), Overdue::Reading)),
            (0, _) if self.in_flight.load(Ordering::Relaxed) > 0 => None,
            (0, since @ 1..) => Some((since.saturating_add(head), Overdue::Head)),
            (0, 0) => Some((self.idle_since.load(Ordering::Relaxed).saturating_add(idle), Overdue::Idle)),
        };
        match deadline {
            Some((at, overdue)) if at <= now => Err(overdue),
            Some((at, _)) => Ok(at.min(next_look)),
            None => Ok(next_look),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One running request; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    /// The answer is about to be written.
    pub(super) fn answering(&self) {
        self.0.answering.store(true, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts { head: Duration::from_micros(100), idle: Duration::from_micros(600) };

    #[tokio::test]
    async fn an_idle_connection_and_a_slow_head_have_times_of_their_own() {
        let activity = Activity::new();
        assert_eq!(activity.due(50, &TIMEOUTS), Ok(150));
        assert_eq!(activity.due(550, &TIMEOUTS), Ok(600));
        assert_eq!(activity.due(600, &TIMEOUTS), Err(Overdue::Idle));
        activity.head_since.store(590, Ordering::Relaxed);
        assert_eq!(activity.due(600, &TIMEOUTS), Ok(690));
        assert_eq!(activity.due(690, &TIMEOUTS), Err(Overdue::Head));
    }

    #[tokio::test]
    async fn a_running_request_is_never_overdue_but_for_a_peer_that_does_not_read() {
        let activity = Activity::new();
        activity.received();
        let request = activity.request_began();
        assert_eq!(activity.due(1_000_000, &TIMEOUTS), Ok(1_000_100));
        activity.wrote(true);
        activity.wrote(true);
        assert_eq!(activity.due(1_000_000, &TIMEOUTS), Err(Overdue::Reading));
        activity.wrote(false);
        assert_eq!(activity.due(1_000_000, &TIMEOUTS), Ok(1_000_100));
        drop(request);
        let since = activity.idle_since.load(Ordering::Relaxed);
        assert_eq!(activity.due(since, &TIMEOUTS), Ok(since + 100));
        assert_eq!(activity.due(since + 600, &TIMEOUTS), Err(Overdue::Idle));
    }

    #[tokio::test]
    async fn only_what_follows_an_answer_of_ours_is_owed() {
        let activity = Activity::new();
        assert!(!activity.owes_an_answer());
        let request = activity.request_began();
        assert!(activity.owes_an_answer());
        request.answering();
        drop(request);
        assert!(activity.owes_an_answer());
        activity.flushed();
        assert!(!activity.owes_an_answer());
    }
}
