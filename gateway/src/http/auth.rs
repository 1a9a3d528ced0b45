//! Who calls: keys and roles.
//!
//! Owns the form of a key, how a request is matched with one, and when each was
//! last used. Does not own where keys are kept (`store`). Invariants: a key itself
//! is never kept, only its SHA-256; hashes are compared in constant time; a valid
//! key is recognised without an allocation, and its use costs an atomic at most.

mod caller;
mod ring;

pub use caller::Caller;
pub use ring::{KeyRing, generate_key};

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::Timestamp;

use super::{Problem, Suspect};
use crate::clock::Clock;
use crate::error::Code;
use crate::model::{Key, KeyHolder, KeyId, Role};

/// The keys of the gateway, shared by both planes.
pub type SharedKeys = Arc<Keys>;

/// Why a request was not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no `Authorization` header.
    #[error("a key is needed: `Authorization: Bearer sk_…`")]
    Missing,
    /// The header is given twice, has another scheme, or no key of ours.
    #[error("the `Authorization` header is not one `Bearer sk_…`")]
    Malformed,
    /// There is no such key. Says no more, so as not to help guessing.
    #[error("the key is not valid")]
    Unknown,
    /// The public part is that of a key, the secret is not. Whoever calls is told no more than that.
    #[error("the key is not valid")]
    WrongSecret {
        /// The key whose public part it is.
        key: KeyHolder,
    },
    /// The key was valid once.
    #[error("the key has expired")]
    Expired {
        /// Which one.
        key: KeyHolder,
    },
    /// The key is valid, and its role is too low.
    #[error("this needs a key with the role {needed}; this one has {role}", needed = .needed.as_str(), role = .role.as_str())]
    Forbidden {
        /// Which one.
        key: KeyHolder,
        /// What the call needs.
        needed: Role,
        /// What the key has.
        role: Role,
    },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Missing | Error::Malformed | Error::Unknown => Self::new(Code::Unauthenticated, text),
            Error::WrongSecret { key } => Self::new(Code::Unauthenticated, text).suspect(Suspect::Claimed(key)),
            Error::Expired { key } => Self::new(Code::Unauthenticated, text).suspect(Suspect::Proven(key)),
            Error::Forbidden { key, .. } => Self::new(Code::Forbidden, text).suspect(Suspect::Proven(key)),
        }
    }
}

/// The keys that there are now, swapped when one is made or deleted.
#[derive(Debug)]
pub struct Keys {
    ring: ArcSwap<KeyRing>,
    clock: Clock,
    /// Held from reading the store to the swap, so that an older list never replaces a newer one.
    changing: tokio::sync::Mutex<()>,
}

impl Keys {
    /// The keys that a store has; `clock` tells when one has expired.
    #[must_use]
    pub fn new(keys: &[Key], clock: Clock) -> SharedKeys {
        let ring = ArcSwap::from_pointee(KeyRing::new(keys));
        Arc::new(Self { ring, clock, changing: tokio::sync::Mutex::default() })
    }

    /// Who sent a request with these headers.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        self.ring.load().authenticate(headers, self.clock.now())
    }

    /// Lets a key in that was stored.
    pub async fn add(&self, key: &Key) {
        let _changing = self.changing.lock().await;
        self.ring.store(Arc::new(self.ring.load().with(key)));
    }

    /// Lets a key in no more that was deleted.
    pub async fn forget(&self, id: KeyId) {
        let _changing = self.changing.lock().await;
        self.ring.store(Arc::new(self.ring.load().without(id)));
    }

    /// Takes over what `read` finds in the store: for changes that another gateway made. A call
    /// that is cancelled has changed all or nothing.
    ///
    /// # Errors
    /// Those of `read`; the keys then stay as they were.
    pub async fn refresh<E>(&self, read: impl Future<Output = Result<Vec<Key>, E>>) -> Result<(), E> {
        let _changing = self.changing.lock().await;
        let next = self.ring.load().renewed(&read.await?);
        self.ring.store(Arc::new(next));
        Ok(())
    }

    /// When a key was last used, as far as this process knows.
    #[must_use]
    pub fn last_used(&self, id: KeyId) -> Option<Timestamp> {
        self.ring.load().callers().find(|caller| caller.id() == id)?.last_used()
    }

    /// The keys that were used since this was last asked, and when.
    #[must_use]
    pub fn take_uses(&self) -> Vec<(KeyId, Timestamp)> {
        let ring = self.ring.load();
        ring.callers().filter_map(|caller| Some((caller.id(), caller.take_use()?))).collect()
    }
}

#[cfg(test)]
mod tests;
