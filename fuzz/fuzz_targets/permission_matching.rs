//! Any text as the glob of a permission: what it covers has the host that it names.
#![no_main]

use sluice_fuzz::permission::{Permission, PermissionKind, PermissionSet};
use sluice_fuzz::target::Target;

libfuzzer_sys::fuzz_target!(|input: (u8, &str, &str)| {
    let (kind, glob, text) = input;
    let kind = PermissionKind::ALL[usize::from(kind) % PermissionKind::ALL.len()];
    let http = kind.is_http();
    let target = Target::parse(text);
    let resource = match &target {
        Ok(target) if http => target.resource(),
        _ if http => return,
        _ => text,
    };
    check_exact(kind, resource);
    check_mapped(input.0);
    let permission = Permission { permission: kind, resource: glob.to_owned() };
    if permission.check().is_err() {
        return;
    }
    let set = PermissionSet::new(&[permission]).expect("it was checked");
    let covers = set.allows(kind, resource);
    assert_eq!(set.rule(kind, resource), covers.then_some(0));
    for other in PermissionKind::ALL {
        assert!(other == kind || !set.allows(other, resource), "another kind");
    }
    if covers && http {
        check_host(glob, resource);
        check_segments(glob, resource);
    }
});

/// A host that is an IPv4 address in an IPv6 one is covered as it was written, and as it is matched.
fn check_mapped(last: u8) {
    let written = format!("http://[::ffff:127.0.0.{last}]/");
    let target = Target::parse(&written).expect("a URL");
    check_exact(PermissionKind::HttpRead, target.resource());
    let permission = Permission { permission: PermissionKind::HttpRead, resource: written };
    let set = PermissionSet::new(&[permission]).expect("a glob");
    assert!(set.allows(PermissionKind::HttpRead, target.resource()), "{}", target.resource());
}

/// Without `**`, what is covered has as many segments as the glob, however often a server decodes its path.
fn check_segments(glob: &str, resource: &str) {
    // Alternatives and classes may have slashes that are none of it, and what is written encoded is meant.
    if glob.contains("**") || glob.contains(['{', '[', '\\', '%']) {
        return;
    }
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    let mut decoded = resource.as_bytes().to_vec();
    for _ in 0..4 {
        assert_eq!(slashes(&decoded), slashes(glob.as_bytes()), "{glob} covers {resource}");
        decoded = percent_encoding::percent_decode(&decoded).collect();
    }
    let empty = |url: &str| url.matches("//").count();
    assert!(empty(resource) <= empty(glob), "{glob} covers {resource}");
}

/// The permission for one resource covers it.
fn check_exact(kind: PermissionKind, resource: &str) {
    // A host is matched in small letters, as a normal form has it; what has other ones is none.
    let host = resource.split_once('@').map_or("", |(_, host)| host);
    if kind == PermissionKind::SecretUse && host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return;
    }
    let permission = Permission::exactly(kind, resource);
    if permission.check().is_ok() {
        assert_eq!(permission.only_resource().as_deref(), Some(resource));
        let set = PermissionSet::new(&[permission]).expect("it was checked");
        assert!(set.allows(kind, resource), "{resource} is not covered by itself");
    }
}

/// Where the glob's scheme and host have no wildcards, the resource has the same.
fn check_host(glob: &str, resource: &str) {
    let Some((scheme, rest)) = glob.split_once("://") else { return };
    let Some((authority, _)) = rest.split_once('/') else { return };
    if [scheme, authority].iter().any(|part| part.contains(['*', '?', '[', '{', '}', ',', '\\'])) {
        return;
    }
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let default = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(&authority);
    assert!(resource.starts_with(&format!("{scheme}://{authority}/")), "{glob} covers {resource}");
}
