//! What a query leaves on its connection, and who finds it.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use super::*;

/// Those of the session that is asked.
const LOCKS: &str = "select count(*) as n from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";

async fn count(caller: &mut Caller, pool: &Pool, sql: &str) -> Value {
    query_by(caller, pool, sql, NONE).await.unwrap()[0]["n"].clone()
}

/// Runs any SQL, as no function of an operator should.
const RUNS_ANYTHING: &str =
    "CREATE FUNCTION run(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 1; END $$";

#[tokio::test]
async fn what_a_query_leaves_is_found_by_the_same_execution_only() {
    let database = database();
    let pool = pool_of_one(&database);
    let (mut one, mut other) = (Caller::new(), Caller::new());
    query_by(&mut one, &pool, "select pg_advisory_lock(77)", NONE).await.unwrap();
    // Nothing was done in between that would have taken it away.
    assert_eq!(count(&mut one, &pool, LOCKS).await, json!(1));
    // The first is still there.
    assert_eq!(count(&mut other, &pool, LOCKS).await, json!(0));
    assert_eq!(count(&mut one, &pool, LOCKS).await, json!(0));
}

#[tokio::test]
async fn what_an_execution_leaves_is_gone_with_it_though_nobody_comes() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool(&database.url());
    let mut caller = Caller::new();
    query_by(&mut caller, &pool, "select pg_advisory_lock(77)", NONE).await.unwrap();
    let held = format!(
        "SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory'))"
    );
    assert!(client.query_one(&held, &[]).await.unwrap().get::<_, bool>(0));
    drop(caller);
    eventually(&client, format!("SELECT NOT ({held})")).await;
}

#[tokio::test]
async fn what_a_query_sets_is_gone_with_it_for_its_own_execution_too() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute(&format!("{RUNS_ANYTHING}; CREATE SEQUENCE s; CREATE TABLE t (a int)")).await.unwrap();
    let pool = pool_of_one(&database);
    let mut caller = Caller::new();
    let session = "select current_user = session_user as same, current_setting('statement_timeout') as timeout,
                       current_setting('search_path') as path, current_setting('transaction_read_only') as read_only,
                       current_setting('default_transaction_read_only') as read_only_next,
                       (select count(*) from pg_listening_channels()) as channels,
                       (select count(*) from pg_cursors where name = 'c') as cursors";
    let before = query_by(&mut caller, &pool, session, NONE).await.unwrap();
    for (sql, param) in [
        ("select set_config('role', $1, false)", "pg_read_all_data"),
        ("select set_config('statement_timeout', $1, false)", "7777"),
        ("select set_config('search_path', $1, false)", "nowhere"),
        ("select set_config('default_transaction_read_only', $1, false)", "off"),
        ("select set_config('transaction_read_only', $1, false)", "off"),
        ("select run($1)", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"),
        ("select run($1)", "SET SESSION AUTHORIZATION pg_read_all_data"),
        ("select run($1)", "LISTEN x"),
        ("select run($1)", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
        ("select run($1)", "CREATE TEMP TABLE x (a int)"),
        ("select run($1)", "INSERT INTO t VALUES (1)"),
        ("select nextval($1::text::regclass)", "s"),
    ] {
        // Some are refused, which is as well.
        let _ = query_by(&mut caller, &pool, sql, &json!([param])).await;
        assert_eq!(query_by(&mut caller, &pool, session, NONE).await.unwrap(), before, "{sql} {param}");
        let refused = query_by(&mut caller, &pool, "select run('INSERT INTO t VALUES (1)')", NONE).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{sql} {param}: {refused:?}");
    }
}

#[tokio::test]
async fn a_connection_on_which_names_were_given_is_not_anothers() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute(RUNS_ANYTHING).await.unwrap();
    let pool = pool_of_one(&database);
    let pid = "select pg_backend_pid() as n";
    let mut caller = Caller::new();
    let before = count(&mut caller, &pool, pid).await;
    query_by(&mut caller, &pool, "select run('PREPARE mine AS SELECT 1')", NONE).await.unwrap();
    assert_eq!(count(&mut caller, &pool, pid).await, before);
    // By who needs it, and by who leaves it.
    let mut other = Caller::new();
    let after = count(&mut other, &pool, pid).await;
    assert_ne!(after, before);
    query_by(&mut other, &pool, "select run('PREPARE mine AS SELECT 1')", NONE).await.unwrap();
    drop(other);
    assert_ne!(count(&mut caller, &pool, pid).await, after);
}

#[tokio::test]
async fn a_query_that_has_begin_mean_something_else_opens_nothing_for_the_next() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute(&format!("{RUNS_ANYTHING}; CREATE TABLE t (a int)")).await.unwrap();
    let pool = pool_of_one(&database);
    for (renamed, sql) in [
        ("SELECT 1", "select run('INSERT INTO t VALUES (1)')"),
        ("INSERT INTO t VALUES (1)", "select 1"),
        // What a read-only transaction can do, and keeps when it is committed.
        ("SELECT 1", "select lo_create(4711)"),
        ("VALUES (1)", "select run('NOTIFY x'), set_config('default_transaction_read_only', 'off', false)"),
        ("SELECT 1 WHERE false", "select run('DEALLOCATE begin'), lo_create(4712)"),
    ] {
        let mut caller = Caller::new();
        let both = format!("select run('DEALLOCATE begin') as a, run('PREPARE begin AS {renamed}') as b");
        query_by(&mut caller, &pool, &both, NONE).await.unwrap();
        let refused = query_by(&mut caller, &pool, sql, NONE).await;
        assert!(refused.is_err(), "{renamed}: {sql}: {refused:?}");
        // Without the name nothing begins there, so it is asked elsewhere.
        query_by(&mut caller, &pool, "select run('DEALLOCATE begin')", NONE).await.unwrap();
        assert!(query_by(&mut caller, &pool, "select 1", NONE).await.is_ok());
        let read_only = "select current_setting('default_transaction_read_only') as n";
        assert_eq!(count(&mut Caller::new(), &pool, read_only).await, json!("on"));
        let kept = "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM pg_largeobject_metadata)";
        assert_eq!(client.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 0, "{renamed}: {sql}");
    }
}

#[tokio::test]
async fn an_execution_whose_connection_is_ended_between_its_queries_has_another() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    let end = format!("SELECT pg_terminate_backend(pid, 10000) {ANYTHING_OF_OURS}");
    let (mut one, mut other) = (Caller::new(), Caller::new());
    for _ in 0..3 {
        assert!(query_by(&mut one, &pool, "select 1", NONE).await.is_ok());
        client.batch_execute(&end).await.unwrap();
        assert!(query_by(&mut one, &pool, "select 1", NONE).await.is_ok());
        client.batch_execute(&end).await.unwrap();
        // It can't be cleaned any more.
        assert!(query_by(&mut other, &pool, "select 1", NONE).await.is_ok());
        client.batch_execute(&end).await.unwrap();
        drop(std::mem::replace(&mut other, Caller::new()));
    }
}

#[tokio::test]
async fn an_execution_that_ends_in_the_middle_of_its_second_query_leaves_a_free_slot() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_with(&database.url(), |config| (config.pool, config.timeout_ms) = (1, 3_600_000));
    let asleep = format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')");
    for _ in 0..3 {
        let mut caller = Caller::new();
        query_by(&mut caller, &pool, "select pg_advisory_lock(77)", NONE).await.unwrap();
        let sleeping = query_by(&mut caller, &pool, "select pg_sleep(600)", NONE);
        tokio::select! { _ = sleeping => panic!("it slept"), () = eventually(&client, asleep.clone()) => {} }
        drop(caller);
        let mut next = Caller::new();
        let next = count(&mut next, &pool, LOCKS);
        assert_eq!(tokio::time::timeout(PATIENCE, next).await.unwrap(), json!(0));
        eventually(&client, format!("SELECT NOT ({asleep})")).await;
    }
}

#[tokio::test]
async fn two_executions_share_the_one_connection_of_a_pool() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    let most = AtomicU64::new(0);
    let one = async |_| {
        let mut caller = Caller::new();
        for number in 0..50 {
            // Left to the other, or found again.
            let rows =
                query_by(&mut caller, &pool, "select $1::int as n, pg_advisory_lock(77)", &json!([number])).await;
            assert_eq!(rows.unwrap()[0]["n"], json!(number));
        }
    };
    let watch = async {
        for _ in 0..50 {
            let connections = client.query_one(&format!("SELECT count(*) {ANYTHING_OF_OURS}"), &[]).await.unwrap();
            most.fetch_max(connections.get::<_, i64>(0).unsigned_abs(), Ordering::Relaxed);
        }
    };
    futures_util::future::join(join_all((0..4).map(one)), watch).await;
    assert_eq!(most.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_execution_that_leaves_while_it_cleans_anothers_connection_leaves_a_free_slot() {
    let database = database();
    let pool = pool_of_one(&database);
    let mut first = Caller::new();
    for number in 0..100 {
        query_by(&mut first, &pool, "select pg_advisory_lock(77)", NONE).await.unwrap();
        let mut other = Caller::new();
        let moment = Duration::from_micros(number * 7);
        let moment = tokio::task::spawn_blocking(move || std::thread::sleep(moment));
        tokio::select! { _ = query_by(&mut other, &pool, "select 1", NONE) => {}, _ = moment => {} }
        drop(other);
        let mut next = Caller::new();
        let next = count(&mut next, &pool, LOCKS);
        assert_eq!(tokio::time::timeout(PATIENCE, next).await.unwrap(), json!(0));
    }
}

#[tokio::test]
async fn what_an_execution_leaves_is_gone_with_it_though_who_came_for_it_left() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    let (mut one, mut other) = (Caller::new(), Caller::new());
    let mut locking = Box::pin(query_by(&mut one, &pool, "select pg_advisory_lock(77)", NONE));
    assert!(futures_util::poll!(&mut locking).is_pending());
    let mut waiting = Box::pin(query_by(&mut other, &pool, "select 1", NONE));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    // By now the slot is the other's.
    locking.await.unwrap();
    let held = format!(
        "SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory'))"
    );
    drop(one);
    drop(waiting);
    eventually(&client, format!("SELECT NOT ({held})")).await;
}

#[tokio::test]
async fn statements_that_fail_are_not_kept_by_the_server() {
    let database = database();
    let pool = pool_of_one(&database);
    let padding = " ".repeat(20_000);
    let mut caller = Caller::new();
    for number in 0..200 {
        // Both fail while they run, when all that is behind them is passed over.
        let failing = format!("select {number} / ($1::int - 1)");
        assert!(query_by(&mut caller, &pool, &failing, &json!([1])).await.is_err());
        let long = format!("select {number} {padding} / ($1::int - 1)");
        assert!(execute(&pool, &long, &json!([1])).await.is_err());
    }
    let kept = count(&mut caller, &pool, "select count(*) as n from pg_prepared_statements").await;
    assert!(kept.as_u64().unwrap() <= 70, "{kept}");
}

#[tokio::test]
async fn executions_that_deallocate_all_fail_nobody_elses_query() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute(RUNS_ANYTHING).await.unwrap();
    let pool = pool_with(&database.url(), |config| config.pool = 4);
    // On each connection.
    let everywhere = (0..4).map(|_| query(&pool, "select run('DEALLOCATE ALL') from pg_sleep(0.3)", NONE));
    assert!(join_all(everywhere).await.iter().all(Result::is_ok));
    for number in 0..4 {
        assert_eq!(value(&pool, &format!("select $1::int + {number}"), &json!([7])).await, json!(7 + number));
    }
}

#[tokio::test]
async fn a_seed_that_an_execution_sets_tells_it_nothing_of_what_others_draw() {
    let database = database();
    let pool = pool_of_one(&database);
    let mut drawn = Vec::new();
    for way in ["query", "query", "execute"] {
        if way == "query" {
            query(&pool, "select setseed(0.5)", NONE).await.unwrap();
        } else {
            execute(&pool, "select setseed(0.5)", NONE).await.unwrap();
        }
        drawn.push(value(&pool, "select random()::text || pg_backend_pid()", NONE).await.to_string());
    }
    assert!(drawn[0] != drawn[1] && drawn[0] != drawn[2] && drawn[1] != drawn[2], "{drawn:?}");
}
