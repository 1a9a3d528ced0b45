//! `sluice test`: the cases of a step, in the gateway's own runtime.
//!
//! Owns the report. Does not own cases (`author::cases`). Invariant: it exits with 0 only when every case passed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::build::{advised, only_a_step, open};
use super::failure::{Advised, Denied, sentence};
use super::output::{Out, Paint};
use super::record::{self, Record};
use super::whole_file::WholeFile;
use crate::author::cases::{self, Difference, File, Json, Report, Runner};
use crate::author::{MANIFEST, Project};

/// Which cases of which step.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The step's folder; its cases are in `tests/*.json`.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with = "record")]
    filter: Option<String>,
    /// Write a `JUnit` report too.
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    record: Record,
}

/// As wide as what a case that passed begins with.
const FAILED: &str = "FAILED";

type Ran = (String, Result<Report, String>);

/// Builds the step, runs its cases and tells how they went.
pub(super) fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let project = open(&args.dir)?;
    if args.record.is_wanted() {
        return super::interruptible(record::run(&args.dir, project.name(), args.record, out));
    }
    all(&args, &project, out)
}

fn all(args: &Args, project: &Project, out: Out) -> anyhow::Result<()> {
    // Before what takes time.
    let files = chosen(args, project)?;
    if let Some(path) = &args.junit {
        drop(WholeFile::begin(path).with_context(|| unwritable(path))?);
    }
    let built = project.build_where_changed().map_err(advised)?;
    only_a_step(&built)?;
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ran = tokio.block_on(async {
        let folder = project.compiled_code();
        let runner =
            Runner::open(&built.prebuilt, project.manifest(), &folder).await.map_err(|error| Advised::of(&error))?;
        let mut ran: Vec<Ran> = Vec::with_capacity(files.len());
        for file in &files {
            let report = one(&runner, file).await;
            if !out.is_json() {
                print(&file.name, &report, out)?;
            }
            ran.push((file.name.clone(), report));
        }
        anyhow::Ok(ran)
    })?;
    if let Some(path) = &args.junit {
        write(path, &cases::junit(project.name().unwrap_or("step"), &ran))?;
    }
    let failed = ran.iter().filter(|(_, report)| !has_passed(report)).count();
    if out.is_json() {
        let cases = ran.iter().map(|(name, report)| Told::of(name, report)).collect();
        out.json(&serde_json::to_vec(&AllTold { cases, passed: ran.len() - failed, failed })?)?;
    } else {
        out.line(&format!("\n{} passed, {failed} failed", ran.len() - failed))?;
    }
    if failed == 0 { Ok(()) } else { Err(Denied.into()) }
}

fn chosen(args: &Args, project: &Project) -> anyhow::Result<Vec<File>> {
    let (mut files, folder) = (cases::files(&args.dir)?, args.dir.join("tests"));
    if files.is_empty() {
        // A function of HTTP has none; which of the two it is only its component tells.
        only_a_step(&project.build_where_changed().map_err(advised)?)?;
        let advice = "a case is a file of JSON: {\"input\": …, \"expect\": {\"status\": \"completed\", \"output\": …}}";
        return Err(Advised::new(format!("there are no cases in {}", folder.display()), advice).into());
    }
    let Some(text) = &args.filter else { return Ok(files) };
    let (count, first) = (files.len(), files.first().map_or_else(String::new, |file| file.name.clone()));
    files.retain(|file| file.name.contains(text.as_str()));
    if files.is_empty() {
        let advice = format!("one of them is {first}");
        let message = format!("none of the {count} cases in {} has {text} in its name", folder.display());
        return Err(Advised::new(message, advice).into());
    }
    Ok(files)
}

async fn one(runner: &Runner, file: &File) -> Result<Report, String> {
    let case = file.read().map_err(|error| sentence(&error.into()))?;
    runner.run(&case).await.map_err(|error| sentence(&error.into()))
}

fn has_passed(report: &Result<Report, String>) -> bool {
    report.as_ref().is_ok_and(Report::has_passed)
}

fn print(name: &str, report: &Result<Report, String>, out: Out) -> anyhow::Result<()> {
    let report = match report {
        Err(error) => {
            out.painted(Paint::Red, FAILED, &format!("  {name}"))?;
            return Ok(error.lines().try_for_each(|line| out.line(&format!("        {line}")))?);
        }
        Ok(report) => report,
    };
    let usage = &report.usage;
    let fuel = usage.fuel.map_or_else(|| "-".to_owned(), |fuel| fuel.to_string());
    let (paint, word) = if report.has_passed() { (Paint::Green, "ok    ") } else { (Paint::Red, FAILED) };
    let memory = BinaryBytes(usage.memory_bytes);
    out.painted(paint, word, &format!("  {name}  ({fuel} fuel, {memory}, {} µs)", usage.duration_us))?;
    for Difference { path, expected, found } in &report.differences {
        out.line(&format!("        {path}"))?;
        for (paint, sign, value) in [(Paint::Red, "-", expected), (Paint::Green, "+", found)] {
            if let Some(value) = value {
                out.painted(paint, &format!("        {sign} "), &value.to_string())?;
            }
        }
    }
    for line in &report.host_calls {
        out.line(&format!("        {line}"))?;
    }
    if !report.has_passed() {
        for denied in &report.denials {
            out.line(&format!("        no permission in {MANIFEST} covers: {denied}"))?;
        }
        for log in &report.logs {
            out.line(&format!("        log: {log}"))?;
        }
    }
    Ok(())
}

/// All cases for a program, to the digit: a tree of `serde_json`'s would make doubles of numbers.
#[derive(Serialize)]
struct AllTold<'a> {
    cases: Vec<Told<'a>>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Ran {
        name: &'a str,
        passed: bool,
        differences: Vec<Place<'a>>,
        host_calls: &'a [String],
        denials: &'a [String],
        logs: &'a [Json],
        fuel: Option<u64>,
        memory_bytes: u64,
        duration_us: u64,
    },
    NotRun {
        name: &'a str,
        passed: bool,
        error: &'a str,
    },
}

#[derive(Serialize)]
struct Place<'a> {
    path: &'a str,
    expected: &'a Option<Json>,
    found: &'a Option<Json>,
}

impl<'a> Told<'a> {
    fn of(name: &'a str, report: &'a Result<Report, String>) -> Self {
        match report {
            Err(error) => Self::NotRun { name, passed: false, error },
            Ok(report) => Self::Ran {
                name,
                passed: report.has_passed(),
                differences: report
                    .differences
                    .iter()
                    .map(|Difference { path, expected, found }| Place { path, expected, found })
                    .collect(),
                host_calls: &report.host_calls,
                denials: &report.denials,
                logs: &report.logs,
                fuel: report.usage.fuel,
                memory_bytes: report.usage.memory_bytes,
                duration_us: report.usage.duration_us,
            },
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = WholeFile::begin(path).with_context(|| unwritable(path))?;
    file.write(text.as_bytes()).with_context(|| unwritable(path))?;
    file.finish(path).with_context(|| unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("{} can't be written", path.display())
}
