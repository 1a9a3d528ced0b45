//! `sluice config check` and `sluice config print`, and the flags that say where
//! the configuration comes from.
//!
//! Does not own what is configured (`crate::config`). Invariant: what `config
//! check` accepts with some flags, `serve` accepts with the same flags.

use std::path::PathBuf;

use super::failure::Advised;
use super::output::Out;
use crate::config::{self, Config};

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Sources {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "SLUICE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The address to listen on; 127.0.0.1:8080 unless configured.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The folder for the database, modules, compiled code and the admin key; ./data unless configured.
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Report all mistakes.
    Check(Sources),
    /// Print what is in effect, with secrets hidden.
    Print(Sources),
}

/// Checks or prints.
pub(super) fn run(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Check(sources) => {
            load(sources)?;
            out.note("the configuration is good");
            Ok(())
        }
        Command::Print(sources) => Ok(out.line(load(sources)?.print().trim_end())?),
    }
}

/// The configuration, or all mistakes in it.
pub(super) fn load(sources: Sources) -> anyhow::Result<Config> {
    let sources = config::Sources {
        file: sources.config,
        listen: sources.listen,
        data_dir: sources.data_dir,
        env: config::Sources::process_env(),
    };
    Config::load(sources).map_err(|mistakes| {
        let advice = mistakes.to_string().lines().map(str::to_owned).collect();
        Advised { message: "the configuration is wrong".to_owned(), advice }.into()
    })
}
