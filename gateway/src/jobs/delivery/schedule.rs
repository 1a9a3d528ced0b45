//! When a notification is sent again.

use std::time::Duration;

use crate::jobs::runner::Posted;

/// The schedule of Standard Webhooks: between the attempts, so ten in all, and the last three days after the first.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];
/// So much of a wait is left to chance, so that those that failed together do not come again together.
const JITTER: f64 = 0.1;
/// What a receiver may ask for: a day, as the longest wait of the schedule.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// The receiver wants nothing more.
const GONE: u16 = 410;

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: it was taken.
    Delivered,
    /// Another attempt after so long.
    Again(Duration),
    /// Nothing: that was the last attempt.
    Dead,
    /// Nothing, for this and all others of this endpoint.
    Gone,
}

/// What follows attempt `tries` (from 1); `random` is from 0 to 1.
#[must_use]
pub fn after(tries: u32, posted: &Posted, random: f64) -> After {
    let asked = match posted {
        Posted::Answered { status: 200..=299, .. } => return After::Delivered,
        Posted::Answered { status: GONE, .. } => return After::Gone,
        Posted::Answered { retry_after, .. } => retry_after.unwrap_or_default().min(RETRY_AFTER_MAX),
        Posted::Failed { .. } => Duration::ZERO,
    };
    let wait = usize::try_from(tries).ok().and_then(|tries| WAITS.get(tries.checked_sub(1)?));
    wait.map_or(After::Dead, |wait| After::Again(wait.mul_f64(1.0 + JITTER * random.clamp(0.0, 1.0)).max(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after_s: Option<u64>) -> Posted {
        Posted::Answered { status, retry_after: retry_after_s.map(Duration::from_secs) }
    }

    #[test]
    fn an_answer_decides_and_the_tenth_failure_is_the_last() {
        assert_eq!(after(1, &answered(204, None), 0.0), After::Delivered);
        assert_eq!(after(1, &answered(410, None), 0.0), After::Gone);
        for status in [301, 307, 400, 404, 429, 500, 502, 504] {
            assert_eq!(after(1, &answered(status, None), 0.0), After::Again(Duration::from_secs(5)), "{status}");
        }
        let failed = Posted::Failed { code: "timed-out".to_owned(), message: String::new() };
        assert_eq!(after(9, &failed, 0.0), After::Again(Duration::from_hours(24)));
        assert_eq!(after(10, &failed, 0.0), After::Dead);
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it_up_to_a_day() {
        assert_eq!(after(1, &answered(429, Some(60)), 0.0), After::Again(Duration::from_mins(1)));
        assert_eq!(after(2, &answered(503, Some(60)), 0.0), After::Again(Duration::from_mins(5)));
        assert_eq!(after(1, &answered(429, Some(u64::MAX)), 1.0), After::Again(Duration::from_hours(24)));
    }

    #[test]
    fn chance_makes_a_wait_longer_by_a_tenth_at_most() {
        assert_eq!(after(2, &answered(500, None), 1.0), After::Again(Duration::from_secs(330)));
    }
}
