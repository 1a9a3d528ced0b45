//! The load runner: `cargo xtask bench` starts it.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sluice_bench::options::Options;
use sluice_bench::{native, rows};

/// The product's allocator, for the limit too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the gateway against native hyper, and writes bench/results.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Serve>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Serve {
    /// Serves as the limit does: what the load runner starts
    NativeHyper {
        /// Where; port 0 is a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The length that the body of an answer is filled up to
        #[arg(long, default_value_t = 0)]
        answer_bytes: usize,
    },
}

fn main() -> Result<ExitCode> {
    let Arguments { command, options } = Arguments::parse();
    match command {
        Some(Serve::NativeHyper { listen, answer_bytes }) => {
            native::serve(listen, answer_bytes).map(|()| ExitCode::SUCCESS)
        }
        None => rows::run(&options),
    }
}
