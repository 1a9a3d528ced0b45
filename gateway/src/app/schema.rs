//! The schema without the gateway: `sluice migrate`.

use super::{DataFolder, Error};
use crate::config::{Config, Store};
use crate::store::schema::Migrated;
use crate::store::{postgres, sqlite};

/// Brings the store's schema up to date, as a start does, and tells what was done.
///
/// # Errors
/// What an operator has to mend. With `SQLite` a gateway that runs on the data folder is in the way.
pub async fn migrate(config: &Config) -> Result<Migrated, Error> {
    match &config.store {
        Store::Sqlite { path } => {
            let folder = DataFolder::open(&config.data_dir)?;
            let migrated = sqlite::migrate(path).await;
            folder.release();
            Ok(migrated?)
        }
        Store::Postgres(server) => Ok(postgres::migrate(server).await?),
    }
}

/// Tells what [`migrate`] would do, and changes nothing.
///
/// # Errors
/// What an operator has to mend.
pub async fn check_schema(config: &Config) -> Result<Migrated, Error> {
    match &config.store {
        Store::Sqlite { path } => Ok(sqlite::check(path).await?),
        Store::Postgres(server) => Ok(postgres::check(server).await?),
    }
}
