//! What every backend has to do, written once against the traits.
//!
//! Owns the properties and the data they are tried with. [`contract_tests`] makes
//! tests of them for the backend that its argument opens.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use semver::Version;

use super::{ExecutionFilter, Inserted, ModuleFilter, Page, PageRequest, Store};
use crate::model::{
    Digest, ExecutionError, ExecutionId, ExecutionRecord, JsonObject, Level, Limits, LogLine, Module, ModuleId,
    ModuleKind, Permission, PermissionKind, Signature, SignatureValue, Status,
};

/// Makes a test of each property. `$open` is an async function without arguments
/// that gives something to keep, and an empty store.
macro_rules! contract_tests {
    ($open:path) => {
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

            #[test]
            fn p22_module_metadata_persistence(modules in contract::any_modules()) {
                contract_tests!(@run $open, p22_module_metadata_persistence(modules));
            }
            #[test]
            fn p24_module_listing(modules in contract::any_modules(), narrowed in contract::any_module_filter(),
                                  limit in 1..5_u32) {
                contract_tests!(@run $open, p24_module_listing(modules, narrowed, limit));
            }
            #[test]
            fn p25_module_deletion(modules in contract::any_modules(), deleted in proptest::arbitrary::any::<u16>()) {
                contract_tests!(@run $open, p25_module_deletion(modules, deleted));
            }
            #[test]
            fn p26_permission_update_persistence(
                modules in contract::any_modules(), updates in contract::any_permission_updates()
            ) {
                contract_tests!(@run $open, p26_permission_update_persistence(modules, updates));
            }
            #[test]
            fn executions_are_listed_newest_first_as_they_are_narrowed(
                modules in contract::any_modules(), records in contract::any_records(),
                narrowed in contract::any_execution_filter(), limit in 1..5_u32
            ) {
                contract_tests!(@run $open, executions_are_listed(modules, records, narrowed, limit));
            }
            #[test]
            fn executions_come_back_as_they_were_recorded(
                modules in contract::any_modules(), records in contract::any_records()
            ) {
                contract_tests!(@run $open, executions_come_back(modules, records));
            }
            #[test]
            fn p36_execution_log_filtering(modules in contract::any_modules(), records in contract::any_records()) {
                contract_tests!(@run $open, p36_execution_log_filtering(modules, records));
            }
        }
        contract_tests!(@sentences $open,
            a_version_is_stored_once
            one_of_two_concurrent_uploads_wins
            builds_are_versions_of_their_own
            a_search_takes_wildcards_as_plain_characters
            a_running_execution_is_replaced_by_its_end
            an_execution_that_has_ended_stays_as_it_is
            records_of_a_deleted_module_are_passed_over
            what_ran_when_the_process_ended_has_failed
            logs_are_narrowed_by_level_and_module
            executions_are_narrowed_to_what_is_visible
            limits_are_replaced_and_nothing_else_is
            what_is_gone_is_not_changed
            a_change_of_a_module_has_its_row
            a_change_whose_row_is_refused_did_not_happen
            executions_go_ahead_of_their_module
            denials_are_counted_and_listed_newest_first
            denials_of_one_instant_have_one_order
            a_module_keeps_its_newest_denials
            denials_go_with_their_module_and_with_their_age
            batches_that_come_together_are_all_counted
            the_id_of_a_store_stays
        );
        crate::store::contract_keys::contract_tests!($open);
        crate::store::contract_jobs::contract_tests!($open);
        crate::store::contract_runs::contract_tests!($open);
        crate::store::contract_claims::contract_tests!($open);
        crate::store::contract_deliveries::contract_tests!($open);
    };
    (@run $open:path, $property:ident($($argument:ident),*)) => {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let (_kept, store) = $open().await;
            contract::$property(&store, $($argument),*).await;
        })
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            contract::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

pub(crate) use super::contract_audit::{
    a_change_of_a_module_has_its_row, a_change_whose_row_is_refused_did_not_happen,
    executions_go_ahead_of_their_module, row, the_id_of_a_store_stays, what_is_gone_is_not_changed,
};
pub(crate) use super::contract_denials::{
    a_module_keeps_its_newest_denials, batches_that_come_together_are_all_counted,
    denials_are_counted_and_listed_newest_first, denials_go_with_their_module_and_with_their_age,
    denials_of_one_instant_have_one_order,
};
pub(crate) use super::contract_keys::{audit_entry, key};
pub(crate) use super::contract_logs::{logs_are_narrowed_by_level_and_module, p36_execution_log_filtering};

pub(super) const FIRST: PageRequest = PageRequest { page: 1, limit: 200 };

// --- Data ---

pub(crate) fn any_version() -> impl Strategy<Value = Version> {
    let number = prop_oneof![4 => 0..4_u64, 1 => any::<u64>()];
    let identifier = prop_oneof!["0|[1-9][0-9]{0,24}", "[0-9]{0,3}[a-zA-Z-][0-9A-Za-z-]{0,3}"];
    let pre = vec(identifier, 0..3);
    let build = vec("[0-9A-Za-z-]{1,3}|0{0,2}[0-9]{1,22}", 0..3);
    ([number.clone(), number.clone(), number], pre, build).prop_map(|([major, minor, patch], pre, build)| Version {
        pre: pre.join(".").parse().expect("a pre-release"),
        build: build.join(".").parse().expect("a build"),
        ..Version::new(major, minor, patch)
    })
}

pub(super) fn any_time() -> impl Strategy<Value = Timestamp> {
    // A few instants many times, so that the order of equal ones matters.
    let micros = prop_oneof![0..4_i64, -377_705_023_201_000_000..253_402_207_200_000_000_i64];
    micros.prop_map(|micros| Timestamp::from_microsecond(micros).expect("a time"))
}

/// Nothing has started before 1970.
fn any_start() -> impl Strategy<Value = Timestamp> {
    any_time().prop_map(|at| at.max(Timestamp::UNIX_EPOCH))
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let kinds = [
        PermissionKind::HttpRead,
        PermissionKind::HttpWrite,
        PermissionKind::DatabaseRead,
        PermissionKind::DatabaseWrite,
        PermissionKind::SecretUse,
    ];
    (select(kinds.to_vec()), any::<String>()).prop_map(|(permission, resource)| Permission { permission, resource })
}

/// Lists of permissions for the modules that their indexes pick, with warnings.
pub(crate) fn any_permission_updates() -> impl Strategy<Value = Vec<(Index, Vec<Permission>, Vec<String>)>> {
    vec((any::<Index>(), vec(any_permission(), 0..5), vec(any::<String>(), 0..3)), 1..8)
}

fn any_module() -> impl Strategy<Value = Module> {
    let identity = (select(&["a", "a-b", "ab", "order-rules"][..]), any_version(), 0..3_u8, any::<u64>());
    let texts = ("[aAäÄ%_\\\\ '\"]{0,5}|\\PC{0,20}|.{0,9}", any::<String>(), vec(any::<String>(), 0..3));
    let limits = proptest::option::of(any::<u64>());
    let limits = (limits.clone(), limits.clone(), limits);
    let signature = proptest::option::of((any::<String>(), any::<[[u8; 32]; 2]>(), proptest::option::of(any_time())));
    (identity, texts, limits, signature, vec(any_permission(), 0..4), any_time(), any::<bool>()).prop_map(
        |(
            (name, version, bytes, size),
            (description, created_by, strings),
            limits,
            signature,
            permissions,
            at,
            step,
        )| {
            Module {
                id: ModuleId::generate(),
                name: name.parse().expect("a name"),
                version,
                description,
                kind: if step { ModuleKind::JobStep } else { ModuleKind::Http },
                sha256: Digest::of(&[bytes]),
                size_bytes: size >> 1,
                functions: strings.clone(),
                imports: strings.iter().rev().cloned().collect(),
                permissions,
                limits: Limits { fuel: limits.0, memory_bytes: limits.1, timeout_ms: limits.2 },
                signature: signature.map(|(key_id, halves, verified_at)| Signature {
                    key_id,
                    value: SignatureValue::from_bytes(halves.concat().try_into().expect("64 bytes")),
                    verified_at,
                }),
                warnings: strings,
                created_at: at,
                created_by,
            }
        },
    )
}

/// Up to a dozen modules, each name and version once.
pub(crate) fn any_modules() -> impl Strategy<Value = Vec<Module>> {
    vec(any_module(), 1..12).prop_map(|mut modules| {
        let mut seen = std::collections::HashSet::new();
        modules.retain(|module| seen.insert((module.name.clone(), module.version.to_string())));
        modules
    })
}

pub(crate) fn any_module_filter() -> impl Strategy<Value = ModuleFilter> {
    let query = proptest::option::of("[aAbäÄ%_\\\\ -]{0,2}");
    let name = proptest::option::of("a|ab|order-rules|A|%");
    let kind = proptest::option::of(select(&[ModuleKind::JobStep, ModuleKind::Http][..]));
    (query, name, kind).prop_map(|(query, name, kind)| ModuleFilter { query, name, kind })
}

/// Records that still lack the module they belong to: the index picks one.
pub(crate) fn any_records() -> impl Strategy<Value = Vec<(ExecutionRecord, Index)>> {
    vec((any_record(), any::<Index>()), 0..15)
}

fn any_record() -> impl Strategy<Value = ExecutionRecord> {
    let count = || proptest::option::of(0..=i64::MAX as u64);
    let error = proptest::option::of((any::<String>(), any::<String>(), any::<String>()));
    let status = select(&Status::ALL[..]);
    (any::<String>(), status, any_start(), (count(), count(), count()), error, vec(any_line(), 0..4), 0..9_u64)
        .prop_map(|(function, status, started_at, (duration_us, fuel, memory_bytes), error, lines, lines_dropped)| {
            ExecutionRecord {
                execution_id: ExecutionId::starting(started_at),
                module_id: ModuleId::generate(),
                module: "none".parse().expect("a name"),
                version: Version::new(0, 0, 0),
                function,
                status,
                started_at,
                duration_us,
                fuel,
                memory_bytes,
                error: error.map(|(code, message, origin)| ExecutionError { code, message, origin }),
                lines,
                lines_dropped,
                run_id: None,
                job: None,
            }
        })
}

fn any_line() -> impl Strategy<Value = LogLine> {
    let level = select(&[Level::Debug, Level::Info, Level::Warn, Level::Error][..]);
    let fields = vec((any::<String>(), any::<String>()), 0..3);
    (any_time(), level, any::<String>(), fields).prop_map(|(at, level, message, fields)| LogLine {
        at,
        level,
        message,
        fields: JsonObject::of(&fields.into_iter().collect::<std::collections::BTreeMap<_, _>>()),
    })
}

/// A filter by index of module, status, and time.
pub(crate) type NarrowedExecutions = (Option<Index>, Option<Status>, Option<Timestamp>, Option<Timestamp>);

pub(crate) fn any_execution_filter() -> impl Strategy<Value = NarrowedExecutions> {
    use proptest::option::of;
    (of(any::<Index>()), of(select(&Status::ALL[..])), of(any_time()), of(any_time()))
}

pub(crate) fn module(name: &str, version: &str) -> Module {
    Module {
        id: ModuleId::generate(),
        name: name.parse().expect("a name"),
        version: version.parse().expect("a version"),
        description: String::new(),
        kind: ModuleKind::JobStep,
        sha256: Digest::of(b"component"),
        size_bytes: 9,
        functions: vec!["run".to_owned()],
        imports: Vec::new(),
        permissions: Vec::new(),
        limits: Limits::default(),
        signature: None,
        warnings: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "admin".to_owned(),
    }
}

pub(crate) fn record(module: &Module, status: Status) -> ExecutionRecord {
    ExecutionRecord {
        execution_id: ExecutionId::starting(Timestamp::UNIX_EPOCH),
        module_id: module.id,
        module: module.name.clone(),
        version: module.version.clone(),
        function: "run".to_owned(),
        status,
        started_at: Timestamp::UNIX_EPOCH,
        duration_us: (status != Status::Running).then_some(184),
        fuel: (status != Status::Running).then_some(12_345),
        memory_bytes: (status != Status::Running).then_some(1_179_648),
        error: None,
        lines: Vec::new(),
        lines_dropped: 0,
        run_id: None,
        job: None,
    }
}

pub(crate) fn line(level: Level, message: &str) -> LogLine {
    LogLine { at: Timestamp::UNIX_EPOCH, level, message: message.to_owned(), fields: JsonObject::default() }
}

// --- Steps ---

pub(super) async fn insert_all(store: &dyn Store, modules: &[Module]) {
    for module in modules {
        assert_eq!(store.insert_module(module, &row()).await.unwrap(), Inserted::Created);
    }
}

pub(super) async fn record_all(store: &dyn Store, records: &[ExecutionRecord]) {
    store.record_executions(Arc::from(records)).await.unwrap();
}

/// The records with the modules that their indexes pick.
pub(super) fn belonging_to(modules: &[Module], records: Vec<(ExecutionRecord, Index)>) -> Vec<ExecutionRecord> {
    let belong = |(record, index): (ExecutionRecord, Index)| {
        let Module { id, name, version, .. } = index.get(modules).clone();
        ExecutionRecord { module_id: id, module: name, version, ..record }
    };
    records.into_iter().map(belong).collect()
}

fn without_lines(record: &ExecutionRecord) -> ExecutionRecord {
    ExecutionRecord { lines: Vec::new(), ..record.clone() }
}

fn in_order(mut modules: Vec<Module>) -> Vec<Module> {
    modules.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
    modules
}

/// The pages that a list of `expected` has, one more than it fills included.
pub(super) fn pages<T: Clone>(expected: &[T], limit: u32) -> impl Iterator<Item = (PageRequest, Page<T>)> {
    let total = expected.len();
    let count = total.div_ceil(limit as usize) + 1;
    (0..count).map(move |page| {
        let items = expected.iter().skip(page * limit as usize).take(limit as usize).cloned().collect();
        (PageRequest { page: u32::try_from(page).unwrap() + 1, limit }, Page { items, total: total as u64 })
    })
}

// --- Properties ---

pub(crate) async fn p22_module_metadata_persistence(store: &dyn Store, modules: Vec<Module>) {
    insert_all(store, &modules).await;
    assert_eq!(store.all_modules().await.unwrap(), in_order(modules));
}

pub(crate) async fn p24_module_listing(store: &dyn Store, modules: Vec<Module>, narrowed: ModuleFilter, limit: u32) {
    insert_all(store, &modules).await;
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    let found = |module: &Module| {
        narrowed.query.as_deref().is_none_or(|query| {
            module.name.as_str().contains(&fold(query)) || fold(&module.description).contains(&fold(query))
        }) && narrowed.name.as_deref().is_none_or(|name| module.name.as_str() == name)
            && narrowed.kind.is_none_or(|kind| module.kind == kind)
    };
    let expected = in_order(modules.into_iter().filter(found).collect());
    for (request, page) in pages(&expected, limit) {
        assert_eq!(store.list_modules(&narrowed, request).await.unwrap(), page);
    }
}

pub(crate) async fn p25_module_deletion(store: &dyn Store, modules: Vec<Module>, deleted: u16) {
    insert_all(store, &modules).await;
    let mut runs: Vec<_> = modules.iter().map(|module| record(module, Status::Completed)).collect();
    for run in &mut runs {
        run.lines.push(line(Level::Info, "a line"));
    }
    record_all(store, &runs).await;
    let (mut gone, mut left) = (Vec::new(), modules.clone());
    for (place, module) in modules.iter().enumerate().filter(|(place, _)| deleted & (1 << place) != 0) {
        left.retain(|other| other.id != module.id);
        let result = store.delete_module(module.id, &row()).await.unwrap().unwrap();
        assert_eq!(result.digest, module.sha256);
        assert_eq!(result.digest_in_use, left.iter().any(|other| other.sha256 == module.sha256));
        assert_eq!(store.digest_in_use(module.sha256).await.unwrap(), result.digest_in_use);
        assert_eq!(store.delete_module(module.id, &row()).await.unwrap(), None);
        gone.push(runs[place].execution_id);
    }
    assert_eq!(store.all_modules().await.unwrap(), in_order(left));
    for run in &runs {
        let logs = store.execution_logs(run.execution_id, None, Level::Debug, FIRST).await.unwrap();
        let found = store.execution(run.execution_id).await.unwrap();
        if gone.contains(&run.execution_id) {
            assert_eq!((found, logs), (None, None));
        } else {
            assert_eq!(found, Some(without_lines(run)));
            assert_eq!(logs, Some(Page { items: vec![run.clone()], total: 1 }));
        }
    }
}

pub(crate) async fn p26_permission_update_persistence(
    store: &dyn Store,
    mut modules: Vec<Module>,
    updates: Vec<(Index, Vec<Permission>, Vec<String>)>,
) {
    insert_all(store, &modules).await;
    for (index, permissions, warnings) in updates {
        let place = index.index(modules.len());
        let module = &mut modules[place];
        assert!(store.replace_permissions(module.id, &permissions, &warnings, &row()).await.unwrap());
        (module.permissions, module.warnings) = (permissions, warnings);
        assert_eq!(store.all_modules().await.unwrap(), in_order(modules.clone()));
    }
}

pub(crate) async fn executions_come_back(
    store: &dyn Store,
    modules: Vec<Module>,
    records: Vec<(ExecutionRecord, Index)>,
) {
    insert_all(store, &modules).await;
    let records = belonging_to(&modules, records);
    record_all(store, &records).await;
    for record in records {
        assert_eq!(store.execution(record.execution_id).await.unwrap(), Some(without_lines(&record)));
        let logs = store.execution_logs(record.execution_id, None, Level::Debug, FIRST).await.unwrap();
        assert_eq!(logs, Some(Page { items: vec![record], total: 1 }));
    }
}

pub(crate) async fn executions_are_listed(
    store: &dyn Store,
    modules: Vec<Module>,
    records: Vec<(ExecutionRecord, Index)>,
    narrowed: NarrowedExecutions,
    limit: u32,
) {
    insert_all(store, &modules).await;
    let records = belonging_to(&modules, records);
    record_all(store, &records).await;
    let (module_id, status, from, to) = narrowed;
    let filter = ExecutionFilter {
        module_id: module_id.map(|index| index.get(&modules).id),
        status,
        from,
        to,
        ..ExecutionFilter::default()
    };
    let found = |record: &&ExecutionRecord| {
        filter.module_id.is_none_or(|id| record.module_id == id)
            && status.is_none_or(|status| record.status == status)
            && from.is_none_or(|from| record.started_at >= from)
            && to.is_none_or(|to| record.started_at < to)
    };
    let mut expected: Vec<_> = records.iter().filter(found).map(without_lines).collect();
    expected.sort_by_key(|record| std::cmp::Reverse((record.started_at, record.execution_id)));
    for (request, page) in pages(&expected, limit) {
        assert_eq!(store.list_executions(&filter, request).await.unwrap(), page);
    }
}

pub(crate) async fn a_version_is_stored_once(store: &dyn Store) {
    let first = Module { description: "the first".to_owned(), ..module("order-rules", "1.2.0") };
    assert_eq!(store.insert_module(&first, &row()).await.unwrap(), Inserted::Created);
    let second = module("order-rules", "1.2.0");
    assert_eq!(store.insert_module(&second, &row()).await.unwrap(), Inserted::Existed(Box::new(first.clone())));
    assert_eq!(store.all_modules().await.unwrap(), [first]);
}

pub(crate) async fn one_of_two_concurrent_uploads_wins(store: &dyn Store) {
    let rivals: Vec<_> = (0..8).map(|_| module("order-rules", "1.2.0")).collect();
    let insert = async |rival| store.insert_module(rival, &row()).await;
    let results = futures_util::future::join_all(rivals.iter().map(insert)).await;
    let stored = store.all_modules().await.unwrap();
    assert_eq!(stored.len(), 1);
    for (rival, result) in rivals.iter().zip(results) {
        match result.unwrap() {
            Inserted::Created => assert_eq!(*rival, stored[0]),
            Inserted::Existed(existing) => assert_eq!(*existing, stored[0]),
        }
    }
}

pub(crate) async fn builds_are_versions_of_their_own(store: &dyn Store) {
    insert_all(store, &[module("a", "1.0.0+a"), module("a", "1.0.0+b"), module("a", "1.0.0")]).await;
    let versions: Vec<_> =
        store.all_modules().await.unwrap().into_iter().map(|module| module.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0+b", "1.0.0+a", "1.0.0"]);
}

pub(crate) async fn a_search_takes_wildcards_as_plain_characters(store: &dyn Store) {
    let described = |name, description: &str| Module { description: description.to_owned(), ..module(name, "1.0.0") };
    insert_all(store, &[described("a", "10% OFF"), described("b", "snake_case"), described("c", "back\\slash ÄÖ")])
        .await;
    for (query, names) in [("%", "a"), ("_", "b"), ("\\", "c"), ("% off", "a"), ("äö", "c"), ("B", "bc"), ("", "abc")]
    {
        let filter = ModuleFilter { query: Some(query.to_owned()), ..ModuleFilter::default() };
        let page = store.list_modules(&filter, FIRST).await.unwrap();
        let found: String = page.items.iter().map(|module| module.name.as_str()).collect();
        assert_eq!((found.as_str(), page.total), (names, names.len() as u64), "{query}");
    }
}

pub(crate) async fn a_running_execution_is_replaced_by_its_end(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let running = ExecutionRecord { lines: vec![line(Level::Info, "started")], ..record(&module, Status::Running) };
    record_all(store, std::slice::from_ref(&running)).await;
    let ended = ExecutionRecord { execution_id: running.execution_id, ..record(&module, Status::Completed) };
    record_all(store, std::slice::from_ref(&ended)).await;
    assert_eq!(store.execution(ended.execution_id).await.unwrap(), Some(ended.clone()));
    let logs = store.execution_logs(ended.execution_id, None, Level::Debug, FIRST).await.unwrap();
    assert_eq!(logs, Some(Page { items: vec![ended], total: 1 }));
}

pub(crate) async fn an_execution_that_has_ended_stays_as_it_is(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    for status in [Status::Completed, Status::Invalid, Status::Failed, Status::Canceled] {
        let ended = ExecutionRecord { lines: vec![line(Level::Info, "kept")], ..record(&module, status) };
        let late = ExecutionRecord { execution_id: ended.execution_id, ..record(&module, Status::Running) };
        // In one batch, and in one of its own.
        record_all(store, &[ended.clone(), late.clone()]).await;
        record_all(store, &[late]).await;
        let logs = store.execution_logs(ended.execution_id, None, Level::Debug, FIRST).await.unwrap();
        assert_eq!(logs, Some(Page { items: vec![ended], total: 1 }));
    }
}

pub(crate) async fn records_of_a_deleted_module_are_passed_over(store: &dyn Store) {
    let (kept, deleted) = (module("a", "1.0.0"), module("b", "1.0.0"));
    insert_all(store, &[kept.clone(), deleted.clone()]).await;
    store.delete_module(deleted.id, &row()).await.unwrap().unwrap();
    let mut lost = record(&deleted, Status::Completed);
    lost.lines.push(line(Level::Info, "nobody reads this"));
    let stored = record(&kept, Status::Completed);
    record_all(store, &[lost.clone(), stored.clone()]).await;
    assert_eq!(store.execution(lost.execution_id).await.unwrap(), None);
    let page = store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap();
    assert_eq!(page, Page { items: vec![stored], total: 1 });
}

pub(crate) async fn what_ran_when_the_process_ended_has_failed(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let records = Status::ALL.map(|status| record(&module, status));
    record_all(store, &records).await;
    let text = str::to_owned;
    let error =
        ExecutionError { code: text("internal"), message: text("the gateway stopped"), origin: text("gateway") };
    assert_eq!(store.end_interrupted(&error).await.unwrap(), 1);
    assert_eq!(store.end_interrupted(&error).await.unwrap(), 0);
    for record in records {
        let found = store.execution(record.execution_id).await.unwrap().unwrap();
        if record.status == Status::Running {
            assert_eq!((found.status, found.error), (Status::Failed, Some(error.clone())));
        } else {
            assert_eq!(found, record);
        }
    }
}

pub(crate) async fn executions_are_narrowed_to_what_is_visible(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0"), module("c", "1.0.0")];
    insert_all(store, &modules).await;
    let records: Vec<_> = modules.iter().map(|module| record(module, Status::Completed)).collect();
    record_all(store, &records).await;
    for (visible, module_id, expected) in [
        (vec![], None, ""),
        (vec![modules[1].id], None, "b"),
        (vec![modules[0].id, modules[2].id], None, "ac"),
        (vec![modules[0].id], Some(modules[0].id), "a"),
        (vec![modules[0].id], Some(modules[1].id), ""),
    ] {
        let filter = ExecutionFilter { module_id, visible: Some(visible), ..ExecutionFilter::default() };
        let page = store.list_executions(&filter, FIRST).await.unwrap();
        let mut found: Vec<_> = page.items.iter().map(|record| record.module.as_str()).collect();
        found.sort_unstable();
        assert_eq!((found.concat().as_str(), page.total), (expected, expected.len() as u64));
    }
}

pub(crate) async fn limits_are_replaced_and_nothing_else_is(store: &dyn Store) {
    let mut modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    for limits in [Limits { fuel: Some(5), memory_bytes: None, timeout_ms: Some(u64::MAX >> 1) }, Limits::default()] {
        assert!(store.replace_limits(modules[1].id, &limits, &row()).await.unwrap());
        modules[1].limits = limits;
        assert_eq!(store.all_modules().await.unwrap(), modules);
    }
}
