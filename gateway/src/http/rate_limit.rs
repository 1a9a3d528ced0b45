//! How many requests a key and an address may make.
//!
//! Owns the buckets and the headers that tell of them. Does not own who a caller
//! is (`auth`) or the numbers (`config`). Invariants: what is remembered is bounded,
//! however many addresses there are; where no limit is configured there is nothing
//! of this on the way of a request.
//!
//! A limit of `requests` in `window_s` is a bucket of that many, filled evenly over
//! the window: GCRA, so that a bucket is one number.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};
use lru::LruCache;

use super::auth::Caller;
use super::{Peer, Problem, Suspect};
use crate::config;
use crate::error::Code;
use crate::model::KeyId;

/// Shards of a store of buckets: threads rarely wait for each other.
const SHARDS: usize = 16;
/// Buckets of one shard, 65 536 in all: 8 MB. Beyond that the one that was not used for
/// longest is forgotten, which at worst lets its owner begin with a full one.
const SHARD_BUCKETS_MAX: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The configured limits.
#[derive(Debug)]
pub struct RateLimits {
    key: Option<Buckets<KeyId>>,
    address: Option<Buckets<Peer>>,
}

impl RateLimits {
    /// The limits of a configuration; `None` where there are none.
    #[must_use]
    pub fn new(config: config::RateLimits) -> Option<Self> {
        let config::RateLimits { key, address } = config;
        if key.is_none() && address.is_none() {
            return None;
        }
        let key = key.map(|limit| Buckets::new("key", limit, MonotonicClock));
        let address = address.map(|limit| Buckets::new("address", limit, MonotonicClock));
        Some(Self { key, address })
    }

    /// Counts a request of `peer`, and of the key that `authenticate` finds. An address that is
    /// over its limit costs its key nothing.
    pub(super) fn check(&self, peer: Peer, authenticate: impl FnOnce() -> Option<Caller>) -> Standing {
        let mut standing = Standing::default();
        if let Some(buckets) = &self.address
            && let Err(refused) = standing.count(buckets, &peer.network())
        {
            standing.refusal = Some(refused);
            return standing;
        }
        if let Some(buckets) = &self.key
            && let Some(caller) = authenticate()
            && let Err(refused) = standing.count(buckets, &caller.id())
        {
            standing.refusal = Some(refused.suspect(Suspect::Proven(caller.holder().clone())));
        }
        standing
    }
}

/// Whether requests to a path are counted: those of probes and scrapers are not, so that a
/// limit never makes a gateway look dead.
pub(crate) fn covers(path: &str) -> bool {
    !matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// Where a request stands with the limits that cover it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    policies: String,
    states: String,
    /// The answer, where the request is over a limit.
    pub(super) refusal: Option<Problem>,
}

impl Standing {
    fn count<K: Hash + Eq + Clone, C: Clock>(&mut self, buckets: &Buckets<K, C>, key: &K) -> Result<(), Problem> {
        let (name, limit) = (buckets.name, buckets.limit);
        let separator = if self.policies.is_empty() { "" } else { ", " };
        let counted = buckets.count(key);
        let Counted { remaining, full_in_s, .. } = counted;
        // Writing to a string doesn't fail.
        let _ = write!(self.policies, "{separator}\"{name}\";q={};w={}", limit.requests, limit.window_s);
        let _ = write!(self.states, "{separator}\"{name}\";r={remaining};t={full_in_s}");
        match counted.retry_after_s {
            None => Ok(()),
            Some(seconds) => {
                let detail = format!(
                    "more than {} requests in {} s with this {name}; the next is taken in {seconds} s",
                    limit.requests, limit.window_s
                );
                let problem = Problem::new(Code::RateLimited, detail).limit(u64::from(limit.requests.get()));
                Err(problem.retry_after_s(seconds))
            }
        }
    }

    /// Tells of the limits in an answer.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        for (name, text) in [(POLICY, &self.policies), (STATE, &self.states)] {
            if !text.is_empty()
                && let Ok(value) = HeaderValue::try_from(text.as_str())
            {
                headers.insert(name, value);
            }
        }
    }
}

/// The buckets of one limit.
struct Buckets<K: Hash + Eq + Clone, C: Clock = MonotonicClock> {
    name: &'static str,
    limit: config::RateLimit,
    limiter: RateLimiter<K, Bounded<K>, C, StateInformationMiddleware>,
}

/// What became of a request.
struct Counted {
    remaining: u32,
    full_in_s: u32,
    /// Where it is over the limit: when the next will not be.
    retry_after_s: Option<u32>,
}

impl<K: Hash + Eq + Clone, C: Clock> Buckets<K, C> {
    fn new(name: &'static str, limit: config::RateLimit, clock: C) -> Self {
        // Only a period of no time has no quota, and the bounds of the configuration exclude it.
        let quota = Quota::with_period(of_one(limit)).unwrap_or(Quota::per_second(limit.requests));
        let quota = quota.allow_burst(limit.requests);
        Self { name, limit, limiter: RateLimiter::new(quota, Bounded::new(SHARD_BUCKETS_MAX), clock) }
    }

    fn count(&self, key: &K) -> Counted {
        let of_one = of_one(self.limit);
        match self.limiter.check_key(key) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let taken = self.limit.requests.get().saturating_sub(remaining);
                Counted { remaining, full_in_s: whole_seconds(of_one.saturating_mul(taken)), retry_after_s: None }
            }
            Err(until) => {
                let wait = until.wait_time_from(self.limiter.clock().now());
                let rest = of_one.saturating_mul(self.limit.requests.get() - 1);
                Counted {
                    remaining: 0,
                    full_in_s: whole_seconds(wait.saturating_add(rest)),
                    retry_after_s: Some(whole_seconds(wait).max(1)),
                }
            }
        }
    }
}

impl<K: Hash + Eq + Clone, C: Clock> std::fmt::Debug for Buckets<K, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The time in which one request comes back.
fn of_one(limit: config::RateLimit) -> Duration {
    Duration::from_secs(u64::from(limit.window_s.get())) / limit.requests.get()
}

/// Rounded up: who waits that long is not too early.
fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Buckets by key, so many and no more.
struct Bounded<K> {
    // By a secret hash, so that nobody can fill one shard on purpose.
    hasher: RandomState,
    shards: [Mutex<LruCache<K, Nanos>>; SHARDS],
}

impl<K: Hash + Eq> Bounded<K> {
    fn new(shard_max: NonZeroUsize) -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::new(LruCache::new(shard_max))) }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Bounded<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // There is always one: without it the key would have no limit, and none would be kept.
        let Some(shard) = self.shards.get(place) else { return measure(None).map(|(outcome, _)| outcome) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, next) = measure(shard.get(key).copied())?;
        shard.put(key.clone(), next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn limit(requests: u32, window_s: u32) -> config::RateLimit {
        config::RateLimit { requests: NonZeroU32::new(requests).unwrap(), window_s: NonZeroU32::new(window_s).unwrap() }
    }

    fn buckets(requests: u32, window_s: u32) -> (Buckets<u8, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Buckets::new("key", limit(requests, window_s), clock.clone()), clock)
    }

    #[test]
    fn a_full_bucket_lets_its_requests_through_and_then_fills_evenly() {
        let (buckets, clock) = buckets(3, 60);
        for (remaining, full_in_s) in [(2, 20), (1, 40), (0, 60)] {
            let counted = buckets.count(&1);
            assert_eq!((counted.remaining, counted.full_in_s, counted.retry_after_s), (remaining, full_in_s, None));
        }
        let refused = buckets.count(&1);
        assert_eq!((refused.remaining, refused.full_in_s, refused.retry_after_s), (0, 60, Some(20)));
        assert_eq!(buckets.count(&2).remaining, 2, "another key has a bucket of its own");
        clock.advance(Duration::from_millis(19_500));
        assert_eq!(buckets.count(&1).retry_after_s, Some(1));
        clock.advance(Duration::from_millis(500));
        assert_eq!(buckets.count(&1).retry_after_s, None);
        assert_eq!(buckets.count(&1).retry_after_s, Some(20));
    }

    #[test]
    fn both_limits_are_told_and_a_refusal_by_address_costs_the_key_nothing() {
        let config = config::RateLimits { key: Some(limit(5, 60)), address: Some(limit(2, 30)) };
        let limits = RateLimits::new(config).unwrap();
        let peer = Peer::new("192.0.2.1".parse().unwrap());
        let standing = limits.check(peer, || None);
        let mut headers = HeaderMap::new();
        standing.tell(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"address\";q=2;w=30");
        assert_eq!(headers["ratelimit"], "\"address\";r=1;t=15");
        assert!(standing.refusal.is_none());
        assert!(limits.check(peer, || None).refusal.is_none());
        let refused = limits.check(peer, || panic!("the key is not looked at"));
        assert_eq!(refused.refusal.as_ref().map(Problem::code), Some(Code::RateLimited));
        let other = limits.check(Peer::new("192.0.2.2".parse().unwrap()), || None);
        assert!(other.refusal.is_none());
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_check() {
        assert!(RateLimits::new(config::RateLimits::default()).is_none());
        assert!(!covers("/healthz") && !covers("/metrics") && covers("/api/v1/wasm/modules"));
    }

    #[test]
    fn memory_is_bounded_over_many_addresses() {
        let store: Bounded<u64> = Bounded::new(NonZeroUsize::new(10).unwrap());
        for key in 0..100_000 {
            store.measure_and_replace(&key, |_| Ok::<_, ()>(((), Nanos::from(1)))).unwrap();
        }
        let kept: usize = store.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(kept, 10 * SHARDS);
    }

    proptest! {
        #[test]
        fn p_rate_limit_never_lets_more_through_than_a_bucket_and_its_refill(
            requests in 1..20_u32, window_s in 1..100_u32, waits in prop::collection::vec(0..5_000_u64, 1..60)
        ) {
            let (buckets, clock) = buckets(requests, window_s);
            let (mut passed, mut elapsed_ms) = (0_u64, 0_u64);
            for wait in waits {
                clock.advance(Duration::from_millis(wait));
                elapsed_ms += wait;
                passed += u64::from(buckets.count(&1).retry_after_s.is_none());
                let refilled = elapsed_ms * u64::from(requests) / (u64::from(window_s) * 1000);
                prop_assert!(passed <= u64::from(requests) + refilled + 1);
            }
        }
    }
}
