//! `sluice job`: check and save definitions, start runs and watch them, and look at what became of them.
//!
//! Owns the arguments and what is shown of one job or a list. Does not own the start of a run (`run`) nor its live view (`follow`).
//! A server may be newer, so what is shown is read leniently.

mod follow;
mod run;
mod shown;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;

use self::shown::{JobView, RunView};
use super::client::{Client, Remote};
use super::confirmation::Confirmation;
use super::logs;
use super::output::Out;
use super::pages::{self, Page, Paging};
use crate::model::RunId;
use crate::model::job::{JobName, RunStatus};

/// What is done with jobs and their runs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a definition as the gateway will, without saving it.
    Validate(File),
    /// Save a definition: a new job, or a new revision of one.
    Apply(File),
    /// Start a run.
    Run(run::Args),
    /// List the jobs.
    List(List),
    /// Show a job, or a run with its steps.
    Show(Show),
    /// List runs, the newest first.
    Runs(Runs),
    /// Show what the steps of a run logged.
    Logs(Logs),
    /// End a run.
    Cancel(OneRun),
    /// Let a run that failed or was canceled go on where it stopped.
    Retry(OneRun),
    /// Delete a job; its runs stay.
    Delete(Delete),
}

/// Which definition.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The definition: YAML, or JSON where the name ends in .json.
    file: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

/// Which jobs.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Text in the name or the description.
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    remote: Remote,
}

/// Which job or run.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// A job's name, or a run's id.
    #[arg(value_name = "JOB|RUN")]
    what: String,
    #[command(flatten)]
    remote: Remote,
}

/// Which runs.
#[derive(Debug, clap::Args)]
pub(super) struct Runs {
    /// Of this job.
    job: Option<JobName>,
    /// In this state: queued, running, completed, failed, canceled.
    #[arg(long, value_parser = status)]
    status: Option<RunStatus>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    remote: Remote,
}

fn status(text: &str) -> Result<RunStatus, String> {
    let known = RunStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ");
    RunStatus::parse(text).ok_or_else(|| format!("it is one of {known}"))
}

/// Whose log.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// The run's id.
    run: RunId,
    /// Leave out lines below this level.
    #[arg(long, value_enum, default_value_t = logs::Level::Debug)]
    level: logs::Level,
    #[command(flatten)]
    remote: Remote,
}

/// Which run.
#[derive(Debug, clap::Args)]
pub(super) struct OneRun {
    /// The run's id.
    run: RunId,
    #[command(flatten)]
    remote: Remote,
}

/// Which job, and how sure.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The job's name.
    job: JobName,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    remote: Remote,
}

/// Does one of them.
pub(super) async fn run(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Validate(file) => validate(&file, out).await,
        Command::Apply(file) => apply(&file, out).await,
        Command::Run(args) => run::run(args, out).await,
        Command::List(args) => list(args, out).await,
        Command::Show(args) => show(&args, out).await,
        Command::Runs(args) => runs(args, out).await,
        Command::Logs(args) => {
            logs::show(&Client::new(&args.remote, out)?, &args.run.to_string(), args.level, out).await
        }
        Command::Cancel(args) => ask(&args, "cancel", "it ends soon", out).await,
        Command::Retry(args) => ask(&args, "retry", "it goes on", out).await,
        Command::Delete(args) => delete(&args, out).await,
    }
}

/// The definition's bytes, and what they are.
fn read(path: &Path) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    Ok((if is_json { "application/json" } else { "application/yaml" }, bytes))
}

async fn validate(file: &File, out: Out) -> anyhow::Result<()> {
    let (content_type, bytes) = read(&file.file)?;
    let client = Client::new(&file.remote, out)?;
    let answer = client.post_typed(&["jobs", "validate"], content_type, bytes).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    answer.read::<JobView>()?.warn(out);
    Ok(out.line(&format!("{} has no mistakes", file.file.display()))?)
}

async fn apply(file: &File, out: Out) -> anyhow::Result<()> {
    let (content_type, bytes) = read(&file.file)?;
    let client = Client::new(&file.remote, out)?;
    let answer = client.post_typed(&["jobs"], content_type, bytes).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let job: JobView = answer.read()?;
    job.warn(out);
    out.line(&format!("saved {} (revision {})", job.name, job.revision))?;
    out.note(&format!("start it: sluice job run {} --follow", job.name));
    Ok(())
}

async fn list(args: List, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let mut query = args.paging.query();
    query.extend(args.q.map(|text| ("q", text)));
    let answer = client.get(&["jobs"], &query).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let page: Page<JobView> = answer.read()?;
    let shown = pages::List {
        header: &["NAME", "REVISION", "STEPS", "HOOK", "DESCRIPTION", "SAVED"],
        row: JobView::row,
        nothing: "no jobs yet; `sluice job apply FILE` saves one",
    };
    Ok(args.paging.show(out, &page, &shown)?)
}

async fn show(args: &Show, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    // An id begins with a digit until the year 10 889, and a name never does.
    if args.what.parse::<RunId>().is_ok() {
        let answer = client.get(&["runs", &args.what], &[]).await?;
        return if out.when_json(&answer.body)? { Ok(()) } else { answer.read::<RunView>()?.print(out) };
    }
    let answer = client.get(&["jobs", &args.what], &[]).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let job: JobView = answer.read()?;
    job.warn(out);
    out.pairs(&job.pairs())?;
    Ok(out.json(&serde_json::to_vec_pretty(&job.definition)?)?)
}

async fn runs(args: Runs, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let mut query = args.paging.query();
    query.extend(args.job.map(|job| ("job", job.to_string())));
    query.extend(args.status.map(|status| ("status", status.as_str().to_owned())));
    let answer = client.get(&["runs"], &query).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let page: Page<RunView> = answer.read()?;
    let shown = pages::List {
        header: &["ID", "JOB", "STATUS", "CREATED", "TOOK", "ERROR"],
        row: RunView::row,
        nothing: "no runs yet; `sluice job run JOB` starts one",
    };
    Ok(args.paging.show(out, &page, &shown)?)
}

async fn ask(args: &OneRun, what: &str, then: &str, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let id = args.run.to_string();
    let answer = client.post_json(&["runs", &id, what], &[], Vec::new()).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    Ok(out.line(&format!("{id}: {then}; sluice job show {id}"))?)
}

async fn delete(args: &Delete, out: Out) -> anyhow::Result<()> {
    args.confirmation.require()?;
    let client = Client::new(&args.remote, out)?;
    args.confirmation.ask(format!("Delete the job {}? Its runs stay. [y/N] ", args.job)).await?;
    let answer = client.delete(&["jobs", args.job.as_str()]).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    Ok(out.line(&format!("deleted {}", args.job))?)
}
