//! `cargo xtask test`: everything that CI runs, in one debug profile.
//!
//! A failure does not hide the ones after it: all that can run runs, and the table tells.

use std::process::Command;

use anyhow::Result;

use crate::steps::{Step, Steps};
use crate::{api, check, fuzz, guests, project, system, webhooks};

/// Runs all of it.
pub fn run(steps: &mut Steps) -> Result<()> {
    let programs = [system::C_COMPILER, system::OPENSSL, system::POSTGRESQL, system::MARIADB];
    steps.step("programs", |step| system::ensure(step, &programs))?;
    guests::build(steps)?;
    guests::build_languages(steps)?;
    webhooks::install(steps)?;
    check::run(steps);
    // Passed through: the tests' own lines are the report that people and CI read.
    steps.attempt("tests", |step| step.show(project::cargo().args(["test", "--workspace", "--no-fail-fast"])));
    steps.attempt("tests of the Rust template", test_rust);
    steps.attempt("tests of the TinyGo template", test_tinygo);
    steps.attempt("tests of the AssemblyScript template", test_assemblyscript);
    steps.attempt("fuzz targets", |step| fuzz::run(step, fuzz::CI, &fuzz::Targets::All));
    steps.attempt("the API against its document", api::run);
    steps.finish()
}

/// The template's own tests run on this machine, not in WebAssembly: that is how its author runs them.
fn test_rust(step: &mut Step) -> Result<()> {
    let host = project::host(step)?;
    let mut cargo = project::cargo_in(&project::path("guest-templates/rust"));
    cargo.args(["test", "--target", &host, "--target-dir"]).arg(project::path("target/guests-build/rust"));
    step.show(&mut cargo)
}

/// By Go itself: what calls the gateway is replaced there.
fn test_tinygo(step: &mut Step) -> Result<()> {
    step.show(
        Command::new("go")
            .args(["test", "./..."])
            .env("GOFLAGS", "")
            .current_dir(project::path("guest-templates/tinygo")),
    )
}

/// By Node: the packages are there, since the template was built.
fn test_assemblyscript(step: &mut Step) -> Result<()> {
    step.show(Command::new("npm").arg("test").current_dir(project::path("guest-templates/assemblyscript")))
}
