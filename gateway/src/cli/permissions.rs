//! `sluice permissions show`, `set`, `explain` and `suggest`: what a module is allowed.
//!
//! Owns how permissions are shown and changed. Does not own what a permission may say: the gateway checks all of
//! them, and takes all or none. Invariant: what is printed after a change is what the gateway has.

mod explain;
mod grouping;
mod suggest;

use std::path::PathBuf;

use serde_json::json;

use super::client::{self, Client, Remote};
use super::failure::Advised;
use super::input;
use super::modules::{PermissionView, View, path};
use super::output::Out;
use crate::egress::{Filter, Target};
use crate::model::{ModuleRef, Permission, PermissionKind, PermissionSet, split_url};

/// What to do with permissions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what a module is allowed.
    Show(Show),
    /// Replace the list, or add to it and remove from it.
    Set(Set),
    /// Tell whether a call is allowed, by which permission, or which one would allow it. Exits with 1 where it is denied.
    Explain(explain::Args),
    /// Suggest permissions for what was denied so far.
    Suggest(suggest::Args),
}

/// Whose permissions.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    of: Of,
}

/// What is to change.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// A JSON list that takes the place of what there is: `[{"permission": …, "resource": …}]`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["add", "remove"], required_unless_present_any = ["add", "remove"])]
    file: Option<PathBuf>,
    // Not a comment of documentation: that can't have a URL.
    #[arg(
        long,
        value_name = "PERMISSION",
        value_parser = parse_new,
        help = "One more, such as 'http:write https://api.example.com/*'. Several times for several"
    )]
    add: Vec<Permission>,
    /// One to remove, as `show` has it. Several times for several.
    #[arg(long, value_name = "PERMISSION", value_parser = parse)]
    remove: Vec<Permission>,
    #[command(flatten)]
    of: Of,
}

/// Which version, where.
#[derive(Debug, clap::Args)]
struct Of {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`: one version, the newest that matches.
    module: ModuleRef,
    #[command(flatten)]
    remote: Remote,
}

fn parse(text: &str) -> Result<Permission, String> {
    const FORM: &str = "it has to be a permission and a resource, such as 'http:write https://api.example.com/*'";
    let (kind, resource) = text.trim().split_once(char::is_whitespace).ok_or(FORM)?;
    let permission =
        PermissionKind::parse(kind).ok_or_else(|| format!("there is no permission {kind}; {}", kinds()))?;
    Ok(Permission { permission, resource: resource.trim_start().to_owned() })
}

fn parse_new(text: &str) -> Result<Permission, String> {
    let permission = parse(text)?;
    permission.check().map_err(|error| error.to_string())?;
    Ok(permission)
}

/// What the permissions are called.
fn kinds() -> String {
    format!("there are {}", PermissionKind::ALL.map(PermissionKind::as_str).join(", "))
}

/// Does one of them.
pub(super) async fn run(command: Command, out: Out) -> anyhow::Result<()> {
    match command {
        Command::Show(args) => show(args, out).await,
        Command::Set(args) => set(args, out).await,
        Command::Explain(args) => explain::run(args, out).await,
        Command::Suggest(args) => suggest::run(args, out).await,
    }
}

async fn show(args: Show, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.of.remote, out)?;
    let version = Version::find(&client, &args.of.module).await?;
    version.print(out, &version.permissions)
}

/// Changes what is there now: by id, so that what was read is what is written, also where a newer version comes
/// between. A change of somebody else's in that moment is overwritten.
async fn set(args: Set, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.of.remote, out)?;
    let version = Version::find(&client, &args.of.module).await?;
    let list = match &args.file {
        Some(file) => input::json_file(file)?.as_str().to_owned().into_bytes(),
        None => serde_json::to_vec(&version.changed(&args.add, &args.remove, out)?)?,
    };
    let answer = client.put_json(&path(&version.id, &["permissions"]), list).await?;
    let list = answer.read::<Vec<PermissionView>>()?;
    version.print(out, &list)?;
    for view in list {
        let Some(permission) = PermissionKind::parse(&view.permission) else { continue };
        if (Permission { permission, resource: view.resource.clone() }).covers_no_url() {
            out.warn(&format!("{} covers nothing: a URL begins with https:// or http://", view.resource));
        }
    }
    Ok(())
}

/// What this program understands of a version's permissions.
#[derive(Default)]
struct Known {
    list: Vec<Permission>,
    /// The place of each in the gateway's list, from 1.
    numbers: Vec<usize>,
    set: PermissionSet,
}

/// A version and what it is allowed, as the gateway tells.
struct Version {
    id: String,
    /// `name@1.2.3`.
    reference: String,
    permissions: Vec<PermissionView>,
}

impl Version {
    async fn find(client: &Client, module: &ModuleRef) -> Result<Self, client::Error> {
        let view: View = client.get(&path(&module.to_string(), &[]), &[]).await?.read()?;
        let reference = format!("{}@{}", view.name, view.version);
        Ok(Self { id: view.id, reference, permissions: view.permissions })
    }

    /// Those that this program knows.
    fn known(&self, out: Out) -> anyhow::Result<Known> {
        let mut known = Known::default();
        for (place, view) in self.permissions.iter().enumerate() {
            match PermissionKind::parse(&view.permission) {
                Some(kind) => {
                    known.numbers.push(place + 1);
                    known.list.push(Permission { permission: kind, resource: view.resource.clone() });
                }
                None => out.warn(&format!(
                    "the gateway is newer: {} is not understood here, and passed over",
                    view.permission
                )),
            }
        }
        known.set = PermissionSet::new(&known.list).map_err(|error| {
            let message = format!("the permissions of {} can't be read here: {error}", self.reference);
            Advised::new(message, "is this program as new as the gateway?")
        })?;
        Ok(known)
    }

    /// The list with some more and without others. What it has stays as the gateway wrote it.
    fn changed(&self, add: &[Permission], remove: &[Permission], out: Out) -> anyhow::Result<Vec<PermissionView>> {
        let mut list = self.permissions.clone();
        for permission in remove.iter().map(view_of) {
            let before = list.len();
            list.retain(|one| *one != permission);
            if list.len() == before {
                let message =
                    format!("{} has no permission {} {}", self.reference, permission.permission, permission.resource);
                let advice = format!(
                    "nothing was changed; `sluice permissions show {}` has those that there are",
                    self.reference
                );
                return Err(Advised::new(message, advice).into());
            }
        }
        for permission in add.iter().map(view_of) {
            if list.contains(&permission) {
                out.note(&format!("{} has {} {} already", self.reference, permission.permission, permission.resource));
            } else {
                list.push(permission);
            }
        }
        Ok(list)
    }

    fn print(&self, out: Out, list: &[PermissionView]) -> anyhow::Result<()> {
        if out.when_json(&serde_json::to_vec(list)?)? {
            return Ok(());
        }
        if list.is_empty() {
            out.note(&format!("{} is allowed nothing", self.reference));
            return Ok(());
        }
        let rows: Vec<_> = list.iter().map(|one| vec![one.permission.clone(), one.resource.clone()]).collect();
        Ok(out.table(&["PERMISSION", "RESOURCE"], &rows)?)
    }
}

fn view_of(permission: &Permission) -> PermissionView {
    PermissionView { permission: permission.permission.as_str().to_owned(), resource: permission.resource.clone() }
}

/// A permission as JSON, to paste into a list.
fn to_json(permission: &Permission) -> String {
    json!({"permission": permission.permission, "resource": permission.resource}).to_string()
}

/// The command that adds a permission, for a shell.
fn command_to_add(reference: &str, permission: &Permission) -> String {
    let text = format!("{} {}", permission.permission.as_str(), permission.resource);
    format!("sluice permissions set {reference} --add '{}'", text.replace('\'', r"'\''"))
}

/// Says where a permission alone doesn't do: the gateway connects to public addresses only, unless it is told.
fn tell_if_closed(out: Out, permission: &Permission) {
    if let Some(host) = closed_host(permission) {
        out.warn(&format!(
            "{host} is no public address: `[egress] allow_private` in the gateway's configuration must have it, too"
        ));
    }
}

/// The host of a URL or a pattern of URLs, where it is certain that it is on this machine or in a private network.
fn closed_host(permission: &Permission) -> Option<String> {
    let (origin, _) = split_url(&permission.resource).filter(|_| permission.permission.is_http())?;
    let target = Target::parse(&format!("{origin}/")).ok()?;
    let host = target.host();
    let is_closed = match target.address() {
        Some(address) => !Filter::default().allows(address),
        None => host == "localhost" || host.ends_with(".localhost"),
    };
    is_closed.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(resource: &str) -> Permission {
        Permission { permission: PermissionKind::HttpRead, resource: resource.to_owned() }
    }

    #[test]
    fn a_host_that_the_operator_has_to_open_is_known_by_its_address() {
        for (resource, host) in [
            ("http://127.0.0.1:8080/x/*", Some("127.0.0.1")),
            ("http://[::1]/x", Some("[::1]")),
            ("http://10.0.0.1/", Some("10.0.0.1")),
            ("http://169.254.169.254/latest", Some("169.254.169.254")),
            ("http://localhost:3000/*", Some("localhost")),
            ("https://api.example.com/*", None),
            ("https://1.1.1.1/", None),
            ("**", None),
        ] {
            assert_eq!(closed_host(&http(resource)).as_deref(), host, "{resource}");
        }
        assert_eq!(
            closed_host(&Permission { permission: PermissionKind::DatabaseRead, ..http("http://127.0.0.1/") }),
            None
        );
    }

    #[test]
    fn the_command_that_adds_a_permission_survives_a_shell() {
        assert_eq!(
            command_to_add("a@1.0.0", &http("https://a.example/it's")),
            r"sluice permissions set a@1.0.0 --add 'http:read https://a.example/it'\''s'"
        );
    }
}
