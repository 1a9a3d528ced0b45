//! What the store takes: records a second, and the first page of 100 000 modules, on either backend.
//!
//! Goals: 10 000 records a second from one gateway, and a page within 20 ms. Both databases are on this
//! machine's disk and sync it as they do in use; the server is started here, with data of its own.

use std::sync::Arc;

use anyhow::Result;
use criterion::{BatchSize, Criterion, Throughput};
use jiff::Timestamp;
use sluice::config::Postgres;
use sluice::model::{AuditEntry, ExecutionId, ExecutionRecord, JsonObject, Level, LogLine, Module, Status, action};
use sluice::store::postgres::PostgresStore;
use sluice::store::sqlite::SqliteStore;
use sluice::store::{ModuleFilter, PageRequest, SharedStore};
use sluice_bench::in_process;
use tokio::runtime::Runtime;

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the recorder makes them.
const BATCH: u64 = 512;

const SQLITE_MODULES: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
    INSERT INTO modules (id, name, version, version_key, description, description_folded, kind, sha256, size_bytes,
                         functions, imports, limits, warnings, created_at, created_by)
    SELECT randomblob(16), 'm-' || n, '1.0.0', randomblob(16), '', '', 'job-step', randomblob(32), 1, '[\"run\"]', '[]',
           '{\"fuel\":null,\"memory_bytes\":null,\"timeout_ms\":null}', '[]', 0, 'bench' FROM numbers";

const POSTGRES_MODULES: &str = "
    INSERT INTO modules (id, name, version, version_key, description, description_folded, kind, sha256, size_bytes,
                         functions, imports, permissions, limits, warnings, created_at, created_by)
    SELECT gen_random_uuid(), 'm-' || n, '1.0.0', int4send(n), '\"\"', '', 'job-step', sha256(int4send(n)), 1, '[\"run\"]',
           '[]', '[]', '{\"fuel\":null,\"memory_bytes\":null,\"timeout_ms\":null}', '[]', 0, 'bench'
    FROM generate_series(1, 100000) AS n;
    VACUUM ANALYZE modules";

fn main() -> Result<()> {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let tokio = Runtime::new()?;
    let server = local_servers::postgres::Server::start_with(&[])?;
    let database = server.database()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sluice.db");

    let stores: [(&str, SharedStore); 2] = tokio.block_on(async {
        let config = Postgres::parse(&database.url()).map_err(anyhow::Error::msg)?;
        let sqlite: SharedStore = Arc::new(SqliteStore::open(&file).await?);
        let postgres: SharedStore = Arc::new(PostgresStore::open(&config, uuid::Uuid::now_v7()).await?);
        anyhow::Ok([("sqlite", sqlite), ("postgres", postgres)])
    })?;
    for (name, store) in &stores {
        record(&mut criterion, &tokio, name, store)?;
    }
    rusqlite::Connection::open(&file)?.execute_batch(SQLITE_MODULES)?;
    tokio.block_on(async {
        for statement in POSTGRES_MODULES.split(';') {
            database.connect().await?.batch_execute(statement).await?;
        }
        anyhow::Ok(())
    })?;
    for (name, store) in &stores {
        list(&mut criterion, &tokio, name, store);
    }
    criterion.final_summary();
    tokio.block_on(async {
        for (_, store) in &stores {
            store.close().await;
        }
    });
    Ok(())
}

fn record(criterion: &mut Criterion, tokio: &Runtime, name: &str, store: &SharedStore) -> Result<()> {
    let module = in_process::describe("bench", b"bench")?;
    let row = AuditEntry::by_gateway(Timestamp::UNIX_EPOCH, action::MODULE_UPLOAD, "a bench's");
    tokio.block_on(store.insert_module(&module, &row))?;
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(BATCH));
    for (kind, lines) in [("silent", 0), ("with three lines", 3)] {
        group.bench_function(format!("{name}, {kind}"), |bencher| {
            let batch = || (0..BATCH).map(|_| record_of(&module, lines)).collect::<Arc<[_]>>();
            let store_batch = |batch| async { store.record_executions(batch).await };
            bencher.to_async(tokio).iter_batched(batch, store_batch, BatchSize::PerIteration);
        });
    }
    group.finish();
    Ok(())
}

fn list(criterion: &mut Criterion, tokio: &Runtime, name: &str, store: &SharedStore) {
    let mut group = criterion.benchmark_group("the first page of 100 000 modules");
    let (filter, page) = (ModuleFilter::default(), PageRequest { page: 1, limit: 50 });
    group.bench_function(name, |bencher| bencher.to_async(tokio).iter(|| store.list_modules(&filter, page)));
    group.finish();
}

fn record_of(module: &Module, lines: usize) -> ExecutionRecord {
    let line = LogLine {
        at: Timestamp::UNIX_EPOCH,
        level: Level::Info,
        message: "an order was checked and priced".to_owned(),
        fields: JsonObject::default(),
    };
    let started_at = Timestamp::now();
    ExecutionRecord {
        execution_id: ExecutionId::starting(started_at),
        module_id: module.id,
        module: module.name.clone(),
        version: module.version.clone(),
        function: "run".to_owned(),
        status: Status::Completed,
        started_at,
        duration_us: Some(184),
        fuel: Some(12_345),
        memory_bytes: Some(1_179_648),
        error: None,
        lines: vec![line; lines],
        lines_dropped: 0,
        run_id: None,
        job: None,
    }
}
