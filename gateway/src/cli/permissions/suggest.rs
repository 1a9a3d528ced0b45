//! `sluice permissions suggest`: permissions for what was denied so far.
//!
//! Owns the asking and the words. Does not own which permissions they are (`grouping`). Invariant: nothing is changed.

use jiff::Timestamp;
use serde::Deserialize;

use super::grouping::{Suggestion, suggestions};
use super::{Of, Version, tell_if_closed, view_of};
use crate::cli::client::{self, Client};
use crate::cli::modules::path;
use crate::cli::output::Out;
use crate::cli::pages::{Page, to_seconds};
use crate::model::{Permission, PermissionKind};
use crate::store::PageRequest;

/// Whose denials.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    of: Of,
}

/// A denial as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    permission: String,
    resource: String,
    count: u64,
    last_at: Option<Timestamp>,
}

/// Suggests. With `--json` it is the whole list, ready for `set --file`.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.of.remote, out)?;
    let version = Version::find(&client, &args.of.module).await?;
    let allowed = version.known(out)?.set;
    let found = suggestions(&allowed, denials(&client, &version).await?);
    if out.is_json() {
        let all = version.permissions.iter().cloned().chain(found.iter().map(|one| view_of(&one.permission)));
        out.json(&serde_json::to_vec(&all.collect::<Vec<_>>())?)?;
    } else {
        print(out, &version, &found)?;
    }
    for suggestion in &found {
        tell_if_closed(out, &suggestion.permission);
    }
    Ok(())
}

/// All that are kept of the version; those of a kind that is not known here are passed over.
async fn denials(client: &Client, version: &Version) -> Result<Vec<Suggestion>, client::Error> {
    let mut found = Vec::new();
    for page in 1_u32.. {
        let query = [("page", page.to_string()), ("limit", PageRequest::LIMIT_MAX.to_string())];
        let page: Page<View> = client.get(&path(&version.id, &["denials"]), &query).await?.read()?;
        let is_last = page.items.len() < PageRequest::LIMIT_MAX as usize;
        found.extend(page.items.into_iter().filter_map(View::read));
        if is_last {
            break;
        }
    }
    Ok(found)
}

impl View {
    fn read(self) -> Option<Suggestion> {
        let permission = Permission { permission: PermissionKind::parse(&self.permission)?, resource: self.resource };
        Some(Suggestion { permission, count: self.count, last_at: self.last_at? })
    }
}

fn print(out: Out, version: &Version, found: &[Suggestion]) -> anyhow::Result<()> {
    let reference = &version.reference;
    if found.is_empty() {
        out.note(&format!(
            "nothing to suggest: nothing was denied to {reference} that its permissions do not allow by now"
        ));
        return Ok(());
    }
    let row = |one: &Suggestion| {
        let Permission { permission, resource } = &one.permission;
        let last = to_seconds(&one.last_at.to_string());
        vec![permission.as_str().to_owned(), resource.clone(), one.count.to_string(), last]
    };
    out.table(&["PERMISSION", "RESOURCE", "DENIED", "LAST"], &found.iter().map(row).collect::<Vec<_>>())?;
    out.note("a suggestion is what the step tried, not what it should be allowed: look at each of them");
    out.note(&format!("one of them: sluice permissions set {reference} --add 'PERMISSION RESOURCE'"));
    out.note(&format!(
        "all of them: sluice permissions suggest {reference} --json > permissions.json, then sluice permissions set {reference} --file permissions.json"
    ));
    Ok(())
}
