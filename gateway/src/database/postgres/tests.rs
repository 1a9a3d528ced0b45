use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use local_servers::postgres::{Database, Server, database};

mod answers;
mod endings;
mod guards;
mod owed;
mod values;

const BOUNDS: Bounds = Bounds { rows_max: 10_000, bytes_max: 1024 * 1024 };

const ANYTHING_OF_OURS: &str =
    "FROM pg_stat_activity WHERE application_name = 'sluice' AND datname = current_database()";

/// No parameters.
const NONE: &Value = &Value::Array(Vec::new());

/// What a statement may wait for that a busy machine does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Here nothing ends a statement from outside, as an execution's deadline does. One that isn't answered after all of its
/// server's timeouts never is.
const NEVER: Duration = Duration::from_secs(90);

fn pool(url: &str) -> Pool {
    pool_with(url, |_| {})
}

fn pool_with(url: &str, change: impl FnOnce(&mut config::Database)) -> Pool {
    let url = config::PostgresUrl::parse(url).unwrap();
    let mut config = config::Database::new(config::DatabaseUrl::Postgres(Box::new(url.clone())));
    config.bytes_max = BOUNDS.bytes_max;
    change(&mut config);
    Pool::open(&url, &config).unwrap()
}

/// A pool of one connection: whoever is next has the same.
fn pool_of_one(database: &Database) -> Pool {
    pool_with(&database.url(), |config| config.pool = 1)
}

/// As an execution of its own.
async fn query(pool: &Pool, sql: &str, params: &Value) -> Result<Value, Error> {
    query_by(&mut Caller::new(), pool, sql, params).await
}

async fn query_by(caller: &mut Caller, pool: &Pool, sql: &str, params: &Value) -> Result<Value, Error> {
    let params = params.to_string();
    let asking = Box::pin(pool.query(Statement { sql, params: &params }, BOUNDS, caller));
    let answer = answered(sql, asking).await?;
    Ok(serde_json::from_str(&answer).unwrap())
}

async fn execute(pool: &Pool, sql: &str, params: &Value) -> Result<u64, Error> {
    let params = params.to_string();
    let mut caller = Caller::new();
    answered(sql, Box::pin(pool.execute(Statement { sql, params: &params }, &mut caller))).await
}

async fn answered<T>(sql: &str, statement: impl Future<Output = T>) -> T {
    tokio::time::timeout(NEVER, statement).await.unwrap_or_else(|_| panic!("no answer to {sql}"))
}

/// The one value of the one row.
async fn value(pool: &Pool, sql: &str, params: &Value) -> Value {
    let rows = query(pool, sql, params).await.unwrap_or_else(|error| panic!("{sql} {params}: {error:?}"));
    rows[0].as_object().unwrap().values().next().unwrap().clone()
}

/// What a step is told of a failure.
fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

/// Asks until the answer is what is waited for.
async fn eventually(client: &tokio_postgres::Client, sql: String) {
    let started = Instant::now();
    while !client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(started.elapsed() < PATIENCE, "still not: {sql}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
