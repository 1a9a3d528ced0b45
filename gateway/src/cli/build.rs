//! `sluice build`: compiles a step and checks it as the gateway's intake will.
//!
//! Owns the report. Does not own the build (`author`). Invariant: what is told next is the command that does it.

use std::path::{Path, PathBuf};

use indicatif::BinaryBytes;

use super::client::Remote;
use super::failure::{Advised, Usage, causes};
use super::output::Out;
use super::watch;
use crate::author::{self, Built, LanguageError, Project, cases, optimizer_advice};
use crate::model::{Digest, ModuleName, Permission};

/// What to build.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The step's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Build again whenever a file changes, and upload each build as a version of its own, such as 0.1.0-dev.1764000000000.
    #[arg(long)]
    watch: bool,
    /// More arguments for the compiler, after `--`.
    #[arg(last = true, value_name = "ARGUMENT")]
    compiler: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Builds once, or again and again.
pub(super) fn run(args: Args, out: Out) -> anyhow::Result<()> {
    if !args.watch {
        return once(&args, out);
    }
    let Args { dir, compiler, remote, .. } = args;
    super::interruptible(watch::run(dir, compiler, remote, out))
}

/// Compiles, checks, and puts the component where `sluice upload` finds it.
fn once(args: &Args, out: Out) -> anyhow::Result<()> {
    let project = open(&args.dir)?;
    let built = project.build(&args.compiler).map_err(advised)?;
    report(&Report { dir: &args.dir, project: &project, built: &built }, out)
}

/// The step of a folder.
pub(super) fn open(dir: &Path) -> anyhow::Result<Project> {
    Project::open(dir).map_err(advised)
}

/// An error of the author's own, with what to do about it.
pub(super) fn advised(error: author::Error) -> anyhow::Error {
    let message = error.to_string();
    let advice = match error {
        author::Error::NoStep { .. } => {
            return Usage(format!("{message}; name the folder of a step, or make one: sluice init NAME")).into();
        }
        author::Error::SeveralLanguages { .. } => {
            vec![format!("say in {} how it is built: [build] command = [\"...\"], output = \"...\"", author::MANIFEST)]
        }
        author::Error::Manifest(author::ManifestError::Mistakes(mistakes)) | author::Error::Refused(mistakes) => {
            mistakes.iter().map(ToString::to_string).collect()
        }
        author::Error::Language(LanguageError::Missing { install, .. }) => install,
        author::Error::Language(LanguageError::Compile) => vec!["the compiler's own words are above".to_owned()],
        author::Error::Language(LanguageError::NoOutput { advice, .. }) => vec![advice],
        author::Error::Language(
            error @ (LanguageError::Start { .. } | LanguageError::Write { .. } | LanguageError::Read { .. }),
        ) => causes(&error),
        author::Error::Manifest(error @ author::ManifestError::Read(_)) => causes(&error),
        error @ author::Error::Write { .. } => causes(&error),
        author::Error::Package(_) => Vec::new(),
        author::Error::Componentize(_) => {
            let wanted = format!("a step function is {}", author::step_signature());
            vec![wanted, "the world is in wit/, and the step's code exports what it says".to_owned()]
        }
    };
    Advised { message, advice }.into()
}

/// Refuses what has no step function to call.
pub(super) fn only_a_step(built: &Built) -> Result<(), Advised> {
    if !built.prebuilt.component.functions.is_empty() {
        return Ok(());
    }
    let advice = format!("cases and --local are for steps; try it with: wasmtime serve -Scli {}", built.path.display());
    Err(Advised::new("this is an HTTP function, which has no step function to call", advice))
}

struct Report<'a> {
    dir: &'a Path,
    project: &'a Project,
    built: &'a Built,
}

impl Report<'_> {
    fn command(&self, name: &str) -> String {
        match self.dir {
            dir if dir == Path::new(".") => format!("sluice {name}"),
            dir => format!("sluice {name} {}", dir.display()),
        }
    }

    /// The shortest that will do: a step's folder says its name and version by itself.
    fn upload_command(&self) -> String {
        let mut command = self.command("upload");
        if self.project.name().is_none_or(|name| name.parse::<ModuleName>().is_err()) {
            command.push_str(" --name NAME");
        }
        if self.project.version().is_none() {
            command.push_str(" --version 0.1.0");
        }
        command
    }

    fn size(&self) -> String {
        let size = BinaryBytes(self.built.prebuilt.bytes.len() as u64).to_string();
        if self.built.not_optimized.is_some() {
            return size;
        }
        format!("{size}, {} before it was optimized", BinaryBytes(self.built.compiled_bytes as u64))
    }
}

fn report(report: &Report<'_>, out: Out) -> anyhow::Result<()> {
    let Report { project, built, .. } = report;
    let component = &built.prebuilt.component;
    let wanted = permissions_wanted(&component.imports, &project.manifest().permissions);
    let digest = Digest::of(&built.prebuilt.bytes);
    if out.is_json() {
        let answer = serde_json::json!({
            "path": built.path, "name": project.name(), "version": project.version(),
            "size_bytes": built.prebuilt.bytes.len(), "compiled_bytes": built.compiled_bytes,
            "is_optimized": built.not_optimized.is_none(), "sha256": digest, "kind": component.kind,
            "functions": component.functions, "imports": component.imports,
            "permissions": project.manifest().permissions, "permissions_wanted": wanted, "warnings": component.warnings,
        });
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    let mut pairs = vec![
        ("component", built.path.strip_prefix(".").unwrap_or(&built.path).display().to_string()),
        ("size", report.size()),
        ("sha256", digest.to_string()),
        ("kind", component.kind.as_str().to_owned()),
    ];
    if !component.functions.is_empty() {
        pairs.push(("functions", component.functions.join(", ")));
    }
    pairs.extend(imports_told(&component.imports).into_iter().map(|import| ("import", import)));
    let asked = |one: &Permission| format!("{} {}", one.permission.as_str(), one.resource);
    pairs.extend(project.manifest().permissions.iter().map(|permission| ("permission", asked(permission))));
    let missing = |wanted: &&str| format!("{wanted}, in {}, if the step calls it", author::MANIFEST);
    pairs.extend(wanted.iter().map(|wanted| ("no permission", missing(wanted))));
    out.pairs(&pairs)?;
    out.warnings(&component.warnings);
    match &built.not_optimized {
        None => {}
        Some(author::OptimizeError::Missing) => out.note(&optimizer_advice()),
        Some(error) => out.warn(&format!("it is not optimized: {error}")),
    }
    out.note("\nNext:");
    if cases::files(report.dir).is_ok_and(|files| !files.is_empty()) {
        out.note(&format!("  {}", report.command("test")));
    }
    out.note(&format!("  {}", report.upload_command()));
    Ok(())
}

/// The imports that say something: every language's runtime brings a dozen of WASI's.
pub(super) fn imports_told(imports: &[String]) -> Vec<String> {
    let (wasi, others): (Vec<_>, Vec<_>) =
        imports.iter().partition(|import| import.starts_with("wasi:cli/") || import.starts_with("wasi:io/"));
    let wasi = (!wasi.is_empty()).then(|| format!("{} of wasi:cli and wasi:io (--json names them)", wasi.len()));
    others.into_iter().cloned().chain(wasi).collect()
}

/// The kinds of permissions without which calls through these imports are denied, and of which the step asks for none.
/// An import is no proof of a call: some languages import all that there is.
fn permissions_wanted(imports: &[String], asked: &[Permission]) -> Vec<&'static str> {
    let has = |interface: &str| imports.iter().any(|import| import.split('@').next() == Some(interface));
    let mut wanted = Vec::new();
    if has("sluice:step/http") || has("wasi:http/outgoing-handler") {
        wanted.extend(["http:read URL", "http:write URL"]);
    }
    if has("sluice:step/db") {
        wanted.extend(["database:read CONNECTION", "database:write CONNECTION"]);
    }
    wanted.retain(|wanted| !asked.iter().any(|asked| wanted.split(' ').next() == Some(asked.permission.as_str())));
    wanted
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;
    use crate::model::PermissionKind;

    #[test]
    fn a_folder_without_a_step_is_wrong_usage() {
        let folder = tempfile::tempdir().unwrap();
        let cli = Cli::try_parse_from(["sluice", "build", folder.path().to_str().unwrap()]).unwrap();
        let Command::Build(args) = cli.command else { panic!("another command") };
        let error = run(args, Out::for_tests()).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("sluice init"), "{error}");
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
        assert!(permissions_wanted(&imports(&["sluice:step/log@0.1.0", "wasi:cli/environment@0.2.6"]), &[]).is_empty());
        assert_eq!(permissions_wanted(&imports(&["sluice:step/http@0.1.0"]), &[]), ["http:read URL", "http:write URL"]);
        assert_eq!(permissions_wanted(&imports(&["sluice:step/db@0.1.0"]), &[]).len(), 2);
        let asked = Permission { permission: PermissionKind::DatabaseRead, resource: "shop".to_owned() };
        assert_eq!(permissions_wanted(&imports(&["sluice:step/db@0.1.0"]), &[asked]), ["database:write CONNECTION"]);
        assert!(permissions_wanted(&imports(&["sluice:step/dbx@0.1.0"]), &[]).is_empty());
    }
}
