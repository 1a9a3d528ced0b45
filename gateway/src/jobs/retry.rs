//! When an attempt is made again.
//!
//! Pure: the time and the random fraction are the caller's.

use std::time::Duration;

use super::runner::Again;
use crate::model::job::RetryPolicy;

/// What is waited before the next attempt after `tries` that were made; `None`: there is none.
///
/// Exponential with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): `random`, from 0 to 1, is
/// the part of the interval that is waited. What the other side asked for is honoured up to the policy's longest interval.
#[must_use]
pub fn interval(policy: &RetryPolicy, tries: u32, again: Again, random: f64) -> Option<Duration> {
    let not_before = match again {
        Again::Never => return None,
        Again::Policy => Duration::ZERO,
        Again::NotBefore(wanted) => wanted.min(Duration::from_millis(policy.max_interval_ms)),
    };
    if tries >= policy.max_attempts {
        return None;
    }
    let full = full_interval(policy, tries).as_secs_f64();
    let waited = if policy.jitter { full * random.clamp(0.0, 1.0) } else { full };
    Some(Duration::try_from_secs_f64(waited).unwrap_or_default().max(not_before))
}

/// What the policy makes of the interval after `tries`, before jitter.
fn full_interval(policy: &RetryPolicy, tries: u32) -> Duration {
    let longest = Duration::from_millis(policy.max_interval_ms);
    // However often, it stays zero; 0 × infinity would be no number.
    if policy.initial_interval_ms == 0 {
        return Duration::ZERO;
    }
    let initial = Duration::from_millis(policy.initial_interval_ms).as_secs_f64();
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    // Infinite after some hundred tries, which `min` brings down again.
    let grown = (initial * policy.multiplier.powi(exponent)).min(longest.as_secs_f64());
    Duration::try_from_secs_f64(grown).map_or(longest, |grown| grown.min(longest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 5, initial_interval_ms: 100, multiplier: 2.0, max_interval_ms: 350, jitter: false };

    #[test]
    fn intervals_grow_to_the_longest_and_attempts_end() {
        let intervals: Vec<_> = (1..6).map(|tries| interval(&POLICY, tries, Again::Policy, 0.5)).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(intervals, [millis(100), millis(200), millis(350), millis(350), None]);
        assert_eq!(interval(&POLICY, 1, Again::Never, 0.5), None);
    }

    #[test]
    fn the_other_side_is_heeded_up_to_the_longest_interval() {
        let asked = |millis| interval(&POLICY, 1, Again::NotBefore(Duration::from_millis(millis)), 0.0);
        assert_eq!(asked(10), Some(Duration::from_millis(100)));
        assert_eq!(asked(300), Some(Duration::from_millis(300)));
        assert_eq!(asked(3_600_000), Some(Duration::from_millis(350)));
    }

    #[test]
    fn no_interval_stays_none_however_much_it_would_have_grown() {
        let policy = RetryPolicy { max_attempts: u32::MAX, initial_interval_ms: 0, multiplier: 100.0, ..POLICY };
        for tries in [1, 2, 155, 1_000, u32::MAX - 1] {
            assert_eq!(interval(&policy, tries, Again::Policy, 1.0), Some(Duration::ZERO), "{tries}");
        }
        let asked = interval(&policy, 1_000, Again::NotBefore(Duration::from_millis(200)), 1.0);
        assert_eq!(asked, Some(Duration::from_millis(200)));
    }

    #[test]
    fn an_interval_that_grew_past_every_number_is_the_longest() {
        let policy = RetryPolicy { max_attempts: u32::MAX, multiplier: 100.0, ..POLICY };
        assert_eq!(interval(&policy, 1_000, Again::Policy, 1.0), Some(Duration::from_millis(350)));
    }

    proptest! {
        #[test]
        fn an_interval_is_within_its_bounds_whatever_the_policy(
            max_attempts in 1..=100_u32, initial_interval_ms in any::<u64>(), multiplier in 1.0..=100.0_f64,
            max_interval_ms in 0..=86_400_000_u64, jitter in any::<bool>(), tries in any::<u32>(), random in 0.0..=1.0_f64
        ) {
            let policy = RetryPolicy { max_attempts, initial_interval_ms, multiplier, max_interval_ms, jitter };
            let found = interval(&policy, tries, Again::Policy, random);
            prop_assert_eq!(found.is_some(), tries < max_attempts);
            prop_assert!(found.unwrap_or_default() <= Duration::from_millis(max_interval_ms));
        }
    }
}
