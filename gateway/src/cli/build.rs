//! `sluice build`: compiles a step and checks it as the gateway's intake will.
//!
//! Owns finding the language, running its compiler and the report. Does not own
//! the checks (`registry::inspect`). Invariant: a component is put in its place
//! only after it passed them.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use indicatif::BinaryBytes;
use serde::Deserialize;

use super::failure::{Advised, Usage};
use super::output::Out;
use super::problem::Mistake;
use super::whole_file::WholeFile;
use crate::model::{Digest, ModuleName};
use crate::registry::{self, Component};

/// What a step is compiled for.
const TARGET: &str = "wasm32-wasip2";

/// What to build.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The step's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// More arguments for the compiler, after `--`.
    #[arg(last = true, value_name = "ARGUMENT")]
    compiler: Vec<String>,
}

/// What a Cargo.toml says about a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// The package's name.
    pub(super) name: String,
    /// The version, where it is a text of its own and not the workspace's.
    pub(super) version: Option<String>,
}

impl Package {
    /// The package in `dir`, if there is a Cargo.toml.
    pub(super) fn find(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("Cargo.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
        };
        let manifest: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        let package = manifest.get("package").and_then(toml::Value::as_table);
        let text = |key: &str| package?.get(key)?.as_str().map(str::to_owned);
        let name = text("name").ok_or_else(|| {
            Advised::new(format!("{} has no [package] with a name", path.display()), "name the step's own folder")
        })?;
        Ok(Some(Self { name, version: text("version") }))
    }

    /// Where `sluice build` puts the component: the same path wherever Cargo builds.
    pub(super) fn component(&self, dir: &Path) -> PathBuf {
        dir.join("target").join(format!("{}.wasm", self.name))
    }
}

/// Compiles, checks, and puts the component where `sluice upload` finds it.
pub(super) fn run(args: &Args, out: Out) -> anyhow::Result<()> {
    let shown = args.dir.display();
    let Some(package) = Package::find(&args.dir)? else {
        return Err(Usage(format!(
            "{shown} has no Cargo.toml: name the folder of a step; `sluice init NAME` makes one"
        ))
        .into());
    };
    check_tools(args)?;
    let artefact = compile(args)?;
    let bytes = std::fs::read(&artefact).with_context(|| format!("{} can't be read", artefact.display()))?;
    let component = registry::inspect(&bytes).map_err(|mistakes| refused(&artefact, mistakes))?;
    let place = package.component(&args.dir);
    put(&bytes, &place).with_context(|| format!("{} can't be written", place.display()))?;
    report(&Built { dir: &args.dir, package, place, bytes: &bytes, component }, out)
}

fn refused(artefact: &Path, mistakes: Vec<crate::error::FieldError>) -> Advised {
    let mistakes = mistakes.into_iter().map(|mistake| Mistake {
        path: mistake.path,
        code: mistake.code,
        message: mistake.message,
    });
    Advised {
        message: format!("the gateway would refuse {}", artefact.display()),
        advice: mistakes.map(|mistake| mistake.line()).collect(),
    }
}

/// Refuses before the first crate is compiled, with the command that helps.
fn check_tools(args: &Args) -> anyhow::Result<()> {
    let no_rust =
        || Advised::new("Rust is not installed, or `cargo` is not on PATH", "install it from https://rustup.rs");
    // Whoever builds the standard library needs no installed one.
    if args.compiler.iter().any(|argument| argument.contains("build-std")) {
        return Ok(());
    }
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(&args.dir)
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_rust().into()),
        Err(error) => return Err(error).context("rustc can't be started"),
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    let advice = format!("rustup target add {TARGET}");
    Err(Advised::new(format!("this Rust can't compile for {TARGET}; install it with:"), advice).into())
}

/// Runs cargo, whose words go to standard error, and finds what it made.
fn compile(args: &Args) -> anyhow::Result<PathBuf> {
    let manifest = std::fs::canonicalize(args.dir.join("Cargo.toml"))?;
    let mut cargo = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .args(&args.compiler)
        .current_dir(&args.dir)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo can't be started")?;
    let mut found = Vec::new();
    if let Some(stdout) = cargo.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            found.extend(artefacts(&line?, &manifest));
        }
    }
    if !cargo.wait()?.success() {
        return Err(Advised::new("the step does not compile", "the compiler's own words are above").into());
    }
    found.pop().ok_or_else(|| {
        let advice = "Cargo.toml needs a library with:  [lib] crate-type = [\"cdylib\"]";
        Advised::new("cargo made no component", advice).into()
    })
}

#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    crate_types: Vec<String>,
}

/// The components that a line of cargo's messages announces, of the package at `manifest` only.
fn artefacts(line: &str, manifest: &Path) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<CargoMessage>(line) else { return Vec::new() };
    let is_library = message.target.is_some_and(|target| target.crate_types.iter().any(|kind| kind == "cdylib"));
    let is_ours = message.reason == "compiler-artifact" && is_library && message.manifest_path == manifest;
    let is_wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    if is_ours { message.filenames.into_iter().filter(is_wasm).collect() } else { Vec::new() }
}

fn put(bytes: &[u8], place: &Path) -> io::Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // An upload may read it at this moment.
    let mut file = WholeFile::begin(place)?;
    file.write(bytes)?;
    file.finish(place)
}

struct Built<'a> {
    dir: &'a Path,
    package: Package,
    place: PathBuf,
    bytes: &'a [u8],
    component: Component,
}

impl Built<'_> {
    /// The shortest that will do: a step's folder says its name and version by itself.
    fn upload_command(&self) -> String {
        let mut command = match self.dir {
            dir if dir == Path::new(".") => "sluice upload".to_owned(),
            dir => format!("sluice upload {}", dir.display()),
        };
        if self.package.name.parse::<ModuleName>().is_err() {
            command.push_str(" --name NAME");
        }
        if self.package.version.is_none() {
            command.push_str(" --version 0.1.0");
        }
        command
    }
}

fn report(built: &Built<'_>, out: Out) -> anyhow::Result<()> {
    let Built { package, place, bytes, component, .. } = built;
    let wanted = permissions_wanted(&component.imports);
    let digest = Digest::of(bytes);
    if out.is_json() {
        let answer = serde_json::json!({
            "path": place, "name": package.name, "version": package.version,
            "size_bytes": bytes.len(), "sha256": digest, "kind": component.kind,
            "functions": component.functions, "imports": component.imports,
            "permissions_wanted": wanted, "warnings": component.warnings,
        });
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    let mut pairs = vec![
        ("component", place.display().to_string()),
        ("size", BinaryBytes(bytes.len() as u64).to_string()),
        ("sha256", digest.to_string()),
        ("kind", component.kind.as_str().to_owned()),
        ("functions", component.functions.join(", ")),
    ];
    pairs.extend(imports_told(&component.imports).into_iter().map(|import| ("import", import)));
    pairs.extend(wanted.iter().map(|permission| ("permission", format!("{permission}, if the step calls it"))));
    out.pairs(&pairs)?;
    out.warnings(&component.warnings);
    out.note(&format!("\nNext:\n  {}", built.upload_command()));
    Ok(())
}

/// The imports that say something: every language's runtime brings a dozen of WASI's.
pub(super) fn imports_told(imports: &[String]) -> Vec<String> {
    let (wasi, others): (Vec<_>, Vec<_>) =
        imports.iter().partition(|import| import.starts_with("wasi:cli/") || import.starts_with("wasi:io/"));
    let wasi = (!wasi.is_empty()).then(|| format!("{} of wasi:cli and wasi:io (--json names them)", wasi.len()));
    others.into_iter().cloned().chain(wasi).collect()
}

/// The permissions without which calls through these imports are denied. An import
/// is no proof of a call: some languages import all that there is.
fn permissions_wanted(imports: &[String]) -> Vec<&'static str> {
    let has = |interface: &str| imports.iter().any(|import| import.split('@').next() == Some(interface));
    let mut wanted = Vec::new();
    if has("sluice:step/http") || has("wasi:http/outgoing-handler") {
        wanted.extend(["http:read URL", "http:write URL"]);
    }
    if has("sluice:step/db") {
        wanted.extend(["database:read CONNECTION", "database:write CONNECTION"]);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_own_component_is_found_among_cargos_messages() {
        let manifest = Path::new("/w/step/Cargo.toml");
        let message = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"p","manifest_path":"{manifest}","target":{{"kind":["{kind}"],"crate_types":["{kind}"],"name":"n"}},"filenames":["{file}"],"fresh":false}}"#
            )
        };
        let find = |line: String| artefacts(&line, manifest);
        assert_eq!(find(message("/w/step/Cargo.toml", "cdylib", "/t/step.wasm")), [Path::new("/t/step.wasm")]);
        assert!(find(message("/w/step/Cargo.toml", "bin", "/t/step.wasm")).is_empty());
        assert!(find(message("/w/other/Cargo.toml", "cdylib", "/t/other.wasm")).is_empty());
        assert!(find(message("/w/step/Cargo.toml", "cdylib", "/t/step.so")).is_empty());
        assert!(find(r#"{"reason":"build-finished","success":true}"#.to_owned()).is_empty());
        assert!(find("a build script prints".to_owned()).is_empty());
    }

    #[test]
    fn a_manifest_gives_the_name_and_a_version_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let find = |text: &str| {
            std::fs::write(folder.path().join("Cargo.toml"), text).unwrap();
            Package::find(folder.path())
        };
        let package = find("[package]\nname = \"a\"\nversion = \"1.2.3\"").unwrap().unwrap();
        assert_eq!(package, Package { name: "a".to_owned(), version: Some("1.2.3".to_owned()) });
        let package = find("[package]\nname = \"a\"\nversion.workspace = true").unwrap().unwrap();
        assert_eq!(package.version, None);
        assert!(find("[workspace]\nmembers = []").unwrap_err().to_string().contains("no [package]"));
        assert!(find("not toml").is_err());
    }

    #[test]
    fn a_folder_without_a_step_is_wrong_usage() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args { dir: folder.path().to_owned(), compiler: Vec::new() };
        assert!(run(&args, Out::for_tests()).unwrap_err().is::<Usage>());
    }

    #[test]
    fn what_every_runtime_imports_is_only_counted() {
        let imports = ["sluice:step/log@0.1.0", "wasi:cli/exit@0.2.6", "wasi:http/types@0.2.6", "wasi:io/poll@0.2.6"];
        let told = imports_told(&imports.map(str::to_owned));
        assert_eq!(
            told,
            ["sluice:step/log@0.1.0", "wasi:http/types@0.2.6", "2 of wasi:cli and wasi:io (--json names them)"]
        );
    }

    #[test]
    fn permissions_are_wanted_for_calls_that_leave_the_gateway() {
        let imports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(permissions_wanted(&imports(&["sluice:step/log@0.1.0", "wasi:cli/environment@0.2.6"])).is_empty());
        assert_eq!(permissions_wanted(&imports(&["sluice:step/http@0.1.0"])), ["http:read URL", "http:write URL"]);
        assert_eq!(permissions_wanted(&imports(&["sluice:step/db@0.1.0"])).len(), 2);
        assert!(permissions_wanted(&imports(&["sluice:step/dbx@0.1.0"])).is_empty());
    }
}
