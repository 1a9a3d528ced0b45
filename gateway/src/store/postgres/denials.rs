//! What modules tried and may not.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PostgresStore;
use super::column::{count, count_of, micros, storable, word};
use super::connect::{Failure, Lane};
use super::page::{self, Statements};
use crate::model::{Digest, ExecutionId, ModuleId, RecordedDenial};
use crate::store::{DENIALS_OF_MODULE_MAX, DenialBatch, Denials, Error, Page, PageRequest};

/// Locked against deletion, and in one order, so that gateways take turns at a module's denials and none waits for
/// one that waits for it. Records of executions don't wait for this lock.
const MODULES: &str = "SELECT id, number FROM modules WHERE id = ANY ($1) ORDER BY number FOR NO KEY UPDATE";

const RECORD: &str = "\
    INSERT INTO denials (module, permission, digest, resource, count, first_at, last_at, execution)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::uuid[])
    ON CONFLICT (module, permission, digest) DO UPDATE SET
        count = denials.count + excluded.count,
        first_at = least(denials.first_at, excluded.first_at),
        last_at = greatest(denials.last_at, excluded.last_at),
        execution = CASE WHEN excluded.last_at >= denials.last_at THEN excluded.execution ELSE denials.execution END";

const PRUNE: &str = "\
    DELETE FROM denials AS d
    USING unnest($1::integer[]) AS m (number) CROSS JOIN LATERAL (
        SELECT permission, digest FROM denials WHERE module = m.number
        ORDER BY last_at DESC, permission DESC, digest DESC OFFSET $2) AS old
    WHERE d.module = m.number AND d.permission = old.permission AND d.digest = old.digest";

const COUNT: &str = "SELECT count(*) FROM denials WHERE module = (SELECT number FROM modules WHERE id = $1)";

const LIST: &str = "\
    SELECT permission, resource, count, first_at, last_at, execution FROM denials
    WHERE module = (SELECT number FROM modules WHERE id = $1)
    ORDER BY last_at DESC, permission DESC, digest DESC LIMIT $2 OFFSET $3";

#[async_trait]
impl Denials for PostgresStore {
    async fn record_denials(&self, batch: Arc<DenialBatch>) -> Result<(), Error> {
        self.write(Lane::Own, "storing denials", move |tx| Box::pin(async move { record(tx, &batch).await })).await
    }

    async fn list_denials(&self, module: ModuleId, page: PageRequest) -> Result<Page<RecordedDenial>, Error> {
        self.read("listing denials", move |tx| {
            Box::pin(async move {
                let statements = Statements { count: COUNT.to_owned(), list: LIST.to_owned() };
                let values: [Box<dyn ToSql + Sync + Send>; 1] = [Box::new(*module.as_uuid())];
                page::page(tx, &statements, &values, page, denial_of_row).await
            })
        })
        .await
    }
}

async fn record(tx: &Transaction<'_>, batch: &DenialBatch) -> Result<(), Failure> {
    let mut ids: Vec<Uuid> = batch.iter().map(|(module, _)| *module.as_uuid()).collect();
    ids.dedup();
    let mut numbers: HashMap<Uuid, i32> = HashMap::with_capacity(ids.len());
    for row in tx.query(&tx.prepare_cached(MODULES).await?, &[&ids]).await? {
        numbers.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let rows = Rows::of(batch, &numbers);
    tx.execute(&tx.prepare_cached(RECORD).await?, &rows.values()).await?;
    let numbers: Vec<i32> = numbers.into_values().collect();
    let kept = i64::from(DENIALS_OF_MODULE_MAX);
    tx.execute(&tx.prepare_cached(PRUNE).await?, &[&numbers, &kept]).await?;
    Ok(())
}

/// Denials by column, as one statement takes them.
#[derive(Default)]
struct Rows {
    modules: Vec<i32>,
    permissions: Vec<&'static str>,
    digests: Vec<Vec<u8>>,
    resources: Vec<String>,
    counts: Vec<i64>,
    first_at: Vec<i64>,
    last_at: Vec<i64>,
    executions: Vec<Uuid>,
}

impl Rows {
    /// Those of modules that are there still.
    fn of(batch: &DenialBatch, numbers: &HashMap<Uuid, i32>) -> Self {
        let mut rows = Self::default();
        for (module, denial) in batch.iter() {
            let Some(number) = numbers.get(module.as_uuid()) else { continue };
            rows.modules.push(*number);
            rows.permissions.push(denial.permission.as_str());
            rows.digests.push(Digest::of(denial.resource.as_bytes()).as_bytes().to_vec());
            rows.resources.push(storable(&denial.resource));
            rows.counts.push(count_of(denial.count));
            rows.first_at.push(denial.first_at.as_microsecond());
            rows.last_at.push(denial.last_at.as_microsecond());
            rows.executions.push(*denial.execution_id.as_uuid());
        }
        rows
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.modules,
            &self.permissions,
            &self.digests,
            &self.resources,
            &self.counts,
            &self.first_at,
            &self.last_at,
            &self.executions,
        ]
    }
}

fn denial_of_row(row: &Row) -> Result<RecordedDenial, Failure> {
    Ok(RecordedDenial {
        permission: word(row, 0)?,
        resource: row.try_get(1)?,
        count: count(row, 2)?,
        first_at: micros(row, 3)?,
        last_at: micros(row, 4)?,
        execution_id: ExecutionId::from_uuid(row.try_get(5)?),
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [MODULES, RECORD, PRUNE, COUNT, LIST].map(str::to_owned).to_vec()
}
