//! `cargo xtask bench`: starts the bench program, which measures and writes `bench/results`.

use anyhow::Result;

use crate::project;
use crate::steps::Steps;
use crate::{guests, system};

/// Builds what is measured and passes `arguments` on.
pub fn run(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    steps.step("load generator", |step| system::ensure(step, &[system::WRK]))?;
    guests::build(steps)?;
    guests::build_languages(steps)?;
    steps.step("benchmarks", |step| {
        // `jobs` is the name of the rows of the job engine.
        let rows = ["--rows".to_owned(), "10-sqlite,10-postgres".to_owned()];
        let (rows, arguments) = match arguments.split_first() {
            Some((first, rest)) if first == "jobs" => (&rows[..], rest),
            _ => (&[][..], arguments),
        };
        step.show(
            project::cargo().args(["run", "--release", "--package", "sluice-bench", "--"]).args(rows).args(arguments),
        )
    })
}
