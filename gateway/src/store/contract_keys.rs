//! What every backend has to do with keys, the audit and what is old: the contract's second part.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;

use super::contract::{FIRST, any_time, insert_all, line, module, pages, record, record_all};
use super::{AuditFilter, ExecutionFilter, KeyDeleted, KeyInserted, Store};
use crate::model::{
    AuditEntry, AuditOutcome, ExecutionId, ExecutionRecord, Key, KeyId, Level, NameGlobs, NewKey, Role, Status, action,
};

/// As [`super::contract::contract_tests`], which calls it.
macro_rules! contract_tests {
    ($open:path) => {
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

            #[test]
            fn the_audit_is_listed_newest_first_as_it_is_narrowed(
                entries in crate::store::contract_keys::any_entries(),
                narrowed in crate::store::contract_keys::any_audit_filter(), limit in 1..5_u32
            ) {
                tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
                    let (_kept, store) = $open().await;
                    crate::store::contract_keys::the_audit_is_listed(&store, entries, narrowed, limit).await;
                })
            }
        }
        crate::store::contract_keys::contract_tests!(@sentences $open,
            the_first_key_is_stored_once
            keys_come_back_as_they_were_stored
            a_deleted_key_is_gone_with_an_audit_row
            the_last_admin_key_without_an_end_stays
            of_two_admins_that_delete_each_other_one_stays
            a_prefix_is_one_keys
            there_are_no_more_keys_than_may_be
            the_last_use_of_a_key_only_goes_forward
            the_oldest_ended_executions_are_swept_with_their_logs
            the_oldest_audit_rows_are_swept
        );
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            crate::store::contract_keys::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

/// More than any of these needs.
const KEYS_MAX: u32 = 100;

/// A permanent admin key.
pub(crate) fn key(prefix: &str) -> Key {
    let NewKey { name, role, .. } = NewKey::unrestricted("admin", Role::Admin);
    Key {
        id: KeyId::generate(),
        prefix: prefix.to_owned(),
        hash: [7; 32],
        name,
        role,
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        last_used_at: None,
        modules: None,
        jobs: None,
    }
}

pub(crate) fn audit_entry(action: &'static str) -> AuditEntry {
    AuditEntry::by_gateway(Timestamp::UNIX_EPOCH, action, "a resource")
}

pub(crate) fn any_entries() -> impl Strategy<Value = Vec<AuditEntry>> {
    // Without U+0000, which not every database keeps in a text.
    let text = || any::<String>().prop_map(|text| text.replace('\0', ""));
    let actor = proptest::option::of(prop_oneof!["[ab]", text()]);
    let words = (actor, select(&["key.create", "request", "x"][..]), text(), any::<bool>());
    let rest = (any::<String>(), proptest::option::of(text()), any_time());
    let entry = (words, rest).prop_map(|((actor, action, resource, done), (detail, address, at))| AuditEntry {
        actor,
        outcome: if done { AuditOutcome::Done } else { AuditOutcome::Refused },
        request_id: address.clone(),
        address,
        ..AuditEntry::by_gateway(at, action, resource).with("detail", detail).with("count", 3)
    });
    proptest::collection::vec(entry, 0..12)
}

pub(crate) fn any_audit_filter() -> impl Strategy<Value = AuditFilter> {
    use proptest::option::of;
    (of("[abc]"), of("key.create|request|y"), of(any_time()), of(any_time()))
        .prop_map(|(actor, action, from, to)| AuditFilter { actor, action, from, to })
}

async fn insert_keys(store: &dyn Store, keys: &[Key]) {
    for key in keys {
        let inserted = store.insert_key(key, KEYS_MAX, &audit_entry(action::KEY_CREATE)).await.unwrap();
        assert_eq!(inserted, KeyInserted::Inserted);
    }
}

async fn audited(store: &dyn Store) -> u64 {
    store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().total
}

pub(crate) async fn the_audit_is_listed(
    store: &dyn Store,
    entries: Vec<AuditEntry>,
    narrowed: AuditFilter,
    limit: u32,
) {
    store.append_audit(Arc::from(entries.as_slice())).await.unwrap();
    let found = |entry: &AuditEntry| {
        narrowed.actor.as_ref().is_none_or(|actor| entry.actor.as_ref() == Some(actor))
            && narrowed.action.as_ref().is_none_or(|action| entry.action == *action)
            && narrowed.from.is_none_or(|from| entry.at >= from)
            && narrowed.to.is_none_or(|to| entry.at < to)
    };
    let mut expected: Vec<_> = entries.into_iter().filter(found).collect();
    expected.sort_by_key(|entry| std::cmp::Reverse((entry.at, entry.id)));
    for (request, page) in pages(&expected, limit) {
        assert_eq!(store.list_audit(&narrowed, request).await.unwrap(), page);
    }
}

pub(crate) async fn the_first_key_is_stored_once(store: &dyn Store) {
    let rivals = [key("000000000001"), Key { role: Role::Viewer, ..key("000000000002") }];
    let entry = audit_entry(action::KEY_CREATE);
    let results = rivals.iter().map(|rival| {
        let entry = AuditEntry { id: crate::model::AuditId::generate(), ..entry.clone() };
        async move { store.insert_first_key(rival, &entry).await }
    });
    let results = futures_util::future::join_all(results).await;
    let winners: Vec<_> = rivals.iter().zip(results).filter(|(_, won)| *won.as_ref().unwrap()).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.all_keys().await.unwrap(), [winners[0].0.clone()]);
    assert_eq!(audited(store).await, 1);
}

pub(crate) async fn keys_come_back_as_they_were_stored(store: &dyn Store) {
    let unrestricted = key("000000000001");
    let globs = NameGlobs::new(vec!["order-*".to_owned(), "t[ao]x \"'".to_owned()]).unwrap();
    let restricted = Key {
        role: Role::Invoker,
        name: "ÄÖ '\"".to_owned(),
        expires_at: Some("2030-01-01T00:00:00.000001Z".parse().unwrap()),
        last_used_at: Some(Timestamp::UNIX_EPOCH),
        modules: Some(globs),
        jobs: Some(NameGlobs::new(Vec::new()).unwrap()),
        ..key("000000000002")
    };
    let keys = [unrestricted, restricted];
    insert_keys(store, &keys).await;
    assert_eq!(store.all_keys().await.unwrap(), keys);
    assert_eq!(audited(store).await, 2);
}

pub(crate) async fn a_deleted_key_is_gone_with_an_audit_row(store: &dyn Store) {
    let keys = [key("000000000001"), Key { role: Role::Viewer, ..key("000000000002") }];
    insert_keys(store, &keys).await;
    let entry = audit_entry(action::KEY_DELETE);
    assert_eq!(store.delete_key(keys[1].id, &entry).await.unwrap(), KeyDeleted::Deleted);
    let again = audit_entry(action::KEY_DELETE);
    assert_eq!(store.delete_key(keys[1].id, &again).await.unwrap(), KeyDeleted::NotFound);
    assert_eq!(store.all_keys().await.unwrap(), keys[..1]);
    let filter = AuditFilter { action: Some(action::KEY_DELETE.to_owned()), ..AuditFilter::default() };
    assert_eq!(store.list_audit(&filter, FIRST).await.unwrap().items, [entry]);
}

pub(crate) async fn the_last_admin_key_without_an_end_stays(store: &dyn Store) {
    let far = Some("2999-01-01T00:00:00Z".parse().unwrap());
    let ends = Key { expires_at: far, ..key("000000000002") };
    let keys = [key("000000000001"), ends, Key { role: Role::Editor, ..key("000000000003") }];
    insert_keys(store, &keys).await;
    let delete = |id| async move { store.delete_key(id, &audit_entry(action::KEY_DELETE)).await.unwrap() };
    assert_eq!(delete(keys[0].id).await, KeyDeleted::LastAdmin);
    assert_eq!(delete(keys[1].id).await, KeyDeleted::Deleted);
    assert_eq!(delete(keys[2].id).await, KeyDeleted::Deleted);
    assert_eq!(delete(keys[0].id).await, KeyDeleted::LastAdmin);
    insert_keys(store, &[key("000000000004")]).await;
    assert_eq!(delete(keys[0].id).await, KeyDeleted::Deleted);
}

pub(crate) async fn of_two_admins_that_delete_each_other_one_stays(store: &dyn Store) {
    let keys = [key("000000000001"), key("000000000002")];
    insert_keys(store, &keys).await;
    let delete = |id| async move { store.delete_key(id, &audit_entry(action::KEY_DELETE)).await.unwrap() };
    let mut results = futures_util::future::join_all(keys.iter().map(|key| delete(key.id))).await;
    results.sort_by_key(|result| *result == KeyDeleted::LastAdmin);
    assert_eq!(results, [KeyDeleted::Deleted, KeyDeleted::LastAdmin]);
    assert_eq!(store.all_keys().await.unwrap().len(), 1);
}

pub(crate) async fn a_prefix_is_one_keys(store: &dyn Store) {
    insert_keys(store, &[key("000000000001")]).await;
    store.insert_key(&key("000000000001"), KEYS_MAX, &audit_entry(action::KEY_CREATE)).await.unwrap_err();
    assert_eq!((store.all_keys().await.unwrap().len(), audited(store).await), (1, 1));
}

pub(crate) async fn there_are_no_more_keys_than_may_be(store: &dyn Store) {
    let keys: Vec<_> = (0..6).map(|number| key(&format!("{number:012}"))).collect();
    let insert = |key| async move { store.insert_key(key, 4, &audit_entry(action::KEY_CREATE)).await.unwrap() };
    let results = futures_util::future::join_all(keys.iter().map(insert)).await;
    assert_eq!(results.iter().filter(|result| **result == KeyInserted::Inserted).count(), 4);
    let stored = store.all_keys().await.unwrap();
    assert_eq!((stored.len(), audited(store).await), (4, 4));
    assert_eq!(store.delete_key(stored[0].id, &audit_entry(action::KEY_DELETE)).await.unwrap(), KeyDeleted::Deleted);
    let late = key("000000000009");
    assert_eq!(insert(&late).await, KeyInserted::Inserted);
}

pub(crate) async fn the_last_use_of_a_key_only_goes_forward(store: &dyn Store) {
    let keys = [key("000000000001"), key("000000000002")];
    insert_keys(store, &keys).await;
    let at = |micros| Timestamp::from_microsecond(micros).unwrap();
    for (given, expected) in [(5, 5), (4, 5), (6, 6)] {
        store.record_key_use(&[(keys[0].id, at(given)), (KeyId::generate(), at(1))]).await.unwrap();
        let found = store.all_keys().await.unwrap();
        assert_eq!((found[0].last_used_at, found[1].last_used_at), (Some(at(expected)), None));
    }
}

pub(crate) async fn the_oldest_ended_executions_are_swept_with_their_logs(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
    let of = |hours, status| ExecutionRecord {
        execution_id: ExecutionId::starting(at(hours)),
        started_at: at(hours),
        lines: vec![line(Level::Info, "kept with it")],
        ..record(&module, status)
    };
    let records = [
        of(0, Status::Running),
        of(1, Status::Completed),
        of(2, Status::Failed),
        of(3, Status::Completed),
        of(4, Status::Completed),
    ];
    record_all(store, &records).await;
    assert_eq!(store.count_executions().await.unwrap(), 5);
    // What runs doesn't go, so the first that has ended is the first of these.
    for (going, stays) in [(0, Some(at(1))), (3, Some(at(4))), (4, None), (u64::MAX >> 1, None)] {
        assert_eq!(store.start_after_oldest(going).await.unwrap(), stays);
    }
    assert_eq!(store.delete_oldest_executions(at(4), 2).await.unwrap(), 2);
    for (record, stays) in records.iter().zip([true, false, false, true, true]) {
        assert_eq!(store.execution(record.execution_id).await.unwrap().is_some(), stays);
        let logs = store.execution_logs(record.execution_id, None, Level::Debug, FIRST).await.unwrap();
        assert_eq!(logs.is_some(), stays);
    }
    assert_eq!(store.delete_oldest_executions(at(4), 2).await.unwrap(), 1);
    assert_eq!(store.delete_oldest_executions(at(4), 2).await.unwrap(), 0);
    let left = store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap();
    assert_eq!((left.total, store.count_executions().await.unwrap()), (2, 2));
}

pub(crate) async fn the_oldest_audit_rows_are_swept(store: &dyn Store) {
    let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
    let rows: Vec<_> = (0..5).map(|hours| AuditEntry::by_gateway(at(hours), action::REQUEST, "/")).collect();
    store.append_audit(Arc::from(rows.as_slice())).await.unwrap();
    assert_eq!(store.delete_oldest_audit(at(4), 3).await.unwrap(), 3);
    assert_eq!(store.delete_oldest_audit(at(4), 3).await.unwrap(), 1);
    assert_eq!(store.delete_oldest_audit(at(4), 3).await.unwrap(), 0);
    assert_eq!(store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().items, rows[4..]);
}
