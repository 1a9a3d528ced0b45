//! `sluice compile-worker`: the process that the gateway starts to compile one component.
//!
//! Owns its argument and its exit. Does not own what it does (`runtime::worker`). Invariant:
//! standard output is a file for machine code, so nothing else is written there.

use std::io::Write as _;

use crate::runtime::worker::{self, Job};

/// What the gateway asks for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A JSON object: this is between the gateway and itself, and changes without notice.
    #[arg(value_parser = job)]
    job: Job,
}

fn job(text: &str) -> Result<Job, serde_json::Error> {
    serde_json::from_str(text)
}

/// Compiles; a failure is a line on standard error, and ends the process with its own exit status.
pub(super) fn run(args: &Args) {
    if let Err(error) = worker::compile(&args.job) {
        // Where the gateway is gone nobody wants to know.
        let _ = writeln!(std::io::stderr(), "{}", error.line());
        // At once: what the compiler left in memory need not be given back piece by piece.
        std::process::exit(error.exit_code());
    }
}
