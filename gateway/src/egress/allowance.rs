//! What exchanges may have at once, beside their turns at a host.
//!
//! Owns the bound of one execution, and the memory for answers that are held whole. Does not own turns at a host
//! (`hosts`) nor the part of its owner (`owner`). Invariants: what one execution leaves unread takes nothing that others wait for, but its share; and
//! who waits for the memory of all has none of it, so that nobody waits for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::owner::Owner;

/// Exchanges of one execution at once, whose answers it may leave unread. A page in a browser makes six at one
/// host; a host has a hundred turns by default, for all executions.
const EXCHANGES_MAX: usize = 16;

/// Of all answers that are held whole: fifty of the largest by default, on machines with some gigabytes.
pub(super) const ANSWERS_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What is counted, since a count of bytes could be too large for a permit.
const UNIT_BYTES: u64 = 1024;

/// The exchanges of one execution, and whose they are. A clone is the same allowance.
#[derive(Debug, Clone)]
pub struct Allowance {
    exchanges: Arc<Semaphore>,
    owner: Arc<Owner>,
}

impl Allowance {
    pub(super) fn of(owner: Arc<Owner>) -> Self {
        Self { exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)), owner }
    }

    pub(super) fn owner(&self) -> Arc<Owner> {
        Arc::clone(&self.owner)
    }

    /// Waits until another exchange of the execution has ended, where it has as many as it may.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.exchanges).acquire_owned().await.ok()
    }
}

/// An answer's part of the memory for those that are held whole, its owner's and all owners', until this is dropped.
#[derive(Debug)]
pub struct AnswerRoom([OwnedSemaphorePermit; 2]);

/// Memory for answers that are held whole.
#[derive(Debug, Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
}

impl Room {
    /// Room for the largest answer that may come, at the least.
    pub(super) fn for_answers_of(bytes_max: u64) -> Self {
        Self::of(bytes_max.max(ANSWERS_BYTES_MAX))
    }

    pub(super) fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        Self { units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        // Never closed.
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

impl AnswerRoom {
    /// Waits for room for so many bytes in the owner's part, and then in that of all, until what comes back is dropped.
    /// Who waits in the second has something of the first only, for which nobody waits that others need.
    pub(super) async fn take([own, all]: [&Room; 2], bytes: u64) -> Option<Self> {
        let own = own.take(bytes).await?;
        Some(Self([own, all.take(bytes).await?]))
    }

    /// Gives back what an answer of so many bytes has not filled.
    pub(super) fn keep(&mut self, bytes: usize) {
        let units = usize::try_from((bytes as u64).div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        for permit in &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }
}
