//! How a statement ends that nobody waits for, and one whose server goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use local_servers::postgres::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::*;

/// No timeout of the server ends it before a test gives up.
const LONG_MS: u64 = 3_600_000;

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_cancelled_and_its_slot_is_free_again() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    for _ in 0..3 {
        let sleeping = query(&pool, "select pg_sleep(600)", NONE);
        let seen = eventually(&client, format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')"));
        tokio::select! { _ = sleeping => panic!("it slept"), () = seen => {} }
        eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')")).await;
    }
    let asked = tokio::time::timeout(PATIENCE, value(&pool, "select 1", NONE));
    assert_eq!(asked.await.unwrap(), json!(1));
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_is_not_done() {
    let database = database();
    let client = database.connect().await.unwrap();
    let pool = pool_of_one(&database);
    execute(&pool, "create table t (a int)", NONE).await.unwrap();
    let slow = execute(&pool, "insert into t select 1 from pg_sleep(600)", NONE);
    let seen = eventually(&client, format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')"));
    tokio::select! { _ = slow => panic!("it slept"), () = seen => {} }
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(0));
}

#[tokio::test]
async fn a_statement_that_is_left_at_any_moment_ends() {
    const PIPELINES: u64 = 4;
    const MOMENTS: u64 = 100;
    let database = database();
    let client = database.connect().await.unwrap();
    client.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let leave = async |pipeline: u64| {
        let pool = pool_with(&database.url(), |config| (config.pool, config.timeout_ms) = (1, LONG_MS));
        let (select, insert) = ("select 1 as a from pg_sleep($1)", "insert into t select 1 from pg_sleep($1)");
        for number in 0..MOMENTS {
            // In one flight, from the first message to the last: it was prepared on this connection.
            let (now, late) = (json!([0]), json!([3_600]));
            let moment = Duration::from_micros((number * PIPELINES + pipeline) * 7 % 1_500);
            let moment = tokio::task::spawn_blocking(move || std::thread::sleep(moment));
            if number % 2 == 0 {
                assert_eq!(value(&pool, select, &now).await, json!(1));
                tokio::select! { _ = query(&pool, select, &late) => panic!("it slept"), _ = moment => {} }
            } else {
                assert_eq!(execute(&pool, insert, &now).await.unwrap(), 1);
                tokio::select! { _ = execute(&pool, insert, &late) => panic!("it slept"), _ = moment => {} }
            }
        }
    };
    join_all((0..PIPELINES).map(leave)).await;
    eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND state <> 'idle')")).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows.unsigned_abs(), PIPELINES * MOMENTS / 2);
}

#[tokio::test]
async fn a_statement_that_arrives_after_it_was_cancelled_ends() {
    let database = database();
    let client = database.connect().await.unwrap();
    let proxy = HoldingProxy::start(database.port()).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{}/", proxy.port));
    let pool = pool_with(&url, |config| (config.pool, config.timeout_ms) = (1, LONG_MS));
    let sql = "select 1 as a from pg_sleep($1)";
    // One caller, so that nothing is cleaned between the two.
    let mut caller = Caller::new();
    assert!(query_by(&mut caller, &pool, sql, &json!([0])).await.is_ok());
    proxy.holds.send(true).unwrap();
    let late = json!([3_600]);
    let held = proxy.held.notified();
    tokio::select! { _ = query_by(&mut caller, &pool, sql, &late) => panic!("it slept"), () = held => {} }
    // Its slot is free when it has ended.
    assert_eq!(tokio::time::timeout(PATIENCE, value(&pool, sql, &json!([0]))).await.unwrap(), json!(1));
    eventually(&client, format!("SELECT NOT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')")).await;
    // Two for statements; the first of the others came too early.
    assert!(proxy.connections.load(Ordering::Relaxed) >= 4);
}

#[tokio::test]
async fn a_connection_whose_check_is_not_answered_is_nobody_elses() {
    let database = database();
    let proxy = HoldingProxy::start(database.port()).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{}/", proxy.port));
    let pool = pool_with(&url, |config| config.pool = 1);
    let (mut one, pid) = (Caller::new(), "select pg_backend_pid() as n");
    let first = query_by(&mut one, &pool, pid, NONE).await.unwrap();
    proxy.holds.send(true).unwrap();
    assert_ne!(query(&pool, pid, NONE).await.unwrap(), first);
}

/// Passes everything on to a port. What is said on the first connection it can hold back, until another one ended.
struct HoldingProxy {
    port: u16,
    connections: Arc<AtomicUsize>,
    holds: watch::Sender<bool>,
    /// Something was held back.
    held: Arc<Notify>,
}

impl HoldingProxy {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            holds: watch::Sender::new(false),
            held: Arc::default(),
        };
        let (connections, holds, held) = (Arc::clone(&proxy.connections), proxy.holds.clone(), Arc::clone(&proxy.held));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let is_first = connections.fetch_add(1, Ordering::Relaxed) == 0;
                let (holds, held) = (holds.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let mut told = holds.subscribe();
                    tokio::spawn(async move {
                        let mut bytes = vec![0; 64 * 1024];
                        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                            if is_first && *told.borrow() {
                                held.notify_one();
                                told.wait_for(|holds| !holds).await.unwrap();
                            }
                            to_server.write_all(&bytes[..length]).await.unwrap();
                        }
                    });
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                    if !is_first {
                        let _ = holds.send(false);
                    }
                });
            }
        });
        proxy
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_more_holds_no_slot_for_ever() {
    let database = database();
    let frozen = watch::Sender::new(false);
    let port = freezing_proxy(database.port(), frozen.clone()).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{port}/"));
    let pool = pool_with(&url, |config| (config.pool, config.timeout_ms) = (1, LONG_MS));
    let mut caller = Caller::new();
    assert!(query_by(&mut caller, &pool, "select 1", NONE).await.is_ok());
    frozen.send(true).unwrap();
    let left = tokio::time::timeout(Duration::from_millis(50), query_by(&mut caller, &pool, "select 1", NONE));
    assert!(left.await.is_err());
    // Neither the statement nor its cancellation is answered, and then nobody is.
    let refused = tokio::time::timeout(PATIENCE, query(&pool, "select 1", NONE)).await.expect("it waits for the slot");
    assert_eq!(told(refused), "the database can't be reached");
    frozen.send(false).unwrap();
    assert_eq!(value(&pool, "select 1", NONE).await, json!(1));
}

/// Passes everything on to a port, but for as long as it is frozen.
async fn freezing_proxy(to: u16, frozen: watch::Sender<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut frozen = frozen.subscribe();
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    frozen.wait_for(|frozen| !frozen).await.unwrap();
                    if to_server.write_all(&bytes[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_statement_whose_connection_is_lost_is_cancelled() {
    let database = database();
    let client = database.connect().await.unwrap();
    let cut = Arc::new(Notify::new());
    let port = cutting_proxy(database.port(), Arc::clone(&cut)).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{port}/"));
    let pool = pool_with(&url, |config| (config.pool, config.timeout_ms) = (1, LONG_MS));
    let asleep = format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')");
    let cuts = async {
        eventually(&client, asleep.clone()).await;
        cut.notify_one();
    };
    let (lost, ()) = join(query(&pool, "select pg_sleep(600)", NONE), cuts).await;
    assert!(matches!(lost, Err(Error::Failed { is_transient: true, .. })), "{lost:?}");
    eventually(&client, format!("SELECT NOT ({asleep})")).await;
    assert_eq!(value(&pool, "select 1", NONE).await, json!(1));
}

/// Passes everything on to a port, until the first connection is cut. The server isn't told.
async fn cutting_proxy(to: u16, cut: Arc<Notify>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut first = Some(cut);
        while let Ok((mut client, _)) = listener.accept().await {
            let cut = first.take();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let cut = async {
                    match cut {
                        Some(cut) => cut.notified().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    () = cut => drop(client),
                }
                std::future::pending::<()>().await;
                drop(server);
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_was_restarted_answers_the_next_statement() {
    let mut server = Server::start().unwrap();
    let database = server.database().unwrap();
    let pool = pool(&database.url());
    execute(&pool, "create table t (a int)", NONE).await.unwrap();
    let several = || async {
        let ask = || value(&pool, "select 1 from pg_sleep(0.2)", NONE);
        futures_util::future::join4(ask(), ask(), ask(), ask()).await;
    };
    several().await;
    server.stop().unwrap();
    let refused = query(&pool, "select 1", NONE).await.unwrap_err();
    assert_eq!(refused.to_string(), "the database can't be reached");
    assert!(matches!(refused, Error::Failed { is_transient: true, .. }));
    server.start_again().unwrap();
    assert_eq!(execute(&pool, "insert into t values (1)", NONE).await.unwrap(), 1);
    several().await;
    server.stop().unwrap();
    server.start_again().unwrap();
    assert_eq!(execute(&pool, "insert into t values (1)", NONE).await.unwrap(), 1);
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(2));
    // All at once, as an operator does who wants them gone.
    let client = database.connect().await.unwrap();
    several().await;
    client.batch_execute(&format!("SELECT pg_terminate_backend(pid) {ANYTHING_OF_OURS}")).await.unwrap();
    several().await;
}

#[tokio::test]
async fn a_change_in_the_middle_of_which_the_server_stops_is_not_done_again() {
    let mut server = Server::start().unwrap();
    let database = server.database().unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let pool = pool_with(&database.url(), |config| config.timeout_ms = LONG_MS);
    let sql = "insert into t select 1 from pg_sleep($1)";
    assert_eq!(execute(&pool, sql, &json!([0])).await.unwrap(), 1);
    let late = json!([3_600]);
    let restart = async {
        eventually(&client, format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')")).await;
        server.stop().unwrap();
        server.start_again().unwrap();
    };
    let (failed, ()) = tokio::time::timeout(PATIENCE, join(execute(&pool, sql, &late), restart)).await.unwrap();
    assert!(matches!(failed, Err(Error::Failed { is_transient: true, .. })), "{failed:?}");
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(1));
}

#[tokio::test]
async fn a_change_whose_session_is_terminated_is_not_done_again() {
    let database = database();
    let client = database.connect().await.unwrap();
    // What was drawn from a sequence is not put back with the rest.
    client.batch_execute("CREATE SEQUENCE runs; CREATE TABLE t (run int8, slept text)").await.unwrap();
    let pool = pool_with(&database.url(), |config| config.timeout_ms = LONG_MS);
    let sql = "insert into t select nextval('runs'), pg_sleep($1)::text";
    assert_eq!(execute(&pool, sql, &json!([0])).await.unwrap(), 1);
    let late = json!([3_600]);
    let terminate = async {
        eventually(&client, format!("SELECT EXISTS (SELECT {ANYTHING_OF_OURS} AND wait_event = 'PgSleep')")).await;
        client.batch_execute(&format!("SELECT pg_terminate_backend(pid) {ANYTHING_OF_OURS}")).await.unwrap();
    };
    let (failed, ()) = tokio::time::timeout(PATIENCE, join(execute(&pool, sql, &late), terminate)).await.unwrap();
    assert!(matches!(&failed, Err(Error::Failed { is_transient: true, .. })), "{failed:?}");
    assert!(told(failed).contains("57P01"));
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(1));
    assert_eq!(value(&pool, "select last_value from runs", NONE).await, json!(2));
}
