//! What a statement may not do, and how much it may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn a_query_writes_nothing_whatever_it_calls() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE t (a int); CREATE SEQUENCE s;
             CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING a';
             CREATE FUNCTION opens() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 SET TRANSACTION READ WRITE; INSERT INTO t VALUES (1); RETURN 1; END $$;
             CREATE FUNCTION makes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 CREATE TEMP TABLE x (a int); RETURN 1; END $$",
        )
        .await
        .unwrap();
    let pool = pool(&database.url());
    for sql in [
        "select writes()",
        "select opens()",
        "select makes()",
        "select set_config('transaction_read_only', 'off', false), writes()",
        "select set_config('transaction_read_only', 'off', true) from writes()",
        "with a as (select set_config('default_transaction_read_only', 'off', false)) select *, writes() from a",
        "with a as (insert into t values (1) returning a) select * from a",
        "with a as materialized (select set_config('transaction_read_only', 'off', true)), b as (insert into t
         select 1 from a returning a) select * from b",
        "explain analyze insert into t values (1)",
        "select nextval('s')",
        "select 1 as a into made",
        "select * from t for update",
    ] {
        let refused = query(&pool, sql, NONE).await;
        assert!(refused.is_err(), "{sql}: {refused:?}");
        // The same connection, with what the one before it set.
        assert!(matches!(query(&pool, "select writes()", NONE).await, Err(Error::Invalid(_))), "{sql}");
    }
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
    // Before PostgreSQL 16 a read-only transaction can do this, but not keep it.
    let _ = query(&pool, "select lo_create(0)", NONE).await;
    assert_eq!(value(&pool, "select count(*) from pg_largeobject_metadata", NONE).await, json!(0));
    assert_eq!(execute(&pool, "select writes()", NONE).await.unwrap(), 1);
    let said = told(query(&pool, "select writes()", NONE).await);
    assert!(said.contains("execute is for statements that write"), "{said}");
}

#[tokio::test]
async fn a_change_is_done_as_a_whole_and_counted() {
    let database = database();
    let pool = pool(&database.url());
    assert_eq!(execute(&pool, "create table t (a int primary key)", NONE).await.unwrap(), 0);
    assert_eq!(execute(&pool, "insert into t select generate_series(1, $1::int)", &json!([50])).await.unwrap(), 50);
    assert_eq!(execute(&pool, "update t set a = -a where a > $1 returning *", &json!([40])).await.unwrap(), 10);
    let twice = execute(&pool, "insert into t values (100), (100)", NONE).await.unwrap_err();
    assert!(matches!(&twice, Error::Failed { is_transient: false, .. }), "{twice:?}");
    // Of a key that is there twice the detail has the value.
    let said = format!("{twice} {twice:?}");
    assert!(said.contains("23505") && !said.contains("(100)"), "{said}");
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(50));
    let said = told(query(&pool, "select x from t", NONE).await);
    assert_eq!(said, "column \"x\" does not exist (42703)");
    assert_eq!(execute(&pool, "delete from t", NONE).await.unwrap(), 50);
}

#[tokio::test]
async fn a_table_that_is_altered_is_read_as_it_is_now() {
    let database = database();
    let pool = pool_of_one(&database);
    execute(&pool, "create table t (a int)", NONE).await.unwrap();
    execute(&pool, "insert into t values (1)", NONE).await.unwrap();
    assert_eq!(query(&pool, "select * from t", NONE).await.unwrap(), json!([{"a": 1}]));
    execute(&pool, "alter table t add b text default 'x'", NONE).await.unwrap();
    assert_eq!(query(&pool, "select * from t", NONE).await.unwrap(), json!([{"a": 1, "b": "x"}]));
}

#[tokio::test]
async fn nothing_of_a_session_is_left_for_the_next() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE ROLE reset_role; CREATE SEQUENCE s;
             CREATE FUNCTION run(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 1; END $$",
        )
        .await
        .unwrap();
    let pool = pool_of_one(&database);
    for (sql, param) in [
        // Long enough for what comes after it, on a busy machine too.
        ("select set_config($1, '7777', false)", "statement_timeout"),
        ("select set_config($1, '1', false)", "my.own"),
        ("select set_config($1, 'off', false)", "default_transaction_read_only"),
        ("select set_config('search_path', $1, false)", "nowhere"),
        ("select set_config('role', $1, false)", "reset_role"),
        ("select set_config('TimeZone', $1, false)", "Asia/Tokyo"),
        ("select pg_advisory_lock($1::text::int8)", "77"),
        ("select run($1)", "LISTEN x"),
        ("select run($1)", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
        ("select run($1)", "CREATE TEMP TABLE x (a int)"),
        ("select run($1)", "PREPARE mine AS SELECT 1"),
        ("select run($1)", "DEALLOCATE ALL"),
        ("select nextval($1::text::regclass)", "s"),
    ] {
        // The first leaves what is committed, the second what is rolled back.
        execute(&pool, sql, &json!([param])).await.unwrap_or_else(|error| panic!("{sql} {param}: {error:?}"));
        assert_clean(&pool, &format!("execute {sql} {param}")).await;
        let queried = query(&pool, sql, &json!([param])).await;
        assert!(queried.is_ok() || matches!(queried, Err(Error::Invalid(_))), "{sql} {param}: {queried:?}");
        assert_clean(&pool, &format!("query {sql} {param}")).await;
    }
    // The driver asks for a type with statements of its own.
    client.batch_execute("CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE other AS ENUM ('ok')").await.unwrap();
    assert_eq!(value(&pool, "select 'ok'::mood", NONE).await, json!("ok"));
    execute(&pool, "select run('DEALLOCATE ALL')", NONE).await.unwrap();
    assert_eq!(value(&pool, "select 'ok'::other", NONE).await, json!("ok"));
    assert!(told(query(&pool, "select lastval()", NONE).await).contains("55000"));
    client.batch_execute("DROP ROLE reset_role").await.unwrap();
}

/// Whoever is next on the one connection of a pool finds nothing.
async fn assert_clean(pool: &Pool, after: &str) {
    let left = query(
        pool,
        "select current_setting('default_transaction_read_only') as read_only, current_setting('my.own', true) as own,
                    current_setting('statement_timeout') as timeout, current_setting('search_path') as path,
                    current_user = session_user as same, current_setting('TimeZone') as zone,
                    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
                    (select count(*) from pg_listening_channels()) as channels,
                    (select count(*) from pg_cursors where is_holdable) as cursors, to_regclass('pg_temp.x') as temp,
                    (select count(*) from pg_prepared_statements where from_sql) as prepared",
        NONE,
    );
    let clean = json!([{
        "read_only": "on", "own": "", "timeout": "10s", "path": "\"$user\", public", "same": true,
        "zone": "UTC", "locks": 0, "channels": 0, "cursors": 0, "temp": null, "prepared": 0,
    }]);
    let mut left = left.await.unwrap();
    // A setting that once was is empty from then on, and a new connection has none.
    if left[0]["own"].is_null() {
        left[0]["own"] = json!("");
    }
    assert_eq!(left, clean, "{after}");
}

#[tokio::test]
async fn what_a_role_may_not_do_is_told() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute("CREATE ROLE nobody_at_all LOGIN PASSWORD 'x'; CREATE TABLE t (a int)").await.unwrap();
    let (_, at) = database.url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let pool = pool(&format!("postgres://nobody_at_all:x@{at}"));
    for sql in [
        "select * from t",
        "select pg_read_file('/etc/passwd')",
        "select lo_import('/etc/passwd')",
        "select * from pg_authid",
        "select pg_reload_conf()",
    ] {
        let said = told(query(&pool, sql, NONE).await);
        assert!(said.contains("permission denied") || said.contains("read-only"), "{sql}: {said}");
    }
    assert!(told(execute(&pool, "create table u ()", NONE).await).contains("permission denied"));
    drop(pool);
    client.batch_execute("DROP ROLE nobody_at_all").await.unwrap();
}

#[tokio::test]
async fn ten_million_rows_are_refused_after_the_first_few_and_their_statement_ends() {
    let database = database();
    let client = database.connect().await.unwrap();
    let (port, received) = counting_proxy(database.port()).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{port}/"));
    // A busy machine takes its time to make so much.
    let pool = pool_with(&url, |config| (config.pool, config.timeout_ms) = (1, 60_000));
    for sql in [
        "select generate_series(1, 10000000) as n",
        "select repeat('x', 300000000) as a",
        "select array_fill(1, array[50000000]) as a",
    ] {
        let refused = query(&pool, sql, NONE).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{sql}: {refused:?}");
        eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND state = 'active')")).await;
    }
    // What is in memory has come through here: of gigabytes what was granted, and what sockets hold.
    let received = received.load(Ordering::Relaxed);
    assert!(received < 80 * 1024 * 1024, "{received} bytes came");
    execute(&pool, "create table t (a text)", NONE).await.unwrap();
    let sql = "insert into t select repeat('x', 1000) from generate_series(1, 20000) returning a";
    assert!(matches!(execute(&pool, sql, NONE).await, Err(Error::TooLarge(_))));
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(0));
}

/// Passes everything on to a port, and counts what comes back.
async fn counting_proxy(to: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, received) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                    if to_client.write_all(&bytes[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, received)
}

#[tokio::test]
async fn a_server_ends_what_takes_too_long_and_what_waits_for_a_lock() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    client.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let pool = pool_with(&database.url(), |config| config.timeout_ms = 400);
    let locked = query(&pool, "select * from t", NONE).await.unwrap_err();
    assert!(matches!(&locked, Error::Failed { is_transient: true, .. }), "{locked:?}");
    assert!(locked.to_string().contains("55P03"), "{locked}");
    for sql in ["select pg_sleep(600)", "select set_config('statement_timeout', '0', false), pg_sleep(600)"] {
        assert!(matches!(query(&pool, sql, NONE).await, Err(Error::TimedOut)), "{sql}");
    }
    assert!(matches!(execute(&pool, "select pg_sleep(600)", NONE).await, Err(Error::TimedOut)));
}

#[tokio::test]
async fn over_tls_statements_run_and_are_cancelled() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut server = Server::start().unwrap();
    server.stop().unwrap();
    server.encrypt_with(&made.cert.pem(), &made.signing_key.serialize_pem()).unwrap();
    server.start_again().unwrap();
    let database = server.database().unwrap();
    let client = database.connect().await.unwrap();
    let pool = pool(&format!("{}?sslmode=require&target_session_attrs=read-write", database.url()));
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(value(&pool, encrypted, NONE).await, json!(true));
    let sleeping = query(&pool, "select pg_sleep(600)", NONE);
    let seen = eventually(&client, format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')"));
    tokio::select! { _ = sleeping => panic!("it slept"), () = seen => {} }
    eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')")).await;
    let standby = self::pool(&format!("{}?sslmode=require&target_session_attrs=read-only", database.url()));
    assert_eq!(told(query(&standby, "select 1", NONE).await), "the database can't be reached");
    let strict = self::pool(&format!("{}?sslmode=verify-full", database.url()));
    assert_eq!(told(query(&strict, "select 1", NONE).await), "the database can't be reached");
}

#[tokio::test]
async fn statements_that_a_connection_keeps_are_few() {
    let database = database();
    let pool = pool_of_one(&database);
    for number in 0..200 {
        assert_eq!(value(&pool, &format!("select {number}"), NONE).await, json!(number));
    }
    let kept = value(&pool, "select count(*) from pg_prepared_statements", NONE).await;
    assert!(kept.as_u64().unwrap() <= 70, "{kept}");
}

#[tokio::test]
async fn what_is_small_on_the_wire_is_bounded_as_it_is_written() {
    let database = database();
    let pool = pool(&database.url());
    for sql in [
        // Ten bytes each, and a hundred thousand digits.
        "select array_fill('1e131071'::numeric, array[100000])",
        "select repeat(E'\\x01', 1000000)",
        "select from generate_series(1, 10000)",
    ] {
        let bounds = Bounds { rows_max: 100_000, bytes_max: 10_000 };
        let answer = pool.query(Statement { sql, params: "[]" }, bounds, &mut Caller::new()).await;
        assert!(matches!(answer, Err(Error::TooLarge(_))), "{sql}: {answer:?}");
    }
}

#[tokio::test]
async fn notices_without_end_are_too_many_bytes() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM set_config('client_min_messages', 'notice', true);
                 LOOP RAISE NOTICE '%', repeat('x', 10000); END LOOP; END $$",
        )
        .await
        .unwrap();
    let pool = pool_with(&database.url(), |config| (config.pool, config.timeout_ms) = (1, 60_000));
    for _ in 0..2 {
        let refused = query(&pool, "select f()", NONE).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
        let refused = execute(&pool, "select f()", NONE).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    }
    eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND state = 'active')")).await;
}

#[tokio::test]
async fn types_that_nest_without_end_are_refused_before_they_are_followed() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    let make = |from: usize, to: usize| -> String {
        (from..to).map(|level| format!("CREATE TYPE t{} AS (a t{level}); ", level + 1)).collect()
    };
    client.batch_execute(&format!("CREATE TYPE t0 AS (a int); {}", make(0, 20))).await.unwrap();
    assert_eq!(value(&pool, "select null::t20 as a", NONE).await, json!(null));
    client.batch_execute(&make(20, 2_000)).await.unwrap();
    let said = told(query(&pool, "select null::t2000 as b", NONE).await);
    assert!(said.contains("nest deeper"), "{said}");
}

#[tokio::test]
async fn where_types_nest_too_deep_the_statements_that_have_none_of_them_run() {
    let database = database();
    let client = database.connect().await.unwrap();
    let chain: String = (0..2_000).map(|level| format!("CREATE TABLE t{} (a t{level}); ", level + 1)).collect();
    client.batch_execute(&format!("CREATE TABLE t0 (a int); CREATE TABLE plain (a int); {chain}")).await.unwrap();
    let pool = pool_of_one(&database);
    for sql in ["select null::t2000 as a", "select $1::t2000 is null as a"] {
        let said = told(query(&pool, sql, &json!([null])).await);
        assert!(said.contains("nest deeper"), "{sql}: {said}");
        assert_eq!(value(&pool, "select 1", NONE).await, json!(1));
    }
    assert_eq!(execute(&pool, "insert into plain values (1)", NONE).await.unwrap(), 1);
    assert_eq!(execute(&pool, "create table other (a int)", NONE).await.unwrap(), 0);
    assert_eq!(execute(&pool, "drop table t2000", NONE).await.unwrap(), 0);
}

#[tokio::test]
async fn no_step_makes_types_that_nest_too_deep() {
    let database = database();
    let pool = pool_of_one(&database);
    execute(&pool, "create table t0 (a int)", NONE).await.unwrap();
    let mut level = 0;
    let said = loop {
        // Either makes a table of the one before.
        let next = level + 1;
        let sql = match level % 2 {
            0 => format!("create table t{next} (a t{level})"),
            _ => format!("select null::t{level} as a into t{next}"),
        };
        match execute(&pool, &sql, NONE).await {
            Ok(_) => level = next,
            Err(error) => break error.to_string(),
        }
        assert!(level < 100);
    };
    assert!(said.contains("nest deeper") && level > 20, "{level}: {said}");
    let last = format!("select count(*) from pg_class where relname = 't{}'", level + 1);
    assert_eq!(value(&pool, &last, NONE).await, json!(0));
    assert_eq!(value(&pool, &format!("select null::t{level} as a"), NONE).await, json!(null));
    let sql = format!("alter table t{level} rename to renamed");
    assert_eq!(execute(&pool, &sql, NONE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_commit_whose_answer_is_too_long_is_not_told_as_if_nothing_was_done() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE t (a int);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE '%', repeat('x', 20000000); END $$;
             CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                 EXECUTE FUNCTION f()",
        )
        .await
        .unwrap();
    let failed = execute(&pool_of_one(&database), "insert into t values (1)", NONE).await;
    assert!(matches!(failed, Err(Error::Failed { is_transient: true, .. })), "{failed:?}");
}

#[tokio::test]
async fn a_function_that_raises_as_a_lost_statement_does_runs_once() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE SEQUENCE runs; CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM nextval('runs'); RAISE 'gone' USING ERRCODE = '26000'; END $$;
             CREATE FUNCTION g() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM nextval('runs'); EXECUTE 'EXECUTE nothing'; RETURN 1; END $$",
        )
        .await
        .unwrap();
    let pool = pool_of_one(&database);
    for (sql, runs) in [("select f()", 1_i64), ("select g()", 2)] {
        assert!(told(execute(&pool, sql, NONE).await).contains("26000"));
        let drawn: i64 = client.query_one("SELECT last_value FROM runs", &[]).await.unwrap().get(0);
        assert_eq!(drawn, runs, "{sql}");
    }
}

#[tokio::test]
async fn a_function_that_runs_while_a_statement_is_prepared_writes_and_leaves_nothing() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE written (a int); CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM set_config('search_path', 'nowhere', false);
                 PERFORM set_config('default_transaction_read_only', 'off', false);
                 INSERT INTO public.written VALUES (1); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
             CREATE DOMAIN d AS int CHECK (f(value))",
        )
        .await
        .unwrap();
    let pool = pool_of_one(&database);
    for _ in 0..2 {
        let _ = query(&pool, "select '{1}'::d[] as a", NONE).await;
        assert_eq!(value(&pool, "select current_setting('search_path')", NONE).await, json!("\"$user\", public"));
    }
    assert_eq!(client.query_one("SELECT count(*) FROM written", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_statement_whose_table_changed_is_prepared_anew_on_every_connection() {
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    let pool = pool(&database.url());
    let sql = "select * from t";
    let both = futures_util::future::join_all((0..4).map(|_| query(&pool, sql, NONE))).await;
    assert!(both.iter().all(Result::is_ok), "{both:?}");
    client.batch_execute("ALTER TABLE t ADD b text").await.unwrap();
    for _ in 0..4 {
        assert_eq!(query(&pool, sql, NONE).await.unwrap(), json!([{"a": 1, "b": null}]));
    }
}

#[tokio::test]
async fn a_statement_is_prepared_in_one_snapshot_that_nothing_is_written_in() {
    let database = database();
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 RAISE 'prepared in %, read only %', current_setting('transaction_isolation'),
                     current_setting('transaction_read_only'); END $$;
             CREATE DOMAIN d AS int CHECK (f(value)); CREATE TABLE t (a int[])",
        )
        .await
        .unwrap();
    let pool = pool_of_one(&database);
    let wanted = "prepared in repeatable read, read only on (P0001)";
    assert_eq!(told(query(&pool, "select '{1}'::d[] as a", NONE).await), wanted);
    assert_eq!(told(execute(&pool, "insert into t select '{1}'::d[]::int[]", NONE).await), wanted);
    // And run as any other.
    for _ in 0..2 {
        assert_eq!(value(&pool, "show transaction_isolation", NONE).await, json!("read committed"));
    }
}
