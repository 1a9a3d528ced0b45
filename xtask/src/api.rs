//! The API and its document: tried against each other with schemathesis, and written anew.
//!
//! Owns the virtual environment and the gateway that is tried. Does not own how it is tried, which is in
//! `xtask/schemathesis`. Invariant: a run that tried nothing fails.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::gateway::{self, Gateway};
use crate::steps::{Step, Steps};
use crate::{guests, project, system};

/// Uploads and keys that have to be among what was tried: a run in which the gateway takes none tries little else. A busy
/// machine comes to a dozen.
const CHANGES_MIN: u64 = 4;

/// Its phases with fixed cases take a quarter of these; the rest is for random ones.
const SECONDS: u32 = 120;

/// The same requests in every run, so that one that fails is about the change and can be had again. Another finds more, by hand.
const SEED: &str = "20261124";

/// `cargo xtask schemathesis`
pub fn run_alone(steps: &mut Steps) -> Result<()> {
    guests::build(steps)?;
    steps.attempt("the API against its document", run);
    steps.finish()
}

/// Starts a gateway with a module in it, and lets schemathesis try all operations.
pub fn run(step: &mut Step) -> Result<()> {
    system::ensure_python(step)?;
    let schemathesis = installed(step)?;
    let program = gateway::build(step, &[])?;
    let gateway = Gateway::start("schemathesis", program, gateway::any_address()?)?;
    // The examples of the document are about this module.
    let module = guests::file("echo");
    let upload = ["upload", "--name", "order-rules", "--version", "1.2.0"];
    step.run(gateway.command().args(upload).arg(&module))?;

    let folder = project::path("target/schemathesis");
    fs::create_dir_all(&folder)?;
    let settings = project::path("xtask/schemathesis");
    let mut command = Command::new(schemathesis);
    command.arg("--config-file").arg(settings.join("schemathesis.toml"));
    command.args(["run", &format!("{}/api/v1/openapi.json", gateway.url())]);
    command.args(["--max-time", &SECONDS.to_string(), "--seed", SEED, "--no-color"]);
    // It writes what it found into the folder that it runs in.
    command.current_dir(folder).env("PYTHONPATH", &settings).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SLUICE_KEY", gateway.key()).env("SLUICE_COMPONENT", guests::file("leak"));
    let keys = asked(&gateway, "/api/v1/keys")?;
    let key_id = keys.pointer("/items/0/id").and_then(Value::as_str);
    command.env("SLUICE_KEY_ID", key_id.context("the gateway does not tell its key")?);
    let report = step.output(&mut command)?;
    let tried = report.lines().map(str::trim).find(|line| line.contains(" generated"));
    let mut note = tried.context("schemathesis does not say what it tried")?.to_owned();
    for action in ["module.upload", "key.create"] {
        // With the key of the run, which is to be there still.
        let rows = asked(&gateway, &format!("/api/v1/audit?action={action}&limit=1"))?;
        let done = rows.get("total").and_then(Value::as_u64).context("the audit has no total")?;
        ensure!(done >= CHANGES_MIN, "only {done} rows of {action}: valid requests are refused");
        note += &format!(", {done} {action}");
    }
    step.note(note);
    let stopped = gateway.stop()?;
    ensure!(stopped.success(), "the gateway ended with {stopped}");
    Ok(())
}

/// What the gateway answers with 200.
fn asked(gateway: &Gateway, path: &str) -> Result<Value> {
    let answer = gateway.connect()?.get(path)?;
    ensure!(answer.status == 200, "{path} answers {}: {}", answer.status, answer.body);
    Ok(serde_json::from_str(&answer.body)?)
}

/// The program, in an environment of its own that is made anew when the requirements change.
fn installed(step: &mut Step) -> Result<PathBuf> {
    let requirements = project::path("xtask/schemathesis/requirements.txt");
    let environment = project::path("target/schemathesis-environment");
    let (stamp, wanted) = (environment.join("requirements.txt"), fs::read(&requirements)?);
    let program = environment.join("bin/schemathesis");
    if fs::read(&stamp).is_ok_and(|found| found == wanted) && program.is_file() {
        return Ok(program);
    }
    step.run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    // All of them are named, so nothing else is to come along.
    step.run(pip.args(["install", "--quiet", "--no-deps", "--requirement"]).arg(&requirements))?;
    // Last: an installation that broke off has none.
    fs::write(stamp, wanted)?;
    Ok(program)
}

/// `cargo xtask openapi`
pub fn write_document(steps: &mut Steps) -> Result<()> {
    steps.step("docs/openapi.json", |step| {
        let test = "openapi::the_committed_document_is_the_one_that_is_served";
        let mut cargo = project::cargo();
        cargo.args(["test", "--package", "sluice", "--test", "it", "--", "--exact", test]).env("BLESS", "1");
        let report = step.output(&mut cargo)?;
        ensure!(report.contains("1 passed"), "the test that writes it did not run");
        Ok(())
    })?;
    steps.finish()
}
