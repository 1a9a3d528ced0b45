//! What one call from a guest into the host costs.
//!
//! The slope between an execution with one host call and one with many, so the instance is not in it; the
//! guest's own loop is a few instructions. `db.query` and `http.send` are measured in turns with the same done
//! natively, through deadpool with a prepared statement and by a pooled hyper client; the goal for both is 1.2 times
//! that. A filter on the command line is for criterion's part; the turns are left out with one.

#![expect(clippy::print_stdout, reason = "criterion has no place for ratios")]
#![expect(clippy::cast_precision_loss, reason = "counts of calls stay far below 2^52")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use local_servers::postgres::{Database, Server};
use serde_json::json;
use sluice::config::{self, DatabaseUrl};
use sluice::model::{JsonText, Permission, PermissionKind};
use sluice_bench::in_process::{Ending, Guest, InProcess, json as parsed};
use tokio_postgres::NoTls;

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Within the default bounds on log lines and host calls.
const MANY: u64 = 1_000;
/// Those that leave the process take long enough to be measured by fewer.
const MANY_OUTSIDE: u64 = 200;
const TURNS: usize = 51;

const SQL: &str = "select id, name, price_cents from products where id = $1";

/// Requests at once in the run that counts connections.
const AT_ONCE: usize = 64;
const REQUESTS: usize = 20_000;

fn main() -> Result<()> {
    // As the gateway has it: calls and connections are tasks, on as many threads as there are cores.
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut criterion = Criterion::default().configure_from_args();
    let server = Server::start_with(&[])?;
    let database = server.database()?;
    tokio.block_on(fill(&database))?;
    let (address, connections) = upstream()?;
    let runtime = Box::new(tokio.block_on(InProcess::open(|config| {
        config.egress.allow_private = vec![address.ip().into()];
        // The password in it is the test server's; a mistake would be the bench's.
        if let Ok(url) = DatabaseUrl::parse(&database.url(), &config.data_dir) {
            config.databases.insert("bench".to_owned(), config::Database::new(url));
        }
    }))?);
    let all = |permission| Permission { permission, resource: "**".to_owned() };
    let permissions = [PermissionKind::HttpRead, PermissionKind::DatabaseRead].map(all);
    let guest = Box::new(tokio.block_on(runtime.load_with("calls", &permissions))?);
    let mut group = criterion.benchmark_group("host call");
    for call in ["log.write", "context.get", "context.set", "context.current"] {
        from_guest(&mut group, &tokio, &runtime, &guest, Called { call, url: "", many: MANY })?;
    }
    group.finish();
    criterion.final_summary();
    // Neither `cargo test` nor who asks for one figure waits for the others.
    if std::env::args().skip(1).eq(["--bench".to_owned()]) {
        let url = format!("http://{address}/price");
        let (runtime, guest): (&'static InProcess, &'static Guest) = (Box::leak(runtime), Box::leak(guest));
        let natives = tokio.block_on(async {
            anyhow::Ok([Native::Query(pool(&database)?), Native::Ask(Box::new(client()), url.parse()?)])
        })?;
        let url: &'static str = url.leak();
        for native in natives {
            tokio.block_on(tokio.spawn(in_turns(runtime, guest, url, native)))??;
        }
        tokio.block_on(tokio.spawn(at_once(runtime, guest, url)))??;
        report(connections.load(std::sync::atomic::Ordering::Relaxed));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Called<'a> {
    call: &'static str,
    url: &'a str,
    many: u64,
}

impl Called<'_> {
    fn input(self, count: u64) -> Result<JsonText> {
        parsed(&json!({"call": self.call, "count": count, "url": self.url, "sql": SQL}).to_string())
    }
}

fn from_guest(
    group: &mut BenchmarkGroup<'_, WallTime>,
    tokio: &tokio::runtime::Runtime,
    runtime: &InProcess,
    guest: &Guest,
    called: Called<'_>,
) -> Result<()> {
    let (one, many) = (called.input(1)?, called.input(called.many)?);
    tokio.block_on(runtime.check(guest, &many, Ending::Completed))?;
    group.bench_function(called.call, |bencher| {
        bencher.to_async(tokio).iter_custom(|calls| slope(runtime, guest, (&one, &many, called.many), calls));
    });
    Ok(())
}

/// The same done by a program of ours.
enum Native {
    Query(Pool),
    Ask(Box<Client<HttpConnector, Empty<Bytes>>>, http::Uri),
}

impl Native {
    const fn call(&self) -> &'static str {
        match self {
            Self::Query(_) => "db.query",
            Self::Ask(..) => "http.send",
        }
    }

    async fn run(&self) -> Result<()> {
        match self {
            Self::Query(pool) => query(pool).await,
            Self::Ask(client, uri) => ask(client, uri.clone()).await,
        }
    }
}

/// Calls from a guest and the same natively, in turns, so that a change of the machine's speed meets both.
async fn in_turns(runtime: &InProcess, guest: &Guest, url: &str, native: Native) -> Result<()> {
    let called = Called { call: native.call(), url, many: MANY_OUTSIDE };
    let (one, many) = (called.input(1)?, called.input(called.many)?);
    runtime.check(guest, &many, Ending::Completed).await?;
    let calls = called.many - 1;
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let from_guest = slope(runtime, guest, (&one, &many, called.many), calls).await;
        let started = Instant::now();
        for _ in 0..calls {
            native.run().await?;
        }
        let natively = started.elapsed();
        turns.push((from_guest.div_duration_f64(natively), from_guest, natively));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let turn = |place: usize| turns.get(place).copied().context("there are turns");
    let ((least, ..), (median, ours, theirs), (most, ..)) = (turn(0)?, turn(TURNS / 2)?, turn(TURNS - 1)?);
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
    println!(
        "{}: {:.1} µs, natively {:.1} µs, ratio {median:.3} ({least:.3}-{most:.3}), goal 1.2",
        called.call,
        micros(ours),
        micros(theirs)
    );
    Ok(())
}

fn pool(database: &Database) -> Result<Pool> {
    let config: tokio_postgres::Config = database.url().parse()?;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Ok(Pool::builder(manager).max_size(10).build()?)
}

async fn query(pool: &Pool) -> Result<()> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(SQL).await?;
    let row = client.query_one(&statement, &[&7_i32]).await?;
    black_box::<(i32, &str, i64)>((row.try_get("id")?, row.try_get("name")?, row.try_get("price_cents")?));
    Ok(())
}

fn client() -> Client<HttpConnector, Empty<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, uri: http::Uri) -> Result<()> {
    let answer = client.get(uri).await?;
    black_box(answer.into_body().collect().await?);
    Ok(())
}

async fn fill(database: &Database) -> Result<()> {
    let client = database.connect().await?;
    let sql = "create table products (id int primary key, name text, price_cents bigint);
        insert into products select n, 'product ' || n, n * 10 from generate_series(1, 1000) n; analyze products";
    client.batch_execute(sql).await.context("the table can't be made")
}

/// A server on a thread of its own, that the client doesn't share a runtime with.
fn upstream() -> Result<(SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let connections = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&connections);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                stream.set_nodelay(true)?;
                tokio::spawn(sluice_bench::native::serve_prices(stream));
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            anyhow::Ok(())
        })
    });
    Ok((address, connections))
}

/// Many executions that each send, as fast as they can.
async fn at_once(runtime: &InProcess, guest: &Guest, url: &str) -> Result<()> {
    let each = REQUESTS / AT_ONCE;
    let input = Called { call: "http.send", url, many: 0 }.input(each as u64)?;
    let started = Instant::now();
    let calls = (0..AT_ONCE).map(|_| runtime.check(guest, &input, Ending::Completed));
    futures_util::future::try_join_all(calls).await?;
    tell(each * AT_ONCE, started.elapsed());
    Ok(())
}

fn tell(requests: usize, elapsed: Duration) {
    let per_second = requests as f64 / elapsed.as_secs_f64();
    println!("{requests} requests from {AT_ONCE} executions at once: {per_second:.0} a second");
}

fn report(connections: usize) {
    println!("{connections} connections for all that was measured, the native client's included");
}

/// The time of `calls` host calls, from as many pairs of executions as make that many.
async fn slope(
    runtime: &InProcess,
    guest: &Guest,
    (one, many, count): (&JsonText, &JsonText, u64),
    calls: u64,
) -> Duration {
    let each = count - 1;
    let pairs = calls.div_ceil(each);
    let (mut short, mut long) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..pairs {
        short += timed(runtime, guest, one).await;
        long += timed(runtime, guest, many).await;
    }
    long.saturating_sub(short).mul_f64(calls as f64 / (pairs * each) as f64)
}

async fn timed(runtime: &InProcess, guest: &Guest, input: &JsonText) -> Duration {
    let started = Instant::now();
    let execution = black_box(runtime.call(guest, input).await);
    let elapsed = started.elapsed();
    drop(execution);
    elapsed
}
