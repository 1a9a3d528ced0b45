//! Whose an answer is, whatever a server says and however many ask.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// By which a server is ready, with no transaction open.
const READY: &[u8] = b"Z\0\0\0\x05I";

#[tokio::test]
async fn what_a_server_says_behind_an_answer_is_not_taken_for_the_next() {
    let database = database();
    let proxy = AddingProxy::start(database.port()).await;
    let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{}/", proxy.port));
    // The whole answer to a query of one integer.
    let of_666 = [
        &b"2\0\0\0\x04C\0\0\0\x0aBEGIN\0"[..],
        b"2\0\0\0\x04D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\x02\x9aC\0\0\0\x0dSELECT 1\0",
        b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0dROLLBACK\0",
        READY,
    ]
    .concat();
    let notice = b"N\0\0\0\x0bMhello\0\0".as_slice();
    for behind in [of_666.as_slice(), READY, &notice[..7], &[notice, READY].concat(), notice] {
        let pool = pool_with(&url, |config| config.pool = 1);
        let (mut one, sql) = (Caller::new(), "select $1::int as n");
        let first = query_by(&mut one, &pool, sql, &json!([1])).await.unwrap();
        assert_eq!(first, json!([{"n": 1}]));
        *proxy.behind.lock().unwrap() = behind.to_vec();
        assert_eq!(query_by(&mut one, &pool, sql, &json!([2])).await.unwrap(), json!([{"n": 2}]));
        assert!(proxy.behind.lock().unwrap().is_empty(), "it was not said");
        // By who had it, and by another.
        assert_eq!(query_by(&mut one, &pool, sql, &json!([3])).await.unwrap(), json!([{"n": 3}]), "{behind:?}");
        *proxy.behind.lock().unwrap() = behind.to_vec();
        assert_eq!(query_by(&mut one, &pool, sql, &json!([4])).await.unwrap(), json!([{"n": 4}]));
        assert_eq!(query(&pool, sql, &json!([5])).await.unwrap(), json!([{"n": 5}]), "{behind:?}");
    }
}

/// Passes everything on to a port, and says more behind the next answer, once.
struct AddingProxy {
    port: u16,
    behind: Arc<Mutex<Vec<u8>>>,
}

impl AddingProxy {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), behind: Arc::default() };
        let behind = Arc::clone(&proxy.behind);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let behind = Arc::clone(&behind);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                        let mut said = bytes[..length].to_vec();
                        if said.ends_with(READY) {
                            said.append(&mut behind.lock().unwrap());
                        }
                        if to_client.write_all(&said).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        proxy
    }
}

/// On several threads, as in a gateway: a flight and the driver of its connection run beside each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_has_an_answer_and_nobody_anothers() {
    const CALLERS: u64 = 12;
    const STATEMENTS: u64 = 60;
    let database = database();
    database.connect().await.unwrap().batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let pool = Arc::new(pool_with(&database.url(), |config| config.pool = 3));
    let ask = |number: u64| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let mut caller = Caller::new();
            for turn in 0..STATEMENTS {
                let n = number * STATEMENTS + turn;
                let own = json!([n]);
                match n % 6 {
                    0 => caller = Caller::new(),
                    1 => assert_eq!(execute(&pool, "insert into t values ($1)", &own).await.unwrap(), 1),
                    2 => assert!(query_by(&mut caller, &pool, "select 1 / ($1::int - $1)", &own).await.is_err()),
                    3 => {
                        let left = query_by(&mut caller, &pool, "select $1::int as n from pg_sleep(0.001)", &own);
                        let _ = tokio::time::timeout(Duration::from_micros(n * 7 % 1_500), left).await;
                    }
                    _ => {
                        let rows = query_by(&mut caller, &pool, "select $1::int as n", &own).await.unwrap();
                        assert_eq!(rows, json!([{"n": n}]));
                    }
                }
            }
        })
    };
    for asked in join_all((0..CALLERS).map(ask)).await {
        asked.unwrap();
    }
    assert_eq!(value(&pool, "select count(*) from t", NONE).await, json!(CALLERS * STATEMENTS / 6));
}
