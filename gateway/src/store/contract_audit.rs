//! What every backend has to do with a module's change and its audit row: the contract's third part.

use jiff::Timestamp;

use super::contract::{FIRST, insert_all, module, record, record_all};
use super::{AuditFilter, ExecutionFilter, Inserted, Store};
use crate::model::{AuditEntry, Limits, ModuleId, Permission, PermissionKind, Status, action};

/// A row of its own.
pub(crate) fn row() -> AuditEntry {
    AuditEntry::by_gateway(Timestamp::UNIX_EPOCH, action::MODULE_UPLOAD, "a module")
}

async fn rows(store: &dyn Store) -> Vec<AuditEntry> {
    let mut rows = store.list_audit(&AuditFilter::default(), FIRST).await.unwrap().items;
    rows.sort_by_key(|row| row.id);
    rows
}

pub(crate) async fn a_change_of_a_module_has_its_row(store: &dyn Store) {
    let (first, again) = (module("a", "1.0.0"), module("a", "1.0.0"));
    let expected = [row(), row(), row(), row()];
    let [inserted, permissions, limits, deleted] = &expected;
    assert_eq!(store.insert_module(&first, inserted).await.unwrap(), Inserted::Created);
    assert!(matches!(store.insert_module(&again, &row()).await.unwrap(), Inserted::Existed(_)));
    assert!(store.replace_permissions(first.id, &[], &[], permissions).await.unwrap());
    assert!(store.replace_limits(first.id, &Limits::default(), limits).await.unwrap());
    let none = ModuleId::generate();
    assert!(!store.replace_permissions(none, &[], &[], &row()).await.unwrap());
    assert!(!store.replace_limits(none, &Limits::default(), &row()).await.unwrap());
    assert!(store.delete_module(none, &row()).await.unwrap().is_none());
    assert!(store.delete_module(first.id, deleted).await.unwrap().is_some());
    assert_eq!(rows(store).await, expected);
}

/// An id that another row has makes the database refuse it.
pub(crate) async fn a_change_whose_row_is_refused_did_not_happen(store: &dyn Store) {
    let kept = module("a", "1.0.0");
    let taken = row();
    store.insert_module(&kept, &taken).await.unwrap();
    store.insert_module(&module("b", "1.0.0"), &taken).await.unwrap_err();
    store.replace_permissions(kept.id, &[], &["a warning".to_owned()], &taken).await.unwrap_err();
    let limits = Limits { fuel: Some(5), ..Limits::default() };
    store.replace_limits(kept.id, &limits, &taken).await.unwrap_err();
    store.delete_module(kept.id, &taken).await.unwrap_err();
    assert_eq!((store.all_modules().await.unwrap(), rows(store).await), (vec![kept], vec![taken]));
}

pub(crate) async fn executions_go_ahead_of_their_module(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    let records: Vec<_> = modules.iter().map(|module| record(module, Status::Completed)).collect();
    record_all(store, &records).await;
    let before = rows(store).await;
    store.delete_executions_of(modules[0].id).await.unwrap();
    store.delete_executions_of(ModuleId::generate()).await.unwrap();
    let left = store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap();
    assert_eq!(left.items, records[1..]);
    assert_eq!((store.all_modules().await.unwrap().as_slice(), rows(store).await), (modules.as_slice(), before));
}

pub(crate) async fn the_id_of_a_store_stays(store: &dyn Store) {
    let id = store.id().await.unwrap();
    assert_eq!((store.id().await.unwrap(), id.get_version_num(), id.get_variant()), (id, 4, uuid::Variant::RFC4122));
}

pub(crate) async fn what_is_gone_is_not_changed(store: &dyn Store) {
    let gone = ModuleId::generate();
    let permission = Permission { permission: PermissionKind::HttpRead, resource: "*".to_owned() };
    assert!(!store.replace_permissions(gone, &[permission], &[], &row()).await.unwrap());
    assert!(!store.replace_limits(gone, &Limits::default(), &row()).await.unwrap());
    assert_eq!(store.all_modules().await.unwrap(), []);
}
