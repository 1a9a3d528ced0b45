//! Permissions for one resource, meant letter by letter.
//!
//! Owns which characters a glob would read as something else. Does not own what globs mean (`glob`).
//! Invariant: [`Permission::exactly`] covers the resource that it was made for, and no other.

use std::net::Ipv6Addr;

use super::{Permission, PermissionKind, split_url};

/// What a glob reads as something else than itself.
const SPECIAL: [char; 6] = ['*', '?', '[', '{', '}', '\\'];

impl Permission {
    /// The permission for `resource`, in normal form, and for nothing else.
    #[must_use]
    pub fn exactly(permission: PermissionKind, resource: &str) -> Self {
        let (authority, rest) = parts(permission, resource);
        let mut glob = String::with_capacity(resource.len());
        // An IPv6 address keeps its brackets; a host has nothing else that would need a backslash.
        if is_ipv6(authority) {
            glob.push_str(authority);
        } else {
            escape_into(&mut glob, authority);
        }
        escape_into(&mut glob, rest);
        Self { permission, resource: glob }
    }

    /// The one resource that it covers; `None` where it is a pattern.
    #[must_use]
    pub fn only_resource(&self) -> Option<String> {
        let (authority, rest) = parts(self.permission, &self.resource);
        let mut plain = if is_ipv6(authority) { authority.to_owned() } else { unescaped(authority)? };
        plain.push_str(&unescaped(rest)?);
        Some(plain)
    }
}

/// What is before the path of a URL, and the rest; a name is all rest.
fn parts(permission: PermissionKind, resource: &str) -> (&str, &str) {
    split_url(resource).filter(|_| permission.is_http()).unwrap_or(("", resource))
}

/// Whether the host of `scheme://host:port` is an IPv6 address.
fn is_ipv6(authority: &str) -> bool {
    let inside = authority.split_once("://[").and_then(|(_, after)| after.split_once(']'));
    inside.is_some_and(|(address, port)| address.parse::<Ipv6Addr>().is_ok() && !port.contains(SPECIAL))
}

fn escape_into(glob: &mut String, text: &str) {
    for character in text.chars() {
        if SPECIAL.contains(&character) {
            glob.push('\\');
        }
        glob.push(character);
    }
}

fn unescaped(glob: &str) -> Option<String> {
    let mut plain = String::with_capacity(glob.len());
    let mut characters = glob.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next()?),
            special if SPECIAL.contains(&special) => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::PermissionSet;

    #[test]
    fn what_a_glob_would_read_as_something_else_is_escaped() {
        let exactly = |resource: &str| Permission::exactly(PermissionKind::HttpRead, resource).resource;
        assert_eq!(exactly("https://api.example.com/orders/1"), "https://api.example.com/orders/1");
        assert_eq!(exactly("http://[::1]:8080/[::1]/*"), r"http://[::1]:8080/\[::1]/\*");
        assert_eq!(Permission::exactly(PermissionKind::DatabaseRead, "a{b}?").resource, r"a\{b\}\?");
    }

    #[test]
    fn a_pattern_has_no_only_resource() {
        for glob in ["https://*.example.com/", "https://a.example/*", "https://a.example/[a-c]", "http://[a]/x"] {
            let permission = Permission { permission: PermissionKind::HttpRead, resource: glob.to_owned() };
            assert_eq!(permission.only_resource(), None, "{glob}");
        }
    }

    proptest! {
        #[test]
        fn an_exact_permission_covers_its_resource_and_no_other(
            path in "[a-z0-9*?\\[\\]{},!\\\\.:@/-]{0,20}",
            other in "[a-z0-9*?\\[\\]{},!\\\\.:@/-]{0,20}",
            host in prop::sample::select(vec!["api.example.com", "api.example.com:8443", "[::1]", "[2001:db8::1]:81", "[::ffff:7f00:1]", "[::ffff:a00:1]:81"]),
        ) {
            let url = |path: &str| format!("https://{host}/{path}");
            let cases = [
                (PermissionKind::HttpWrite, url(&path), url(&other)),
                (PermissionKind::DatabaseRead, path.clone(), other.clone()),
            ];
            for (kind, resource, another) in cases {
                let permission = Permission::exactly(kind, &resource);
                prop_assert_eq!(permission.only_resource(), Some(resource.clone()));
                let set = PermissionSet::new(std::slice::from_ref(&permission)).unwrap();
                prop_assert!(set.allows(kind, &resource), "{}", permission.resource);
                prop_assert_eq!(set.allows(kind, &another), resource == another, "{} {}", permission.resource, another);
            }
        }
    }
}
