//! `sluice migrate`: the store's schema, without starting the gateway.
//!
//! Does not own migrations (`store`) nor which store is meant (`config`).

use serde_json::json;

use super::config::{self, Sources};
use super::failure::Advised;
use super::output::Out;
use crate::app;

/// What to do with the schema.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sources: Sources,
    /// Change nothing; exit with 1 when a migration is missing.
    #[arg(long)]
    check: bool,
}

/// Migrates, or looks whether there is something to migrate.
pub(super) fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let config = config::load(args.sources)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let migrated = runtime
        .block_on(async { if args.check { app::check_schema(&config).await } else { app::migrate(&config).await } })?;
    let listed = migrated.migrations.join(", ");
    if args.check && !migrated.migrations.is_empty() {
        let message =
            format!("the schema of {} is at version {}: {listed} is missing", migrated.database, migrated.version);
        return Err(Advised::new(message, "`sluice migrate` brings it up to date, and so does the next start").into());
    }
    let key = if args.check { "missing" } else { "applied" };
    let answer = json!({"database": migrated.database, "version": migrated.version, key: migrated.migrations});
    if out.when_json(answer.to_string().as_bytes())? {
        return Ok(());
    }
    let done = if migrated.migrations.is_empty() { "is up to date".to_owned() } else { format!("now has {listed}") };
    Ok(out.line(&format!("{} {done} (version {})", migrated.database, migrated.version))?)
}
