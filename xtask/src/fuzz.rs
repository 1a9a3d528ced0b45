//! `cargo xtask fuzz`: the targets in `fuzz/`, for a bounded time.
//!
//! Owns how they are built and run: with the pinned toolchain, on libFuzzer, which `libfuzzer-sys` compiles. Coverage
//! is stable in rustc and only the sanitizers aren't, which safe code doesn't need; so neither nightly nor
//! cargo-fuzz is installed. Invariant: a target that found something fails the step, and what it found is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::project;
use crate::steps::{Step, Steps};

/// How long each runs in CI.
pub const CI: Duration = Duration::from_secs(20);

/// What cargo-fuzz gives rustc for `--sanitizer none`.
const FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// No input needs them: more is a hang, or memory without a bound.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"];

/// The lines of a log that are shown of a target that found something.
const LINES_SHOWN: usize = 40;

/// Which targets run.
pub enum Targets {
    All,
    One(String),
}

/// `cargo xtask fuzz`.
pub fn run_alone(steps: &mut Steps, each: Duration, targets: &Targets) -> Result<()> {
    steps.attempt("fuzz targets", |step| run(step, each, targets));
    steps.finish()
}

/// Builds the targets, and runs them side by side.
pub fn run(step: &mut Step, each: Duration, targets: &Targets) -> Result<()> {
    let names = names(targets)?;
    let folder = build(step)?;
    let running: Vec<_> = names.iter().map(|name| Running::start(&folder, name, each)).collect::<Result<_>>()?;
    let ended: Vec<_> = running.into_iter().map(Running::end).collect();
    let told: Vec<_> = ended.into_iter().collect::<Result<_>>()?;
    step.note(told.join(", "));
    Ok(())
}

/// The targets are the files in their folder.
fn names(targets: &Targets) -> Result<Vec<String>> {
    let files = crate::sources::files_below(&project::path("fuzz/fuzz_targets"), "rs")?;
    let all: Vec<_> =
        files.iter().filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
    match targets {
        Targets::All => Ok(all),
        Targets::One(name) if all.contains(name) => Ok(vec![name.clone()]),
        Targets::One(name) => bail!("there is no target {name}; there are {}", all.join(", ")),
    }
}

/// The folder with the programs.
fn build(step: &Step) -> Result<PathBuf> {
    let target = project::path("target/fuzz");
    // With a host named, the flags are not for build scripts and macros.
    let host = project::host(step)?;
    let mut cargo = project::cargo_in(&project::path("fuzz"));
    cargo.args(["build", "--release", "--bins", "--target", &host, "--target-dir"]).arg(&target);
    step.run(cargo.env("RUSTFLAGS", FLAGS))?;
    Ok(target.join(host).join("release"))
}

struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Running {
    fn start(programs: &Path, name: &str, each: Duration) -> Result<Self> {
        // In cargo-fuzz's places, so that it finds them.
        let corpus = project::path("fuzz/corpus").join(name);
        let artifacts = project::path("fuzz/artifacts").join(name);
        for folder in [&corpus, &artifacts] {
            fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        let log = artifacts.join("log");
        let output = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let child = Command::new(programs.join(name))
            .args(LIMITS)
            .arg(format!("-max_total_time={}", each.as_secs()))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(corpus)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("can't start the target {name}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// How much it tried.
    fn end(mut self) -> Result<String> {
        let status = self.child.wait()?;
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        if !status.success() {
            let lines: Vec<_> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
            bail!("{} ended with {status}; its log {} ends:\n{}", self.name, self.log.display(), last.join("\n"));
        }
        let runs = log.lines().rev().find_map(|line| line.strip_prefix("Done ")?.split(' ').next());
        Ok(format!("{}: {} inputs", self.name, runs.unwrap_or("some")))
    }
}
