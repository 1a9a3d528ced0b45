//! What every backend has to do with denials: the contract's part on them.

use std::sync::Arc;

use jiff::Timestamp;

use super::contract::{FIRST, insert_all, module, pages, record};
use super::{DENIALS_OF_MODULE_MAX, DenialBatch, PageRequest, Store};
use crate::model::{
    Denial, Digest, ExecutionId, ExecutionRecord, Module, ModuleId, PermissionKind, RecordedDenial, Status,
};

fn denial(permission: PermissionKind, resource: &str) -> Denial {
    Denial { permission, resource: resource.to_owned() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An execution of `module` that started then.
fn execution(module: &Module, second: i64) -> ExecutionRecord {
    ExecutionRecord {
        execution_id: ExecutionId::starting(at(second)),
        started_at: at(second),
        ..record(module, Status::Completed)
    }
}

async fn record_denials(store: &dyn Store, executions: &[(&ExecutionRecord, Vec<Denial>)]) {
    let mut batch = DenialBatch::default();
    for (execution, denials) in executions {
        batch.add(execution, denials.clone());
    }
    store.record_denials(Arc::new(batch)).await.unwrap();
}

async fn resources(store: &dyn Store, module: ModuleId) -> Vec<String> {
    store.list_denials(module, FIRST).await.unwrap().items.into_iter().map(|denial| denial.resource).collect()
}

pub(crate) async fn denials_are_counted_and_listed_newest_first(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    let [first, second, third] = [1, 2, 3].map(|second| execution(&modules[0], second));
    let read = denial(PermissionKind::HttpRead, "https://a.example/x");
    let write = denial(PermissionKind::HttpWrite, "https://a.example/x");
    let odd = denial(PermissionKind::DatabaseRead, "orders '\"%_\\ ü");
    record_denials(store, &[(&first, vec![read.clone(), write.clone()]), (&third, vec![read.clone()])]).await;
    // Another gateway's, which comes later and was earlier.
    record_denials(store, &[(&second, vec![read.clone(), odd.clone()])]).await;
    record_denials(store, &[(&execution(&modules[1], 9), vec![read.clone()])]).await;
    let recorded = |of: &Denial, count, first: &ExecutionRecord, last: &ExecutionRecord| RecordedDenial {
        permission: of.permission,
        resource: of.resource.clone(),
        count,
        first_at: first.started_at,
        last_at: last.started_at,
        execution_id: last.execution_id,
    };
    let expected =
        [recorded(&read, 3, &first, &third), recorded(&odd, 1, &second, &second), recorded(&write, 1, &first, &first)];
    for (request, page) in pages(&expected, 2) {
        assert_eq!(store.list_denials(modules[0].id, request).await.unwrap(), page);
    }
    assert_eq!(store.list_denials(ModuleId::generate(), FIRST).await.unwrap().total, 0);
}

pub(crate) async fn denials_of_one_instant_have_one_order(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let denials: Vec<_> = (0..20)
        .map(|number| denial(PermissionKind::ALL[number % 5], &format!("{number}{}", "x".repeat(2046))))
        .collect();
    record_denials(store, &[(&execution(&module, 1), denials.clone())]).await;
    let mut expected = denials;
    expected.sort_by_key(|denial| (denial.permission.as_str(), Digest::of(denial.resource.as_bytes())));
    expected.reverse();
    let mut found = Vec::new();
    for page in 1..=4 {
        let page = store.list_denials(module.id, PageRequest { page, limit: 6 }).await.unwrap();
        assert_eq!(page.total, 20);
        found.extend(page.items.into_iter().map(|one| Denial { permission: one.permission, resource: one.resource }));
    }
    assert_eq!(found, expected);
}

pub(crate) async fn a_module_keeps_its_newest_denials(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    let kind = PermissionKind::HttpRead;
    record_denials(store, &[(&execution(&modules[1], 0), vec![denial(kind, "other")])]).await;
    record_denials(store, &[(&execution(&modules[0], 0), vec![denial(kind, "again"), denial(kind, "old")])]).await;
    let many = (1..DENIALS_OF_MODULE_MAX).map(|number| denial(kind, &number.to_string())).collect();
    record_denials(store, &[(&execution(&modules[0], 1), many)]).await;
    record_denials(store, &[(&execution(&modules[0], 2), vec![denial(kind, "again"), denial(kind, "new")])]).await;
    let page = store.list_denials(modules[0].id, FIRST).await.unwrap();
    assert_eq!(page.total, u64::from(DENIALS_OF_MODULE_MAX));
    let mut newest: Vec<_> = page.items[..2].iter().map(|denial| (denial.resource.as_str(), denial.count)).collect();
    newest.sort_unstable();
    assert_eq!(newest[1], ("new", 1));
    // It was the oldest but one when there were too many, and came back.
    assert_eq!(newest[0].0, "again");
    let last = PageRequest { page: DENIALS_OF_MODULE_MAX / 200, limit: 200 };
    let rest = store.list_denials(modules[0].id, last).await.unwrap();
    assert!(rest.items.iter().all(|denial| denial.last_at == at(1)));
    assert_eq!(resources(store, modules[1].id).await, ["other"]);
}

pub(crate) async fn denials_go_with_their_module_and_with_their_age(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    let kind = PermissionKind::SecretUse;
    for second in 1..=4 {
        let denials = vec![denial(kind, &second.to_string())];
        let [of_first, of_second] = [0, 1].map(|index| execution(&modules[index], second));
        record_denials(store, &[(&of_first, denials.clone()), (&of_second, denials)]).await;
    }
    assert_eq!(store.delete_oldest_denials(at(3), 3).await.unwrap(), 3);
    assert_eq!(store.delete_oldest_denials(at(3), 3).await.unwrap(), 1);
    assert_eq!(store.delete_oldest_denials(at(3), 3).await.unwrap(), 0);
    assert_eq!(resources(store, modules[0].id).await, ["4", "3"]);
    store.delete_module(modules[0].id, &super::contract::row()).await.unwrap().unwrap();
    assert_eq!(resources(store, modules[0].id).await, [""; 0]);
    // One that ends after its module is passed over, and what came with it is stored.
    let late =
        [(&execution(&modules[0], 5), vec![denial(kind, "5")]), (&execution(&modules[1], 5), vec![denial(kind, "5")])];
    record_denials(store, &late).await;
    assert_eq!(resources(store, modules[0].id).await, [""; 0]);
    assert_eq!(resources(store, modules[1].id).await, ["5", "4", "3"]);
}

pub(crate) async fn batches_that_come_together_are_all_counted(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0"), module("c", "1.0.0")];
    insert_all(store, &modules).await;
    let batches = (0..12_usize).map(|number| {
        // Each in another order.
        let executions: Vec<_> = (0..3).map(|step| execution(&modules[(number + step) % 3], 1)).collect();
        let denials: Vec<_> = (0..40).map(|one| denial(PermissionKind::HttpRead, &one.to_string())).collect();
        async move {
            let executions: Vec<_> = executions.iter().map(|execution| (execution, denials.clone())).collect();
            record_denials(store, &executions).await;
        }
    });
    futures_util::future::join_all(batches).await;
    for module in &modules {
        let page = store.list_denials(module.id, FIRST).await.unwrap();
        assert_eq!(page.total, 40);
        assert!(page.items.iter().all(|denial| denial.count == 12), "{page:?}");
    }
}
