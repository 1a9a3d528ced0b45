//! API keys, by use case.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Error;
use crate::model::{AuditEntry, Key, KeyId};

/// What became of a key that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDeleted {
    /// It is gone.
    Deleted,
    /// There was none.
    NotFound,
    /// It is the only admin key that never expires: without it nobody could make another.
    LastAdmin,
}

/// What became of a key that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyInserted {
    /// It is there.
    Inserted,
    /// There are as many as there may be.
    Full,
}

/// API keys. A change and its audit row are one transaction.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Stores the first admin key unless there is a key already; tells whether it did. Of
    /// several gateways that start at once, one does.
    async fn insert_first_key(&self, key: &Key, audit: &AuditEntry) -> Result<bool, Error>;
    /// Stores a key unless there are `keys_max` already, also where several are stored at once; its
    /// prefix is no other's, or the call fails. Nothing is audited where nothing was stored.
    async fn insert_key(&self, key: &Key, keys_max: u32, audit: &AuditEntry) -> Result<KeyInserted, Error>;
    /// Every key, expired ones too, oldest first (by id), for the ring and for lists.
    async fn all_keys(&self) -> Result<Vec<Key>, Error>;
    /// Deletes a key, but never the last admin key that does not expire: of two such deletions at
    /// once, one is refused. Nothing is audited where nothing was deleted.
    async fn delete_key(&self, id: KeyId, audit: &AuditEntry) -> Result<KeyDeleted, Error>;
    /// Stores when keys were last used; never to an earlier time, and not of keys that are gone.
    async fn record_key_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), Error>;
}
