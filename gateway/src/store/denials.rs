//! What modules tried and may not, counted.
//!
//! Owns the batch in which denials of many executions come, and its bound. Does not own what is denied
//! (`runtime`). Invariant: each module, permission and resource is there once, with how often.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Error, Page, PageRequest};
use crate::model::{Denial, ExecutionId, ExecutionRecord, ModuleId, RecordedDenial};

/// Different denials that are kept of one version: more than anybody reads, and what a step with made-up URLs
/// fills. The oldest go.
pub const DENIALS_OF_MODULE_MAX: u32 = 1_000;

/// Different denials of one batch: 20 ms of writing, also where every execution makes up new ones. What is over it
/// is in the counter of denials only.
const BATCH_MAX: usize = 1_000;

/// Denials.
#[async_trait]
pub trait Denials: Send + Sync {
    /// Adds a batch to what is stored, in one transaction, and deletes what a module has over
    /// [`DENIALS_OF_MODULE_MAX`]. Those of modules that are gone by now are ignored. A batch that is tried again
    /// although it was stored is counted twice.
    async fn record_denials(&self, batch: Arc<DenialBatch>) -> Result<(), Error>;
    /// A page of a version's denials, those that happened last first.
    async fn list_denials(&self, module: ModuleId, page: PageRequest) -> Result<Page<RecordedDenial>, Error>;
}

/// Denials of some executions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DenialBatch(BTreeMap<(ModuleId, Denial), Counted>);

#[derive(Debug, Clone, PartialEq)]
struct Counted {
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    execution_id: ExecutionId,
}

impl DenialBatch {
    /// Adds what one execution was denied, each thing once.
    pub fn add(&mut self, record: &ExecutionRecord, denials: impl IntoIterator<Item = Denial>) {
        let (at, execution_id) = (record.started_at, record.execution_id);
        for denial in denials {
            let is_full = self.0.len() >= BATCH_MAX;
            match self.0.entry((record.module_id, denial)) {
                Entry::Occupied(known) => known.into_mut().again(at, execution_id),
                Entry::Vacant(_) if is_full => {}
                Entry::Vacant(new) => {
                    new.insert(Counted { count: 1, first_at: at, last_at: at, execution_id });
                }
            }
        }
    }

    /// Whether nothing was denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was denied, by module.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ModuleId, RecordedDenial)> {
        self.0.iter().map(|((module, denial), counted)| {
            let Denial { permission, resource } = denial.clone();
            let Counted { count, first_at, last_at, execution_id } = *counted;
            (*module, RecordedDenial { permission, resource, count, first_at, last_at, execution_id })
        })
    }
}

impl Counted {
    fn again(&mut self, at: Timestamp, execution_id: ExecutionId) {
        self.count += 1;
        self.first_at = self.first_at.min(at);
        if at >= self.last_at {
            (self.last_at, self.execution_id) = (at, execution_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PermissionKind, Status};
    use crate::store::contract::{module, record};

    #[test]
    fn a_batch_is_bounded_and_counts_on_what_it_has() {
        let record = record(&module("a", "1.0.0"), Status::Completed);
        let denial = |number: usize| Denial {
            permission: PermissionKind::HttpRead,
            resource: format!("https://{number}.example.com/"),
        };
        let mut batch = DenialBatch::default();
        for _ in 0..2 {
            batch.add(&record, (0..BATCH_MAX + 10).map(denial));
        }
        assert_eq!(batch.iter().count(), BATCH_MAX);
        assert!(batch.iter().all(|(_, denial)| denial.count == 2));
    }
}
