//! Who calls: keys and roles.
//!
//! Owns the form of a key and how a request is matched with one. Does not own
//! where keys are kept (`store`) or swapped (`app`). Invariants: a key itself is
//! never kept, only its SHA-256; hashes are compared in constant time; a valid
//! key is recognised without an allocation.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Problem;
use crate::error::Code;
use crate::model::{Key, Role};

/// What every key begins with, so that scanners for leaked keys know it.
const MARK: &str = "sk_";
/// 256 random bits: out of reach of guessing, so that a plain hash is enough.
const SECRET_BYTES: usize = 32;
/// [`SECRET_BYTES`] in base64url without padding, after the mark.
const KEY_LENGTH: usize = MARK.len() + 43;
/// 72 bits: enough that no two keys share it, and 184 stay secret.
const PREFIX_LENGTH: usize = 12;

type Prefix = [u8; PREFIX_LENGTH];

/// The keys that are valid now, swapped when one is made or revoked.
pub type SharedKeys = Arc<ArcSwap<KeyRing>>;

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    /// The key is valid, and its role is too low.
    #[error("this needs a key with the role {needed}; this one has {role}", needed = .needed.as_str(), role = .role.as_str())]
    Forbidden {
        /// What the call needs.
        needed: Role,
        /// What the key has.
        role: Role,
    },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Missing | Error::Malformed | Error::Unknown => Code::Unauthenticated,
            Error::Forbidden { .. } => Code::Forbidden,
        };
        Self::new(code, error.to_string())
    }
}

/// Whoever sent a request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's name.
    pub name: Arc<str>,
    /// The key's role.
    pub role: Role,
}

impl Caller {
    /// Lets a caller through whose role is `needed` or above.
    pub fn require(&self, needed: Role) -> Result<(), Error> {
        if self.role >= needed { Ok(()) } else { Err(Error::Forbidden { needed, role: self.role }) }
    }
}

/// All valid keys. Immutable.
#[derive(Debug, Default)]
pub struct KeyRing(HashMap<Prefix, Entry>);

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    caller: Caller,
}

impl KeyRing {
    /// The ring of `keys`. One whose prefix has another length than ours matches
    /// nothing, so it is left out.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        let entries = keys.into_iter().filter_map(|key| {
            let prefix = Prefix::try_from(key.prefix.as_bytes()).ok()?;
            let caller = Caller { name: Arc::from(key.name), role: key.role };
            Some((prefix, Entry { hash: key.hash, caller }))
        });
        Self(entries.collect())
    }

    /// Who sent a request with these headers.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let key = bearer(headers)?;
        let prefix: &Prefix = key.get(MARK.len()..).and_then(|secret| secret.first_chunk()).ok_or(Error::Malformed)?;
        let entry = self.0.get(prefix).ok_or(Error::Unknown)?;
        let hash: [u8; 32] = Sha256::digest(key).into();
        if bool::from(hash.ct_eq(&entry.hash)) { Ok(entry.caller.clone()) } else { Err(Error::Unknown) }
    }
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
pub fn generate_key(name: &str, role: Role) -> Result<(String, Key), getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let encoded = URL_SAFE_NO_PAD.encode(secret);
    let prefix = encoded.chars().take(PREFIX_LENGTH).collect();
    let text = format!("{MARK}{encoded}");
    let hash = Sha256::digest(text.as_bytes()).into();
    Ok((text, Key { prefix, hash, name: name.to_owned(), role }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_generated_key_is_recognised_with_its_name_and_role() {
        let (text, key) = generate_key("ci", Role::Invoker).unwrap();
        let (_, other) = generate_key("other", Role::Admin).unwrap();
        assert_eq!(text.len(), KEY_LENGTH);
        assert!(!format!("{key:?}").contains(&text));
        let ring = KeyRing::new(vec![other, key]);
        let expected = Caller { name: "ci".into(), role: Role::Invoker };
        assert_eq!(ring.authenticate(&with(&[&format!("Bearer {text}")])), Ok(expected.clone()));
        assert_eq!(ring.authenticate(&with(&[&format!("bearer  {text} ")])), Ok(expected));
    }

    #[test]
    fn a_key_with_a_known_prefix_and_another_secret_is_unknown() {
        let (text, key) = generate_key("ci", Role::Invoker).unwrap();
        let last = if text.ends_with('A') { 'B' } else { 'A' };
        let forged = format!("Bearer {}{last}", &text[..text.len() - 1]);
        assert_eq!(KeyRing::new(vec![key]).authenticate(&with(&[&forged])), Err(Error::Unknown));
    }

    #[test]
    fn what_is_no_bearer_key_is_told_from_an_unknown_key() {
        let (text, key) = generate_key("ci", Role::Admin).unwrap();
        let ring = KeyRing::new(vec![key]);
        let bearer = format!("Bearer {text}");
        assert_eq!(ring.authenticate(&HeaderMap::new()), Err(Error::Missing));
        for headers in [
            with(&["Bearer"]),
            with(&["Basic dXNlcjpwYXNz"]),
            with(&["Bearer sk_short"]),
            with(&[&format!("Bearer {text}x")]),
            with(&[&format!("Bearer xx_{}", &text[3..])]),
            with(&[&bearer, &bearer]),
        ] {
            assert_eq!(ring.authenticate(&headers), Err(Error::Malformed), "{headers:?}");
        }
        let (unknown, _) = generate_key("ci", Role::Admin).unwrap();
        assert_eq!(ring.authenticate(&with(&[&format!("Bearer {unknown}")])), Err(Error::Unknown));
    }

    #[test]
    fn a_role_may_what_the_lower_ones_may() {
        let caller = Caller { name: "ci".into(), role: Role::Invoker };
        assert_eq!(caller.require(Role::Viewer), Ok(()));
        assert_eq!(caller.require(Role::Invoker), Ok(()));
        let refused = caller.require(Role::Admin).unwrap_err();
        assert_eq!(refused, Error::Forbidden { needed: Role::Admin, role: Role::Invoker });
        assert_eq!(Problem::from(refused).code(), Code::Forbidden);
    }
}
