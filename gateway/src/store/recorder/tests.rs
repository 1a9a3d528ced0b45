use std::sync::Mutex;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{ExecutionId, Level, Module, PermissionKind, Status};
use crate::store::contract::{line, module, record, row};
use crate::store::sqlite::SqliteStore;
use crate::store::{Denials as _, ExecutionFilter, Executions, Modules, PageRequest, Store};

/// A store with one module, and a recorder whose service is not running yet.
struct Set {
    _folder: TempDir,
    store: Arc<SqliteStore>,
    module: Module,
    recorder: Recorder,
    service: Service,
    told: Arc<Mutex<Vec<u64>>>,
}

async fn set(config: Config) -> Set {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap());
    let module = module("a", "1.0.0");
    store.insert_module(&module, &row()).await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let shared: SharedStore = Arc::clone(&store) as SharedStore;
    let (recorder, service) = Recorder::new(config, shared, move |count| telling.lock().unwrap().push(count));
    Set { _folder: folder, store, module, recorder, service, told }
}

async fn stored(store: &SqliteStore) -> u64 {
    store.list_executions(&ExecutionFilter::default(), PageRequest { page: 1, limit: 1 }).await.unwrap().total
}

fn told(set: &Arc<Mutex<Vec<u64>>>) -> u64 {
    set.lock().unwrap().iter().sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn p31_every_record_queued_before_the_stop_is_stored(
        logged in proptest::collection::vec(0..3_usize, 0..60),
        batch_records in 1..20_usize,
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let set = set(Config { batch_records, ..Config::for_tests() }).await;
            let mut records = Vec::new();
            for lines in logged {
                let mut record = record(&set.module, Status::Completed);
                record.lines = vec![line(Level::Info, "a line"); lines];
                set.recorder.record(record.clone());
                records.push(record);
            }
            set.service.run(std::future::ready(())).await;
            assert_eq!(set.recorder.dropped(), 0);
            assert_eq!(stored(&set.store).await, records.len() as u64);
            let page = PageRequest { page: 1, limit: 1 };
            for record in records {
                let logs = set.store.execution_logs(record.execution_id, None, Level::Debug, page).await.unwrap();
                assert_eq!(logs.unwrap().items, [record]);
            }
        });
    }
}

#[tokio::test]
async fn a_record_is_readable_without_a_stop() {
    let set = set(Config::for_tests()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = tokio::spawn(set.service.run(async { drop(stopped.await) }));
    let record = record(&set.module, Status::Completed);
    set.recorder.record_durably(record.clone()).await.unwrap();
    assert_eq!(set.store.execution(record.execution_id).await.unwrap(), Some(record));
    drop(stop);
    service.await.unwrap();
}

#[tokio::test]
async fn a_backlog_of_many_batches_does_not_wait_between_them() {
    // With an hour between batches, only whole ones can be what empties the queue.
    let config = Config { batch_records: 4, flush_after: Duration::from_hours(1), ..Config::for_tests() };
    let set = set(config).await;
    for _ in 0..40 {
        set.recorder.record(record(&set.module, Status::Completed));
    }
    let service = tokio::spawn(set.service.run(std::future::pending()));
    set.recorder.record_durably(record(&set.module, Status::Completed)).await.unwrap();
    assert_eq!(stored(&set.store).await, 41);
    drop(set.recorder);
    service.await.unwrap();
}

#[tokio::test]
async fn a_full_queue_counts_what_it_drops_and_takes_the_next_after_room_was_made() {
    let set = set(Config { records_max: 10, ..Config::for_tests() }).await;
    for _ in 0..25 {
        set.recorder.record(record(&set.module, Status::Completed));
    }
    assert_eq!((set.recorder.dropped(), told(&set.told)), (15, 15));
    let service = tokio::spawn(set.service.run(std::future::pending()));
    loop {
        let (next, dropped) = (record(&set.module, Status::Completed), set.recorder.dropped());
        let stored = set.recorder.record_durably(next.clone()).await;
        assert_eq!(stored.is_ok(), set.recorder.dropped() == dropped);
        if stored.is_ok() {
            assert_eq!(set.store.execution(next.execution_id).await.unwrap(), Some(next));
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&set.store).await, 11);
    drop(set.recorder);
    service.await.unwrap();
}

#[tokio::test]
async fn log_lines_are_bounded_in_bytes_and_silent_records_still_fit() {
    let set = set(Config { log_bytes_max: 10_000, ..Config::for_tests() }).await;
    let mut long = record(&set.module, Status::Completed);
    long.lines = vec![line(Level::Info, &"x".repeat(6_000))];
    set.recorder.record(long.clone());
    set.recorder.record(ExecutionRecord { execution_id: ExecutionId::starting(long.started_at), ..long.clone() });
    assert_eq!(set.recorder.dropped(), 1);
    set.recorder.record(record(&set.module, Status::Completed));
    assert_eq!(set.recorder.dropped(), 1);
    set.service.run(std::future::ready(())).await;
    assert_eq!(stored(&set.store).await, 2);
    assert_eq!(set.recorder.shared.log_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(set.recorder.shared.queued.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_store_that_fails_costs_the_records_and_not_the_service() {
    let set = set(Config { batch_records: 2, ..Config::for_tests() }).await;
    set.store.close().await;
    let service = tokio::spawn(set.service.run(std::future::pending()));
    for lost in 1..4 {
        let outcome = set.recorder.record_durably(record(&set.module, Status::Completed)).await;
        assert_eq!(outcome, Err(Dropped));
        assert_eq!((set.recorder.dropped(), told(&set.told)), (lost, lost));
    }
    drop(set.recorder);
    service.await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_at_the_stop_does_not_hold_it_up() {
    let set = set(Config { batch_records: 2, ..Config::for_tests() }).await;
    for _ in 0..9 {
        set.recorder.record(record(&set.module, Status::Completed));
    }
    set.store.close().await;
    set.service.run(std::future::ready(())).await;
    assert_eq!((set.recorder.dropped(), told(&set.told)), (9, 9));
}

#[tokio::test]
async fn records_wait_without_end_for_a_store_that_is_away_until_the_stop() {
    // The wait after the first try outlasts the test: it is the stop that ends it.
    let config = Config { tries: u32::MAX, retry_after: Duration::from_mins(10), ..Config::for_tests() };
    let config = Config { retry_after_max: Duration::from_millis(1), tries_at_stop: 3, ..config };
    let set = set(config).await;
    set.store.close().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = tokio::spawn(set.service.run(async { drop(stopped.await) }));
    let mut waiting = std::pin::pin!(set.recorder.record_durably(record(&set.module, Status::Completed)));
    for _ in 0..1_000 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(set.recorder.dropped(), 0);
    drop(stop);
    service.await.unwrap();
    assert_eq!(waiting.await, Err(Dropped));
    assert_eq!(set.recorder.dropped(), 1);
}

#[tokio::test]
async fn a_record_after_the_stop_is_counted_as_dropped() {
    let set = set(Config::for_tests()).await;
    set.service.run(std::future::ready(())).await;
    set.recorder.record(record(&set.module, Status::Completed));
    assert_eq!(set.recorder.record_durably(record(&set.module, Status::Completed)).await, Err(Dropped));
    assert_eq!(set.recorder.dropped(), 2);
}

#[tokio::test]
async fn the_last_of_several_records_of_an_execution_wins_in_the_order_they_were_queued() {
    let set = set(Config { batch_records: 3, ..Config::for_tests() }).await;
    let mut expected = Vec::new();
    for _ in 0..20 {
        let running = record(&set.module, Status::Running);
        let ended = ExecutionRecord { execution_id: running.execution_id, ..record(&set.module, Status::Completed) };
        set.recorder.record(running.clone());
        set.recorder.record(ended.clone());
        set.recorder.record(running);
        expected.push(ended);
    }
    set.service.run(std::future::ready(())).await;
    for ended in expected {
        assert_eq!(set.store.execution(ended.execution_id).await.unwrap(), Some(ended));
    }
}

#[tokio::test]
async fn what_executions_were_denied_is_stored_with_their_records() {
    let set = set(Config { batch_records: 2, ..Config::for_tests() }).await;
    let denial = Denial { permission: PermissionKind::HttpRead, resource: "https://a.example/".to_owned() };
    for _ in 0..5 {
        set.recorder.record_with_denials(record(&set.module, Status::Completed), vec![denial.clone()]);
    }
    set.recorder.record(record(&set.module, Status::Completed));
    set.service.run(std::future::ready(())).await;
    let page = set.store.list_denials(set.module.id, PageRequest { page: 1, limit: 1 }).await.unwrap();
    assert_eq!((page.total, page.items[0].count), (1, 5));
    assert_eq!((stored(&set.store).await, set.recorder.dropped()), (6, 0));
}

#[tokio::test]
async fn denials_count_against_the_bound_of_what_is_queued() {
    let set = set(Config { log_bytes_max: 10_000, ..Config::for_tests() }).await;
    let denial = Denial { permission: PermissionKind::HttpRead, resource: "x".repeat(4_000) };
    for _ in 0..3 {
        set.recorder.record_with_denials(record(&set.module, Status::Completed), vec![denial.clone()]);
    }
    assert_eq!((set.recorder.dropped(), told(&set.told)), (1, 1));
}
