//! The way of an execution record into the store: a bounded queue and batches.

use crate::model::ExecutionRecord;

/// Hands records to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {}

impl Recorder {
    /// Queues a record of an execution that ended; counts it as dropped when the queue is full. Never waits.
    pub fn record(&self, _record: ExecutionRecord) {
        todo!()
    }
    /// Queues a record and waits until it is stored (or dropped): for what must be readable at once.
    pub async fn record_durably(&self, _record: ExecutionRecord) {
        todo!()
    }
}
