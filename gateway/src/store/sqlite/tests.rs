use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::Status;
use crate::store::contract::{self, contract_tests};
use crate::store::{Executions, Keys, Modules, Retention};

async fn open_at(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path).await
}

async fn open() -> (TempDir, SqliteStore) {
    let folder = TempDir::new().unwrap();
    let store = open_at(&folder.path().join("data/sluice.db")).await.unwrap();
    (folder, store)
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("data/sluice.db")
}

/// What an operator is told when the database can't be opened.
async fn refusal(path: &Path) -> String {
    match open_at(path).await {
        Err(Error::Open { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

contract_tests!(open);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn p22_modules_are_there_after_a_restart(modules in contract::any_modules()) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (folder, store) = open().await;
            for module in &modules {
                store.insert_module(module, &contract::row()).await.unwrap();
            }
            let before = store.all_modules().await.unwrap();
            store.close().await;
            let after = open_at(&database(&folder)).await.unwrap().all_modules().await.unwrap();
            assert_eq!(before.len(), modules.len());
            assert_eq!(before, after);
        });
    }
}

fn all_statements() -> Vec<String> {
    [
        vec![PING.to_owned(), ID.to_owned()],
        modules::statements(),
        executions::statements(),
        denials::statements(),
        keys::statements(),
        audit::statements(),
        retention::statements(),
        jobs::statements(),
        runs::statements(),
        deliveries::statements(),
    ]
    .concat()
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let (_folder, store) = open().await;
    store
        .writer
        .run("testing", |connection| {
            for statement in all_statements() {
                connection.prepare(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            Ok(())
        })
        .await
        .unwrap();
}

async fn plan(store: &SqliteStore, statement: String) -> String {
    store
        .read("testing", move |tx| {
            let mut explained = tx.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
            // What isn't bound is NULL, and the plan is the same.
            let mut rows = explained.raw_query();
            let mut steps = Vec::new();
            while let Some(row) = rows.next()? {
                steps.push(row.get::<_, String>(3)?);
            }
            Ok(steps.join("; "))
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn lists_come_out_of_an_index_in_order() {
    let (_folder, store) = open().await;
    let lists = [modules::statements(), executions::statements(), denials::statements(), audit::statements()];
    for statement in lists.concat() {
        // By name, an index gives either the name or the order.
        if !statement.contains("ORDER BY") || statement.contains("IN (SELECT") {
            continue;
        }
        let plan = plan(&store, statement.clone()).await;
        assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{statement}\n{plan}");
        assert!(plan.contains("USING INDEX") || plan.contains("USING PRIMARY KEY"), "{statement}\n{plan}");
    }
}

#[tokio::test]
async fn executions_that_did_not_complete_are_found_by_their_own_index() {
    let (_folder, store) = open().await;
    let mut checked = 0;
    for statement in executions::statements() {
        let narrowed = statement.contains("status <> 'completed'");
        let by_other = ["= :module", "= :job", "IN (SELECT"].iter().any(|by| statement.contains(by));
        if narrowed && !by_other {
            let plan = plan(&store, statement.clone()).await;
            assert!(plan.contains("executions_by_status"), "{statement}\n{plan}");
            checked += 1;
        }
    }
    // Four states, counted and listed, of all time and of some; how many completed of all; and the end of
    // what was interrupted.
    assert_eq!(checked, 18);
}

#[tokio::test]
async fn counting_executions_walks_over_no_rows() {
    let (_folder, store) = open().await;
    let mut checked = 0;
    let counts = executions::statements().into_iter().filter(|one| !one.contains("LIMIT") && one.contains("count(*)"));
    for statement in counts {
        // Where a module's or a job's are narrowed by state, its rows are looked at, or those that have not completed; a
        // run's are few.
        let is_narrowed = ["= :module", ":visible", "= :job"].iter().any(|by| statement.contains(by));
        if (statement.contains("status") && is_narrowed) || statement.contains("e.run_id") {
            continue;
        }
        let plan = plan(&store, statement.clone()).await;
        let steps = plan.split("; ").filter(|step| step.starts_with("SCAN e") || step.starts_with("SEARCH e"));
        for step in steps {
            assert!(step.contains("USING COVERING INDEX executions_by_"), "{statement}\n{plan}");
            checked += 1;
        }
    }
    // Of all, of a module, of a job and of what is visible, each of all time and of some; of one state, of all time
    // and of some, where what completed is counted as what is left of all.
    assert_eq!(checked, 8 + 2 * 6);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_ended_and_its_reader_is_free() {
    let (_folder, mut store) = open().await;
    store.read_max = Duration::from_millis(50);
    let endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let reads = (0..READERS).map(|_| store.read("testing", |tx| tx.query_row(endless, [], |row| row.get::<_, i64>(0))));
    for read in futures_util::future::join_all(reads).await {
        assert!(matches!(read, Err(Error::TooSlow { context: "testing" })), "{read:?}");
    }
    // The gateway's own reads have no such bound, and wait for those that end.
    assert_eq!(store.count_executions().await.unwrap(), 0);
    let all = store.readers.occupy().await;
    let waited = store.read("testing", |_| Ok(())).await;
    assert!(matches!(waited, Err(Error::TooSlow { .. })), "{waited:?}");
    drop(all);
}

#[tokio::test]
async fn deleting_a_module_scans_no_table() {
    let (_folder, store) = open().await;
    let batches = modules::statements().into_iter().find(|one| one.starts_with("DELETE FROM executions")).unwrap();
    assert!(!plan(&store, batches).await.contains("SCAN"));
    // What the foreign keys look up on a deletion.
    for (table, column) in [("module_permissions", "module_id"), ("executions", "module"), ("denials", "module")] {
        let plan = plan(&store, format!("SELECT 1 FROM {table} WHERE {column} = ?1")).await;
        assert!(plan.starts_with("SEARCH"), "{plan}");
    }
}

#[tokio::test]
async fn readiness_does_not_wait_for_lists() {
    let (_folder, store) = open().await;
    let _busy = store.readers.occupy().await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_second_store_on_the_same_data_is_refused() {
    let (folder, store) = open().await;
    let reason = refusal(&database(&folder)).await;
    assert!(reason.contains("in use by another process"), "{reason}");
    store.close().await;
    open_at(&database(&folder)).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_dropped_lets_go_of_the_data() {
    let (folder, store) = open().await;
    drop(store);
    open_at(&database(&folder)).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let reason = refusal(&file.join("data/sluice.db")).await;
    assert!(reason.contains("can't be made"), "{reason}");
}

#[tokio::test]
async fn a_folder_in_the_place_of_the_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let reason = refusal(folder.path()).await;
    assert!(reason.contains("can't be written"), "{reason}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_was() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sluice.db");
    let text = "a shopping list, and not a short one: ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let reason = refusal(&file).await;
    assert!(reason.contains("is not a SQLite database"), "{reason}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("songs.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let reason = refusal(&file).await;
    assert!(reason.contains("another program's"), "{reason}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (folder, store) = open().await;
    store.close().await;
    Connection::open(database(&folder))
        .unwrap()
        .execute_batch("INSERT INTO refinery_schema_history VALUES (9999, 'future', '2100-01-01T00:00:00Z', '1')")
        .unwrap();
    let reason = refusal(&database(&folder)).await;
    assert!(reason.contains("newer version"), "{reason}");
}

#[tokio::test]
async fn a_closed_store_refuses_and_its_files_are_closed() {
    let (folder, store) = open().await;
    let module = contract::module("a", "1.0.0");
    store.insert_module(&module, &contract::row()).await.unwrap();
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(Error::Unavailable { .. })));
    let records = [contract::record(&module, Status::Completed)];
    assert!(matches!(store.record_executions(Arc::from(records)).await, Err(Error::Unavailable { .. })));
    // SQLite removes its log with the last connection.
    assert!(!folder.path().join("data/sluice.db-wal").exists());
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_already() {
    let (folder, store) = open().await;
    let module = contract::module("a", "1.0.0");
    store.insert_module(&module, &contract::row()).await.unwrap();
    let record = contract::record(&module, Status::Completed);
    store.record_executions(Arc::from([record.clone()])).await.unwrap();
    // What a process that is killed now leaves behind.
    let left = folder.path().join("left");
    std::fs::create_dir(&left).unwrap();
    for name in ["sluice.db", "sluice.db-wal"] {
        std::fs::copy(folder.path().join("data").join(name), left.join(name)).unwrap();
    }
    let found = open_at(&left.join("sluice.db")).await.unwrap();
    assert_eq!(found.all_modules().await.unwrap(), [module]);
    assert_eq!(found.execution(record.execution_id).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_reported_as_corrupt() {
    let (folder, store) = open().await;
    store.insert_module(&contract::module("a", "1.0.0"), &contract::row()).await.unwrap();
    store.close().await;
    Connection::open(database(&folder)).unwrap().execute_batch("UPDATE modules SET limits = 'none'").unwrap();
    let store = open_at(&database(&folder)).await.unwrap();
    assert!(matches!(store.all_modules().await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn sweeping_reads_what_is_old_out_of_an_index() {
    let (_folder, store) = open().await;
    for statement in retention::statements().into_iter().filter(|one| one.starts_with("DELETE")) {
        let plan = plan(&store, statement.clone()).await;
        let by = ["USING COVERING INDEX", "USING INDEX", "SEARCH executions USING PRIMARY KEY (id<?)"];
        assert!(by.iter().any(|by| plan.contains(by)), "{statement}\n{plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{statement}\n{plan}");
    }
}

#[tokio::test]
async fn keys_are_there_after_a_restart() {
    let (folder, store) = open().await;
    let key = contract::key("0123456789ab");
    let audit = contract::audit_entry("key.create");
    assert!(store.insert_first_key(&key, &audit).await.unwrap());
    store.close().await;
    let store = open_at(&database(&folder)).await.unwrap();
    assert!(!store.insert_first_key(&key, &audit).await.unwrap());
    assert_eq!(store.all_keys().await.unwrap(), [key]);
}

#[tokio::test]
async fn keys_of_the_first_schema_get_an_id_of_their_time() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sluice.db");
    let mut connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "application_id", 0x536c_6365).unwrap();
    open::migrate_to(&mut connection, 1);
    connection
        .execute("INSERT INTO keys VALUES ('0123456789ab', ?1, 'admin', 'admin', 1700000000123456)", [[9_u8; 32]])
        .unwrap();
    drop(connection);
    let keys = open_at(&file).await.unwrap().all_keys().await.unwrap();
    let uuid = *keys[0].id.as_uuid();
    assert_eq!((uuid.get_version_num(), keys.len()), (7, 1));
    assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_700_000_000, 123_000_000));
    let old = contract::key("0123456789ab");
    assert_eq!((&keys[0].name, keys[0].hash, keys[0].role), (&"admin".to_owned(), [9; 32], old.role));
    assert_eq!((keys[0].expires_at, &keys[0].modules), (None, &None));
}
