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

use super::build;
use super::client::{Answer, Client, Remote};
use super::failure::{Advised, Usage};
use super::input;
use super::modules::{MODULES, View};
use super::output::Out;
use super::sign::Signed;
use super::watch;
use crate::author::cases::{self, Case, Json, Status};
use crate::author::{Manifest, Project};
use crate::model::{ModuleName, parse_version};

/// Of an input that is shown to be copied.
const EXAMPLE_BYTES_MAX: usize = 400;

/// What to store, and how it is called.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A component, or the folder of a step that was built.
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    file: PathBuf,
    /// The module's name; a folder's default is that of sluice.step.toml, else its package's.
    #[arg(long)]
    name: Option<ModuleName>,
    /// The version, as in 1.2.3; a folder's default is that of sluice.step.toml, else its package's.
    #[arg(long, value_parser = parse_version)]
    version: Option<semver::Version>,
    /// For people; in the place of the manifest's.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A JSON list of what the module is allowed, in the place of the manifest's: `[{"permission": …, "resource": …}]`.
    #[arg(long, value_name = "FILE")]
    permissions: Option<PathBuf>,
    /// A JSON object of the module's own limits, in the place of the manifest's: `{"fuel": …, "memory_bytes": …, "timeout_ms": …}`.
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
#[derive(Debug)]
struct Subject {
    file: PathBuf,
    name: ModuleName,
    version: semver::Version,
    /// That of a step's folder; a file has none.
    manifest: Manifest,
}

impl Args {
    /// The built step of a folder, as a version of its own.
    pub(super) fn of_folder(dir: PathBuf, version: semver::Version, remote: Remote) -> Self {
        Self {
            file: dir,
            name: None,
            version: Some(version),
            description: None,
            permissions: None,
            limits: None,
            sign: None,
            key_id: None,
            remote,
        }
    }
}

/// Uploads, and tells what came of it.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let input = example(&args.file);
    let answer = send(args, out).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    report(&answer, &input, out)
}

/// An input to try a step with: that of its first case that completes, needs nobody else's answer, and fits into a line.
pub(super) fn example(dir: &Path) -> String {
    // A new module may not call anybody yet: an input that has it do so would be refused.
    let is_alone = |case: &Case| case.http.is_empty() && case.db.is_empty();
    let fits = |case: &Case| case.expect.status == Status::Completed && case.function == "run" && is_alone(case);
    let mut cases = cases::files(dir).unwrap_or_default().into_iter().filter_map(|file| file.read().ok());
    let input = cases.find_map(|case| {
        // With the digits and the order that the case has.
        let input = Json::parse(case.input.get()).ok().filter(|_| fits(&case))?;
        Some(input.to_string()).filter(|text| text.len() <= EXAMPLE_BYTES_MAX && !text.contains('\''))
    });
    input.unwrap_or_else(|| "{}".to_owned())
}

/// Uploads. A signal closes the connection, and the gateway drops what came.
pub(super) async fn send(args: Args, out: Out) -> anyhow::Result<Answer> {
    let subject = subject(&args)?;
    if let Some(newer) = args.file.is_dir().then(|| watch::newer_source(&args.file, &subject.file)).flatten() {
        let build = format!("sluice build {}", args.file.display());
        out.warn(&format!("{} has changed since this was built; {build} takes it in", newer.display()));
    }
    let client = Client::new(&args.remote, out)?;
    let mut form = Form::new().text("name", subject.name.to_string()).text("version", subject.version.to_string());
    if let Some(description) = args.description.or_else(|| subject.manifest.description.clone()) {
        form = form.text("description", description);
    }
    for (part, file, own) in [
        ("permissions", &args.permissions, subject.manifest.permissions_json()),
        ("limits", &args.limits, subject.manifest.limits_json()),
    ] {
        let json = file.as_ref().map(|file| Ok::<_, anyhow::Error>(input::json_file(file)?.as_str().to_owned()));
        if let Some(json) = json.transpose()?.or(own) {
            form = form.part(part, Part::text(json).mime_str("application/json")?);
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
    Ok(answer?)
}

fn report(answer: &Answer, input: &str, out: Out) -> anyhow::Result<()> {
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
        out.note(&format!("\nNext:\n  sluice invoke {}{flag} --input '{input}'", view.name));
    }
    Ok(())
}

fn subject(args: &Args) -> anyhow::Result<Subject> {
    if !args.file.exists() {
        let wanted = "name a component, or the folder of a step that was built";
        return Err(Usage(format!("there is no {}; {wanted}", args.file.display())).into());
    }
    let project = if args.file.is_dir() { Some(build::open(&args.file)?) } else { None };
    let file = match &project {
        Some(project) => built(project, &args.file)?,
        None => args.file.clone(),
    };
    let name = args.name.clone().map_or_else(|| default_name(project.as_ref()), Ok)?;
    let version = args.version.clone().map_or_else(|| default_version(project.as_ref()), Ok)?;
    let manifest = project.map(|project| project.manifest().clone()).unwrap_or_default();
    Ok(Subject { file, name, version, manifest })
}

fn built(project: &Project, dir: &Path) -> anyhow::Result<PathBuf> {
    let file = project.component();
    if file.is_file() {
        return Ok(file);
    }
    let advice = format!("sluice build {}", dir.display());
    Err(Advised::new(format!("{} is not there; build it first:", file.display()), advice).into())
}

fn default_name(project: Option<&Project>) -> anyhow::Result<ModuleName> {
    let project =
        project.ok_or_else(|| Usage("a file needs --name and --version; a step's folder has both".to_owned()))?;
    let name = project.name().ok_or_else(|| Usage(format!("the folder says no name: {NAMED}, or with --name")))?;
    let bad = |error| Usage(format!("the package's name {name} will not do: {error}; give another with --name"));
    Ok(name.parse().map_err(bad)?)
}

fn default_version(project: Option<&Project>) -> anyhow::Result<semver::Version> {
    let project = project.ok_or_else(|| Usage("a file needs --version too, as in 1.2.3".to_owned()))?;
    let missing = || Usage(format!("the folder says no version of its own: {NAMED}, or with --version"));
    Ok(parse_version(&project.version().ok_or_else(missing)?).map_err(Usage)?)
}

/// Where a folder says what it is called.
const NAMED: &str = "give it in sluice.step.toml";

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
    fn a_file_has_to_be_there_and_needs_a_name_and_a_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        let path = file.to_str().unwrap();
        let error = subject(&args(&[path])).unwrap_err();
        assert!(error.downcast_ref::<Usage>().unwrap().0.contains("there is no"), "{error}");

        std::fs::write(&file, "x").unwrap();
        assert!(subject(&args(&[path, "--version", "1.0.0"])).unwrap_err().is::<Usage>());
        assert!(subject(&args(&[path, "--name", "x"])).unwrap_err().is::<Usage>());
        assert_eq!(subject(&args(&[path, "--name", "x", "--version", "1.0.0"])).unwrap().file, file);
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
    fn the_input_that_is_shown_is_the_cases_own() {
        let folder = step("[package]\nname = \"price-check\"");
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        let case = "{\"input\": { \"b\": 12345678901234567890123,\n\"a\": [1.50, \" x \"] }, \"expect\": {\"status\": \"completed\"}}";
        std::fs::write(folder.path().join("tests/a.json"), case).unwrap();
        assert_eq!(example(folder.path()), r#"{"b":12345678901234567890123,"a":[1.50," x "]}"#);
    }

    #[test]
    fn the_input_that_is_shown_is_that_of_a_case_that_needs_nobody() {
        let folder = step("[package]\nname = \"price-check\"");
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        let calls = include_str!("../../../guest-templates/rust/tests/a-coupon-takes-its-part.json");
        std::fs::write(folder.path().join("tests/a.json"), calls).unwrap();
        assert_eq!(example(folder.path()), "{}");
        let alone = include_str!("../../../guest-templates/rust/tests/a-good-order-is-priced.json");
        std::fs::write(folder.path().join("tests/b.json"), alone).unwrap();
        assert!(example(folder.path()).contains("\"sku\""), "{}", example(folder.path()));
    }

    #[test]
    fn a_malformed_name_or_version_is_refused_before_anything_is_sent() {
        for line in [["--name", "Bad_Name"], ["--version", "1.2"]] {
            assert!(Cli::try_parse_from(["sluice", "upload", "x.wasm"].iter().chain(&line)).is_err(), "{line:?}");
        }
    }
}
