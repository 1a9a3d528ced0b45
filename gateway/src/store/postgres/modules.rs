//! Modules and their permissions.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::column::{count, count_of, hash, json, json_of, json_or_none, micros, word};
use super::connect::{Failure, Lane};
use super::page::{self, Statements};
use super::{PostgresStore, audit};
use crate::model::{AuditEntry, Digest, Limits, Module, ModuleId, Permission};
use crate::store::version_key::version_key;
use crate::store::{DeletedModule, Error, Inserted, ModuleFilter, Modules, Page, PageRequest, folded};

/// What [`module_of_row`] reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.name, m.version, m.description, m.kind, m.sha256, m.size_bytes, m.functions, m.imports,
                    m.permissions, m.limits, m.signature, m.warnings, m.created_at, m.created_by
             FROM modules AS m ",
            $rest
        )
    };
}

const FIND_VERSION: &str = select!("WHERE m.name = $1 AND m.version_key = $2");

/// Waits for another gateway that stores the same version, and then does nothing.
const INSERT: &str = "\
    INSERT INTO modules (id, name, version, version_key, description, description_folded, kind, sha256, size_bytes,
                         functions, imports, permissions, limits, signature, warnings, created_at, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
    ON CONFLICT (name, version_key) DO NOTHING";

const ALL: &str = select!("ORDER BY m.name, m.version_key DESC");

/// Executions of one transaction: it takes a tenth of a second at most.
const EXECUTIONS_DELETED_MAX: u64 = 10_000;

/// Logs are in the same rows.
const DELETE_EXECUTIONS: &str = "\
    DELETE FROM executions WHERE id IN (
        SELECT id FROM executions WHERE module = (SELECT number FROM modules WHERE id = $1) LIMIT $2)";

/// Waits for the transactions that record executions of it: they hold its row.
const DELETE: &str = "DELETE FROM modules WHERE id = $1 RETURNING sha256, number";

/// What was recorded since most of them were deleted.
const DELETE_REST: &str = "DELETE FROM executions WHERE module = $1";

const REPLACE_PERMISSIONS: &str = "UPDATE modules SET permissions = $2, warnings = $3 WHERE id = $1";

const REPLACE_LIMITS: &str = "UPDATE modules SET limits = $2 WHERE id = $1";

const DIGEST_IN_USE: &str = "SELECT EXISTS (SELECT 1 FROM modules WHERE sha256 = $1)";

const COUNT: &str = "SELECT count(*) FROM modules AS m ";
const LIST: &str = select!("");

#[async_trait]
impl Modules for PostgresStore {
    async fn insert_module(&self, module: &Module, entry: &AuditEntry) -> Result<Inserted, Error> {
        let (new, entry) = (module.clone(), entry.clone());
        self.write(Lane::Requests, "storing a module", move |tx| {
            Box::pin(async move {
                let inserted = insert(tx, &new).await?;
                if inserted == Inserted::Created {
                    audit::append(tx, &entry).await?;
                }
                Ok(inserted)
            })
        })
        .await
    }

    async fn all_modules(&self) -> Result<Vec<Module>, Error> {
        let context = "reading the modules";
        let rows = self.read(context, |tx| Box::pin(async move { Ok(tx.query(ALL, &[]).await?) })).await?;
        // A hundred thousand take a second: too long for a thread that serves others.
        let read = tokio::task::spawn_blocking(move || rows.iter().map(module_of_row).collect::<Result<_, _>>()).await;
        let read = read.map_err(|panicked| Error::Unavailable { context, source: Box::new(panicked) })?;
        read.map_err(|failure| failure.into_error(context))
    }

    async fn list_modules(&self, filter: &ModuleFilter, page: PageRequest) -> Result<Page<Module>, Error> {
        let filter = filter.clone();
        self.read("listing modules", move |tx| Box::pin(async move { list(tx, &filter, page).await })).await
    }

    async fn delete_executions_of(&self, id: ModuleId) -> Result<(), Error> {
        let id = *id.as_uuid();
        loop {
            let batch = count_of(EXECUTIONS_DELETED_MAX);
            let delete = self.write(Lane::Requests, "deleting executions", move |tx| {
                Box::pin(async move {
                    let statement = tx.prepare_cached(DELETE_EXECUTIONS).await?;
                    Ok(tx.execute(&statement, &[&id, &batch]).await?)
                })
            });
            if delete.await? < EXECUTIONS_DELETED_MAX {
                return Ok(());
            }
        }
    }

    async fn delete_module(&self, id: ModuleId, entry: &AuditEntry) -> Result<Option<DeletedModule>, Error> {
        let (id, entry) = (*id.as_uuid(), entry.clone());
        self.write(Lane::Requests, "deleting a module", move |tx| {
            Box::pin(async move {
                let Some(row) = tx.query_opt(DELETE, &[&id]).await? else { return Ok(None) };
                let digest = hash(&row, 0)?;
                tx.execute(DELETE_REST, &[&row.try_get::<_, i32>(1)?]).await?;
                let digest_in_use = tx.query_one(DIGEST_IN_USE, &[&digest.as_slice()]).await?.try_get(0)?;
                audit::append(tx, &entry).await?;
                Ok(Some(DeletedModule { digest: Digest::from_bytes(digest), digest_in_use }))
            })
        })
        .await
    }

    async fn replace_permissions(
        &self,
        id: ModuleId,
        permissions: &[Permission],
        warnings: &[String],
        entry: &AuditEntry,
    ) -> Result<bool, Error> {
        let (permissions, warnings, entry) = (permissions.to_vec(), warnings.to_vec(), entry.clone());
        self.write(Lane::Requests, "replacing permissions", move |tx| {
            Box::pin(async move {
                let (permissions, warnings) = (json_of(&permissions)?, json_of(&warnings)?);
                let replaced = tx.execute(REPLACE_PERMISSIONS, &[id.as_uuid(), &permissions, &warnings]).await? > 0;
                if replaced {
                    audit::append(tx, &entry).await?;
                }
                Ok(replaced)
            })
        })
        .await
    }

    async fn replace_limits(&self, id: ModuleId, limits: &Limits, entry: &AuditEntry) -> Result<bool, Error> {
        let (limits, entry) = (*limits, entry.clone());
        self.write(Lane::Requests, "replacing limits", move |tx| {
            Box::pin(async move {
                let replaced = tx.execute(REPLACE_LIMITS, &[id.as_uuid(), &json_of(&limits)?]).await? > 0;
                if replaced {
                    audit::append(tx, &entry).await?;
                }
                Ok(replaced)
            })
        })
        .await
    }

    async fn digest_in_use(&self, digest: Digest) -> Result<bool, Error> {
        self.read("looking for a digest", move |tx| {
            Box::pin(
                async move { Ok(tx.query_one(DIGEST_IN_USE, &[&digest.as_bytes().as_slice()]).await?.try_get(0)?) },
            )
        })
        .await
    }
}

async fn insert(tx: &Transaction<'_>, module: &Module) -> Result<Inserted, Failure> {
    let key = version_key(&module.version);
    let values: [&(dyn ToSql + Sync); 17] = [
        module.id.as_uuid(),
        &module.name.as_str(),
        &module.version.to_string(),
        &key,
        &json_of(&module.description)?,
        &folded(&module.description).into_bytes(),
        &module.kind.as_str(),
        &module.sha256.as_bytes().as_slice(),
        &count_of(module.size_bytes),
        &json_of(&module.functions)?,
        &json_of(&module.imports)?,
        &json_of(&module.permissions)?,
        &json_of(&module.limits)?,
        &module.signature.as_ref().map(|signature| json_of(&signature.stored())).transpose()?,
        &json_of(&module.warnings)?,
        &module.created_at.as_microsecond(),
        &module.created_by,
    ];
    if tx.execute(INSERT, &values).await? > 0 {
        return Ok(Inserted::Created);
    }
    let existing = tx.query_one(FIND_VERSION, &[&module.name.as_str(), &key]).await?;
    Ok(Inserted::Existed(Box::new(module_of_row(&existing)?)))
}

/// The condition for `filter`, with the values of its parameters. Only what is asked
/// for, so that an index serves it.
fn condition(filter: &ModuleFilter) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
    let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let mut parts = Vec::new();
    if let Some(name) = &filter.name {
        values.push(Box::new(name.clone()));
        parts.push(format!("m.name = ${}", values.len()));
    }
    if let Some(kind) = filter.kind {
        values.push(Box::new(kind.as_str()));
        parts.push(format!("m.kind = ${}", values.len()));
    }
    if let Some(query) = &filter.query {
        // Names are ASCII, so that their bytes are those of their letters.
        values.push(Box::new(folded(query).into_bytes()));
        let at = values.len();
        parts.push(format!(
            "(position(${at}::bytea IN convert_to(m.name, 'UTF8')) > 0 OR position(${at}::bytea IN m.description_folded) > 0)"
        ));
    }
    let condition = if parts.is_empty() { String::new() } else { format!("WHERE {}", parts.join(" AND ")) };
    (condition, values)
}

fn list_sql(condition: &str, values: usize) -> String {
    format!("{LIST}{condition} ORDER BY m.name, m.version_key DESC LIMIT ${} OFFSET ${}", values + 1, values + 2)
}

async fn list(
    tx: &tokio_postgres::Transaction<'_>,
    filter: &ModuleFilter,
    page: PageRequest,
) -> Result<Page<Module>, Failure> {
    // No name has it, and the database would refuse it.
    if filter.name.as_ref().is_some_and(|name| name.contains('\0')) {
        return Ok(Page { items: Vec::new(), total: 0 });
    }
    let (condition, values) = condition(filter);
    let list = list_sql(&condition, values.len());
    let statements = Statements { count: format!("{COUNT}{condition}"), list };
    page::page(tx, &statements, &values, page, module_of_row).await
}

fn module_of_row(row: &Row) -> Result<Module, Failure> {
    Ok(Module {
        id: ModuleId::from_uuid(row.try_get(0)?),
        name: word(row, 1)?,
        version: word(row, 2)?,
        description: json(row, 3)?,
        kind: word(row, 4)?,
        sha256: Digest::from_bytes(hash(row, 5)?),
        size_bytes: count(row, 6)?,
        functions: json(row, 7)?,
        imports: json(row, 8)?,
        permissions: json(row, 9)?,
        limits: json(row, 10)?,
        signature: json_or_none(row, 11)?,
        warnings: json(row, 12)?,
        created_at: micros(row, 13)?,
        created_by: row.try_get(14)?,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let fixed = [FIND_VERSION, INSERT, ALL, DELETE_EXECUTIONS, DELETE, DELETE_REST, DIGEST_IN_USE];
    let updates = [REPLACE_PERMISSIONS, REPLACE_LIMITS];
    let mut all: Vec<String> = fixed.into_iter().chain(updates).map(str::to_owned).collect();
    for bits in 0..8 {
        let (condition, values) = condition(&ModuleFilter {
            query: (bits & 1 != 0).then(String::new),
            name: (bits & 2 != 0).then(String::new),
            kind: (bits & 4 != 0).then_some(crate::model::ModuleKind::Http),
        });
        all.push(format!("{COUNT}{condition}"));
        all.push(list_sql(&condition, values.len()));
    }
    all
}
