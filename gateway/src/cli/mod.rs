//! The command line: one file a subcommand, or a small family of them.
//!
//! Owns arguments, terminals, exit codes and the client of the remote API. Does
//! not own what the gateway does: `serve` starts `app`, the remote commands speak
//! HTTP only. Invariant: standard output holds the answer and nothing else, so
//! that it can be piped; notes, progress and errors go to standard error.

mod build;
mod client;
mod compile_worker;
mod completions;
mod config;
mod confirmation;
mod failure;
mod init;
mod input;
mod invoke;
mod job;
mod key;
mod keys;
mod local;
mod logs;
mod migrate;
mod modules;
mod output;
mod pages;
mod permissions;
mod pretty;
mod problem;
mod record;
mod serve;
mod sign;
mod template;
mod test;
mod upload;
mod watch;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::author::whole_file;
use output::Out;

/// Runs sandboxed WebAssembly steps behind HTTP.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print the answer as JSON: a server's as it came, or indented on a terminal.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the gateway.
    Serve(config::Sources),
    /// Make a new step from the template.
    Init(init::Args),
    /// Build a step, and check it as the gateway will.
    Build(build::Args),
    /// Build a step and run its cases (tests/*.json), without a gateway.
    Test(test::Args),
    /// Store a module in the gateway.
    Upload(upload::Args),
    /// List the modules.
    List(modules::List),
    /// Show one module.
    Show(modules::Show),
    /// Save a module's component to a file.
    Download(modules::Download),
    /// Delete one version of a module, with its permissions and logs.
    Delete(modules::Delete),
    /// Show, change and explain what a module is allowed.
    #[command(subcommand)]
    Permissions(permissions::Command),
    /// Run a function of a module.
    Invoke(invoke::Args),
    /// Check, save and run jobs, and look at their runs.
    #[command(subcommand)]
    Job(job::Command),
    /// Show what an execution logged, or follow a module.
    Logs(logs::Args),
    /// Make, list and delete keys.
    #[command(subcommand)]
    Key(keys::Command),
    /// Make a key pair to sign modules with.
    Keygen(sign::Keygen),
    /// Sign a component, and print the signature.
    Sign(sign::Sign),
    /// Bring the store's schema up to date without starting the gateway.
    Migrate(migrate::Args),
    /// Print the script of a shell that completes commands and flags.
    Completions(completions::Args),
    /// Print the manual page, or write one for each command.
    Man(completions::Man),
    /// Check or print the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// What the gateway starts for each component that it compiles.
    #[command(hide = true)]
    CompileWorker(compile_worker::Args),
}

/// Parses the arguments, does what they say, and tells how it went: 0 done,
/// 1 refused or failed, 2 wrong usage, 130 interrupted.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when this can't be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let out = Out::detect(cli.json);
    match dispatch(cli.command, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, out),
    }
}

fn dispatch(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Init(args) => init::run(&args, out),
        Command::Build(args) => build::run(args, out),
        Command::Test(args) => test::run(args, out),
        Command::Upload(args) => interruptible(upload::run(args, out)),
        Command::List(args) => interruptible(modules::list(args, out)),
        Command::Show(args) => interruptible(modules::show(args, out)),
        Command::Download(args) => interruptible(modules::download(args, out)),
        Command::Delete(args) => interruptible(modules::delete(args, out)),
        Command::Permissions(command) => interruptible(permissions::run(command, out)),
        Command::Invoke(args) => interruptible(invoke::run(args, out)),
        Command::Job(command) => interruptible(job::run(command, out)),
        Command::Logs(args) => interruptible(logs::run(args, out)),
        Command::Key(command) => interruptible(keys::run(command, out)),
        Command::Keygen(args) => sign::keygen(&args, out),
        Command::Sign(args) => sign::sign(&args, out),
        Command::Migrate(args) => migrate::run(args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Man(args) => completions::man(&args, out),
        Command::Config(command) => config::run(command, out),
        Command::CompileWorker(args) => {
            compile_worker::run(&args);
            Ok(())
        }
    }
}

/// Runs a remote command until it ends or a signal arrives; a signal drops it, and
/// with it the connection and temporary files.
fn interruptible(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            // Before the command begins: a signal must not find that nobody waits for it.
            biased;
            signal = interruption() => signal.and(Err(failure::Interrupted.into())),
            result = command => result,
        }
    });
    // A thread may still wait for standard input; it must not keep the process.
    runtime.shutdown_background();
    result
}

async fn interruption() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
