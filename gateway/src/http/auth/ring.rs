//! All keys at one time, and how a new one is made.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Caller, Error};
use crate::model::{Key, KeyId, NewKey};

/// What every key begins with, so that scanners for leaked keys know it.
const MARK: &str = "sk_";
/// 256 random bits: out of reach of guessing, so that a plain hash is enough.
const SECRET_BYTES: usize = 32;
/// [`SECRET_BYTES`] in base64url without padding, after the mark.
const KEY_LENGTH: usize = MARK.len() + 43;
/// 72 bits: enough that no two keys share it, and 184 stay secret.
const PREFIX_LENGTH: usize = 12;

type Prefix = [u8; PREFIX_LENGTH];

/// All keys, expired ones too. Immutable but for the times of their use.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(HashMap<Prefix, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    hash: [u8; 32],
    caller: Caller,
}

impl KeyRing {
    /// The ring of `keys`. One whose prefix has another length than ours matches
    /// nothing, so it is left out.
    #[must_use]
    pub fn new(keys: &[Key]) -> Self {
        Self::default().renewed(keys)
    }

    /// The ring of `keys`; those that are in this one too keep their uses.
    #[must_use]
    pub fn renewed(&self, keys: &[Key]) -> Self {
        let known: HashMap<KeyId, &Caller> = self.callers().map(|caller| (caller.id(), caller)).collect();
        Self(keys.iter().filter_map(|key| entry(key, known.get(&key.id).copied())).collect())
    }

    /// This ring with one more key.
    #[must_use]
    pub fn with(&self, key: &Key) -> Self {
        let mut next = self.clone();
        let known = self.callers().find(|caller| caller.id() == key.id);
        next.0.extend(entry(key, known));
        next
    }

    /// This ring without one key.
    #[must_use]
    pub fn without(&self, id: KeyId) -> Self {
        let mut next = self.clone();
        next.0.retain(|_, entry| entry.caller.id() != id);
        next
    }

    /// Who sent a request with these headers at `now`, which becomes the key's last use.
    pub fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Error> {
        let key = bearer(headers)?;
        let prefix: &Prefix = key.get(MARK.len()..).and_then(|secret| secret.first_chunk()).ok_or(Error::Malformed)?;
        let Entry { hash, caller } = self.0.get(prefix).ok_or(Error::Unknown)?;
        let given: [u8; 32] = Sha256::digest(key).into();
        if !bool::from(given.ct_eq(hash)) {
            return Err(Error::WrongSecret { key: caller.holder().clone() });
        }
        let now_us = now.as_microsecond();
        if caller.has_expired(now_us) {
            return Err(Error::Expired { key: caller.holder().clone() });
        }
        caller.use_at(now_us);
        Ok(caller.clone())
    }

    pub(super) fn callers(&self) -> impl Iterator<Item = &Caller> {
        self.0.values().map(|entry| &entry.caller)
    }
}

fn entry(key: &Key, known: Option<&Caller>) -> Option<(Prefix, Entry)> {
    let prefix = Prefix::try_from(key.prefix.as_bytes()).ok()?;
    Some((prefix, Entry { hash: key.hash, caller: Caller::new(key, known) }))
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::Missing)?.as_bytes();
    let (scheme, key) = value.split_at_checked("Bearer ".len()).ok_or(Error::Malformed)?;
    let key = key.trim_ascii();
    let well_formed = values.next().is_none()
        && scheme.eq_ignore_ascii_case(b"Bearer ")
        && key.len() == KEY_LENGTH
        && key.starts_with(MARK.as_bytes());
    if well_formed { Ok(key) } else { Err(Error::Malformed) }
}

/// Makes a key: the text, which is shown once, and what is kept of it.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn generate_key(wanted: NewKey, now: Timestamp) -> Result<(String, Key), getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let encoded = URL_SAFE_NO_PAD.encode(secret);
    let prefix = encoded.chars().take(PREFIX_LENGTH).collect();
    let text = format!("{MARK}{encoded}");
    let hash = Sha256::digest(text.as_bytes()).into();
    let NewKey { name, role, expires_at, modules, jobs } = wanted;
    let id = KeyId::generate();
    let key = Key { id, prefix, hash, name, role, created_at: now, expires_at, last_used_at: None, modules, jobs };
    Ok((text, key))
}
