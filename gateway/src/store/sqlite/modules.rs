//! Modules and their permissions.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, ToSql, Transaction, named_params, params};

use super::column::{Count, Id, Json, Micros, Word, folded};
use super::{Durability, SqliteStore, audit};
use crate::model::{AuditEntry, Digest, Limits, Module, ModuleId, Permission};
use crate::store::version_key::version_key;
use crate::store::{DeletedModule, Error, Inserted, ModuleFilter, Modules, Page, PageRequest};

/// What [`module_of_row`] reads; the permissions come along as one JSON list.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.name, m.version, m.description, m.kind, m.sha256, m.size_bytes, m.functions, m.imports,
                    m.limits, m.signature, m.warnings, m.created_at, m.created_by,
                    (SELECT json_group_array(json_object('permission', p.permission, 'resource', p.resource)
                                             ORDER BY p.position)
                     FROM module_permissions AS p WHERE p.module_id = m.id)
             FROM modules AS m ",
            $rest
        )
    };
}

const FIND_VERSION: &str = select!("WHERE m.name = ?1 AND m.version_key = ?2");

const INSERT: &str = "\
    INSERT INTO modules (id, name, version, version_key, description, description_folded, kind, sha256, size_bytes,
                         functions, imports, limits, signature, warnings, created_at, created_by)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

const INSERT_PERMISSION: &str = "\
    INSERT INTO module_permissions (module_id, position, permission, resource) VALUES (?1, ?2, ?3, ?4)";

const ALL: &str = select!("ORDER BY m.name, m.version_key DESC");

/// Executions of one transaction: other writes wait for a tenth of a second at most.
const EXECUTIONS_DELETED_MAX: usize = 10_000;

const DELETE_EXECUTIONS: &str = "\
    DELETE FROM executions WHERE id IN (
        SELECT e.id FROM executions AS e JOIN modules AS m ON m.number = e.module WHERE m.id = ?1 LIMIT ?2)";

/// Permissions go with it, and the executions and logs that are left.
const DELETE: &str = "DELETE FROM modules WHERE id = ?1 RETURNING sha256";

const UPDATE_WARNINGS: &str = "UPDATE modules SET warnings = ?2 WHERE id = ?1";

const DELETE_PERMISSIONS: &str = "DELETE FROM module_permissions WHERE module_id = ?1";

const UPDATE_LIMITS: &str = "UPDATE modules SET limits = ?2 WHERE id = ?1";

const DIGEST_IN_USE: &str = "SELECT EXISTS (SELECT 1 FROM modules WHERE sha256 = ?1)";

const COUNT: &str = "SELECT count(*) FROM modules AS m ";
const LIST: &str = select!("");
const LIST_END: &str = " ORDER BY m.name, m.version_key DESC LIMIT :limit OFFSET :offset";

#[async_trait]
impl Modules for SqliteStore {
    async fn insert_module(&self, module: &Module, entry: &AuditEntry) -> Result<Inserted, Error> {
        let (new, entry) = (module.clone(), entry.clone());
        self.write("storing a module", Durability::PowerLoss, move |tx| {
            let key = version_key(&new.version);
            let found = tx
                .prepare_cached(FIND_VERSION)?
                .query_row(params![new.name.as_str(), key], module_of_row)
                .optional()?;
            if let Some(existing) = found {
                return Ok(Inserted::Existed(Box::new(existing)));
            }
            insert(tx, &new, &key)?;
            audit::append(tx, &entry)?;
            Ok(Inserted::Created)
        })
        .await
    }

    async fn all_modules(&self) -> Result<Vec<Module>, Error> {
        self.read_unhurried("reading the modules", |tx| tx.prepare_cached(ALL)?.query_map([], module_of_row)?.collect())
            .await
    }

    async fn list_modules(&self, filter: &ModuleFilter, page: PageRequest) -> Result<Page<Module>, Error> {
        let filter = filter.clone();
        self.read("listing modules", move |tx| list(tx, &filter, page)).await
    }

    async fn delete_executions_of(&self, id: ModuleId) -> Result<(), Error> {
        loop {
            let delete = move |tx: &Transaction<'_>| {
                tx.prepare_cached(DELETE_EXECUTIONS)?.execute(params![Id(id), Count(EXECUTIONS_DELETED_MAX as u64)])
            };
            if self.write("deleting executions", Durability::ProcessDeath, delete).await? < EXECUTIONS_DELETED_MAX {
                return Ok(());
            }
        }
    }

    async fn delete_module(&self, id: ModuleId, entry: &AuditEntry) -> Result<Option<DeletedModule>, Error> {
        let entry = entry.clone();
        self.write("deleting a module", Durability::PowerLoss, move |tx| {
            let deleted = tx.prepare_cached(DELETE)?.query_row([Id(id)], |row| row.get::<_, [u8; 32]>(0)).optional()?;
            let Some(sha256) = deleted else { return Ok(None) };
            let digest_in_use = tx.prepare_cached(DIGEST_IN_USE)?.query_row([sha256], |row| row.get(0))?;
            audit::append(tx, &entry)?;
            Ok(Some(DeletedModule { digest: Digest::from_bytes(sha256), digest_in_use }))
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
        self.write("replacing permissions", Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(UPDATE_WARNINGS)?.execute(params![Id(id), Json(&warnings)])? == 0 {
                return Ok(false);
            }
            tx.prepare_cached(DELETE_PERMISSIONS)?.execute([Id(id)])?;
            insert_permissions(tx, id, &permissions)?;
            audit::append(tx, &entry)?;
            Ok(true)
        })
        .await
    }

    async fn replace_limits(&self, id: ModuleId, limits: &Limits, entry: &AuditEntry) -> Result<bool, Error> {
        let (limits, entry) = (*limits, entry.clone());
        self.write("replacing limits", Durability::PowerLoss, move |tx| {
            if tx.prepare_cached(UPDATE_LIMITS)?.execute(params![Id(id), Json(&limits)])? == 0 {
                return Ok(false);
            }
            audit::append(tx, &entry)?;
            Ok(true)
        })
        .await
    }

    async fn digest_in_use(&self, digest: Digest) -> Result<bool, Error> {
        self.read_unhurried("looking for a digest", move |tx| {
            tx.prepare_cached(DIGEST_IN_USE)?.query_row([digest.as_bytes()], |row| row.get(0))
        })
        .await
    }
}

fn insert(tx: &Transaction<'_>, module: &Module, key: &[u8]) -> rusqlite::Result<()> {
    tx.prepare_cached(INSERT)?.execute(params![
        Id(module.id),
        module.name.as_str(),
        module.version.to_string(),
        key,
        module.description,
        folded(&module.description),
        module.kind.as_str(),
        module.sha256.as_bytes(),
        Count(module.size_bytes),
        Json(&module.functions),
        Json(&module.imports),
        Json(&module.limits),
        module.signature.as_ref().map(|signature| Json(signature.stored())),
        Json(&module.warnings),
        Micros(module.created_at),
        module.created_by,
    ])?;
    insert_permissions(tx, module.id, &module.permissions)
}

fn insert_permissions(tx: &Transaction<'_>, id: ModuleId, permissions: &[Permission]) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(INSERT_PERMISSION)?;
    for (position, permission) in (0_i64..).zip(permissions) {
        statement.execute(params![Id(id), position, permission.permission.as_str(), permission.resource])?;
    }
    Ok(())
}

/// The condition for `filter`. Only what is asked for, so that an index serves it;
/// what isn't is named all the same, since each name has to be bound.
fn condition(filter: &ModuleFilter) -> String {
    let query = match filter.query {
        Some(_) => "(instr(m.name, :query) > 0 OR instr(m.description_folded, :query) > 0)",
        None => ":query IS NULL",
    };
    let name = if filter.name.is_some() { "m.name = :name" } else { ":name IS NULL" };
    let kind = if filter.kind.is_some() { "m.kind = :kind" } else { ":kind IS NULL" };
    format!("WHERE {query} AND {name} AND {kind}")
}

fn list(tx: &Transaction<'_>, filter: &ModuleFilter, page: PageRequest) -> rusqlite::Result<Page<Module>> {
    let condition = condition(filter);
    let query = filter.query.as_deref().map(folded);
    let kind = filter.kind.map(crate::model::ModuleKind::as_str);
    let total = tx
        .prepare_cached(&format!("{COUNT}{condition}"))?
        .query_row(named_params! {":query": query, ":name": filter.name, ":kind": kind}, |row| {
            row.get::<_, Count>(0)
        })?;
    let mut statement = tx.prepare_cached(&format!("{LIST}{condition}{LIST_END}"))?;
    let values: &[(&str, &dyn ToSql)] = named_params! {
        ":query": query, ":name": filter.name, ":kind": kind, ":limit": page.limit, ":offset": Count(page.offset()),
    };
    let items = statement.query_map(values, module_of_row)?.collect::<Result<_, _>>()?;
    Ok(Page { items, total: total.0 })
}

fn module_of_row(row: &Row<'_>) -> rusqlite::Result<Module> {
    Ok(Module {
        id: row.get::<_, Id<_>>(0)?.0,
        name: row.get::<_, Word<_>>(1)?.0,
        version: row.get::<_, Word<_>>(2)?.0,
        description: row.get(3)?,
        kind: row.get::<_, Word<_>>(4)?.0,
        sha256: Digest::from_bytes(row.get(5)?),
        size_bytes: row.get::<_, Count>(6)?.0,
        functions: row.get::<_, Json<_>>(7)?.0,
        imports: row.get::<_, Json<_>>(8)?.0,
        limits: row.get::<_, Json<_>>(9)?.0,
        signature: row.get::<_, Option<Json<_>>>(10)?.map(|json| json.0),
        warnings: row.get::<_, Json<_>>(11)?.0,
        created_at: row.get::<_, Micros>(12)?.0,
        created_by: row.get(13)?,
        permissions: row.get::<_, Json<_>>(14)?.0,
    })
}

/// Every statement that can be made here.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let fixed = [FIND_VERSION, INSERT, INSERT_PERMISSION, ALL, DELETE_EXECUTIONS, DELETE, DIGEST_IN_USE];
    let updates = [UPDATE_WARNINGS, DELETE_PERMISSIONS, UPDATE_LIMITS];
    let mut all: Vec<String> = fixed.into_iter().chain(updates).map(str::to_owned).collect();
    for bits in 0..8 {
        let condition = condition(&ModuleFilter {
            query: (bits & 1 != 0).then(String::new),
            name: (bits & 2 != 0).then(String::new),
            kind: (bits & 4 != 0).then_some(crate::model::ModuleKind::Http),
        });
        all.push(format!("{COUNT}{condition}"));
        all.push(format!("{LIST}{condition}{LIST_END}"));
    }
    all
}
