//! What modules tried and may not.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::column::{Count, Id, Micros, Word};
use super::{Durability, SqliteStore};
use crate::model::{Digest, ModuleId, RecordedDenial};
use crate::store::{DENIALS_OF_MODULE_MAX, DenialBatch, Denials, Error, Page, PageRequest};

const MODULE: &str = "SELECT number FROM modules WHERE id = ?1";

const RECORD: &str = "\
    INSERT INTO denials (module, permission, digest, resource, count, first_at, last_at, execution)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (module, permission, digest) DO UPDATE SET
        count = count + excluded.count,
        first_at = min(first_at, excluded.first_at),
        last_at = max(last_at, excluded.last_at),
        execution = CASE WHEN excluded.last_at >= last_at THEN excluded.execution ELSE execution END";

const PRUNE: &str = "\
    DELETE FROM denials WHERE module = ?1 AND (permission, digest) IN (
        SELECT permission, digest FROM denials WHERE module = ?1
        ORDER BY last_at DESC, permission DESC, digest DESC LIMIT -1 OFFSET ?2)";

const COUNT: &str = "SELECT count(*) FROM denials WHERE module = (SELECT number FROM modules WHERE id = ?1)";

const LIST: &str = "\
    SELECT permission, resource, count, first_at, last_at, execution FROM denials
    WHERE module = (SELECT number FROM modules WHERE id = ?1)
    ORDER BY last_at DESC, permission DESC, digest DESC LIMIT ?2 OFFSET ?3";

#[async_trait]
impl Denials for SqliteStore {
    async fn record_denials(&self, batch: Arc<DenialBatch>) -> Result<(), Error> {
        self.write("storing denials", Durability::ProcessDeath, move |tx| record(tx, &batch)).await
    }

    async fn list_denials(&self, module: ModuleId, page: PageRequest) -> Result<Page<RecordedDenial>, Error> {
        self.read("listing denials", move |tx| {
            let total = tx.prepare_cached(COUNT)?.query_row([Id(module)], |row| row.get::<_, Count>(0))?.0;
            if page.offset() >= total {
                return Ok(Page { items: Vec::new(), total });
            }
            let mut statement = tx.prepare_cached(LIST)?;
            let rows = statement.query_map(params![Id(module), page.limit, Count(page.offset())], denial_of_row)?;
            Ok(Page { items: rows.collect::<Result<_, _>>()?, total })
        })
        .await
    }
}

fn record(tx: &Transaction<'_>, batch: &DenialBatch) -> rusqlite::Result<()> {
    let mut numbers: BTreeMap<ModuleId, Option<i64>> = BTreeMap::new();
    for (module, denial) in batch.iter() {
        let number = match numbers.get(&module) {
            Some(known) => *known,
            None => {
                let found = tx.prepare_cached(MODULE)?.query_row([Id(module)], |row| row.get(0)).optional()?;
                *numbers.entry(module).or_insert(found)
            }
        };
        // The module was deleted meanwhile.
        let Some(number) = number else { continue };
        tx.prepare_cached(RECORD)?.execute(params![
            number,
            denial.permission.as_str(),
            Digest::of(denial.resource.as_bytes()).as_bytes(),
            denial.resource,
            Count(denial.count),
            Micros(denial.first_at),
            Micros(denial.last_at),
            Id(denial.execution_id),
        ])?;
    }
    for number in numbers.into_values().flatten() {
        tx.prepare_cached(PRUNE)?.execute([number, i64::from(DENIALS_OF_MODULE_MAX)])?;
    }
    Ok(())
}

fn denial_of_row(row: &Row<'_>) -> rusqlite::Result<RecordedDenial> {
    Ok(RecordedDenial {
        permission: row.get::<_, Word<_>>(0)?.0,
        resource: row.get(1)?,
        count: row.get::<_, Count>(2)?.0,
        first_at: row.get::<_, Micros>(3)?.0,
        last_at: row.get::<_, Micros>(4)?.0,
        execution_id: row.get::<_, Id<_>>(5)?.0,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [MODULE, RECORD, PRUNE, COUNT, LIST].map(str::to_owned).to_vec()
}
