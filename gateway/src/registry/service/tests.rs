use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex as StdMutex;

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::sync::Semaphore as Gate;

use super::*;
use crate::blob::Spool;
use crate::model::{Limits, Permission, PermissionKind, Status};
use crate::registry::fixtures::{component, step_component};
use crate::store::contract::{record, row};
use crate::store::sqlite::SqliteStore;
use crate::store::{AuditFilter, PageRequest};

/// Stands in for the runtime: keeps a list of what is compiled, and refuses on demand.
#[derive(Default)]
struct Compiled {
    digests: StdMutex<BTreeSet<Digest>>,
    refusal: StdMutex<Option<CompileError>>,
    /// Where there is one, each compilation waits for a permit.
    gate: Option<Gate>,
}

#[async_trait]
impl Compiler for Compiled {
    async fn compile(&self, digest: Digest, _component: blob::Spool) -> Result<(), CompileError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("an open gate").forget();
        }
        if let Some(refusal) = self.refusal.lock().expect("the lock").take() {
            return Err(refusal);
        }
        self.digests.lock().expect("the lock").insert(digest);
        Ok(())
    }

    async fn forget(&self, digest: Digest) {
        self.digests.lock().expect("the lock").remove(&digest);
    }

    async fn retain(&self, digests: HashSet<Digest>) {
        self.digests.lock().expect("the lock").retain(|digest| digests.contains(digest));
    }
}

/// A registry on a real store and a real folder.
struct Fixture {
    registry: Arc<Registry>,
    compiled: Arc<Compiled>,
    blobs: blob::Blobs,
    metrics: telemetry::Metrics,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"), Compiled::default()).await
    }

    async fn in_folder(folder: tempfile::TempDir, compiled: Compiled) -> Self {
        let config = config::Config::in_folder(folder.path().to_owned());
        let clock = clock::Clock::system();
        let store = SqliteStore::open(&folder.path().join("sluice.db")).await.expect("a store");
        let blobs = blob::Blobs::open(&config.blobs, &config.data_dir, clock.clone()).await.expect("a folder of blobs");
        let (compiled, metrics) = (Arc::new(compiled), telemetry::Metrics::new());
        let registry = Registry::open(Parts {
            store: Arc::new(store),
            blobs: blobs.clone(),
            compiler: Arc::clone(&compiled) as Arc<dyn Compiler>,
            limits: config.limits,
            trust: Trust::new(config.signatures, metrics.clone()),
            metrics: metrics.clone(),
            clock,
            changes: TaskTracker::new(),
        })
        .await
        .expect("a registry");
        Self { registry, compiled, blobs, metrics, folder }
    }

    async fn restart(self) -> Self {
        self.registry.parts.store.close().await;
        self.blobs.release();
        let Self { folder, registry, compiled, .. } = self;
        drop(registry);
        let digests = StdMutex::new(compiled.digests.lock().expect("the lock").clone());
        Self::in_folder(folder, Compiled { digests, ..Compiled::default() }).await
    }

    fn find(&self, reference: &str) -> Option<Arc<Module>> {
        self.registry.snapshot().resolve_text(reference).map(|revision| Arc::clone(&revision.module))
    }

    async fn delete(&self, reference: &str) -> Result<(), Error> {
        self.registry.delete(&reference.parse().expect("a reference"), row()).await
    }

    /// Rows, snapshot, blobs and code tell of the same modules.
    async fn expect_consistent(&self) -> BTreeSet<Digest> {
        let rows = self.registry.parts.store.all_modules().await.expect("the rows");
        let ids: BTreeSet<_> = rows.iter().map(|module| module.id).collect();
        let known = self.registry.snapshot().revisions().map(|revision| revision.module.id).collect();
        assert_eq!(ids, known, "rows and snapshot");
        let digests: BTreeSet<_> = rows.iter().map(|module| module.sha256).collect();
        let stored = self.blobs.list().await.expect("the blobs").into_iter().collect();
        assert_eq!(digests, stored, "rows and blobs");
        assert_eq!(digests, *self.compiled.digests.lock().expect("the lock"), "rows and code");
        digests
    }

    async fn expect_nothing(&self) {
        assert_eq!(self.expect_consistent().await, BTreeSet::new());
    }
}

fn upload(name: &str, version: &str, bytes: impl AsRef<[u8]>) -> Upload {
    Upload {
        component: Spool::of(bytes.as_ref()).expect("a spool"),
        name: name.parse().expect("a name"),
        version: version.parse().expect("a version"),
        description: "a test's".to_owned(),
        permissions: Vec::new(),
        limits: Limits::default(),
        signature: None,
        created_by: "admin".to_owned(),
    }
}

fn codes(errors: &[FieldError]) -> Vec<&str> {
    errors.iter().map(|error| error.code.as_str()).collect()
}

#[tokio::test]
async fn an_uploaded_module_is_found_and_downloaded_also_after_a_restart() {
    let fixture = Fixture::start().await;
    let bytes = step_component("a");
    let permissions =
        vec![Permission { permission: PermissionKind::HttpRead, resource: "https://example.com/*".to_owned() }];
    let limits = Limits { timeout_ms: Some(500), ..Limits::default() };
    let upload = Upload { permissions: permissions.clone(), limits, ..upload("orders", "1.0.0", bytes.clone()) };
    let Ok(Uploaded::Created(module)) = fixture.registry.upload(upload, row()).await else { panic!("not created") };
    assert_eq!((module.sha256, module.size_bytes), (Digest::of(&bytes), bytes.len() as u64));
    assert_eq!((&module.functions, &module.permissions), (&vec!["run".to_owned()], &permissions));

    let fixture = fixture.restart().await;
    assert_eq!(fixture.find("orders"), Some(Arc::clone(&module)));
    let revision = fixture.registry.find(&"orders@^1".parse().expect("a reference")).expect("the version");
    let downloaded = fixture.registry.download(&revision.module).await.expect("the bytes");
    let downloaded = downloaded.map().expect("a map").to_vec();
    assert_eq!((revision.limits.timeout_ms, downloaded), (500, bytes));
    fixture.expect_consistent().await;
}

#[tokio::test]
async fn a_version_takes_the_same_bytes_again_and_no_others() {
    let fixture = Fixture::start().await;
    let first = fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await;
    let again = fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await;
    match (first, again) {
        (Ok(Uploaded::Created(first)), Ok(Uploaded::Existed(again))) => assert_eq!(first, again),
        other => panic!("{other:?}"),
    }
    let other = fixture.registry.upload(upload("orders", "1.0.0", step_component("b")), row()).await;
    assert!(matches!(other, Err(Error::VersionExists { .. })), "{other:?}");
    let build = fixture.registry.upload(upload("orders", "1.0.0+b", step_component("b")), row()).await;
    assert!(matches!(build, Ok(Uploaded::Created(_))), "{build:?}");
    assert_eq!(fixture.expect_consistent().await.len(), 2);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let fixture = Fixture::start().await;
    let mut over_ceiling = upload("orders", "1.0.0", step_component("a"));
    over_ceiling.limits.timeout_ms = Some(u64::MAX);
    match fixture.registry.upload(over_ceiling, row()).await {
        Err(Error::BadRequest(errors)) => assert_eq!(codes(&errors), ["above-ceiling"]),
        other => panic!("{other:?}"),
    }
    match fixture.registry.upload(upload("orders", "1.0.0", component("")), row()).await {
        Err(Error::Invalid(errors)) => assert_eq!(codes(&errors), ["no-step-function"]),
        other => panic!("{other:?}"),
    }
    *fixture.compiled.refusal.lock().expect("the lock") = Some(CompileError::Rejected("too slow".to_owned()));
    match fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await {
        Err(Error::Invalid(errors)) => assert_eq!(codes(&errors), ["not-compilable"]),
        other => panic!("{other:?}"),
    }
    *fixture.compiled.refusal.lock().expect("the lock") = Some(CompileError::Failed("no memory".to_owned()));
    let failed = fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await;
    assert!(matches!(failed, Err(Error::Compile(_))), "{failed:?}");
    fixture.expect_nothing().await;
}

#[tokio::test]
async fn a_failure_does_not_take_the_bytes_of_another_version_along() {
    let fixture = Fixture::start().await;
    fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    *fixture.compiled.refusal.lock().expect("the lock") = Some(CompileError::Failed("no memory".to_owned()));
    let failed = fixture.registry.upload(upload("prices", "1.0.0", step_component("a")), row()).await;
    assert!(matches!(failed, Err(Error::Compile(_))), "{failed:?}");
    assert_eq!(fixture.expect_consistent().await.len(), 1);
}

#[tokio::test]
async fn bytes_go_with_the_last_version_that_has_them() {
    let fixture = Fixture::start().await;
    for (name, version) in [("orders", "1.0.0"), ("orders", "1.1.0"), ("prices", "1.0.0")] {
        fixture.registry.upload(upload(name, version, step_component("a")), row()).await.expect("a module");
    }
    fixture.delete("orders").await.expect("1.1.0");
    assert_eq!(fixture.find("orders").expect("1.0.0").version.to_string(), "1.0.0");
    fixture.delete("orders@1.0.0").await.expect("1.0.0");
    assert_eq!((fixture.find("orders"), fixture.expect_consistent().await.len()), (None, 1));
    fixture.delete("prices").await.expect("the last");
    fixture.expect_nothing().await;
    assert!(matches!(fixture.delete("prices").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn one_of_several_uploads_of_a_version_wins_and_the_others_leave_nothing() {
    let fixture = Fixture::start().await;
    let uploads = (0..6).map(|seed| {
        let registry = Arc::clone(&fixture.registry);
        let bytes = step_component(&(seed / 2).to_string());
        async move { registry.upload(upload("orders", "1.0.0", bytes), row()).await }
    });
    let results = futures_util::future::join_all(uploads).await;
    let created = results.iter().filter(|result| matches!(result, Ok(Uploaded::Created(_)))).count();
    let existed = results.iter().filter(|result| matches!(result, Ok(Uploaded::Existed(_)))).count();
    let taken = results.iter().filter(|result| matches!(result, Err(Error::VersionExists { .. }))).count();
    assert_eq!((created, existed, taken), (1, 1, 4), "{results:?}");
    assert_eq!(fixture.expect_consistent().await.len(), 1);
}

#[tokio::test]
async fn an_upload_whose_caller_leaves_is_taken_in_all_the_same() {
    let compiled = Compiled { gate: Some(Gate::new(0)), ..Compiled::default() };
    let fixture = Fixture::in_folder(tempfile::tempdir().expect("a folder"), compiled).await;
    let registry = Arc::clone(&fixture.registry);
    let bytes = step_component("a");
    let digest = Digest::of(&bytes);
    let caller = tokio::spawn(async move { registry.upload(upload("orders", "1.0.0", bytes), row()).await });
    // Stored bytes tell that the upload has come as far as the compiler.
    while !fixture.blobs.list().await.expect("the blobs").contains(&digest) {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.expect_err("an aborted caller").is_cancelled());
    fixture.compiled.gate.as_ref().expect("a gate").add_permits(2);
    // The same bytes wait for the first upload to end, and then find it.
    let again = fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await;
    assert!(matches!(again, Ok(Uploaded::Existed(_))), "{again:?}");
    fixture.expect_consistent().await;
}

#[tokio::test]
async fn bytes_that_a_crash_left_without_a_row_are_swept_at_the_next_start() {
    let fixture = Fixture::start().await;
    fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    fixture.blobs.put(&Spool::of(b"left behind").expect("a spool")).await.expect("a blob");
    let fixture = fixture.restart().await;
    assert_eq!(fixture.expect_consistent().await.len(), 1);
}

#[tokio::test]
async fn bytes_are_kept_where_the_store_has_no_modules_at_all() {
    let fixture = Fixture::start().await;
    let component = Spool::of(b"of another store").expect("a spool");
    fixture.blobs.put(&component).await.expect("a blob");
    let fixture = fixture.restart().await;
    assert_eq!(fixture.blobs.list().await.expect("the blobs"), [component.digest()]);
}

#[tokio::test]
async fn code_that_no_module_has_is_forgotten_at_the_next_start() {
    let fixture = Fixture::start().await;
    fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    fixture.compiled.digests.lock().expect("the lock").insert(Digest::of(b"gone"));
    fixture.restart().await.expect_consistent().await;
}

/// The only file below `folder` whose content is `bytes`.
fn file_with(folder: &Path, bytes: &[u8]) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).expect("a folder").find_map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return file_with(&path, bytes);
        }
        (std::fs::read(&path).is_ok_and(|found| found == bytes)).then_some(path)
    })
}

#[tokio::test]
async fn stored_bytes_that_were_changed_are_refused_with_an_alert() {
    let fixture = Fixture::start().await;
    let bytes = step_component("a");
    fixture.registry.upload(upload("orders", "1.0.0", bytes.clone()), row()).await.expect("a module");
    let path = file_with(&fixture.folder.path().join("blobs"), &bytes).expect("the file of the bytes");
    std::fs::remove_file(&path).expect("the file");
    std::fs::write(&path, step_component("b")).expect("another file");
    let module = fixture.find("orders").expect("the module");
    let refused = fixture.registry.download(&module).await;
    assert!(matches!(refused, Err(Error::Blob(blob::Error::Integrity { .. }))), "{refused:?}");
    let metrics = fixture.metrics.encode();
    let alert = metrics.lines().find(|line| line.contains("security_alerts") && line.contains("integrity"));
    assert!(alert.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
}

impl Fixture {
    /// The resources of the audit's rows, the newest first.
    async fn audited(&self) -> Vec<String> {
        let page = PageRequest { page: 1, limit: PageRequest::LIMIT_MAX };
        let rows = self.registry.parts.store.list_audit(&AuditFilter::default(), page).await.expect("the audit");
        rows.items.into_iter().map(|row| row.resource).collect()
    }
}

#[tokio::test]
async fn damaged_bytes_that_an_upload_comes_upon_are_mended_with_an_alert() {
    let fixture = Fixture::start().await;
    let bytes = step_component("a");
    fixture.registry.upload(upload("orders", "1.0.0", bytes.clone()), row()).await.expect("a module");
    let path = file_with(&fixture.folder.path().join("blobs"), &bytes).expect("the file of the bytes");
    std::fs::write(&path, step_component("b")).expect("another file");
    fixture.registry.upload(upload("prices", "1.0.0", bytes.clone()), row()).await.expect("the same bytes");
    assert_eq!(std::fs::read(&path).expect("the file"), bytes);
    let metrics = fixture.metrics.encode();
    let alert = metrics.lines().find(|line| line.contains("security_alerts") && line.contains("integrity"));
    assert!(alert.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
}

#[tokio::test]
async fn a_sweep_waits_for_an_upload_whose_bytes_have_no_row_yet() {
    let compiled = Compiled { gate: Some(Gate::new(1)), ..Compiled::default() };
    let fixture = Fixture::in_folder(tempfile::tempdir().expect("a folder"), compiled).await;
    fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    let registry = Arc::clone(&fixture.registry);
    let bytes = step_component("b");
    let digest = Digest::of(&bytes);
    let uploading = tokio::spawn(async move { registry.upload(upload("prices", "1.0.0", bytes), row()).await });
    while !fixture.blobs.list().await.expect("the blobs").contains(&digest) {
        tokio::task::yield_now().await;
    }
    let mut sweep = std::pin::pin!(fixture.registry.sweep());
    // Far longer than a sweep of one blob takes.
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), sweep.as_mut()).await;
    early.expect_err("a sweep that waits");
    fixture.compiled.gate.as_ref().expect("a gate").add_permits(1);
    sweep.await;
    assert!(matches!(uploading.await.expect("the task"), Ok(Uploaded::Created(_))));
    assert_eq!(fixture.expect_consistent().await.len(), 2);
}

#[tokio::test]
async fn the_executions_of_a_version_go_while_another_change_is_made() {
    let fixture = Fixture::start().await;
    let store = &fixture.registry.parts.store;
    fixture.registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    let run = record(&fixture.find("orders").expect("the module"), Status::Completed);
    store.record_executions([run].into()).await.expect("a record");
    let another_change = fixture.registry.rows.lock().await;
    let mut deletion = std::pin::pin!(fixture.delete("orders"));
    let gone = async {
        while store.count_executions().await.expect("a count") > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        gone = tokio::time::timeout(std::time::Duration::from_secs(30), gone) => gone.expect("no executions"),
        deleted = deletion.as_mut() => panic!("{deleted:?} while another change is made"),
    }
    drop(another_change);
    deletion.await.expect("a deletion");
    fixture.expect_nothing().await;
}

#[tokio::test]
async fn every_change_has_its_row_and_what_changes_nothing_has_none() {
    let fixture = Fixture::start().await;
    let registry = &fixture.registry;
    registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("a module");
    registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await.expect("the same");
    registry.upload(upload("orders", "1.0.0", step_component("b")), row()).await.expect_err("other bytes");
    let newest: ModuleRef = "orders".parse().expect("a reference");
    registry.replace_permissions(&newest, Vec::new(), row()).await.expect("no permissions");
    registry.replace_limits(&newest, Limits::default(), row()).await.expect("no limits");
    registry.replace_limits(&"prices".parse().expect("a reference"), Limits::default(), row()).await.expect_err("none");
    fixture.delete("orders").await.expect("the module");
    fixture.delete("orders").await.expect_err("none");
    assert_eq!(fixture.audited().await, ["orders@1.0.0"; 4]);
}

#[tokio::test]
async fn a_change_goes_on_in_the_tracker_when_its_caller_has_left() {
    let compiled = Compiled { gate: Some(Gate::new(0)), ..Compiled::default() };
    let fixture = Fixture::in_folder(tempfile::tempdir().expect("a folder"), compiled).await;
    let registry = Arc::clone(&fixture.registry);
    let caller =
        tokio::spawn(async move { registry.upload(upload("orders", "1.0.0", step_component("a")), row()).await });
    let changes = &fixture.registry.parts.changes;
    let begun = async {
        while changes.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), begun).await.expect("a change in the tracker");
    caller.abort();
    assert!(caller.await.expect_err("an aborted caller").is_cancelled());
    changes.close();
    assert_eq!(changes.len(), 1);
    fixture.compiled.gate.as_ref().expect("a gate").add_permits(1);
    changes.wait().await;
    assert_eq!(fixture.expect_consistent().await.len(), 1);
    assert_eq!(fixture.audited().await, ["orders@1.0.0"]);
}

#[tokio::test]
async fn a_task_that_panics_is_a_defect_of_ours() {
    let ended = in_task::<()>(&TaskTracker::new(), async { panic!("on purpose") }).await;
    assert!(matches!(ended, Err(Error::Defect(_))), "{ended:?}");
}

#[derive(Debug, Clone)]
enum Change {
    Upload { name: &'static str, version: &'static str, seed: u8 },
    Delete { reference: &'static str },
}

fn change() -> impl Strategy<Value = Change> {
    let name = prop::sample::select(vec!["orders", "prices"]);
    let version = prop::sample::select(vec!["1.0.0", "1.1.0", "2.0.0-rc.1"]);
    let reference = prop::sample::select(vec!["orders", "prices@^1", "orders@1.0.0", "prices@2.0.0-rc.1"]);
    prop_oneof![
        2 => (name, version, 0..2_u8).prop_map(|(name, version, seed)| Change::Upload { name, version, seed }),
        1 => reference.prop_map(|reference| Change::Delete { reference }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn p_rows_bytes_and_code_agree_after_any_changes_made_at_once(
        rounds in prop::collection::vec(prop::collection::vec(change(), 1..6), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let fixture = Fixture::start().await;
            let shared = &fixture;
            for round in rounds {
                let changes = round.into_iter().map(|change| async move {
                    match change {
                        Change::Upload { name, version, seed } => {
                            let bytes = step_component(&seed.to_string());
                            let _refused = shared.registry.upload(upload(name, version, bytes), row()).await;
                        }
                        Change::Delete { reference } => {
                            let _not_there = shared.delete(reference).await;
                        }
                    }
                });
                futures_util::future::join_all(changes).await;
                fixture.expect_consistent().await;
            }
            let kept = fixture.expect_consistent().await;
            assert_eq!(fixture.restart().await.expect_consistent().await, kept);
        });
    }
}
