//! The audit.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Row, ToSql, Transaction, named_params, params};

use super::column::{Count, Id, Json, Micros, Word, ceiling_micros};
use super::{Durability, SqliteStore};
use crate::model::AuditEntry;
use crate::store::{Audit, AuditFilter, Error, Page, PageRequest};

const INSERT: &str = "\
    INSERT INTO audit (id, at, actor, action, resource, outcome, detail, request_id, address)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const COUNT: &str = "SELECT count(*) FROM audit ";
const LIST: &str = "SELECT id, at, actor, action, resource, outcome, detail, request_id, address FROM audit ";
const LIST_END: &str = " ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset";

#[async_trait]
impl Audit for SqliteStore {
    async fn append_audit(&self, entries: Arc<[AuditEntry]>) -> Result<(), Error> {
        self.write("storing the audit", Durability::PowerLoss, move |tx| {
            entries.iter().try_for_each(|entry| append(tx, entry))
        })
        .await
    }

    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, Error> {
        let filter = filter.clone();
        self.read("listing the audit", move |tx| list(tx, &filter, page)).await
    }
}

/// Adds a row within the transaction of what it tells of.
pub(super) fn append(tx: &Transaction<'_>, entry: &AuditEntry) -> rusqlite::Result<()> {
    tx.prepare_cached(INSERT)?.execute(params![
        Id(entry.id),
        Micros(entry.at),
        entry.actor,
        entry.action,
        entry.resource,
        entry.outcome.as_str(),
        Json(&entry.detail),
        entry.request_id,
        entry.address,
    ])?;
    Ok(())
}

fn condition(filter: &AuditFilter) -> String {
    let actor = if filter.actor.is_some() { "actor = :actor" } else { ":actor IS NULL" };
    let action = if filter.action.is_some() { "action = :action" } else { ":action IS NULL" };
    format!("WHERE {actor} AND {action} AND at >= :from AND at < :to")
}

fn list(tx: &Transaction<'_>, filter: &AuditFilter, page: PageRequest) -> rusqlite::Result<Page<AuditEntry>> {
    let condition = condition(filter);
    let from = filter.from.map_or(i64::MIN, ceiling_micros);
    let to = filter.to.map_or(i64::MAX, ceiling_micros);
    let total = tx
        .prepare_cached(&format!("{COUNT}{condition}"))?
        .query_row(named_params! {":actor": filter.actor, ":action": filter.action, ":from": from, ":to": to}, |row| {
            row.get::<_, Count>(0)
        })?
        .0;
    if page.offset() >= total {
        return Ok(Page { items: Vec::new(), total });
    }
    let mut statement = tx.prepare_cached(&format!("{LIST}{condition}{LIST_END}"))?;
    let values: &[(&str, &dyn ToSql)] = named_params! {
        ":actor": filter.actor, ":action": filter.action, ":from": from, ":to": to,
        ":limit": page.limit, ":offset": Count(page.offset()),
    };
    let items = statement.query_map(values, entry)?.collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get::<_, Id<_>>(0)?.0,
        at: row.get::<_, Micros>(1)?.0,
        actor: row.get(2)?,
        action: Cow::Owned(row.get(3)?),
        resource: row.get(4)?,
        outcome: row.get::<_, Word<_>>(5)?.0,
        detail: row.get::<_, Json<_>>(6)?.0,
        request_id: row.get(7)?,
        address: row.get(8)?,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let mut all = vec![INSERT.to_owned()];
    for actor in [None, Some(String::new())] {
        for action in [None, Some(String::new())] {
            let condition = condition(&AuditFilter { actor: actor.clone(), action, ..AuditFilter::default() });
            all.push(format!("{COUNT}{condition}"));
            all.push(format!("{LIST}{condition}{LIST_END}"));
        }
    }
    all
}
