//! The source of wall-clock time, so that a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is moved.
    #[must_use]
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let micros = Arc::new(AtomicI64::new(start.as_microsecond()));
        (Self(Source::Manual(Arc::clone(&micros))), ManualClock(micros))
    }

    /// Now, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let now = Timestamp::now();
                Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
            }
            Source::Manual(micros) => {
                Timestamp::from_microsecond(micros.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Moves the clock by `delta_ms`, backwards where it is negative.
    pub fn advance_ms(&self, delta_ms: i64) {
        self.0.fetch_add(delta_ms.saturating_mul(1_000), Ordering::Relaxed);
    }
}
