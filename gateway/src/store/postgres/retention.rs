//! Deleting what is old.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PostgresStore;
use super::column::{ceiling_micros, count, count_of, micros};
use super::connect::Lane;
use crate::model::ExecutionId;
use crate::store::{Error, Retention};

const COUNT_EXECUTIONS: &str = "SELECT count(*) FROM executions";

const START_AFTER: &str = "\
    SELECT started_at FROM executions WHERE status <> 'running' ORDER BY id LIMIT 1 OFFSET $1";

/// An id begins with the time of the start. Nothing that another gateway sweeps is skipped: two that
/// counted the same excess choose the same rows, and the later one finds them gone.
const DELETE_EXECUTIONS: &str = "\
    DELETE FROM executions WHERE id = ANY (ARRAY(
        SELECT id FROM executions WHERE id < $1 AND status <> 'running' ORDER BY id LIMIT $2))";

const DELETE_DENIALS: &str = "\
    DELETE FROM denials AS d
    USING (SELECT module, permission, digest FROM denials WHERE last_at < $1 ORDER BY last_at LIMIT $2) AS old
    WHERE d.module = old.module AND d.permission = old.permission AND d.digest = old.digest AND d.last_at < $1";

const DELETE_AUDIT: &str =
    "DELETE FROM audit WHERE id = ANY (ARRAY(SELECT id FROM audit WHERE at < $1 ORDER BY at, id LIMIT $2))";

#[async_trait]
impl Retention for PostgresStore {
    async fn count_executions(&self) -> Result<u64, Error> {
        self.read("counting executions", |tx| {
            Box::pin(async move { count(&tx.query_one(COUNT_EXECUTIONS, &[]).await?, 0) })
        })
        .await
    }

    async fn start_after_oldest(&self, going: u64) -> Result<Option<Timestamp>, Error> {
        self.read("looking for the oldest execution that stays", move |tx| {
            Box::pin(async move {
                let found = tx.query_opt(START_AFTER, &[&count_of(going)]).await?;
                found.map(|row| micros(&row, 0)).transpose()
            })
        })
        .await
    }

    async fn delete_oldest_executions(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let first = Uuid::from_bytes(ExecutionId::first_bytes_from(before));
        self.delete_oldest("sweeping executions", DELETE_EXECUTIONS, first, limit).await
    }

    async fn delete_oldest_denials(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.delete_oldest("sweeping denials", DELETE_DENIALS, ceiling_micros(before), limit).await
    }

    async fn delete_oldest_audit(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.delete_oldest("sweeping the audit", DELETE_AUDIT, ceiling_micros(before), limit).await
    }
}

impl PostgresStore {
    async fn delete_oldest(
        &self,
        context: &'static str,
        sql: &'static str,
        before: impl ToSql + Sync + Send + 'static,
        limit: u32,
    ) -> Result<u64, Error> {
        let limit = i64::from(limit);
        self.write(Lane::Requests, context, move |tx| {
            Box::pin(async move {
                let statement = tx.prepare_cached(sql).await?;
                Ok(tx.execute(&statement, &[&before, &limit]).await?)
            })
        })
        .await
    }
}

/// Every statement that can be prepared here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [COUNT_EXECUTIONS, START_AFTER, DELETE_EXECUTIONS, DELETE_DENIALS, DELETE_AUDIT].map(str::to_owned).to_vec()
}
