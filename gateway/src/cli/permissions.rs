//! `sluice permissions`: shows what a module is allowed, or replaces it.
//!
//! Does not own what a permission may say: the gateway checks all of them, and
//! takes all or none. Invariant: what is printed is what the gateway has.

use std::path::PathBuf;

use super::client::{Client, Remote};
use super::input;
use super::modules::{PermissionView, View, path};
use super::output::Out;
use crate::model::ModuleRef;

/// Which module, and what it is to be allowed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`: one version, the newest that matches.
    module: ModuleRef,
    /// A JSON list that takes the place of what there is: `[{"permission": …, "resource": …}]`.
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows the permissions, after replacing them where a file is given. With `--json` it is the list.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let module = args.module.to_string();
    let permissions: Vec<PermissionView> = match &args.set {
        Some(file) => {
            let list = input::json_file(file)?.as_str().to_owned();
            let answer = client.put_json(&path(&module, &["permissions"]), list.into_bytes()).await?;
            answer.read()?
        }
        None => client.get(&path(&module, &[]), &[]).await?.read::<View>()?.permissions,
    };
    if out.when_json(&serde_json::to_vec(&permissions)?)? {
        return Ok(());
    }
    if permissions.is_empty() {
        out.note(&format!("{module} is allowed nothing"));
        return Ok(());
    }
    let rows: Vec<_> = permissions.into_iter().map(|one| vec![one.permission, one.resource]).collect();
    Ok(out.table(&["PERMISSION", "RESOURCE"], &rows)?)
}
