//! Time that never steps back.
//!
//! What is due is due by wall-clock time, which an operator or NTP may set back by an hour; a retry would then wait for that
//! hour. Within a process time goes on as the monotonic clock says; steps forward are taken. Invariant: a later `now` is never
//! earlier.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// A clock that never steps back. Cheap to clone; clones share what they saw.
#[derive(Debug, Clone)]
pub struct Steady {
    clock: Clock,
    anchor: Arc<Mutex<(Timestamp, Instant)>>,
}

impl Steady {
    /// Steady from now on.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let anchor = Arc::new(Mutex::new((clock.now(), Instant::now())));
        Self { clock, anchor }
    }

    /// Now, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (wall, instant) = (self.clock.now(), Instant::now());
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, since) = *anchor;
        let gone = i64::try_from(instant.saturating_duration_since(since).as_micros()).unwrap_or(i64::MAX);
        let steady = at.checked_add(SignedDuration::from_micros(gone)).unwrap_or(at);
        if wall < steady {
            return steady;
        }
        *anchor = (wall, instant);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_back_is_not_taken_and_an_hour_forward_is() {
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let steady = Steady::new(clock);
        let first = steady.now();
        hand.advance_ms(-3_600_000);
        assert!(steady.now() >= first);
        hand.advance_ms(3 * 3_600_000);
        assert!(steady.now() >= Timestamp::from_second(2 * 3_600).unwrap());
    }
}
