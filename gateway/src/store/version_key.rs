//! Versions as bytes that a database can sort.
//!
//! Owns the encoding. Invariant: two keys compare byte by byte as their versions
//! compare by semver, builds included, and equal keys mean equal versions.

use semver::Version;

// An identifier starts with what it is, and a list ends with what is less than
// any identifier, so that `1.0.0-a` comes before `1.0.0-a.b`.
const END: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
/// In the place of a pre-release: greater than any.
const RELEASE: u8 = 0xff;

/// The bytes by which `version` is sorted.
pub(super) fn version_key(version: &Version) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    for number in [version.major, version.minor, version.patch] {
        key.extend_from_slice(&number.to_be_bytes());
    }
    if version.pre.is_empty() {
        key.push(RELEASE);
    } else {
        push_identifiers(&mut key, &version.pre);
    }
    push_identifiers(&mut key, &version.build);
    key
}

fn push_identifiers(key: &mut Vec<u8>, identifiers: &str) {
    for identifier in identifiers.split('.') {
        if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            let digits = identifier.trim_start_matches('0');
            key.push(NUMBER);
            push_length(key, digits);
            key.extend_from_slice(digits.as_bytes());
            // Builds may have leading zeros: 1 before 01 before 2.
            push_length(key, identifier);
        } else {
            // Identifiers are ASCII, so nothing in them is as low as the end.
            key.push(TEXT);
            key.extend_from_slice(identifier.as_bytes());
            key.push(END);
        }
    }
    key.push(END);
}

fn push_length(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::contract::any_version;

    #[test]
    fn keys_sort_the_example_of_semver_org() {
        let ascending = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0+0",
            "1.0.0+00",
            "1.0.0+01",
            "1.0.0+2",
            "1.0.0+a",
            "1.0.0+a.b",
            "1.0.1",
            "1.10.0",
            "2.0.0",
        ];
        let keys: Vec<_> = ascending.iter().map(|text| version_key(&text.parse().unwrap())).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    proptest! {
        #[test]
        fn keys_compare_as_versions_do(a in any_version(), b in any_version()) {
            prop_assert_eq!(version_key(&a).cmp(&version_key(&b)), a.cmp(&b));
        }
    }
}
