use super::*;
use crate::blob::Spool;

fn upload() -> Upload {
    Upload {
        component: Spool::of(b"").expect("a spool"),
        name: "orders".parse().expect("a name"),
        version: semver::Version::new(1, 0, 0),
        description: String::new(),
        permissions: Vec::new(),
        limits: Limits::default(),
        signature: None,
        created_by: "admin".to_owned(),
    }
}

fn permission(permission: PermissionKind, resource: &str) -> Permission {
    Permission { permission, resource: resource.to_owned() }
}

fn found(upload: &Upload) -> Vec<(String, String)> {
    check(upload, &config::Limits::default()).into_iter().map(|error| (error.path, error.code)).collect()
}

fn pair(path: &str, code: &str) -> (String, String) {
    (path.to_owned(), code.to_owned())
}

#[test]
fn an_upload_within_its_bounds_has_no_mistakes() {
    let upload = Upload {
        permissions: vec![permission(PermissionKind::HttpWrite, "https://*.example.com/**")],
        limits: Limits { fuel: Some(1_000_000_000), memory_bytes: Some(1), timeout_ms: Some(30_000) },
        description: "ü".repeat(4096),
        ..upload()
    };
    assert_eq!(found(&upload), []);
}

#[test]
fn every_mistake_is_reported_with_its_path() {
    let upload = Upload {
        permissions: vec![
            permission(PermissionKind::HttpRead, "https://ok.example.com/*"),
            permission(PermissionKind::HttpRead, "https://[a.example.com"),
            permission(PermissionKind::DatabaseRead, ""),
        ],
        limits: Limits { fuel: Some(1_000_000_001), memory_bytes: Some(0), timeout_ms: Some(u64::MAX) },
        description: "ü".repeat(4097),
        ..upload()
    };
    let expected = [
        pair("description", "too-long"),
        pair("/permissions/1/resource", "bad-glob"),
        pair("/permissions/2/resource", "bad-glob"),
        pair("/limits/fuel", "above-ceiling"),
        pair("/limits/memory_bytes", "out-of-range"),
        pair("/limits/timeout_ms", "above-ceiling"),
    ];
    assert_eq!(found(&upload), expected);
}

#[test]
fn two_hundred_permissions_are_taken_and_no_more() {
    let permissions = |count| vec![permission(PermissionKind::DatabaseRead, "orders"); count];
    assert_eq!(found(&Upload { permissions: permissions(200), ..upload() }), []);
    let expected = [pair("/permissions", "too-many")];
    assert_eq!(found(&Upload { permissions: permissions(201), ..upload() }), expected);
}

#[test]
fn fuel_can_not_be_asked_for_where_metering_is_off() {
    let upload = Upload { limits: Limits { fuel: Some(1), ..Limits::default() }, ..upload() };
    let unmetered = config::Limits { fuel: None, ..config::Limits::default() };
    let errors = check(&upload, &unmetered);
    assert!(matches!(&*errors, [one] if one.message.contains("turned its metering off")), "{errors:?}");
}

#[test]
fn an_import_that_no_permission_allows_is_warned_of() {
    let imports = ["sluice:step/db@0.1.0", "sluice:step/http@0.1.0", "wasi:http/outgoing-handler@0.2.6"];
    let imports = imports.map(str::to_owned);
    assert_eq!(warnings(&imports, &[]).len(), 3);
    assert_eq!(warnings(&imports, &[permission(PermissionKind::HttpRead, "**")]).len(), 1);
    assert_eq!(warnings(&imports, &[permission(PermissionKind::DatabaseWrite, "*")]).len(), 2);
    assert_eq!(warnings(&["wasi:http/types@0.2.6".to_owned()], &[]), Vec::<String>::new());
}

#[test]
fn a_list_that_is_too_much_only_as_a_whole_is_told_of_as_a_whole() {
    let large = permission(PermissionKind::HttpRead, &format!("https://{}", "?".repeat(2040)));
    assert_eq!(found(&Upload { permissions: vec![large.clone()], ..upload() }), []);
    assert_eq!(found(&Upload { permissions: vec![large; 200], ..upload() }), [pair("/permissions", "too-complex")]);
}
