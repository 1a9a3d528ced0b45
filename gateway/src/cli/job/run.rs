//! `sluice job run`.

use super::follow::{self, View};
use super::shown::RunView;
use crate::cli::client::{Client, Remote};
use crate::cli::failure::Denied;
use crate::cli::input;
use crate::cli::output::Out;
use crate::model::job::JobName;

/// Of which job, with what, and whether to stay.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The job's name.
    job: JobName,
    /// The trigger: JSON, @FILE, or - for standard input. Without it the trigger is null.
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// Show the steps as they happen, until the run ends.
    #[arg(long, conflicts_with = "wait")]
    follow: bool,
    /// Wait until the run ends, and show it then.
    #[arg(long)]
    wait: bool,
    /// The same key and input start one run, however often this is called.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Starts a run; stays where that is wanted.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let body = match args.input {
        Some(argument) => input::json("--input", argument).await?.as_str().as_bytes().to_vec(),
        None => Vec::new(),
    };
    let client = Client::new(&args.remote, out)?;
    let path = ["jobs", args.job.as_str(), "runs"];
    let answer = client.start(&path, args.idempotency_key.as_deref(), body).await?;
    let started: RunView = answer.read()?;
    if !args.follow && !args.wait {
        if out.when_json(&answer.body)? {
            return Ok(());
        }
        out.line(&started.id)?;
        out.note(&format!("it is {}; look at it: sluice job show {}", started.status, started.id));
        return Ok(());
    }
    let view = if args.follow && !out.is_json() { View::steps(out, &started.steps) } else { View::Nothing };
    follow::to_the_end(&client, &started.id, view, out).await?;
    let answer = client.get(&["runs", &started.id], &[]).await?;
    let ended: RunView = answer.read()?;
    if !out.when_json(&answer.body)? {
        if args.wait {
            ended.print(out)?;
        } else {
            out.line(&format!("{} {}", ended.id, ended.status))?;
        }
    }
    if ended.status == "completed" {
        return Ok(());
    }
    let why = ended.error.map(|error| format!(": {}", error.text())).unwrap_or_default();
    let advice = [
        format!("what its steps logged: sluice job logs {}", ended.id),
        format!("go on where it stopped: sluice job retry {}", ended.id),
    ];
    out.error(&format!("the run is {}{why}", ended.status), &advice);
    Err(Denied.into())
}
