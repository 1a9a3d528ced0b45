//! Deleting what is old.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, params};

use super::column::{Count, Micros, ceiling_micros};
use super::{Durability, SqliteStore};
use crate::model::ExecutionId;
use crate::store::{Error, Retention};

const COUNT_EXECUTIONS: &str = "SELECT count(*) FROM executions";

const START_AFTER: &str = "\
    SELECT started_at FROM executions WHERE status <> 'running' ORDER BY id LIMIT 1 OFFSET ?1";

/// An id begins with the time of the start.
const DELETE_EXECUTIONS: &str = "\
    DELETE FROM executions WHERE id IN (
        SELECT id FROM executions WHERE id < ?1 AND status <> 'running' ORDER BY id LIMIT ?2)";

const DELETE_DENIALS: &str = "\
    DELETE FROM denials WHERE (module, permission, digest) IN (
        SELECT module, permission, digest FROM denials WHERE last_at < ?1 ORDER BY last_at LIMIT ?2)";

const DELETE_AUDIT: &str =
    "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY at, id LIMIT ?2)";

#[async_trait]
impl Retention for SqliteStore {
    async fn count_executions(&self) -> Result<u64, Error> {
        self.read_unhurried("counting executions", |tx| {
            tx.prepare_cached(COUNT_EXECUTIONS)?.query_row([], |row| Ok(row.get::<_, Count>(0)?.0))
        })
        .await
    }

    async fn start_after_oldest(&self, count: u64) -> Result<Option<Timestamp>, Error> {
        self.read_unhurried("looking for the oldest execution that stays", move |tx| {
            let found = tx.prepare_cached(START_AFTER)?.query_row([Count(count)], |row| row.get::<_, Micros>(0));
            Ok(found.optional()?.map(|micros| micros.0))
        })
        .await
    }

    async fn delete_oldest_executions(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let first = Value::Blob(ExecutionId::first_bytes_from(before).to_vec());
        self.delete_oldest("sweeping executions", DELETE_EXECUTIONS, first, limit).await
    }

    async fn delete_oldest_denials(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let before = Value::Integer(ceiling_micros(before));
        self.delete_oldest("sweeping denials", DELETE_DENIALS, before, limit).await
    }

    async fn delete_oldest_audit(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.delete_oldest("sweeping the audit", DELETE_AUDIT, Value::Integer(ceiling_micros(before)), limit).await
    }
}

impl SqliteStore {
    async fn delete_oldest(
        &self,
        context: &'static str,
        sql: &'static str,
        before: Value,
        limit: u32,
    ) -> Result<u64, Error> {
        // What is swept twice after a power failure is no loss.
        self.write(context, Durability::ProcessDeath, move |tx| {
            let deleted = tx.prepare_cached(sql)?.execute(params![before, limit])?;
            Ok(deleted as u64)
        })
        .await
    }
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [COUNT_EXECUTIONS, START_AFTER, DELETE_EXECUTIONS, DELETE_DENIALS, DELETE_AUDIT].map(str::to_owned).to_vec()
}
