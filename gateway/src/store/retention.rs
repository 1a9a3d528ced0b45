//! What is deleted because it is old, or because there is too much of it.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Error;

/// Sweeping. Each call is one short transaction, so that whoever writes beside it waits for
/// one batch at most; `app` decides how many there are.
#[async_trait]
pub trait Retention: Send + Sync {
    /// How many executions are stored, running ones too.
    async fn count_executions(&self) -> Result<u64, Error>;
    /// When the oldest execution started that stays where `count` of those that have ended go; `None`
    /// where that is none. Walks over as many.
    async fn start_after_oldest(&self, count: u64) -> Result<Option<Timestamp>, Error>;
    /// Deletes up to `limit` of the oldest executions that have ended and started before
    /// `before`, with their logs; how many.
    async fn delete_oldest_executions(&self, before: Timestamp, limit: u32) -> Result<u64, Error>;
    /// Deletes up to `limit` of the oldest denials, of those that were last made before `before`; how many.
    async fn delete_oldest_denials(&self, before: Timestamp, limit: u32) -> Result<u64, Error>;
    /// Deletes up to `limit` of the oldest audit rows from before `before`; how many.
    async fn delete_oldest_audit(&self, before: Timestamp, limit: u32) -> Result<u64, Error>;
}
