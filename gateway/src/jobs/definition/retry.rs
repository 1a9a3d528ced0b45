//! `retry`, and `timeout_ms`.

use super::object::{Mistakes, Object, wrong_type};
use crate::error::FieldError;
use crate::model::job::RetryPolicy;

/// A failure that a hundred attempts don't mend is nothing that time mends, and each is kept.
const ATTEMPTS_MAX: u64 = 100;

/// The longest interval: a day, so that a run's next attempt is within sight of whoever looks.
const INTERVAL_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A hundredfold from one interval to the next reaches any bound at once.
const MULTIPLIER_MAX: f64 = 100.0;

/// Of one attempt: an hour. A worker holds a run that long, and starts it again after a crash.
const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;

const MEMBERS: [&str; 5] = ["max_attempts", "initial_interval_ms", "multiplier", "max_interval_ms", "jitter"];

/// A policy, its missing members as in `base`.
pub(super) fn policy(parent: &Object<'_>, base: RetryPolicy, mistakes: &mut Mistakes) -> Option<RetryPolicy> {
    let object = parent.object("retry", mistakes)?;
    object.only(&MEMBERS, mistakes);
    let attempts = object.whole("max_attempts", &(1..=ATTEMPTS_MAX), "the first is one of them", mistakes);
    let interval = |name, mistakes: &mut Mistakes| {
        let ms = object.whole(name, &(0..=INTERVAL_MS_MAX), "a day at most", mistakes);
        // One that can't be read is no reason to compare the other one with what it would have been.
        (ms.is_some() || object.get(name).is_none()).then_some(ms)
    };
    let initial = interval("initial_interval_ms", mistakes);
    let max = interval("max_interval_ms", mistakes);
    let mut policy = RetryPolicy {
        max_attempts: attempts.and_then(|attempts| attempts.try_into().ok()).unwrap_or(base.max_attempts),
        initial_interval_ms: initial.flatten().unwrap_or(base.initial_interval_ms),
        multiplier: multiplier(&object, mistakes).unwrap_or(base.multiplier),
        max_interval_ms: max.flatten().unwrap_or(base.max_interval_ms),
        jitter: object.boolean("jitter", mistakes).unwrap_or(base.jitter),
    };
    if initial.is_some() && max.is_some() && policy.initial_interval_ms > policy.max_interval_ms {
        let name = if initial.flatten().is_some() { "initial_interval_ms" } else { "max_interval_ms" };
        let message = format!(
            "the first interval, {} ms, is longer than the longest, {} ms",
            policy.initial_interval_ms, policy.max_interval_ms
        );
        mistakes.push(FieldError::new(object.at(name), "out-of-range", message));
        // The steps that inherit it are not to blame.
        policy = RetryPolicy {
            initial_interval_ms: base.initial_interval_ms,
            max_interval_ms: base.max_interval_ms,
            ..policy
        };
    }
    Some(policy)
}

fn multiplier(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<f64> {
    let value = object.get("multiplier")?;
    let Some(multiplier) = value.as_f64() else {
        wrong_type(mistakes, object.at("multiplier"), "a number");
        return None;
    };
    if (1.0..=MULTIPLIER_MAX).contains(&multiplier) {
        return Some(multiplier);
    }
    let message = format!("is 1 to {MULTIPLIER_MAX}");
    mistakes.push(FieldError::new(object.at("multiplier"), "out-of-range", message));
    None
}

/// How long one attempt may take.
pub(super) fn timeout_ms(step: &Object<'_>, mistakes: &mut Mistakes) -> Option<u64> {
    step.whole("timeout_ms", &(1..=TIMEOUT_MS_MAX), "an hour at most", mistakes)
}
