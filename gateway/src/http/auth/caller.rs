//! Whoever sent a request, and what their key reaches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use super::Error;
use crate::model::{Key, KeyHolder, KeyId, NameGlobs, Role};

/// How exact the last use of a key is. A key that is used thousands of times a second on
/// all cores is written once: the others only read.
const USE_GRAIN_US: i64 = 1_000_000;

/// No use yet, or none that is not taken.
const NEVER: i64 = i64::MIN;

/// Whoever sent a request. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Holder>);

struct Holder {
    key: KeyHolder,
    role: Role,
    expires_us: Option<i64>,
    modules: Option<NameGlobs>,
    jobs: Option<NameGlobs>,
    /// Outlives the ring, which is made anew when any key changes.
    uses: Arc<Uses>,
}

#[derive(Debug)]
struct Uses {
    last_us: AtomicI64,
    taken_us: AtomicI64,
}

impl Caller {
    /// The holder of `key`; one that was known before keeps its uses.
    pub(super) fn new(key: &Key, before: Option<&Self>) -> Self {
        let never = || Arc::new(Uses { last_us: AtomicI64::new(NEVER), taken_us: AtomicI64::new(NEVER) });
        Self(Arc::new(Holder {
            key: KeyHolder { id: key.id, name: Arc::from(key.name.as_str()) },
            role: key.role,
            expires_us: key.expires_at.map(Timestamp::as_microsecond),
            modules: key.modules.clone(),
            jobs: key.jobs.clone(),
            uses: before.map_or_else(never, |before| Arc::clone(&before.0.uses)),
        }))
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.0.key.id
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.key.name
    }

    /// Whose key it is.
    #[must_use]
    pub fn holder(&self) -> &KeyHolder {
        &self.0.key
    }

    /// The key's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Lets a caller through whose role is `needed` or above.
    pub fn require(&self, needed: Role) -> Result<(), Error> {
        if self.0.role >= needed {
            return Ok(());
        }
        Err(Error::Forbidden { key: self.0.key.clone(), needed, role: self.0.role })
    }

    /// Whether the key sees modules of this name. Those that it doesn't see are, for it, not there.
    #[must_use]
    pub fn sees_module(&self, name: &str) -> bool {
        self.0.modules.as_ref().is_none_or(|globs| globs.is_match(name))
    }

    /// Whether the key sees every module, also those to come.
    #[must_use]
    pub fn sees_all_modules(&self) -> bool {
        self.0.modules.is_none()
    }

    /// Whether the key sees jobs of this name.
    #[must_use]
    pub fn sees_job(&self, name: &str) -> bool {
        self.0.jobs.as_ref().is_none_or(|globs| globs.is_match(name))
    }

    /// The names of the jobs that the key sees; `None`: all.
    #[must_use]
    pub fn jobs(&self) -> Option<&NameGlobs> {
        self.0.jobs.as_ref()
    }

    /// Whether the key is over at `now`: from the very instant on.
    pub(super) fn has_expired(&self, now_us: i64) -> bool {
        self.0.expires_us.is_some_and(|expires_us| now_us >= expires_us)
    }

    pub(super) fn use_at(&self, now_us: i64) {
        let last = &self.0.uses.last_us;
        if now_us.saturating_sub(last.load(Ordering::Relaxed)) >= USE_GRAIN_US {
            last.store(now_us, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> Option<Timestamp> {
        timestamp(self.0.uses.last_us.load(Ordering::Relaxed))
    }

    /// The last use, unless it was taken before.
    pub(super) fn take_use(&self) -> Option<Timestamp> {
        let uses = &self.0.uses;
        let last_us = uses.last_us.load(Ordering::Relaxed);
        if uses.taken_us.swap(last_us, Ordering::Relaxed) == last_us { None } else { timestamp(last_us) }
    }
}

fn timestamp(micros: i64) -> Option<Timestamp> {
    if micros == NEVER { None } else { Timestamp::from_microsecond(micros).ok() }
}

/// Of the same key.
impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Caller {}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { key: KeyHolder { id, name }, role, .. } = &*self.0;
        f.debug_struct("Caller").field("id", id).field("name", name).field("role", role).finish_non_exhaustive()
    }
}
