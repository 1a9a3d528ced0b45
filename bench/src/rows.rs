//! The rows: what is measured, against what, with which goal; and one after the other.
//!
//! Owns the table, to which peers and rows are added. Does not own how a kind of row is measured
//! (`paired`, `memory`, `uploads`, `command_line`, `jobs`).

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::machine::{Awake, Built, Cores, Machine, Versions};
use crate::options::Options;
use crate::report::{Figures, Report, Status};
use crate::server::Kind;
use crate::{command_line, guest, jobs, memory, paired, project, uploads};

/// A row of the table.
struct Row {
    id: &'static str,
    title: &'static str,
    method: &'static str,
    plan: Plan,
}

enum Plan {
    Paired(paired::Plan),
    Memory(memory::Plan),
    Uploads(uploads::Plan),
    CommandLine(command_line::Plan),
    Jobs(jobs::Plan),
}

/// Of both stores.
const JOBS: &str = "`sluice serve` with its defaults on a fresh data folder, pinned to one core; callers, and PostgreSQL where it is \
                    the store, have the other. Each step calls the fixture `echo`. Alone: one run after the other, from the run's making \
                    to its end, by its own times. Under load: sixteen callers that wait for the end of each run \
                    (`?wait_ms`). Commits are the engine's own count of transactions. The limit is what the database commits, one \
                    inserted row a transaction, one after the other, as durable. Beside: a run of three steps while ten thousand of another job \
                    wait. Restate: its server and a service in Node.js with as many `ctx.run` steps, pinned to the same core, \
                    with the same callers.";

/// The numbers are those of the design's list of rows.
const ROWS: [Row; 10] = [
    Row {
        id: "2",
        title: "step invoke over HTTP, fresh instance, Rust",
        method: "Two processes on one machine, the server pinned to one core and wrk to another, keep-alive. Limit: hyper \
                 alone (a mode of the bench program) reads the same POST, parses its JSON and answers it upper-cased, \
                 filled up to the length of the gateway's answer. Measured: `sluice serve` with its defaults on a fresh \
                 data folder, execution records, metrics and all guards on, `order-check` called with an order that it \
                 accepts. Runs are interleaved (hyper, sluice, hyper, sluice, …), the ratio is taken pair by pair, and \
                 the median is given with minimum and maximum. CPU is user and system time of all threads of the server.",
        plan: Plan::Paired(paired::Plan { guest: guest::ORDER_CHECK, input: guest::GOOD_ORDER, goal: 0.33 }),
    },
    Row {
        id: "2-tinygo",
        title: "the same order step in TinyGo",
        method: "As row 2, with the TinyGo template, called with the same order.",
        plan: Plan::Paired(paired::Plan { guest: guest::ORDER_CHECK_TINYGO, input: guest::GOOD_ORDER, goal: 0.4 }),
    },
    Row {
        id: "2-assemblyscript",
        title: "the same order step in AssemblyScript",
        method: "As row 2, with the AssemblyScript template, called with the same order.",
        plan: Plan::Paired(paired::Plan {
            guest: guest::ORDER_CHECK_ASSEMBLYSCRIPT,
            input: guest::GOOD_ORDER,
            goal: 0.55,
        }),
    },
    Row {
        id: "2-echo",
        title: "the same for a step that answers with what it was given",
        method: "As row 2, with the fixture `echo` in place of `order-check`: what a call costs where the step itself \
                 does next to nothing and logs nothing.",
        plan: Plan::Paired(paired::Plan { guest: guest::ECHO, input: guest::GOOD_ORDER, goal: 0.33 }),
    },
    Row {
        id: "memory",
        title: "memory of the gateway over many calls",
        method: "`sluice serve` with its defaults on a fresh data folder, under the load of row 2. Resident memory is read \
                 between slices of two seconds, each time when the gateway has written its records and does nothing.",
        plan: Plan::Memory(memory::Plan { guest: guest::ORDER_CHECK, input: guest::GOOD_ORDER, growth_max: 1.1 }),
    },
    Row {
        id: "uploads",
        title: "p99 of a victim during uploads, against the same calls alone",
        method: "`sluice serve` with its defaults on a fresh data folder, under the load of row 2-echo: one half alone, one while a \
                 second client uploads the largest fixture again and again, each time with other bytes, so that each is checked, \
                 stored and compiled in a child process on the same core. Halves are interleaved, and the ratio is taken pair by pair.",
        plan: Plan::Uploads(uploads::Plan {
            guest: guest::ECHO,
            input: guest::GOOD_ORDER,
            uploaded: guest::LARGE,
            ratio_max: 2.0,
        }),
    },
    Row {
        id: "help",
        title: "`sluice --help`",
        method: "A process each run, from its start to its end, its output thrown away.",
        plan: Plan::CommandLine(command_line::Plan { task: command_line::Task::Help, ms_max: 20.0 }),
    },
    Row {
        id: "cases",
        title: "`sluice test` of ten cases",
        method: "The Rust template as `sluice init` makes it, with ten cases in place of its own fewer ones, and built once \
                 before. Each run is a process from its start to its end: cargo finds nothing to compile, and the cases run \
                 in the gateway's runtime.",
        plan: Plan::CommandLine(command_line::Plan { task: command_line::Task::Cases(10), ms_max: 1_000.0 }),
    },
    Row {
        id: "10-sqlite",
        title: "jobs of 3, 40 and 400 steps, on SQLite",
        method: JOBS,
        plan: Plan::Jobs(jobs::Plan { store: jobs::Store::Sqlite }),
    },
    Row {
        id: "10-postgres",
        title: "jobs of 3, 40 and 400 steps, on PostgreSQL",
        method: JOBS,
        plan: Plan::Jobs(jobs::Plan { store: jobs::Store::Postgres }),
    },
];

/// Measures the rows that were asked for, prints and writes their reports. The exit
/// code is a failure when requests failed; a goal that was missed is a result.
///
/// # Errors
/// What keeps a row from being measured.
#[expect(clippy::print_stdout, reason = "printing is its purpose")]
pub fn run(options: &Options) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        bail!("figures of a debug build say nothing: run with `cargo run --release`, or `cargo xtask bench`");
    }
    let rows = chosen(&options.rows)?;
    ensure_wrk()?;
    let cores = Cores::choose()?;
    let (program, built) = gateway(options)?;
    let awake = if options.let_cores_sleep { None } else { Awake::hold() };
    let (machine, versions) = (Machine::read(awake.as_ref())?, Versions::read(&program, built)?);
    let gateway = Kind::Gateway { program };
    let mut code = ExitCode::SUCCESS;
    for row in rows {
        println!("Row {}: {}", row.id, row.title);
        let mut progress = |text: String| println!("  {text}");
        let figures = match &row.plan {
            Plan::Paired(plan) => Figures::Paired(paired::measure(plan, &gateway, cores, options, &mut progress)?),
            Plan::Uploads(plan) => Figures::Uploads(uploads::measure(plan, &gateway, cores, options, &mut progress)?),
            Plan::CommandLine(plan) => {
                Figures::CommandLine(command_line::measure(plan, &gateway, options, &mut progress)?)
            }
            Plan::Jobs(plan) => Figures::Jobs(jobs::measure(*plan, &gateway, cores, options, &mut progress)?),
            Plan::Memory(plan) => Figures::Memory(memory::measure(plan, &gateway, cores, options, &mut progress)?),
        };
        let report = Report {
            row: row.id,
            title: row.title,
            method: row.method,
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            command: options.command(row.id),
            quick: options.quick,
            status: figures.status(),
            machine: machine.clone(),
            versions: versions.clone(),
            figures,
        };
        // Written first: whoever reads along may leave.
        report.write(&project::root().join("bench/results"))?;
        println!("\n{}", report.markdown());
        if matches!(report.status, Status::Failed { .. }) {
            code = ExitCode::FAILURE;
        }
    }
    println!("Written to bench/results.");
    Ok(code)
}

/// The rows of these ids; all of them for none.
fn chosen(ids: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = ids.iter().find(|id| !ROWS.iter().any(|row| row.id == **id)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        bail!("there is no row {unknown}; there are {}", known.join(", "));
    }
    Ok(ROWS.iter().filter(|row| ids.is_empty() || ids.iter().any(|id| id == row.id)).collect())
}

/// The binary to measure: the one that was given, or that of these sources, built
/// now, since an old one would be measured in silence.
fn gateway(options: &Options) -> Result<(PathBuf, Built)> {
    if let Some(program) = &options.gateway {
        let program = program.canonicalize().context("the program of --gateway can't be found")?;
        return Ok((program, Built::Elsewhere));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Both packages: with one alone, cargo would choose other features for what they
    // share, and build all of that again.
    cargo.args(["build", "--release", "--package", "sluice", "--package", "sluice-bench"]);
    cargo.current_dir(project::root());
    // What cargo says of this program would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    if !cargo.status().context("can't run cargo")?.success() {
        bail!("the gateway could not be built");
    }
    Ok((std::env::current_exe()?.with_file_name("sluice"), Built::Here))
}

/// Installs wrk where that is allowed.
#[expect(clippy::print_stdout, reason = "nothing is installed in silence")]
fn ensure_wrk() -> Result<()> {
    // It answers `-v` with an error, but it answers.
    if Command::new("wrk").arg("-v").output().is_ok() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("wrk, the load generator, is missing: on Debian, `apt-get install wrk`");
    }
    println!("Installing wrk, the load generator");
    let apt =
        |arguments: &[&str]| Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    apt(&["update"]).context("wrk, the load generator, is missing, and there is no apt-get to install it with")?;
    if !apt(&["install", "--yes", "--no-install-recommends", "wrk"])?.success() {
        bail!("wrk could not be installed: on Debian it is in the package wrk");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_chosen_unless_some_are_named() {
        assert_eq!(chosen(&[]).unwrap().len(), ROWS.len());
        assert_eq!(chosen(&["2".to_owned()]).unwrap().first().unwrap().id, "2");
        assert!(chosen(&["11".to_owned()]).is_err());
    }
}
