//! API keys.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::column::{hash, word};
use super::connect::{Failure, Lane};
use crate::model::Key;
use crate::store::{Error, Keys};

/// The first key of all gateways: without the lock, two that start together would
/// both find that there is none. It ends with the transaction.
const LOCK: &str = "LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE";

const INSERT_FIRST: &str = "\
    INSERT INTO keys (prefix, hash, name, role, created_at)
    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM keys)";

const ALL: &str = "SELECT prefix, hash, name, role FROM keys ORDER BY prefix";

#[async_trait]
impl Keys for PostgresStore {
    async fn insert_first_key(&self, key: &Key) -> Result<bool, Error> {
        let (key, now) = (key.clone(), self.clock.now().as_microsecond());
        self.write(Lane::Requests, "storing the first key", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK).await?;
                let statement = tx.prepare_cached(INSERT_FIRST).await?;
                let (hash, role) = (key.hash.as_slice(), key.role.as_str());
                Ok(tx.execute(&statement, &[&key.prefix, &hash, &key.name, &role, &now]).await? > 0)
            })
        })
        .await
    }

    async fn all_keys(&self) -> Result<Vec<Key>, Error> {
        self.read("reading the keys", |tx| Box::pin(async move { tx.query(ALL, &[]).await?.iter().map(key).collect() }))
            .await
    }
}

fn key(row: &Row) -> Result<Key, Failure> {
    Ok(Key { prefix: row.try_get(0)?, hash: hash(row, 1)?, name: row.try_get(2)?, role: word(row, 3)? })
}

/// Every statement that can be prepared here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [INSERT_FIRST, ALL].map(str::to_owned).to_vec()
}
