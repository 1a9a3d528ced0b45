//! `sluice upload`: a component, its name and what it is allowed, as one form.
//!
//! Owns finding the component of a built step, and the progress bar. Invariant:
//! the file is streamed, and an upload that is interrupted leaves nothing behind:
//! the gateway stores only a form that came to its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::multipart::{Form, Part};
use tokio_util::io::ReaderStream;

use super::build::Package;
use super::client::{Client, Remote};
use super::failure::{Advised, Usage};
use super::input;
use super::modules::{MODULES, View};
use super::output::Out;
use super::sign::Signed;
use crate::model::{ModuleName, parse_version};

/// What to store, and how it is called.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A component, or the folder of a step that was built.
    #[arg(default_value = ".")]
    file: PathBuf,
    /// The module's name; a folder's default is its package's.
    #[arg(long)]
    name: Option<ModuleName>,
    /// The version, as in 1.2.3; a folder's default is its package's.
    #[arg(long, value_parser = parse_version)]
    version: Option<semver::Version>,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A JSON list of what the module is allowed: `[{"permission": …, "resource": …}]`.
    #[arg(long, value_name = "FILE")]
    permissions: Option<PathBuf>,
    /// A JSON object of the module's own limits: `{"fuel": …, "memory_bytes": …, "timeout_ms": …}`.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// Sign it with this private key: PKCS #8 PEM, of `sluice keygen`.
    #[arg(long, value_name = "KEYFILE", requires = "key_id")]
    sign: Option<PathBuf>,
    /// The id that the gateway knows the key by.
    #[arg(long, value_name = "ID", requires = "sign")]
    key_id: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// What will be sent under which name.
#[derive(Debug, PartialEq, Eq)]
struct Subject {
    file: PathBuf,
    name: ModuleName,
    version: semver::Version,
}

/// Uploads. A signal closes the connection, and the gateway drops what came.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let subject = subject(&args)?;
    let client = Client::new(&args.remote, out)?;
    let mut form = Form::new().text("name", subject.name.to_string()).text("version", subject.version.to_string());
    if let Some(description) = args.description {
        form = form.text("description", description);
    }
    for (part, file) in [("permissions", &args.permissions), ("limits", &args.limits)] {
        if let Some(file) = file {
            let json = Part::text(input::json_file(file)?.as_str().to_owned());
            form = form.part(part, json.mime_str("application/json")?);
        }
    }
    if let (Some(key_file), Some(key_id)) = (&args.sign, &args.key_id) {
        let signed = Signed::of(&subject.file, key_file, &subject.name, &subject.version)?;
        form = form.text("signature", signed.value.to_string()).text("key_id", key_id.clone());
    }
    let (module, bar) = module_part(&subject.file).await?;
    // Last: what is wrong with the short parts is known before the long one comes.
    let answer = client.post_form(&MODULES, form.part("module", module)).await;
    bar.finish_and_clear();
    let answer = answer?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let view: View = answer.read()?;
    let done =
        if answer.status == http::StatusCode::CREATED { "uploaded" } else { "these bytes are stored already as" };
    out.line(&format!(
        "{done} {} {}: {}, functions {}, id {}",
        view.name,
        view.version,
        BinaryBytes(view.size_bytes),
        if view.functions.is_empty() { "none".to_owned() } else { view.functions.join(", ") },
        view.id
    ))?;
    out.warnings(&view.warnings);
    if let Some(function) = view.functions.iter().find(|name| *name == "run").or(view.functions.first()) {
        let flag = if function == "run" { String::new() } else { format!(" --function {function}") };
        out.note(&format!("\nNext:\n  sluice invoke {}{flag} --input '{{}}'", view.name));
    }
    Ok(())
}

fn subject(args: &Args) -> anyhow::Result<Subject> {
    let package = if args.file.is_dir() { Some(package(&args.file)?) } else { None };
    let file = match &package {
        Some(package) => built(package, &args.file)?,
        None => args.file.clone(),
    };
    let name = args.name.clone().map_or_else(|| default_name(package.as_ref()), Ok)?;
    let version = args.version.clone().map_or_else(|| default_version(package.as_ref()), Ok)?;
    Ok(Subject { file, name, version })
}

fn package(dir: &Path) -> anyhow::Result<Package> {
    let missing = || Usage(format!("{} has no Cargo.toml: name a component or the folder of a step", dir.display()));
    Ok(Package::find(dir)?.ok_or_else(missing)?)
}

fn built(package: &Package, dir: &Path) -> anyhow::Result<PathBuf> {
    let file = package.component(dir);
    if file.is_file() {
        return Ok(file);
    }
    let advice = format!("sluice build {}", dir.display());
    Err(Advised::new(format!("{} is not there; build it first:", file.display()), advice).into())
}

fn default_name(package: Option<&Package>) -> anyhow::Result<ModuleName> {
    let package =
        package.ok_or_else(|| Usage("a file needs --name and --version; a step's folder has both".to_owned()))?;
    let bad =
        |error| Usage(format!("the package's name {} will not do: {error}; give another with --name", package.name));
    Ok(package.name.parse().map_err(bad)?)
}

fn default_version(package: Option<&Package>) -> anyhow::Result<semver::Version> {
    let package = package.ok_or_else(|| Usage("a file needs --version too, as in 1.2.3".to_owned()))?;
    let missing = || Usage("Cargo.toml has no version of its own: give one with --version".to_owned());
    Ok(parse_version(package.version.as_deref().ok_or_else(missing)?).map_err(Usage)?)
}

/// The component as a part that is read while it is sent, and the bar that shows how far it is.
async fn module_part(path: &Path) -> anyhow::Result<(Part, ProgressBar)> {
    let unreadable = || format!("{} can't be read", path.display());
    let file = tokio::fs::File::open(path).await.with_context(unreadable)?;
    let metadata = file.metadata().await.with_context(unreadable)?;
    let length = metadata.len();
    if !metadata.is_file() {
        return Err(Usage(format!("{} is not a file", path.display())).into());
    }
    let bar = progress_bar(Some(length));
    let moved = bar.clone();
    let stream = ReaderStream::new(file).inspect_ok(move |chunk| {
        moved.inc(chunk.len() as u64);
        if moved.position() >= length {
            moved.set_message("sent; the gateway checks and compiles it");
        }
    });
    let body = reqwest::Body::wrap_stream(stream);
    let name = path.file_name().map_or("module.wasm".into(), |name| name.to_string_lossy().into_owned());
    let part = Part::stream_with_length(body, length).file_name(name).mime_str("application/wasm")?;
    Ok((part, bar))
}

/// A bar on standard error, and nothing where that is no terminal.
pub(super) fn progress_bar(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {binary_bytes}/{binary_total_bytes} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn args(line: &[&str]) -> Args {
        let cli = Cli::try_parse_from(["sluice", "upload"].iter().chain(line)).unwrap();
        let Command::Upload(args) = cli.command else { panic!("another command") };
        args
    }

    fn step(manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        folder
    }

    #[test]
    fn a_built_step_is_uploaded_under_its_packages_name_and_version() {
        let folder = step("[package]\nname = \"price-check\"\nversion = \"1.2.3\"");
        let dir = folder.path().to_str().unwrap();
        let error = subject(&args(&[dir])).unwrap_err();
        assert!(error.downcast_ref::<Advised>().unwrap().advice[0].starts_with("sluice build"), "{error}");

        std::fs::create_dir(folder.path().join("target")).unwrap();
        std::fs::write(folder.path().join("target/price-check.wasm"), "x").unwrap();
        let found = subject(&args(&[dir])).unwrap();
        assert_eq!(found.file, folder.path().join("target/price-check.wasm"));
        assert_eq!((found.name.as_str(), found.version.to_string()), ("price-check", "1.2.3".to_owned()));

        let found = subject(&args(&[dir, "--name", "other", "--version", "2.0.0-rc.1"])).unwrap();
        assert_eq!((found.name.as_str(), found.version.to_string()), ("other", "2.0.0-rc.1".to_owned()));
    }

    #[test]
    fn a_file_needs_a_name_and_a_version() {
        assert!(subject(&args(&["x.wasm", "--version", "1.0.0"])).unwrap_err().is::<Usage>());
        assert!(subject(&args(&["x.wasm", "--name", "x"])).unwrap_err().is::<Usage>());
        let found = subject(&args(&["x.wasm", "--name", "x", "--version", "1.0.0"])).unwrap();
        assert_eq!(found.file, Path::new("x.wasm"));
    }

    #[test]
    fn a_packages_name_that_is_no_modules_is_answered_with_the_flag() {
        let folder = step("[package]\nname = \"price_check\"\nversion = \"1.2.3\"");
        std::fs::create_dir(folder.path().join("target")).unwrap();
        std::fs::write(folder.path().join("target/price_check.wasm"), "x").unwrap();
        let error = subject(&args(&[folder.path().to_str().unwrap()])).unwrap_err();
        assert!(error.to_string().contains("--name"), "{error}");
    }

    #[test]
    fn a_malformed_name_or_version_is_refused_before_anything_is_sent() {
        for line in [["--name", "Bad_Name"], ["--version", "1.2"]] {
            assert!(Cli::try_parse_from(["sluice", "upload", "x.wasm"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }
}
