//! The bounds of one execution that wasmtime asks about.
//!
//! Owns the sum over all memories and tables of a store, and the errors by which
//! an execution ends at a bound. Invariant: the sum never passes the limit, not
//! even between two memories of one component.

use wasmtime::ResourceLimiter;

/// A bound that ended an execution; travels through wasmtime as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitReached {
    /// All memories and tables together would be larger than allowed.
    #[error("memory limit reached")]
    Memory { limit: u64, used: u64 },
    /// The deadline passed while the guest computed.
    #[error("time limit reached")]
    Time,
}

/// wasmtime stores a pointer for each table element.
const TABLE_ELEMENT_BYTES: u64 = size_of::<usize>() as u64;

/// Sums all memories and tables of one store, in bytes.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    limit: u64,
    used: u64,
}

impl MemoryLimiter {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    /// The most that was used at once, which is what is used now: neither memories nor
    /// tables shrink.
    pub(super) const fn peak_bytes(&self) -> u64 {
        self.used
    }

    fn grow(&mut self, current_bytes: u64, desired_bytes: u64) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired_bytes.saturating_sub(current_bytes));
        if used > self.limit {
            // An error ends the execution at once; `false` would let a guest go on
            // with an allocator that failed, and most report that as a mere trap.
            return Err(LimitReached::Memory { limit: self.limit, used }.into());
        }
        self.used = used;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Past its own maximum a growth fails as the specification says, and counts nothing.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(current as u64, desired as u64)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(
            (current as u64).saturating_mul(TABLE_ELEMENT_BYTES),
            (desired as u64).saturating_mul(TABLE_ELEMENT_BYTES),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_over_all_memories_never_passes_the_limit(
            limit in 0_u64..1 << 30,
            growths in prop::collection::vec((0_usize..8, 0_usize..1 << 26), 0..40),
        ) {
            let mut limiter = MemoryLimiter::new(limit);
            let mut sizes = [0_usize; 8];
            for (memory, delta) in growths {
                let desired = sizes[memory] + delta;
                match limiter.memory_growing(sizes[memory], desired, None) {
                    Ok(true) => sizes[memory] = desired,
                    Ok(false) => prop_assert!(false, "without a maximum nothing is refused softly"),
                    Err(error) => {
                        let sum = sizes.iter().sum::<usize>() + delta;
                        prop_assert!(sum as u64 > limit);
                        prop_assert_eq!(
                            error.downcast_ref::<LimitReached>(),
                            Some(&LimitReached::Memory { limit, used: sum as u64 })
                        );
                    }
                }
                prop_assert!(sizes.iter().sum::<usize>() as u64 <= limit);
            }
            prop_assert_eq!(limiter.peak_bytes(), sizes.iter().sum::<usize>() as u64);
        }
    }

    #[test]
    fn a_growth_past_a_memorys_own_maximum_counts_nothing() {
        let mut limiter = MemoryLimiter::new(1 << 20);
        assert!(!limiter.memory_growing(0, 1 << 18, Some(1 << 17)).unwrap());
        assert_eq!(limiter.peak_bytes(), 0);
    }
}
