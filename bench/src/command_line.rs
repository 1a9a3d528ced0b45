//! The rows of the command line: how long an author waits for `sluice`.
//!
//! Invariant: every run is a process of its own, from its start to its end, with everything on disk that an author has
//! after a first run; a run that fails is counted and its time is not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::options::Options;
use crate::paired::Spread;
use crate::report::{Status, Table};
use crate::server::Kind;

/// Enough that one slow run moves no median.
const RUNS: u32 = 40;
const RUNS_QUICK: u32 = 5;
/// The step's folder, below one of its own.
const STEP: &str = "step";

/// What is run.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// `sluice --help`.
    Help,
    /// `sluice test` in the Rust template's folder, with so many cases.
    Cases(usize),
}

/// What is run, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What.
    pub task: Task,
    /// The most that the median may be, in milliseconds.
    pub ms_max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct CommandLine {
    /// The most that was allowed.
    pub ms_max: f64,
    /// From the process' start to its end.
    pub ms: Spread,
    /// Each run's.
    pub runs_ms: Vec<f64>,
    /// Runs that failed.
    pub errors: u64,
}

/// Measures the row; `progress` is told what is made ready.
///
/// # Errors
/// When the step can't be made or built, or `sluice` can't be started.
pub fn measure(
    plan: &Plan,
    gateway: &Kind,
    options: &Options,
    progress: &mut dyn FnMut(String),
) -> Result<CommandLine> {
    let Kind::Gateway { program } = gateway else { anyhow::bail!("only `sluice` has a command line") };
    let folder = tempfile::tempdir().context("can't make a folder")?;
    let arguments: &[&str] = match plan.task {
        Task::Help => &["--help"],
        Task::Cases(count) => {
            progress("building the step for the first time".to_owned());
            step(program, &folder, count)?;
            &["test", STEP]
        }
    };
    let (mut runs_ms, mut errors) = (Vec::new(), 0);
    for _ in 0..if options.quick { RUNS_QUICK } else { RUNS } {
        let begun = Instant::now();
        let is_done = run(program, folder.path(), arguments)?;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        if is_done { runs_ms.push(ms) } else { errors += 1 }
    }
    Ok(CommandLine { ms_max: plan.ms_max, ms: Spread::of(runs_ms.iter().copied()), runs_ms, errors })
}

/// A step that was just made, with so many cases, built and tested once.
fn step(program: &Path, folder: &TempDir, count: usize) -> Result<()> {
    ensure!(run(program, folder.path(), &["init", STEP])?, "sluice init failed");
    let tests = folder.path().join(STEP).join("tests");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&tests)? {
        cases.push(entry?.path());
    }
    cases.sort();
    ensure!(!cases.is_empty() && cases.len() <= count, "the template has {} cases", cases.len());
    for (number, case) in cases.iter().cycle().take(count - cases.len()).enumerate() {
        fs::copy(case, tests.join(format!("again-{number}.json")))?;
    }
    ensure!(run(program, folder.path(), &["test", STEP])?, "the template's cases fail: `sluice test` tells why");
    Ok(())
}

fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Result<bool> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The caller's own cargo run would be taken for the step's.
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    Ok(command.status().context("can't start sluice")?.success())
}

impl CommandLine {
    /// Whether it was as quick as it should be, each time.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.errors {
            0 if self.ms.median <= self.ms_max => Status::Reached,
            0 => Status::Missed,
            errors => Status::Failed { errors },
        }
    }

    /// The figure that counts, in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{:.1} ms (min–max of {} runs), goal at most {} ms.", self.ms, self.runs_ms.len(), self.ms_max)
    }

    /// The raw figures.
    #[must_use]
    pub fn table(&self) -> Table {
        let rows =
            self.runs_ms.iter().enumerate().map(|(index, ms)| vec![(index + 1).to_string(), format!("{ms:.1} ms")]);
        Table { header: vec!["run".to_owned(), "time".to_owned()], rows: rows.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(runs_ms: &[f64], errors: u64) -> CommandLine {
        CommandLine { ms_max: 20.0, ms: Spread::of(runs_ms.iter().copied()), runs_ms: runs_ms.to_vec(), errors }
    }

    #[test]
    fn the_median_reaches_the_goal_or_misses_it_and_a_failed_run_says_nothing() {
        assert_eq!(measured(&[1.0, 2.0, 90.0], 0).status(), Status::Reached);
        assert_eq!(measured(&[1.0, 20.1, 90.0], 0).status(), Status::Missed);
        assert_eq!(measured(&[1.0], 1).status(), Status::Failed { errors: 1 });
    }
}
