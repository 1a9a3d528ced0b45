//! The audit.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::column::{ceiling_micros, json, json_of, micros, storable, word};
use super::connect::{Failure, Lane};
use super::page::{self, Statements};
use crate::model::{AuditEntry, AuditId};
use crate::store::{Audit, AuditFilter, Error, Page, PageRequest};

const INSERT: &str = "\
    INSERT INTO audit (id, at, actor, action, resource, outcome, detail, request_id, address)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const COUNT: &str = "SELECT count(*) FROM audit ";
const LIST: &str = "SELECT id, at, actor, action, resource, outcome, detail, request_id, address FROM audit ";

#[async_trait]
impl Audit for PostgresStore {
    async fn append_audit(&self, entries: Arc<[AuditEntry]>) -> Result<(), Error> {
        self.write(Lane::Requests, "storing the audit", move |tx| {
            Box::pin(async move {
                for entry in entries.iter() {
                    append(tx, entry).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, Error> {
        let filter = filter.clone();
        self.read("listing the audit", move |tx| Box::pin(async move { list(tx, &filter, page).await })).await
    }
}

/// Adds a row within the transaction of what it tells of.
pub(super) async fn append(tx: &Transaction<'_>, entry: &AuditEntry) -> Result<(), Failure> {
    let text = |text: &Option<String>| text.as_deref().map(storable);
    let values: [&(dyn ToSql + Sync); 9] = [
        entry.id.as_uuid(),
        &entry.at.as_microsecond(),
        &text(&entry.actor),
        &storable(&entry.action),
        &storable(&entry.resource),
        &entry.outcome.as_str(),
        &json_of(&entry.detail)?,
        &text(&entry.request_id),
        &text(&entry.address),
    ];
    let statement = tx.prepare_cached(INSERT).await?;
    tx.execute(&statement, &values).await?;
    Ok(())
}

/// The condition for `filter`, with the values of its parameters. Only what is asked
/// for, so that an index serves it.
fn condition(filter: &AuditFilter) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
    let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let mut parts = Vec::new();
    for (word, column) in [(&filter.actor, "actor"), (&filter.action, "action")] {
        if let Some(word) = word {
            // As it was stored.
            values.push(Box::new(storable(word)));
            parts.push(format!("{column} = ${}", values.len()));
        }
    }
    for (bound, operator) in [(filter.from, ">="), (filter.to, "<")] {
        if let Some(bound) = bound {
            values.push(Box::new(ceiling_micros(bound)));
            parts.push(format!("at {operator} ${}", values.len()));
        }
    }
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    (condition, values)
}

fn list_sql(condition: &str, values: usize) -> String {
    format!("{LIST}{condition} ORDER BY at DESC, id DESC LIMIT ${} OFFSET ${}", values + 1, values + 2)
}

async fn list(
    tx: &tokio_postgres::Transaction<'_>,
    filter: &AuditFilter,
    page: PageRequest,
) -> Result<Page<AuditEntry>, Failure> {
    let (condition, values) = condition(filter);
    let list = list_sql(&condition, values.len());
    let statements = Statements { count: format!("{COUNT}{condition}"), list };
    page::page(tx, &statements, &values, page, entry).await
}

fn entry(row: &Row) -> Result<AuditEntry, Failure> {
    Ok(AuditEntry {
        id: AuditId::from_uuid(row.try_get(0)?),
        at: micros(row, 1)?,
        actor: row.try_get(2)?,
        action: Cow::Owned(row.try_get(3)?),
        resource: row.try_get(4)?,
        outcome: word(row, 5)?,
        detail: json(row, 6)?,
        request_id: row.try_get(7)?,
        address: row.try_get(8)?,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let mut all = vec![INSERT.to_owned()];
    let bound = Some(jiff::Timestamp::UNIX_EPOCH);
    for bits in 0..16 {
        let (condition, values) = condition(&AuditFilter {
            actor: (bits & 1 != 0).then(String::new),
            action: (bits & 2 != 0).then(String::new),
            from: bound.filter(|_| bits & 4 != 0),
            to: bound.filter(|_| bits & 8 != 0),
        });
        all.push(format!("{COUNT}{condition}"));
        all.push(list_sql(&condition, values.len()));
    }
    all
}
