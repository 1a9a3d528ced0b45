//! `sluice key create`, `list` and `delete`.
//!
//! Owns how keys are asked for and shown. Does not own where a command's own key comes from
//! (`key`). Invariant: a key is printed once, on standard output, where it was just made.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Remote};
use super::confirmation::Confirmation;
use super::failure::Usage;
use super::output::Out;
use super::pages::{self, Page, Paging, to_seconds};
use crate::model::Role;

/// Where keys are below the API.
const KEYS: [&str; 1] = ["keys"];

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key; it is shown this once.
    Create(Create),
    /// List the keys, without the keys themselves.
    List(List),
    /// Delete a key; it opens nothing from then on.
    Delete(Delete),
}

/// Which key to make.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Who it is, in lists and the audit.
    #[arg(long)]
    name: String,
    /// What it may do.
    #[arg(long, value_parser = Role::ALL.map(Role::as_str))]
    role: String,
    /// When it ends: `90s`, `12h`, `30d`, `4w` from now, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = parse_end)]
    expires: Option<End>,
    /// Globs of the modules that it sees, by commas; all without this.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    modules: Option<Vec<String>>,
    /// Globs of the jobs that it sees, by commas; all without this.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    jobs: Option<Vec<String>>,
    #[command(flatten)]
    remote: Remote,
}

/// Which keys.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    remote: Remote,
}

/// Which key, and how sure.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// Its id, as `sluice key list` has it.
    id: uuid::Uuid,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    remote: Remote,
}

/// A key as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    id: String,
    name: String,
    role: String,
    key: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    modules: Option<Vec<String>>,
    jobs: Option<Vec<String>>,
}

/// When a key ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    After(SignedDuration),
    At(Timestamp),
}

fn parse_end(text: &str) -> Result<End, String> {
    const FORM: &str = "it has to be such as 90s, 12h, 30d, 4w, or a time such as 2026-01-31T12:00:00Z";
    if let Ok(time) = text.parse() {
        return Ok(End::At(time));
    }
    let (number, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or(FORM)?;
    let number: u32 = number.parse().map_err(|_| FORM)?;
    Ok(End::After(SignedDuration::from_secs(i64::from(number) * seconds)))
}

impl End {
    fn at(self) -> anyhow::Result<Timestamp> {
        match self {
            Self::At(time) => Ok(time),
            Self::After(time) => {
                Timestamp::now().checked_add(time).map_err(|_| Usage("--expires is too far away".to_owned()).into())
            }
        }
    }
}

/// Does one of them.
pub(super) async fn run(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args, out).await,
        Command::List(args) => list(args, out).await,
        Command::Delete(args) => delete(args, out).await,
    }
}

async fn create(args: Create, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let expires_at = args.expires.map(End::at).transpose()?.map(|end| end.to_string());
    let wanted = json!({
        "name": args.name, "role": args.role, "expires_at": expires_at, "modules": args.modules, "jobs": args.jobs,
    });
    let answer = client.post_json(&KEYS, &[], wanted.to_string().into_bytes()).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let made: View = answer.read()?;
    // Only the key goes to standard output: `KEY=$(sluice key create …)`.
    out.line(&made.key)?;
    out.note(&format!("made the key {} ({}, {}); it is shown this once", made.id, made.name, made.role));
    Ok(())
}

async fn list(args: List, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let answer = client.get(&KEYS, &args.paging.query()).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let page: Page<View> = answer.read()?;
    let shown = pages::List {
        header: &["ID", "NAME", "ROLE", "EXPIRES", "LAST USED", "MODULES", "JOBS"],
        row: View::row,
        nothing: "no keys",
    };
    Ok(args.paging.show(out, &page, &shown)?)
}

async fn delete(args: Delete, out: Out) -> anyhow::Result<()> {
    args.confirmation.require()?;
    let client = Client::new(&args.remote, out)?;
    let id = args.id.to_string();
    args.confirmation.ask(format!("Delete the key {id}? Whoever has it is locked out at once. [y/N] ")).await?;
    let answer = client.delete(&[&KEYS, [id.as_str()].as_slice()].concat()).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    Ok(out.line(&format!("deleted the key {id}"))?)
}

impl View {
    fn row(&self) -> Vec<String> {
        let time = |time: &Option<String>| time.as_deref().map_or_else(|| "never".to_owned(), to_seconds);
        let globs = |globs: &Option<Vec<String>>| match globs.as_deref() {
            None => "all".to_owned(),
            Some([]) => "none".to_owned(),
            Some(globs) => globs.join(", "),
        };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.role.clone(),
            time(&self.expires_at),
            time(&self.last_used_at),
            globs(&self.modules),
            globs(&self.jobs),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_time_from_now() {
        assert_eq!(parse_end("30d"), Ok(End::After(SignedDuration::from_hours(720))));
        assert_eq!(parse_end("90s"), Ok(End::After(SignedDuration::from_secs(90))));
        assert_eq!(parse_end("4w"), Ok(End::After(SignedDuration::from_hours(672))));
        let time = "2026-01-31T12:00:00Z";
        assert_eq!(parse_end(time), Ok(End::At(time.parse().unwrap())));
        for bad in ["", "30", "d", "-1d", "1.5d", "30 days", "soon"] {
            assert!(parse_end(bad).is_err(), "{bad}");
        }
    }
}
