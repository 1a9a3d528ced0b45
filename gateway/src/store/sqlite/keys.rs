//! API keys.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::column::{Micros, Word};
use super::{Durability, SqliteStore};
use crate::model::Key;
use crate::store::{Error, Keys};

const INSERT_FIRST: &str = "\
    INSERT INTO keys (prefix, hash, name, role, created_at)
    SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM keys)";

const ALL: &str = "SELECT prefix, hash, name, role FROM keys ORDER BY prefix";

#[async_trait]
impl Keys for SqliteStore {
    async fn insert_first_key(&self, key: &Key) -> Result<bool, Error> {
        let (key, now) = (key.clone(), self.clock.now());
        self.write("storing the first key", Durability::PowerLoss, move |tx| {
            let values = params![key.prefix, key.hash, key.name, key.role.as_str(), Micros(now)];
            Ok(tx.prepare_cached(INSERT_FIRST)?.execute(values)? > 0)
        })
        .await
    }

    async fn all_keys(&self) -> Result<Vec<Key>, Error> {
        self.read("reading the keys", |tx| tx.prepare_cached(ALL)?.query_map([], key)?.collect()).await
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key { prefix: row.get(0)?, hash: row.get(1)?, name: row.get(2)?, role: row.get::<_, Word<_>>(3)?.0 })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [INSERT_FIRST, ALL].map(str::to_owned).to_vec()
}
