//! What a connection is busy with, and when its time is over.
//!
//! Owns the clock of one connection: when something last came of it, since when
//! a head has been arriving, since when its peer has not been reading. Does not
//! own the socket. Invariant: a connection on which a request runs is never
//! overdue for any other reason than a peer that stopped reading.
//!
//! What moves on is a request or a part of an answer, not a byte: a peer that
//! takes nothing of its HTTP/2 answers still makes us write, by its pings and ours.
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
    /// Requests without an answer.
    running: AtomicU32,
    /// Those, and the ones whose answer is not written whole.
    in_flight: AtomicU32,
    progress_at: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    answering: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            running: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            progress_at: AtomicU64::new(0),
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

    /// A head is complete: its request runs until it is answered or the guard is dropped.
    pub(super) fn request_began(self: &Arc<Self>) -> InFlight {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.no_head();
        InFlight { activity: Arc::clone(self), is_running: true }
    }

    fn progressed(&self) {
        self.progress_at.store(self.now(), Ordering::Relaxed);
    }

    /// Bytes could, or could not, be written.
    pub(super) fn wrote(&self, blocked: bool) {
        let since = self.blocked_since.load(Ordering::Relaxed);
        match (blocked, since) {
            (true, 0) => self.blocked_since.store(self.now(), Ordering::Relaxed),
            (false, 1..) => {
                // An answer that took long to leave is not time without a request.
                self.progressed();
                self.blocked_since.store(0, Ordering::Relaxed);
            }
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
        let no_progress = || self.progress_at.load(Ordering::Relaxed).saturating_add(idle);
        let deadline = match (self.blocked_since.load(Ordering::Relaxed), self.head_since.load(Ordering::Relaxed)) {
            (since @ 1.., _) => Some((since.saturating_add(idle), Overdue::Reading)),
            (0, _) if self.running.load(Ordering::Relaxed) > 0 => None,
            (0, _) if self.in_flight.load(Ordering::Relaxed) > 0 => Some((no_progress(), Overdue::Reading)),
            (0, since @ 1..) => Some((since.saturating_add(head), Overdue::Head)),
            (0, 0) => Some((no_progress(), Overdue::Idle)),
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

/// One request until its answer is written; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    is_running: bool,
}

impl InFlight {
    /// The answer is about to be written.
    pub(super) fn answering(&mut self) {
        self.activity.answering.store(true, Ordering::Relaxed);
        self.progressed();
        self.ended_running();
    }

    /// A part of the answer is on its way.
    pub(super) fn progressed(&self) {
        self.activity.progressed();
    }

    fn ended_running(&mut self) {
        if std::mem::take(&mut self.is_running) {
            self.activity.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.progressed();
        self.ended_running();
        self.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
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
        let since = activity.progress_at.load(Ordering::Relaxed);
        assert_eq!(activity.due(since, &TIMEOUTS), Ok(since + 100));
        assert_eq!(activity.due(since + 600, &TIMEOUTS), Err(Overdue::Idle));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_overdue_unless_another_request_runs_or_a_part_is_taken() {
        let activity = Activity::new();
        let (mut answered, running) = (activity.request_began(), activity.request_began());
        answered.answering();
        assert_eq!(activity.due(1_000_000, &TIMEOUTS), Ok(1_000_100));
        drop(running);
        activity.progress_at.store(1_000, Ordering::Relaxed);
        assert_eq!(activity.due(1_599, &TIMEOUTS), Ok(1_600));
        assert_eq!(activity.due(1_600, &TIMEOUTS), Err(Overdue::Reading));
        activity.progress_at.store(0, Ordering::Relaxed);
        answered.progressed();
        let since = activity.progress_at.load(Ordering::Relaxed);
        assert_eq!(activity.due(since + 599, &TIMEOUTS), Ok(since + 600));
        drop(answered);
        let since = activity.progress_at.load(Ordering::Relaxed);
        assert_eq!(activity.due(since + 600, &TIMEOUTS), Err(Overdue::Idle));
    }

    #[tokio::test]
    async fn the_idle_time_begins_when_the_last_of_an_answer_has_left() {
        let activity = Activity::new();
        activity.wrote(true);
        activity.wrote(false);
        assert!(activity.progress_at.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn only_what_follows_an_answer_of_ours_is_owed() {
        let activity = Activity::new();
        assert!(!activity.owes_an_answer());
        let mut request = activity.request_began();
        assert!(activity.owes_an_answer());
        request.answering();
        drop(request);
        assert!(activity.owes_an_answer());
        activity.flushed();
        assert!(!activity.owes_an_answer());
    }
}
