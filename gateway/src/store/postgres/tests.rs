use std::sync::Arc;

use local_servers::postgres::{Database, Server, database};

use super::*;
use crate::model::{AuditEntry, ExecutionError, ExecutionRecord, Level, Limits, Status, action};
use crate::store::contract::{self, audit_entry, contract_tests};
use crate::store::shared::Shared;
use crate::store::{
    Audit, AuditFilter, ExecutionFilter, Executions, KeyDeleted, KeyInserted, Keys, ModuleFilter, Modules, PageRequest,
};

const FIRST: PageRequest = PageRequest { page: 1, limit: 50 };

const MIGRATIONS: [&str; 5] = ["V1__initial", "V2__keys_audit", "V3__store_id", "V4__denials", "V5__jobs"];

fn config(url: &str) -> Postgres {
    let mut config = Postgres::parse(url).unwrap();
    config.timeout_ms = 2_000;
    config.pool = 4;
    config
}

async fn gateway_on(database: &Database) -> PostgresStore {
    PostgresStore::open(&config(&database.url()), Uuid::now_v7()).await.unwrap()
}

async fn open() -> (Database, PostgresStore) {
    let database = database();
    let store = gateway_on(&database).await;
    (database, store)
}

fn interrupted() -> ExecutionError {
    ExecutionError { code: "internal".to_owned(), message: "ended".to_owned(), origin: "gateway".to_owned() }
}

/// What an operator is told when the database can't be opened, with all causes.
async fn refusal(url: &str) -> String {
    match PostgresStore::open(&config(url), Uuid::now_v7()).await {
        Err(error @ Error::Open { .. }) => {
            let mut told = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                told.push_str(&format!(": {error}"));
                cause = error.source();
            }
            assert!(!told.contains(Database::password()) && !told.contains("CREATE"), "{told}");
            told
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

contract_tests!(open);

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
        sharing::statements(),
    ]
    .concat()
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let (database, _store) = open().await;
    let client = database.connect().await.unwrap();
    for statement in all_statements() {
        if let Err(error) = client.prepare(&statement).await {
            panic!("{statement}: {error:?}");
        }
    }
}

/// A hundred thousand rows of each kind, few of them of one module or of one state but `completed`: on fewer
/// rows, or for more of them, an index is not worth its while.
const MANY: &str = "
    INSERT INTO modules (id, name, version, version_key, description, description_folded, kind, sha256, size_bytes,
                         functions, imports, permissions, limits, warnings, created_at, created_by)
    SELECT gen_random_uuid(), 'm-' || n, '1.0.0', int4send(n), '\"\"', '', CASE n % 10 WHEN 0 THEN 'http' ELSE 'job-step' END,
           sha256(int4send(n)), 1, '[]', '[]', '[]', '{}', '[]', 0, 'a'
    FROM generate_series(1, 100000) AS n;
    INSERT INTO executions (id, module, function, status, started_at, lines_dropped, job)
    SELECT (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, n % 1000 + 1, 'run',
           coalesce((ARRAY['running', 'failed', 'invalid', 'canceled'])[n % 400 + 1], 'completed'), n, 0,
           CASE WHEN n % 50 = 0 THEN 'j-' || n % 7 END
    FROM generate_series(1, 100000) AS n;
    INSERT INTO audit (id, at, actor, action, resource, outcome, detail)
    SELECT gen_random_uuid(), n, 'a-' || n % 10, 'b-' || n % 7, 'r', 'done', '{}' FROM generate_series(1, 100000) AS n;
    INSERT INTO denials (module, permission, digest, resource, count, first_at, last_at, execution)
    SELECT n % 1000 + 1, 'http:read', sha256(int4send(n)), 'r', 1, n, n, gen_random_uuid()
    FROM generate_series(1, 100000) AS n;
    -- All rows are looked at, so that every run of the test has the same estimates.
    SET default_statistics_target = 10000;
    ANALYZE modules, executions, audit, denials;";

async fn plan(client: &tokio_postgres::Client, statement: &str) -> String {
    // What isn't bound would be planned for any value: a first page is what is asked for.
    let mut bound = statement.to_owned();
    for (index, value) in parameters(statement).iter().enumerate().rev() {
        bound = bound.replace(&format!("${}", index + 1), value);
    }
    let rows =
        client.simple_query(&format!("EXPLAIN {bound}")).await.unwrap_or_else(|error| panic!("{bound}: {error:?}"));
    let lines = rows.into_iter().filter_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A value for each parameter of a list, by what stands before it.
fn parameters(statement: &str) -> Vec<String> {
    let mut values = Vec::new();
    while let Some(at) = statement.find(&format!("${}", values.len() + 1)) {
        let before = &statement[..at];
        let value = if before.ends_with("LIMIT ") {
            "50"
        } else if before.ends_with("OFFSET ") {
            "0"
        } else if before.ends_with("e.id >= ") {
            "'000000004e2070008000000000000000'"
        } else if before.ends_with("e.id < ") {
            "'00000001388070008000000000000000'"
        } else if before.ends_with("at >= ") {
            "50000"
        } else if before.ends_with("at < ") {
            "60000"
        } else if before.ends_with("e.job = ") {
            "'j-3'"
        } else if before.ends_with("actor = ") {
            "'a-7'"
        } else if before.ends_with("action = ") {
            "'b-3'"
        } else if before.ends_with("m.name = ") {
            "'m-7'"
        } else if before.ends_with("m.kind = ") {
            "'http'"
        } else if before.ends_with("id = ") {
            "(SELECT id FROM modules WHERE name = 'm-7')"
        } else {
            panic!("an unknown parameter in {statement}")
        };
        values.push(value.to_owned());
    }
    values
}

#[tokio::test]
async fn lists_come_out_of_an_index_in_order() {
    let (database, _store) = open().await;
    let client = database.connect().await.unwrap();
    client.batch_execute(MANY).await.unwrap();
    let mut checked = 0;
    for statement in [modules::statements(), executions::statements()].concat() {
        // A search looks at every name; a count at every row that is counted.
        let is_list = statement.contains("LIMIT $") && !statement.starts_with("DELETE");
        // What is visible to a restricted key is any number of modules, and a run's are few: whichever plan is best for them.
        let any = ["position(", "ANY (", "e.run_id ="].iter().any(|any| statement.contains(any));
        if !is_list || any {
            continue;
        }
        let plan = plan(&client, &statement).await;
        let failed = statement.contains("e.status = 'failed'");
        let of_module = statement.contains("e.module =");
        assert!(!plan.contains("Seq Scan"), "{statement}\n{plan}");
        // What is narrowed twice is so few that they may be sorted; most have completed.
        let in_time = statement.contains("e.id >=") || statement.contains("e.id <");
        let rare = statement.contains("e.status") && !statement.contains("'completed'");
        let of_job = statement.contains("e.job =");
        let few = (of_module && statement.contains("e.status")) || (in_time && rare);
        let few = few || (of_job && (in_time || statement.contains("e.status")));
        assert!(few || !plan.contains("Sort"), "{statement}\n{plan}");
        let (by_time, of_one): (&[_], &[_]) =
            (&["executions_pkey", "executions_by_status"], &["executions_by_module", "executions_by_status"]);
        let indexes: &[&str] = match (statement.contains("m.name ="), statement.contains("m.kind =")) {
            (true, true) => &["modules_by_name", "modules_by_kind"],
            (false, true) => &["modules_by_kind"],
            (false, false) if of_module => of_one,
            (false, false) if of_job => &["executions_by_job", "executions_by_status", "executions_pkey"],
            (false, false) if statement.contains("executions") => by_time,
            (_, false) => &["modules_by_name"],
        };
        assert!(indexes.iter().any(|index| plan.contains(index)), "{statement}\n{plan}");
        if failed && !of_module && !of_job && !in_time {
            assert!(plan.contains("executions_by_status"), "{statement}\n{plan}");
        }
        checked += 1;
    }
    // Four lists of modules; three bounds, six states, of one module, of one job and of all.
    assert_eq!(checked, 4 + 3 * 6 * 3);
    for statement in
        denials::statements().iter().filter(|one| one.contains("FROM denials WHERE") || one.contains("LIMIT"))
    {
        if statement.starts_with("DELETE") {
            continue;
        }
        let plan = plan(&client, statement).await;
        assert!(plan.contains("denials_by_module") && !plan.contains("Sort"), "{statement}\n{plan}");
    }
    for statement in audit::statements().iter().filter(|statement| statement.contains("LIMIT $")) {
        let plan = plan(&client, statement).await;
        assert!(!plan.contains("Seq Scan"), "{statement}\n{plan}");
        // By actor and action at once there are so few that they may be sorted.
        let by_both = statement.contains("actor = ") && statement.contains("action = ");
        assert!(!plan.contains("Sort") || by_both, "{statement}\n{plan}");
        let index = match (statement.contains("actor = "), statement.contains("action = ")) {
            (false, false) => "audit_by_time",
            (true, false) => "audit_by_actor",
            (false, true) => "audit_by_action",
            (true, true) => "audit_by_",
        };
        // Within a narrow time, that is as good as the rest.
        let of_time = statement.contains("at >= ") || statement.contains("at < ");
        assert!(plan.contains(index) || (of_time && plan.contains("audit_by_time")), "{statement}\n{plan}");
    }
}

#[tokio::test]
async fn two_gateways_that_start_together_migrate_once() {
    let database = database();
    let stores = futures_util::future::join_all((0..6).map(|_| gateway_on(&database))).await;
    for store in &stores {
        store.ping().await.unwrap();
    }
    let client = database.connect().await.unwrap();
    let applied = client.query_one("SELECT count(*) FROM sluice_schema_history", &[]).await.unwrap();
    assert_eq!(applied.get::<_, i64>(0), 5);
}

#[tokio::test]
async fn a_check_tells_what_is_missing_and_changes_nothing() {
    let database = database();
    let config = config(&database.url());
    for _ in 0..2 {
        let found = check(&config).await.unwrap();
        assert_eq!((found.migrations.as_slice(), found.version), (MIGRATIONS.map(str::to_owned).as_slice(), 0));
        assert!(!found.database.contains(Database::password()));
    }
    assert_eq!(migrate(&config).await.unwrap().migrations, MIGRATIONS);
    assert_eq!(migrate(&config).await.unwrap().migrations, [""; 0]);
    let found = check(&config).await.unwrap();
    assert_eq!((found.migrations.as_slice(), found.version), ([].as_slice(), 5));
}

#[tokio::test]
async fn keys_of_a_version_without_ids_get_some_and_go_on_opening() {
    let database = database();
    migrate::up_to(&config(&database.url()), 1).await;
    let old = "INSERT INTO keys (prefix, hash, name, role, created_at)
               VALUES ('000000000001', decode(repeat('07', 32), 'hex'), 'admin', 'admin', 1700000000123456)";
    database.connect().await.unwrap().batch_execute(old).await.unwrap();
    let store = gateway_on(&database).await;
    let found = store.all_keys().await.unwrap();
    let made_at = jiff::Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
    let id = found[0].id;
    assert_eq!(found, [crate::model::Key { id, created_at: made_at, ..contract::key("000000000001") }]);
    assert_eq!((id.as_uuid().get_version_num(), id.as_uuid().get_variant()), (7, uuid::Variant::RFC4122));
    assert_eq!(id.as_uuid().get_timestamp().unwrap().to_unix().0, 1_700_000_000);
}

#[tokio::test]
async fn what_an_operator_has_to_mend_is_told_without_the_password() {
    let database = database();
    let url = database.url();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = refusal(&url.replace(&database.port().to_string(), &nobody.to_string())).await;
    assert!(away.contains("can't be reached") && away.contains(&nobody.to_string()), "{away}");
    let wrong = refusal(&url.replace("s3cr", "other")).await;
    assert!(wrong.contains("refuses the user or the password"), "{wrong}");
    let missing = refusal(&format!("{url}_not")).await;
    assert!(missing.contains("there is no database"), "{missing}");
    let encrypted = refusal(&format!("{url}?sslmode=require")).await;
    assert!(encrypted.contains("can't be reached") && encrypted.contains("TLS"), "{encrypted}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_or_of_another_program_is_refused() {
    let (database, store) = open().await;
    store.close().await;
    let client = database.connect().await.unwrap();
    client
        .batch_execute("INSERT INTO sluice_schema_history VALUES (9999, 'future', '2100-01-01T00:00:00Z', '1')")
        .await
        .unwrap();
    let newer = refusal(&database.url()).await;
    assert!(newer.contains("newer version"), "{newer}");
    let other = local_servers::postgres::database();
    other.connect().await.unwrap().batch_execute("CREATE TABLE modules (title TEXT)").await.unwrap();
    let refused = refusal(&other.url()).await;
    assert!(refused.contains("another program"), "{refused}");
}

#[tokio::test]
async fn text_that_the_database_cannot_hold_is_kept_all_the_same() {
    let (_database, store) = open().await;
    let module = crate::model::Module { description: "a\0B".to_owned(), ..contract::module("a", "1.0.0") };
    store.insert_module(&module, &contract::row()).await.unwrap();
    assert_eq!(store.all_modules().await.unwrap(), std::slice::from_ref(&module));
    for (query, found) in [("a\0b", 1), ("\0", 1), ("\0\0", 0)] {
        let filter = ModuleFilter { query: Some(query.to_owned()), ..ModuleFilter::default() };
        assert_eq!(store.list_modules(&filter, FIRST).await.unwrap().total, found, "{query:?}");
    }
    let filter = ModuleFilter { name: Some("a\0".to_owned()), ..ModuleFilter::default() };
    assert_eq!(store.list_modules(&filter, FIRST).await.unwrap().total, 0);
    let error = ExecutionError { message: "a\0b".to_owned(), ..interrupted() };
    let lines = vec![contract::line(Level::Info, "a\0b")];
    let record = ExecutionRecord { error: Some(error), lines, ..contract::record(&module, Status::Failed) };
    let unnamed = ExecutionRecord { function: "r\0n".to_owned(), ..contract::record(&module, Status::Completed) };
    store.record_executions(Arc::from([record.clone(), unnamed.clone()])).await.unwrap();
    let logs = store.execution_logs(record.execution_id, None, Level::Debug, FIRST).await.unwrap().unwrap();
    assert_eq!(logs.items, [record]);
    assert_eq!(store.execution(unnamed.execution_id).await.unwrap().unwrap().function, "r\u{fffd}n");
    let refused = AuditEntry { actor: Some("a\0".to_owned()), ..audit_entry(action::REQUEST).with("path", "/\0") };
    store.append_audit(Arc::from([refused.clone()])).await.unwrap();
    let filter = AuditFilter { actor: refused.actor, ..AuditFilter::default() };
    assert_eq!(store.list_audit(&filter, FIRST).await.unwrap().items[0].detail, refused.detail);
}

#[tokio::test]
async fn a_gateway_ends_its_own_executions_and_those_of_the_dead() {
    let (database, first) = open().await;
    let second = gateway_on(&database).await;
    let module = contract::module("a", "1.0.0");
    first.insert_module(&module, &contract::row()).await.unwrap();
    let runs = [contract::record(&module, Status::Running), contract::record(&module, Status::Running)];
    first.record_executions(Arc::from([runs[0].clone()])).await.unwrap();
    second.record_executions(Arc::from([runs[1].clone()])).await.unwrap();
    let status = async |run: &ExecutionRecord| first.execution(run.execution_id).await.unwrap().unwrap().status;

    assert_eq!(second.end_interrupted(&interrupted()).await.unwrap(), 1);
    assert_eq!((status(&runs[0]).await, status(&runs[1]).await), (Status::Running, Status::Failed));
    let minute = std::time::Duration::from_mins(1);
    assert_eq!(second.end_abandoned(minute, &interrupted()).await.unwrap(), 0);
    let aged = "UPDATE gateways SET seen_at = seen_at - interval '61 seconds'";
    database.connect().await.unwrap().batch_execute(aged).await.unwrap();
    first.heartbeat().await.unwrap();
    assert_eq!(second.end_abandoned(minute, &interrupted()).await.unwrap(), 0);
    database.connect().await.unwrap().batch_execute(aged).await.unwrap();
    assert_eq!(second.end_abandoned(minute, &interrupted()).await.unwrap(), 1);
    assert_eq!(status(&runs[0]).await, Status::Failed);
    // Of the second's own, nothing was ended, however silent it was.
    let own = contract::record(&module, Status::Running);
    second.record_executions(Arc::from([own.clone()])).await.unwrap();
    assert_eq!(second.end_abandoned(minute, &interrupted()).await.unwrap(), 0);
    second.close().await;
    assert_eq!(first.end_abandoned(minute, &interrupted()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_digest_is_held_by_one_of_all_gateways_until_it_lets_go() {
    let (database, first) = open().await;
    let second = gateway_on(&database).await;
    let (digest, other) = (crate::model::Digest::of(b"a"), crate::model::Digest::of(b"b"));
    let held = first.hold(digest).await.unwrap();
    drop(second.hold(other).await.unwrap());
    let mut waiting = std::pin::pin!(second.hold(digest));
    let client = database.connect().await.unwrap();
    // It waits in the database, which is where it would be let through wrongly.
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    loop {
        tokio::select! {
            _ = &mut waiting => panic!("two hold it"),
            found = client.query_one(waits, &[]) => if found.unwrap().get::<_, i64>(0) == 1 { break },
        }
    }
    drop(held);
    drop(waiting.await.unwrap());
    // However many are held, the store answers.
    let holds = futures_util::future::join_all((0..8_u8).map(|one| {
        let store = &first;
        async move { store.hold(crate::model::Digest::of(&[one])).await.unwrap() }
    }));
    let _holds = holds.await;
    first.insert_module(&contract::module("a", "1.0.0"), &contract::row()).await.unwrap();
}

#[tokio::test]
async fn every_change_is_told_and_counted() {
    let (database, first) = open().await;
    let second = gateway_on(&database).await;
    let mut listener = second.listen().await.unwrap();
    let mut number = second.change_number().await.unwrap();
    let module = contract::module("a", "1.0.0");
    let keys = [contract::key("000000000001"), contract::key("000000000002")];
    let entry = || audit_entry(action::KEY_CREATE);
    for change in 0..7 {
        match change {
            0 => drop(first.insert_module(&module, &contract::row()).await.unwrap()),
            1 => assert!(
                first.replace_permissions(module.id, &[], &["a warning".to_owned()], &contract::row()).await.unwrap()
            ),
            2 => assert!(first.replace_limits(module.id, &Limits::default(), &contract::row()).await.unwrap()),
            3 => assert!(first.insert_first_key(&keys[0], &entry()).await.unwrap()),
            4 => assert_eq!(first.insert_key(&keys[1], 9, &entry()).await.unwrap(), KeyInserted::Inserted),
            5 => assert_eq!(first.delete_key(keys[1].id, &entry()).await.unwrap(), KeyDeleted::Deleted),
            _ => drop(first.delete_module(module.id, &contract::row()).await.unwrap()),
        }
        listener.changed().await.unwrap();
        let now = second.change_number().await.unwrap();
        assert!(now > number, "{change}");
        number = now;
    }
    // What happens all the time is no change.
    first.record_executions(Arc::from([contract::record(&module, Status::Completed)])).await.unwrap();
    first.record_key_use(&[(keys[0].id, jiff::Timestamp::UNIX_EPOCH)]).await.unwrap();
    first.append_audit(Arc::from([entry()])).await.unwrap();
    assert_eq!(second.change_number().await.unwrap(), number);
    let client = database.connect().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    client.execute(end, &[]).await.unwrap();
    assert!(matches!(listener.changed().await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn what_waits_for_a_lock_is_given_up_in_time_and_leaves_nothing_behind() {
    let (database, store) = open().await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE modules IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let module = contract::module("a", "1.0.0");
    let started = std::time::Instant::now();
    let every = ModuleFilter::default();
    let row = contract::row();
    let (inserted, listed) = tokio::join!(store.insert_module(&module, &row), store.list_modules(&every, FIRST));
    assert!(matches!(inserted, Err(Error::TooSlow { .. })), "{inserted:?}");
    assert!(matches!(listed, Err(Error::TooSlow { .. })), "{listed:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(40));
    // Who has the lock doesn't keep it from telling that it answers.
    store.ping().await.unwrap();
    lock.rollback().await.unwrap();
    assert_eq!(store.list_modules(&ModuleFilter::default(), FIRST).await.unwrap().total, 0);
    store.insert_module(&module, &contract::row()).await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_given_up_has_happened_or_not() {
    let (database, store) = open().await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE modules IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let module = contract::module("a", "1.0.0");
    for _ in 0..8 {
        let brief = std::time::Duration::from_millis(20);
        tokio::time::timeout(brief, store.insert_module(&module, &contract::row())).await.unwrap_err();
    }
    lock.rollback().await.unwrap();
    // Twice as many as there are connections: none is left in use.
    store.insert_module(&module, &contract::row()).await.unwrap();
    assert_eq!(store.all_modules().await.unwrap().len(), 1);
}

#[tokio::test]
async fn records_that_arrive_while_their_module_is_deleted_are_passed_over() {
    let (database, store) = open().await;
    for round in 0..10 {
        let module = contract::module("a", &format!("1.0.{round}"));
        store.insert_module(&module, &contract::row()).await.unwrap();
        let runs: Vec<_> = (0..200).map(|_| contract::record(&module, Status::Completed)).collect();
        let recording = futures_util::future::join_all(
            runs.chunks(20).map(|batch| store.record_executions(Arc::from(batch.to_vec()))),
        );
        let row = contract::row();
        let (recorded, deleted) = tokio::join!(recording, store.delete_module(module.id, &row));
        recorded.into_iter().for_each(Result::unwrap);
        deleted.unwrap().unwrap();
    }
    assert_eq!(store.list_executions(&ExecutionFilter::default(), FIRST).await.unwrap().total, 0);
    let client = database.connect().await.unwrap();
    let left = client.query_one("SELECT count(*) FROM executions", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0, "rows of modules that are gone");
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_reported_as_corrupt() {
    let (database, store) = open().await;
    store.insert_module(&contract::module("a", "1.0.0"), &contract::row()).await.unwrap();
    database.connect().await.unwrap().batch_execute("UPDATE modules SET limits = 'none'").await.unwrap();
    assert!(matches!(store.all_modules().await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a_closed_store_refuses_and_what_it_kept_is_there() {
    let (database, store) = open().await;
    let module = contract::module("a", "1.0.0");
    store.insert_module(&module, &contract::row()).await.unwrap();
    let record = contract::record(&module, Status::Completed);
    store.record_executions(Arc::from([record.clone()])).await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.record_executions(Arc::from([record.clone()])).await, Err(Error::Unavailable { .. })));
    let found = gateway_on(&database).await;
    assert_eq!(found.all_modules().await.unwrap(), [module]);
    assert_eq!(found.execution(record.execution_id).await.unwrap(), Some(record));
}

/// A certificate of `localhost`, and the one of whoever made it.
fn certificates(folder: &std::path::Path) -> (String, String, std::path::PathBuf) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let file = folder.join(format!("{}.pem", Uuid::now_v7()));
    std::fs::write(&file, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    (server.pem(), server_key.serialize_pem(), file)
}

#[tokio::test]
async fn a_server_proves_who_it_is_as_sslmode_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key, authority) = certificates(folder.path());
    let (_, _, stranger) = certificates(folder.path());
    let mut server = Server::start().unwrap();
    server.stop().unwrap();
    server.encrypt_with(&certificate, &key).unwrap();
    server.start_again().unwrap();
    let database = server.database().unwrap();
    let by_address = database.url();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let with =
        |url: &str, mode: &str, root: &std::path::Path| format!("{url}?sslmode={mode}&sslrootcert={}", root.display());
    for url in [
        format!("{by_address}?sslmode=disable"),
        by_address.clone(),
        format!("{by_address}?sslmode=require"),
        with(&by_address, "require", &authority),
        with(&by_address, "verify-ca", &authority),
        with(&by_name, "verify-full", &authority),
    ] {
        let store = PostgresStore::open(&config(&url), Uuid::now_v7()).await.unwrap();
        let encrypted = store
            .read("testing", |tx| {
                let asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                Box::pin(async move { Ok(tx.query_one(asked, &[]).await?.get::<_, bool>(0)) })
            })
            .await
            .unwrap();
        assert_eq!(encrypted, !url.contains("disable"), "{url}");
    }
    for url in [
        with(&by_address, "verify-full", &authority),
        with(&by_name, "verify-full", &stranger),
        with(&by_address, "verify-ca", &stranger),
        with(&by_address, "require", &stranger),
        format!("{by_name}?sslmode=verify-full"),
    ] {
        let told = refusal(&url).await;
        assert!(told.contains("certificate"), "{url}: {told}");
    }
    let unreadable = refusal(&with(&by_name, "verify-full", std::path::Path::new("/not/there.pem"))).await;
    assert!(unreadable.contains("/not/there.pem"), "{unreadable}");
}
