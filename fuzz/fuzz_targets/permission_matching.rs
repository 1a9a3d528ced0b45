//! Any text as the glob of a permission: what it covers has the host that it names.
#![no_main]

use sluice_fuzz::permission::{Permission, PermissionKind, PermissionSet};
use sluice_fuzz::target::Target;

libfuzzer_sys::fuzz_target!(|input: (u8, &str, &str)| {
    let (kind, glob, text) = input;
    let kind = PermissionKind::ALL[usize::from(kind) % PermissionKind::ALL.len()];
    let http = matches!(kind, PermissionKind::HttpRead | PermissionKind::HttpWrite);
    let target = Target::parse(text);
    let resource = match &target {
        Ok(target) if http => target.resource(),
        _ if http => return,
        _ => text,
    };
    check_literal(kind, resource);
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
    }
});

/// A resource is covered by itself, once nothing of it is a wildcard.
fn check_literal(kind: PermissionKind, resource: &str) {
    // A name in capitals is matched by the same; a host is not, and has none in normal form.
    let host = resource.split_once('@').map_or("", |(_, host)| host);
    if resource.contains('\n') || !host.is_ascii() || host.contains('@') || host != host.to_ascii_lowercase() {
        return;
    }
    let mut glob = String::new();
    for character in resource.chars() {
        if "*?[]{},\\".contains(character) {
            glob.push('\\');
        }
        glob.push(character);
    }
    let permission = Permission { permission: kind, resource: glob };
    if permission.check().is_ok() {
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
