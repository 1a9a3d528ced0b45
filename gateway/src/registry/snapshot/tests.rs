use proptest::prelude::*;
use semver::VersionReq;

use super::*;
use crate::config;
use crate::model::{Digest, Limits, ModuleKind, Permission, PermissionKind};
use crate::telemetry::Metrics;

fn revision(metrics: &Metrics, name: &str, version: &str) -> Arc<Revision> {
    allowed(metrics, name, version, Vec::new())
}

fn allowed(metrics: &Metrics, name: &str, version: &str, permissions: Vec<Permission>) -> Arc<Revision> {
    let name: ModuleName = name.parse().expect("a name");
    let version: Version = version.parse().expect("a version");
    Arc::new(Revision {
        limits: config::Limits::default().effective(),
        metrics: metrics.module(&name, &version),
        trusted: Trusted::by(Trust::new(config::Signatures::default(), metrics.clone())),
        permissions: OnceLock::new(),
        module: Arc::new(Module {
            id: ModuleId::generate(),
            name,
            version,
            description: String::new(),
            kind: ModuleKind::JobStep,
            sha256: Digest::of(b""),
            size_bytes: 0,
            functions: vec!["run".to_owned()],
            imports: Vec::new(),
            permissions,
            limits: Limits::default(),
            signature: None,
            warnings: Vec::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            created_by: "admin".to_owned(),
        }),
    })
}

fn snapshot(versions: &[&str]) -> Snapshot {
    let metrics = Metrics::new();
    Snapshot::of(versions.iter().map(|version| revision(&metrics, "orders", version)))
}

fn resolved(snapshot: &Snapshot, reference: &str) -> Option<String> {
    snapshot.resolve_text(reference).map(|revision| revision.module.version.to_string())
}

#[test]
fn a_plain_name_is_its_newest_release() {
    let snapshot = snapshot(&["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"]);
    assert_eq!(resolved(&snapshot, "orders").as_deref(), Some("1.10.0"));
    assert_eq!(resolved(&snapshot, "order"), None);
}

#[test]
fn a_name_with_nothing_but_pre_releases_resolves_to_none_of_them() {
    let snapshot = snapshot(&["1.0.0-rc.1", "1.0.0-rc.2"]);
    assert_eq!(resolved(&snapshot, "orders"), None);
    assert_eq!(resolved(&snapshot, "orders@1.0.0-rc.2").as_deref(), Some("1.0.0-rc.2"));
}

#[test]
fn an_exact_version_is_the_one_as_written() {
    let snapshot = snapshot(&["1.0.0+a", "1.0.0+b", "1.1.0"]);
    assert_eq!(resolved(&snapshot, "orders@1.0.0+a").as_deref(), Some("1.0.0+a"));
    assert_eq!(resolved(&snapshot, "orders@1.0.0+b").as_deref(), Some("1.0.0+b"));
    assert_eq!(resolved(&snapshot, "orders@1.0.0"), None);
}

#[test]
fn a_requirement_is_the_newest_version_that_matches_it() {
    let snapshot = snapshot(&["1.0.0", "1.2.5", "1.3.0-rc.1", "2.0.0"]);
    assert_eq!(resolved(&snapshot, "orders@^1").as_deref(), Some("1.2.5"));
    assert_eq!(resolved(&snapshot, "orders@*").as_deref(), Some("2.0.0"));
    assert_eq!(resolved(&snapshot, "orders@>=1.3.0-rc.0, <1.3.0").as_deref(), Some("1.3.0-rc.1"));
    assert_eq!(resolved(&snapshot, "orders@^3"), None);
}

#[test]
fn an_id_is_its_version_and_other_text_is_nothing() {
    let snapshot = snapshot(&["1.0.0", "2.0.0"]);
    let old = snapshot.resolve_text("orders@1.0.0").expect("a version");
    assert_eq!(resolved(&snapshot, &old.module.id.to_string()).as_deref(), Some("1.0.0"));
    for text in ["", "@", "orders@", "@1.0.0", "Orders", "../orders", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(resolved(&snapshot, text), None, "{text}");
    }
}

#[test]
fn a_change_shares_every_other_revision_with_the_snapshot_before() {
    let metrics = Metrics::new();
    let before = Snapshot::of([revision(&metrics, "orders", "1.0.0"), revision(&metrics, "prices", "1.0.0")]);
    let new = revision(&metrics, "orders", "1.1.0");
    let after = before.with(Arc::clone(&new));
    assert_eq!(resolved(&before, "orders").as_deref(), Some("1.0.0"));
    assert_eq!(resolved(&after, "orders").as_deref(), Some("1.1.0"));
    let same = |reference: &str| {
        let (old, new) =
            (before.resolve_text(reference).expect("before"), after.resolve_text(reference).expect("after"));
        Arc::ptr_eq(old, new)
    };
    assert!(same("orders@1.0.0") && same("prices"));

    let last = after.without(new.module.id);
    assert_eq!(resolved(&last, "orders").as_deref(), Some("1.0.0"));
    assert_eq!(resolved(&last, &new.module.id.to_string()), None);
    assert_eq!(last.revisions().count(), 2);
}

fn version() -> impl Strategy<Value = Version> {
    let pre = prop_oneof![3 => Just(""), 1 => Just("-rc.1"), 1 => Just("-rc.2")];
    let build = prop_oneof![3 => Just(""), 1 => Just("+a")];
    (0..3_u64, 0..3_u64, 0..3_u64, pre, build).prop_map(|(major, minor, patch, pre, build)| {
        format!("{major}.{minor}.{patch}{pre}{build}").parse().expect("a version")
    })
}

fn requirement() -> impl Strategy<Value = VersionReq> {
    let operator = prop::sample::select(vec!["^", "~", "=", ">=", "<", ">", "<="]);
    (operator, version(), any::<bool>()).prop_map(|(operator, version, short)| {
        let Version { major, minor, .. } = version;
        let text = if short { format!("{operator}{major}.{minor}") } else { format!("{operator}{version}") };
        text.parse().expect("a requirement")
    })
}

/// The best of those that fit, found by looking at each.
fn naive(versions: &[Version], fits: impl Fn(&Version) -> bool) -> Option<&Version> {
    versions.iter().filter(|version| fits(version)).max()
}

proptest! {
    #[test]
    fn p_resolution_of_any_reference_finds_what_looking_at_every_version_finds(
        added in prop::collection::btree_set(version(), 0..12),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        wanted in version(),
        requirement in requirement(),
        seed in any::<prop::sample::Index>(),
    ) {
        let metrics = Metrics::new();
        let mut versions: Vec<Version> = added.into_iter().collect();
        let turn = if versions.is_empty() { 0 } else { seed.index(versions.len()) };
        versions.rotate_left(turn);
        let mut snapshot = Snapshot::of(versions.iter().map(|one| revision(&metrics, "orders", &one.to_string())));
        for index in removed {
            if !versions.is_empty() {
                let gone = versions.remove(index.index(versions.len()));
                let name = "orders".parse().expect("a name");
                let id = snapshot.find(&name, &gone).expect("it is there").module.id;
                snapshot = snapshot.without(id);
                prop_assert!(snapshot.resolve(&ModuleRef::Id(id)).is_none());
            }
        }
        let found = |reference: String| snapshot.resolve_text(&reference).map(|revision| &revision.module.version);
        prop_assert_eq!(found("orders".to_owned()), naive(&versions, |version| version.pre.is_empty()));
        prop_assert_eq!(found(format!("orders@{wanted}")), naive(&versions, |version| *version == wanted));
        prop_assert_eq!(
            found(format!("orders@{requirement}")),
            naive(&versions, |version| requirement.matches(version))
        );
        let reference: ModuleRef = format!("orders@{requirement}").parse().expect("a reference");
        prop_assert_eq!(
            snapshot.resolve(&reference).map(|revision| revision.module.id),
            snapshot.resolve_text(&reference.to_string()).map(|revision| revision.module.id)
        );
    }
}

#[test]
fn permissions_are_compiled_once_and_those_that_can_not_be_allow_nothing() {
    let kind = PermissionKind::HttpRead;
    let url = "https://api.example.com/x";
    let permission = |resource: &str| Permission { permission: kind, resource: resource.to_owned() };
    let good = allowed(&Metrics::new(), "good", "1.0.0", vec![permission("https://api.example.com/*")]);
    assert!(good.permission_set().allows(kind, url));
    assert!(Arc::ptr_eq(good.permission_set(), good.permission_set()));
    let bad = allowed(&Metrics::new(), "bad", "1.0.0", vec![permission("**"), permission("[a")]);
    assert!(!bad.permission_set().allows(kind, url));
}
