//! `sluice list`, `show`, `download` and `delete`.
//!
//! Owns how modules are shown. Does not own what a module is (`model`): a server
//! may be newer, so what is shown is read leniently. Invariant: a file that
//! `download` leaves under its name has the digest that the gateway promised.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use http::header;
use indicatif::BinaryBytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::build::imports_told;
use super::client::{Client, Remote};
use super::confirmation::Confirmation;
use super::failure::Advised;
use super::output::Out;
use super::pages::{self, Page, Paging, to_seconds};
use super::upload::progress_bar;
use super::whole_file::WholeFile;
use crate::model::{Digest, ModuleKind, ModuleRef};

/// Where modules are below the API.
pub(super) const MODULES: [&str; 2] = ["wasm", "modules"];

/// Which modules.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Text in the name or the description.
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
    /// The exact name: all its versions.
    #[arg(long)]
    name: Option<String>,
    /// What the modules are for.
    #[arg(long, value_parser = [ModuleKind::JobStep.as_str(), ModuleKind::Http.as_str()])]
    kind: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    remote: Remote,
}

/// Which module.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`.
    module: ModuleRef,
    #[command(flatten)]
    remote: Remote,
}

/// Which module, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Download {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`.
    module: ModuleRef,
    /// The file to write; one that exists is replaced when the download is whole.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

/// Which module, and how sure.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`: one version, the newest that matches.
    module: ModuleRef,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    remote: Remote,
}

/// A module as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct View {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) functions: Vec<String>,
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
    pub(super) warnings: Vec<String>,
    description: String,
    kind: String,
    imports: Vec<String>,
    pub(super) permissions: Vec<PermissionView>,
    limits: serde_json::Map<String, Value>,
    signature: Option<SignatureView>,
    created_at: String,
    created_by: String,
}

/// A permission as it is shown.
#[derive(Debug, Default, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PermissionView {
    pub(super) permission: String,
    pub(super) resource: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignatureView {
    key_id: String,
    verified_at: Option<String>,
}

/// One resource of one module.
pub(super) fn path<'a>(module: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&MODULES, [module].as_slice(), rest].concat()
}

/// Lists a page of modules.
pub(super) async fn list(args: List, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let mut query = args.paging.query();
    query.extend(args.q.map(|text| ("q", text)));
    query.extend(args.name.map(|name| ("name", name)));
    query.extend(args.kind.map(|kind| ("kind", kind)));
    let answer = client.get(&MODULES, &query).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let page: Page<View> = answer.read()?;
    let shown = pages::List {
        header: &["NAME", "VERSION", "KIND", "SIZE", "FUNCTIONS", "CREATED"],
        row: View::row,
        nothing: "no modules yet; `sluice upload` stores one",
    };
    Ok(args.paging.show(out, &page, &shown)?)
}

impl View {
    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.version.clone(),
            self.kind.clone(),
            BinaryBytes(self.size_bytes).to_string(),
            self.functions.join(", "),
            to_seconds(&self.created_at),
        ]
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("name", self.name.clone()),
            ("version", self.version.clone()),
            ("id", self.id.clone()),
            ("kind", self.kind.clone()),
            ("description", self.description.clone()),
            ("functions", self.functions.join(", ")),
            ("size", format!("{} ({} bytes)", BinaryBytes(self.size_bytes), self.size_bytes)),
            ("sha256", self.sha256.clone()),
            ("created", format!("{} by {}", self.created_at, self.created_by)),
        ];
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.extend(self.signature.iter().map(|signature| ("signature", signature.text())));
        let limits = self.limits.iter().filter(|(_, value)| !value.is_null());
        pairs.extend(limits.map(|(name, value)| ("limit", format!("{name} {value}"))));
        pairs.extend(self.permissions.iter().map(|p| ("permission", format!("{} {}", p.permission, p.resource))));
        pairs.extend(imports_told(&self.imports).into_iter().map(|import| ("import", import)));
        pairs.extend(self.warnings.iter().map(|warning| ("warning", warning.clone())));
        pairs
    }
}

impl SignatureView {
    fn text(&self) -> String {
        let verified = self.verified_at.as_ref().map_or("not checked".to_owned(), |at| format!("checked {at}"));
        format!("{}, {verified}", self.key_id)
    }
}

/// Shows one module.
pub(super) async fn show(args: Show, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let answer = client.get(&path(&args.module.to_string(), &[]), &[]).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    Ok(out.pairs(&answer.read::<View>()?.pairs())?)
}

/// Deletes the version that the reference means now; nothing is deleted unless it was shown or `--yes` given.
pub(super) async fn delete(args: Delete, out: Out) -> anyhow::Result<()> {
    args.confirmation.require()?;
    let client = Client::new(&args.remote, out)?;
    let view: View = client.get(&path(&args.module.to_string(), &[]), &[]).await?.read()?;
    let question = format!("Delete {} {} with its permissions and logs? [y/N] ", view.name, view.version);
    args.confirmation.ask(question).await?;
    // By id: whatever was uploaded since the question is not what the answer was about.
    let answer = client.delete(&path(&view.id, &[])).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    Ok(out.line(&format!("deleted {} {}", view.name, view.version))?)
}

/// Saves the component. What is there stays until the whole has come; an error or a signal leaves no partial file.
pub(super) async fn download(args: Download, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    let mut response = client.stream(&path(&args.module.to_string(), &["download"])).await?;
    let promised = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).and_then(digest_of_tag);
    let promised = promised.ok_or_else(|| anyhow!("the answer does not say which digest the module has"))?;

    let unwritable = || format!("{} can't be written", args.output.display());
    let mut file = WholeFile::begin(&args.output).with_context(unwritable)?;
    let bar = progress_bar(response.content_length());
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    while let Some(chunk) = response.chunk().await.map_err(|error| client.broken(&error))? {
        hasher.update(&chunk);
        file.write(&chunk).with_context(unwritable)?;
        size += chunk.len() as u64;
        bar.set_position(size);
    }
    bar.finish_and_clear();
    let digest = Digest::from_bytes(hasher.finalize().into());
    if digest != promised {
        let message = format!("the bytes that came have the digest {digest}, the module has {promised}");
        return Err(Advised::new(message, "nothing was saved; try again").into());
    }
    file.finish(&args.output).with_context(unwritable)?;
    if out.is_json() {
        let answer = serde_json::json!({"path": args.output, "sha256": digest, "size_bytes": size});
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    Ok(out.line(&format!("{}: {}, sha256 {digest}", args.output.display(), BinaryBytes(size)))?)
}

/// The digest in an `ETag`, with or without `W/` and a `sha256:` or `sha256-` before it.
fn digest_of_tag(tag: &str) -> Option<Digest> {
    let text = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    let text = text.strip_prefix("sha256").map_or(text, |rest| rest.trim_start_matches([':', '-']));
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_every_usual_form_of_the_tag() {
        let digest = Digest::of(b"x");
        for tag in
            [format!("\"{digest}\""), format!("W/\"{digest}\""), format!("\"sha256:{digest}\""), digest.to_string()]
        {
            assert_eq!(digest_of_tag(&tag), Some(digest), "{tag}");
        }
        assert_eq!(digest_of_tag("\"v1\""), None);
    }

    #[test]
    fn a_module_of_a_newer_server_is_shown_all_the_same() {
        let view: View = serde_json::from_str(
            r#"{"name": "a", "version": "1.0.0", "kind": "new", "more": 1, "limits": {"fuel": null, "timeout_ms": 5}}"#,
        )
        .unwrap();
        let pairs = view.pairs();
        assert!(pairs.contains(&("kind", "new".to_owned())));
        assert!(pairs.contains(&("limit", "timeout_ms 5".to_owned())));
        assert!(!pairs.iter().any(|(_, value)| value.contains("fuel")));
    }
}
