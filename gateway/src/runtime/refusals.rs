//! Components that could not be compiled, so that a bomb goes off once.
//!
//! Owns their digests and reasons, for a while and in memory only. Invariant: no more than so
//! many are known, and what is known is what the compiler said of these very bytes.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::model::Digest;

/// Some hundred KB at most. Whoever makes more bad components than that pays a compile for each.
const REFUSALS_MAX: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Long enough that repeating an upload costs nothing, short enough that one that was unlucky
/// on a busy machine gets another chance.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Refusals by digest. Shared by reference.
pub(super) struct Refusals(Mutex<LruCache<Digest, (Instant, String)>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REFUSALS_MAX)))
    }
}

impl Refusals {
    /// Why this component was refused, if that is not too long ago.
    pub(super) fn get(&self, digest: Digest, now: Instant) -> Option<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, reason) = known.get(&digest)?;
        if now.duration_since(*at) < REMEMBERED {
            return Some(reason.clone());
        }
        known.pop(&digest);
        None
    }

    /// Remembers a refusal.
    pub(super) fn add(&self, digest: Digest, reason: String, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(digest, (now, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_refusal_is_remembered_for_a_while() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        refusals.add(digest(1), "too large".to_owned(), start);
        let just_before = start + REMEMBERED.mul_f64(0.999);
        assert_eq!(refusals.get(digest(1), just_before).as_deref(), Some("too large"));
        assert_eq!(refusals.get(digest(2), just_before), None);
        assert_eq!(refusals.get(digest(1), start + REMEMBERED), None);
        assert_eq!(refusals.get(digest(1), start), None, "what is over is forgotten");
    }

    #[test]
    fn the_refusal_that_nobody_asked_for_longest_makes_room() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..=REFUSALS_MAX.get() {
            refusals.add(digest(number), String::new(), now);
        }
        assert_eq!(refusals.get(digest(0), now), None);
        assert!(refusals.get(digest(1), now).is_some() && refusals.get(digest(REFUSALS_MAX.get()), now).is_some());
    }
}
