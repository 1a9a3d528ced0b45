//! API keys.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::column::{hash, json_of, json_or_none, micros, micros_or_none, word};
use super::connect::{Failure, Lane};
use super::{PostgresStore, audit};
use crate::model::{AuditEntry, Key, KeyId};
use crate::store::{Error, KeyDeleted, KeyInserted, Keys};

/// For what looks at all keys before it changes one: without it, two gateways that start together
/// would both find that there is none, and two admins could delete each other. It ends with the
/// transaction, and no reader waits for it.
const LOCK: &str = "LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE";

const INSERT: &str = "\
    INSERT INTO keys (id, prefix, hash, name, role, created_at, expires_at, last_used_at, modules, jobs)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM keys)";

const COUNT: &str = "SELECT count(*) FROM keys";

const ALL: &str = "\
    SELECT id, prefix, hash, name, role, created_at, expires_at, last_used_at, modules, jobs FROM keys ORDER BY id";

/// Whether the key is a permanent admin's, and how many such keys there are.
const PERMANENT_ADMINS: &str = "\
    SELECT role = 'admin' AND expires_at IS NULL,
           (SELECT count(*) FROM keys WHERE role = 'admin' AND expires_at IS NULL)
    FROM keys WHERE id = $1";

const DELETE: &str = "DELETE FROM keys WHERE id = $1";

/// What the update needs of the table, before the rows: who deletes a key takes them in this order, and the
/// other one would be a deadlock.
const LOCK_TO_UPDATE: &str = "LOCK TABLE keys IN ROW EXCLUSIVE MODE";

/// In the order of their ids, so that two gateways can't wait for each other.
const LOCK_USED: &str = "SELECT FROM keys WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE";

const USED: &str = "\
    UPDATE keys AS k SET last_used_at = used.at
    FROM (SELECT id, max(at) AS at FROM unnest($1::uuid[], $2::bigint[]) AS u (id, at) GROUP BY id) AS used
    WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)";

#[async_trait]
impl Keys for PostgresStore {
    async fn insert_first_key(&self, key: &Key, entry: &AuditEntry) -> Result<bool, Error> {
        let (key, entry) = (key.clone(), entry.clone());
        self.write(Lane::Requests, "storing the first key", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK).await?;
                if tx.query_one(ANY, &[]).await?.try_get(0)? {
                    return Ok(false);
                }
                insert(tx, &key).await?;
                audit::append(tx, &entry).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn insert_key(&self, key: &Key, keys_max: u32, entry: &AuditEntry) -> Result<KeyInserted, Error> {
        let (key, entry) = (key.clone(), entry.clone());
        self.write(Lane::Requests, "storing a key", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK).await?;
                if tx.query_one(COUNT, &[]).await?.try_get::<_, i64>(0)? >= i64::from(keys_max) {
                    return Ok(KeyInserted::Full);
                }
                insert(tx, &key).await?;
                audit::append(tx, &entry).await?;
                Ok(KeyInserted::Inserted)
            })
        })
        .await
    }

    async fn all_keys(&self) -> Result<Vec<Key>, Error> {
        self.read("reading the keys", |tx| Box::pin(async move { tx.query(ALL, &[]).await?.iter().map(key).collect() }))
            .await
    }

    async fn delete_key(&self, id: KeyId, entry: &AuditEntry) -> Result<KeyDeleted, Error> {
        let entry = entry.clone();
        self.write(Lane::Requests, "deleting a key", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK).await?;
                let Some(found) = tx.query_opt(PERMANENT_ADMINS, &[id.as_uuid()]).await? else {
                    return Ok(KeyDeleted::NotFound);
                };
                if found.try_get::<_, bool>(0)? && found.try_get::<_, i64>(1)? <= 1 {
                    return Ok(KeyDeleted::LastAdmin);
                }
                tx.execute(DELETE, &[id.as_uuid()]).await?;
                audit::append(tx, &entry).await?;
                Ok(KeyDeleted::Deleted)
            })
        })
        .await
    }

    async fn record_key_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), Error> {
        let (ids, times): (Vec<Uuid>, Vec<i64>) =
            uses.iter().map(|(id, at)| (*id.as_uuid(), at.as_microsecond())).unzip();
        self.write(Lane::Requests, "storing the use of keys", move |tx| {
            Box::pin(async move {
                tx.batch_execute(LOCK_TO_UPDATE).await?;
                tx.execute(LOCK_USED, &[&ids]).await?;
                tx.execute(USED, &[&ids, &times]).await?;
                Ok(())
            })
        })
        .await
    }
}

async fn insert(tx: &Transaction<'_>, key: &Key) -> Result<(), Failure> {
    let values: [&(dyn ToSql + Sync); 10] = [
        key.id.as_uuid(),
        &key.prefix,
        &key.hash.as_slice(),
        &key.name,
        &key.role.as_str(),
        &key.created_at.as_microsecond(),
        &key.expires_at.map(Timestamp::as_microsecond),
        &key.last_used_at.map(Timestamp::as_microsecond),
        &key.modules.as_ref().map(json_of).transpose()?,
        &key.jobs.as_ref().map(json_of).transpose()?,
    ];
    tx.execute(INSERT, &values).await?;
    Ok(())
}

fn key(row: &Row) -> Result<Key, Failure> {
    Ok(Key {
        id: KeyId::from_uuid(row.try_get(0)?),
        prefix: row.try_get(1)?,
        hash: hash(row, 2)?,
        name: row.try_get(3)?,
        role: word(row, 4)?,
        created_at: micros(row, 5)?,
        expires_at: micros_or_none(row, 6)?,
        last_used_at: micros_or_none(row, 7)?,
        modules: json_or_none(row, 8)?,
        jobs: json_or_none(row, 9)?,
    })
}

/// Every statement that can be prepared here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [INSERT, ANY, COUNT, ALL, PERMANENT_ADMINS, DELETE, LOCK_USED, USED].map(str::to_owned).to_vec()
}
