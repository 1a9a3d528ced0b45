//! What an answer, a log line and an execution have in common: the request's id.
//!
//! Owns which ids of callers are kept and how ours are made. Does not own where
//! they go. Invariant: an id is 1 to 64 characters of `[A-Za-z0-9._-]`, so that
//! it can stand in a header, a log line and a shell without quoting.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Two UUIDs long: enough for the ids of every proxy we know.
const LENGTH_MAX: usize = 64;

/// The id of one request. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    fn from_header(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let well_formed = (1..=LENGTH_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        well_formed.then(|| Self(value.clone()))
    }
}

/// Gives every request an id that no other has. Shared by all connections.
#[derive(Debug)]
pub struct RequestIds {
    /// Keeps the ids of two processes apart.
    prefix: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // The keys of a `RandomState` are random, and that is all that's needed:
        // ids are unique, not secret.
        Self { prefix: RandomState::new().build_hasher().finish(), next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    /// The id that the caller gave, if it is one; else a new one.
    pub fn of(&self, headers: &HeaderMap) -> RequestId {
        headers.get(HEADER).and_then(RequestId::from_header).unwrap_or_else(|| self.next())
    }

    /// A new id.
    pub fn next(&self) -> RequestId {
        let mut text = [0; 32];
        let (prefix, counter) = text.split_at_mut(16);
        write_hex(self.prefix, prefix);
        write_hex(self.next.fetch_add(1, Ordering::Relaxed), counter);
        RequestId(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("invalid")))
    }
}

fn write_hex(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        let nibble = (value & 0xf) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(HEADER, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn a_well_formed_id_of_the_caller_is_kept() {
        let ids = RequestIds::default();
        for text in ["a", "A-b_c.9", &"x".repeat(64)] {
            assert_eq!(ids.of(&given(text)).as_str(), text);
        }
    }

    #[test]
    fn an_id_that_is_empty_long_or_odd_is_replaced() {
        let ids = RequestIds::default();
        for text in ["", "a b", "a\"b", "{id}", &"x".repeat(65)] {
            let id = ids.of(&given(text));
            assert_ne!(id.as_str(), text);
            assert_eq!(id.as_str().len(), 32);
        }
    }

    #[test]
    fn ids_of_ours_are_hex_and_differ() {
        let ids = RequestIds { prefix: 0x0123_4567_89ab_cdef, next: AtomicU64::new(255) };
        assert_eq!(ids.next().as_str(), "0123456789abcdef00000000000000ff");
        assert_eq!(ids.next().as_str(), "0123456789abcdef0000000000000100");
    }
}
