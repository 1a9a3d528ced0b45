//! `sluice init`: a new step from the template.
//!
//! Owns the folder that is written. Does not own the template (`template`).
//! Invariant: a folder that has anything in it is left as it is, and a failure
//! takes away what was written.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::failure::Advised;
use super::output::Out;
use super::template;
use crate::model::ModuleName;

/// What to make.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The step's name: lower-case letters, digits and hyphens.
    name: ModuleName,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder to write into, instead of ./NAME.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Language {
    Rust,
}

/// Writes the template.
pub(super) fn run(args: &Args, out: Out) -> anyhow::Result<()> {
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    let files = match args.lang {
        Language::Rust => template::rust(args.name.as_str()),
    };
    refuse_unless_empty(&folder)?;
    write_all(&folder, &files)?;
    if out.is_json() {
        let files: Vec<_> = files.iter().map(|(path, _)| path).collect();
        let answer = serde_json::json!({"name": args.name, "path": folder, "files": files});
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    let shown = folder.display();
    out.line(&format!("made the step {} in {shown}", args.name))?;
    out.note("\nNext:");
    out.note(&format!("  cd {shown}"));
    out.note("  sluice build");
    out.note("  sluice upload             # to a gateway that runs: sluice serve");
    out.note(&format!("  sluice invoke {} --input '{}'", args.name, template::RUST_INPUT));
    out.note("src/lib.rs is where the step begins; README.md says the rest.");
    Ok(())
}

fn refuse_unless_empty(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let taken = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(error).with_context(|| format!("{shown} can't be read")),
    };
    if taken {
        let advice = "choose another name, or another folder with --path";
        return Err(Advised::new(format!("{shown} exists and is not an empty folder"), advice).into());
    }
    Ok(())
}

fn write_all(folder: &Path, files: &[(&str, String)]) -> anyhow::Result<()> {
    for (index, (path, text)) in files.iter().enumerate() {
        let path = folder.join(path);
        if let Err(error) = write(&path, text) {
            take_back(folder, files.iter().take(index + 1).map(|(path, _)| Path::new(*path)));
            return Err(error).with_context(|| format!("{} can't be written", path.display()));
        }
    }
    Ok(())
}

/// Removes the files, and folders that are empty then. Errors here would hide the one that matters.
fn take_back<'a>(folder: &Path, paths: impl DoubleEndedIterator<Item = &'a Path>) {
    for path in paths.rev() {
        let _ = std::fs::remove_file(folder.join(path));
        for parent in path.ancestors().skip(1) {
            let _ = std::fs::remove_dir(folder.join(parent));
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> Args {
        Args { name: "price-check".parse().unwrap(), lang: Language::Rust, path: Some(folder.to_owned()) }
    }

    #[test]
    fn a_new_step_has_the_name_it_was_given_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let step = folder.path().join("steps/price");
        run(&args(&step), Out::for_tests()).unwrap();
        let manifest: toml::Table = std::fs::read_to_string(step.join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("price-check"));
        assert!(std::fs::read_to_string(step.join("Cargo.lock")).unwrap().contains("name = \"price-check\""));
        assert!(step.join("wit/world.wit").is_file());
        assert!(step.join(".cargo/config.toml").is_file());
    }

    #[test]
    fn a_folder_with_anything_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "x").unwrap();
        let error = run(&args(folder.path()), Out::for_tests()).unwrap_err();
        assert!(error.to_string().contains("not an empty folder"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("price-check");
        std::fs::write(&file, "x").unwrap();
        assert!(run(&args(&file), Out::for_tests()).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }

    #[test]
    fn a_failure_takes_away_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let step = folder.path().join("step");
        let files = [("a", "x".to_owned()), ("a/b", "needs a folder where a file is".to_owned())];
        assert!(write_all(&step, &files).is_err());
        assert!(!step.exists());
    }
}
