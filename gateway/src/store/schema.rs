//! What was done about a database's schema, or would have to be.
//!
//! Owns the words for it, which are those of every backend. Does not own the
//! migrations: each backend embeds its own.

/// What a migration of the schema found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Which database, without secrets.
    pub database: String,
    /// The migrations that were applied now, or that are missing: `V1__initial`.
    pub migrations: Vec<String>,
    /// The version that the schema has now.
    pub version: i64,
}

impl Migrated {
    /// What is known after these were applied, or found to be missing.
    pub(super) fn of<'m>(
        database: String,
        migrations: impl IntoIterator<Item = &'m refinery::Migration>,
        version: Option<&refinery::Migration>,
    ) -> Self {
        let migrations = migrations.into_iter().map(ToString::to_string).collect();
        Self { database, migrations, version: version.map_or(0, |last| i64::from(last.version())) }
    }
}

/// Those of `all` that are not among the `applied` ones.
pub(super) fn missing<'m>(
    all: &'m [refinery::Migration],
    applied: &[refinery::Migration],
) -> impl Iterator<Item = &'m refinery::Migration> {
    let last = applied.iter().map(refinery::Migration::version).max();
    all.iter().filter(move |one| last.is_none_or(|last| one.version() > last))
}
