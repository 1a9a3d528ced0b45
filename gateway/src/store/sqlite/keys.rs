//! API keys.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::column::{Id, Json, Micros, Word};
use super::{Durability, SqliteStore, audit};
use crate::model::{AuditEntry, Key, KeyId};
use crate::store::{Error, KeyDeleted, KeyInserted, Keys};

const INSERT: &str = "\
    INSERT INTO keys (id, prefix, hash, name, role, created_at, expires_at, last_used_at, modules, jobs)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM keys)";

const COUNT: &str = "SELECT count(*) FROM keys";

const ALL: &str = "\
    SELECT id, prefix, hash, name, role, created_at, expires_at, last_used_at, modules, jobs FROM keys ORDER BY id";

/// Whether the key is a permanent admin's, and how many such keys there are.
const PERMANENT_ADMINS: &str = "\
    SELECT role = 'admin' AND expires_at IS NULL,
           (SELECT count(*) FROM keys WHERE role = 'admin' AND expires_at IS NULL)
    FROM keys WHERE id = ?1";

const DELETE: &str = "DELETE FROM keys WHERE id = ?1";

const USED: &str = "UPDATE keys SET last_used_at = ?2 WHERE id = ?1 AND coalesce(last_used_at, ?2 - 1) < ?2";

#[async_trait]
impl Keys for SqliteStore {
    async fn insert_first_key(&self, key: &Key, entry: &AuditEntry) -> Result<bool, Error> {
        let (key, entry) = (key.clone(), entry.clone());
        self.write("storing the first key", Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(ANY)?.query_row([], |row| row.get(0))? {
                return Ok(false);
            }
            insert(tx, &key)?;
            audit::append(tx, &entry)?;
            Ok(true)
        })
        .await
    }

    async fn insert_key(&self, key: &Key, keys_max: u32, entry: &AuditEntry) -> Result<KeyInserted, Error> {
        let (key, entry) = (key.clone(), entry.clone());
        self.write("storing a key", Durability::PowerLoss, move |tx| {
            let count: i64 = tx.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
            if count >= i64::from(keys_max) {
                return Ok(KeyInserted::Full);
            }
            insert(tx, &key)?;
            audit::append(tx, &entry)?;
            Ok(KeyInserted::Inserted)
        })
        .await
    }

    async fn all_keys(&self) -> Result<Vec<Key>, Error> {
        self.read_unhurried("reading the keys", |tx| tx.prepare_cached(ALL)?.query_map([], key)?.collect()).await
    }

    async fn delete_key(&self, id: KeyId, entry: &AuditEntry) -> Result<KeyDeleted, Error> {
        let entry = entry.clone();
        self.write("deleting a key", Durability::PowerLoss, move |tx| {
            let found = tx
                .prepare_cached(PERMANENT_ADMINS)?
                .query_row([Id(id)], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?)))
                .optional()?;
            match found {
                None => return Ok(KeyDeleted::NotFound),
                Some((true, ..=1)) => return Ok(KeyDeleted::LastAdmin),
                Some(_) => {}
            }
            tx.prepare_cached(DELETE)?.execute([Id(id)])?;
            audit::append(tx, &entry)?;
            Ok(KeyDeleted::Deleted)
        })
        .await
    }

    async fn record_key_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), Error> {
        let uses = uses.to_vec();
        self.write("storing the use of keys", Durability::ProcessDeath, move |tx| {
            let mut statement = tx.prepare_cached(USED)?;
            uses.into_iter().try_for_each(|(id, at)| statement.execute(params![Id(id), Micros(at)]).map(|_| ()))
        })
        .await
    }
}

fn insert(tx: &Transaction<'_>, key: &Key) -> rusqlite::Result<()> {
    tx.prepare_cached(INSERT)?.execute(params![
        Id(key.id),
        key.prefix,
        key.hash,
        key.name,
        key.role.as_str(),
        Micros(key.created_at),
        key.expires_at.map(Micros),
        key.last_used_at.map(Micros),
        key.modules.as_ref().map(Json),
        key.jobs.as_ref().map(Json),
    ])?;
    Ok(())
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let time = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<Micros>>(index)?.map(|micros| micros.0)) };
    let globs = |index| -> rusqlite::Result<_> { Ok(row.get::<_, Option<Json<_>>>(index)?.map(|json| json.0)) };
    Ok(Key {
        id: row.get::<_, Id<_>>(0)?.0,
        prefix: row.get(1)?,
        hash: row.get(2)?,
        name: row.get(3)?,
        role: row.get::<_, Word<_>>(4)?.0,
        created_at: row.get::<_, Micros>(5)?.0,
        expires_at: time(6)?,
        last_used_at: time(7)?,
        modules: globs(8)?,
        jobs: globs(9)?,
    })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [INSERT, ANY, COUNT, ALL, PERMANENT_ADMINS, DELETE, USED].map(str::to_owned).to_vec()
}
