//! Set-up and developer commands, so that a fresh clone needs Rust and nothing else by hand.
//!
//! Owns the order of things and how they are shown; one file a command. Does not own what the tools
//! it calls decide: a command fails when one of them does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command-line tool is for")]

mod api;
mod bench;
mod check;
mod demo;
mod fuzz;
mod gateway;
mod guests;
mod http;
mod licences;
mod mirrors;
mod project;
mod sources;
mod steps;
mod system;
mod test;
mod tinygo;
mod webhooks;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::steps::{Detail, Steps};

/// Sluice's set-up and developer commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    /// Show the output of every command, not only of those that fail.
    #[arg(long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, start a gateway, upload a guest and call it with good, bad and hostile input.
    Demo {
        /// Stop the gateway at the end.
        #[arg(long)]
        once: bool,
        /// The address of the gateway; by default 127.0.0.1:8080, or a free port where that is taken.
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Everything that CI runs.
    Test,
    /// Write the document of the API, `docs/openapi.json`, as the code has it now.
    Openapi,
    /// Try the API against its document with schemathesis: one step of `test`, after `guests`.
    Schemathesis,
    /// What CI runs before the tests: format, clippy, docs, licences, structure.
    Check,
    /// Build the guests into `target/guests`, and install what that needs.
    Guests,
    /// Run the fuzz targets, side by side; what they find is in `fuzz/artifacts`.
    Fuzz {
        /// How long each runs.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// One target, by the name of its file in `fuzz/fuzz_targets`; by default all.
        target: Option<String>,
    },
    /// Measure, and write the figures to `bench/results`.
    Bench {
        /// Passed on to the bench program; `-- --help` shows what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut steps = Steps::new(if arguments.verbose { Detail::Everything } else { Detail::Failures });
    let outcome = match arguments.command {
        Command::Demo { once, listen } => {
            let ending = if once { demo::Ending::Stop } else { demo::Ending::KeepRunning };
            demo::run(&mut steps, listen, ending)
        }
        Command::Test => test::run(&mut steps),
        Command::Openapi => api::write_document(&mut steps),
        Command::Schemathesis => api::run_alone(&mut steps),
        Command::Check => check::run_all(&mut steps),
        Command::Guests => guests::run(&mut steps),
        Command::Fuzz { seconds, target } => {
            let targets = target.map_or(fuzz::Targets::All, fuzz::Targets::One);
            fuzz::run_alone(&mut steps, Duration::from_secs(seconds), &targets)
        }
        Command::Bench { arguments } => bench::run(&mut steps, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
