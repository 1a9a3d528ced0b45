//! What `db.query` of one row costs on PostgreSQL, beside the same query through deadpool.
//!
//! Goal: 1.2 times as much at most. The two take turns, so that both see the same machine.
#![expect(clippy::unwrap_used, reason = "a query that fails ends the bench")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use criterion::Criterion;
use sluice::config::{Database, DatabaseUrl};
use sluice::database::{Databases, Statement};
use tokio::runtime::Runtime;

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLE: &str = "CREATE TABLE orders (id int PRIMARY KEY, name text, total numeric, at timestamptz);
    INSERT INTO orders SELECT n, 'order ' || n, n / 7.0, now() FROM generate_series(1, 1000) AS n;
    ANALYZE orders";
const SQL: &str = "select id, name, total::text, at from orders where id = $1";

/// Turns of each, of so many queries.
const TURNS: u32 = 40;
const QUERIES: u32 = 100;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let tokio = Runtime::new()?;
    let server = local_servers::postgres::Server::start_with(&[])?;
    let database = server.database()?;
    tokio.block_on(async { database.connect().await?.batch_execute(TABLE).await })?;

    let url = DatabaseUrl::parse(&database.url(), std::path::Path::new(".")).map_err(anyhow::Error::msg)?;
    let ours = Databases::open(&BTreeMap::from([("orders".to_owned(), Database::new(url))]))?;
    let manager = deadpool_postgres::Manager::new(database.url().parse()?, tokio_postgres::NoTls);
    let native = deadpool_postgres::Pool::builder(manager).max_size(10).build()?;

    criterion.bench_function("database/postgres/query", |bencher| {
        bencher.to_async(&tokio).iter(async || query(&ours).await.unwrap());
    });
    criterion.bench_function("database/postgres/native", |bencher| {
        bencher.to_async(&tokio).iter(async || query_natively(&native).await.unwrap());
    });
    criterion.final_summary();
    let (mut queried, mut natively) = (Vec::new(), Vec::new());
    tokio.block_on(tokio.spawn(async move {
        for _ in 0..TURNS {
            let started = Instant::now();
            for _ in 0..QUERIES {
                query(&ours).await?;
            }
            queried.push(started.elapsed());
            let started = Instant::now();
            for _ in 0..QUERIES {
                query_natively(&native).await?;
            }
            natively.push(started.elapsed());
        }
        let (queried, natively) = (median(queried)?, median(natively)?);
        let ratio = queried.as_secs_f64() / natively.as_secs_f64();
        #[expect(clippy::print_stdout, reason = "it is what was asked for")]
        {
            println!("one row: {queried:?}, natively {natively:?}, ratio {ratio:.2} (goal 1.2)");
        }
        anyhow::Ok(())
    }))?
}

async fn query(databases: &Databases) -> Result<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    Ok(databases.query("orders", Statement { sql: SQL, params: "[500]" }, deadline).await?)
}

async fn query_natively(pool: &deadpool_postgres::Pool) -> Result<i32> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(SQL).await?;
    let rows = client.query(&statement, &[&500]).await?;
    let row = rows.first().context("there is no row")?;
    let (_, _): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    Ok(row.try_get(0)?)
}

fn median(mut times: Vec<Duration>) -> Result<Duration> {
    times.sort();
    Ok(*times.get(times.len() / 2).context("nothing was measured")? / QUERIES)
}
