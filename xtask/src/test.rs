//! `cargo xtask test`: everything that CI runs, in one debug profile.
//!
//! A failure does not hide the ones after it: all that can run runs, and the table tells.

use anyhow::{Context as _, Result};

use crate::steps::{Step, Steps};
use crate::{api, check, guests, project, system};

/// Runs all of it.
pub fn run(steps: &mut Steps) -> Result<()> {
    let programs = [system::C_COMPILER, system::OPENSSL, system::POSTGRESQL, system::MARIADB];
    steps.step("programs", |step| system::ensure(step, &programs))?;
    guests::build(steps)?;
    check::run(steps);
    // Passed through: the tests' own lines are the report that people and CI read.
    steps.attempt("tests", |step| step.show(project::cargo().args(["test", "--workspace", "--no-fail-fast"])));
    steps.attempt("tests of the Rust template", test_template);
    steps.attempt("the API against its document", api::run);
    steps.finish()
}

/// The template's own tests run on this machine, not in WebAssembly: that is how its author runs them.
fn test_template(step: &mut Step) -> Result<()> {
    let version = step.output(std::process::Command::new("rustc").arg("-vV").current_dir(project::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut cargo = project::cargo_in(&project::path("guest-templates/rust"));
    cargo.args(["test", "--target", host, "--target-dir"]).arg(project::path("target/guests-build/rust"));
    step.show(&mut cargo)
}
