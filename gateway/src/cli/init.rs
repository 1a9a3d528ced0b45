//! `sluice init`: a new step from the template.
//!
//! Owns the folder that is written. Does not own the template (`template`).
//! Invariant: a folder that has anything in it is left as it is, and a failure
//! takes away what was written.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum as _;

use super::failure::{Advised, Usage};
use super::output::Out;
use super::template::{self, Example};
use crate::author::Language;
use crate::model::ModuleName;

/// What to make.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The step's name: lower-case letters, digits and hyphens.
    name: ModuleName,
    /// The language.
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// What it shows.
    #[arg(long, value_enum, default_value_t = Example::Order)]
    example: Example,
    /// The folder to write into, instead of ./NAME.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lang {
    Rust,
    #[value(alias = "go")]
    Tinygo,
    #[value(alias = "as")]
    Assemblyscript,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::Tinygo => Self::TinyGo,
            Lang::Assemblyscript => Self::AssemblyScript,
        }
    }
}

/// The folder in which Go has copies of other modules, and from which nobody else may import.
const GO_VENDOR: &str = "vendor";

/// Writes the template.
pub(super) fn run(args: &Args, out: Out) -> anyhow::Result<()> {
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    let language = Language::from(args.lang);
    if language == Language::TinyGo && args.name.as_str() == GO_VENDOR {
        return Err(Usage(format!("Go builds no module that is called {GO_VENDOR}: choose another name")).into());
    }
    let files = template::files(language, args.example, args.name.as_str())
        .ok_or_else(|| no_such_example(language, args.example))?;
    refuse_unless_empty(&folder)?;
    write_all(&folder, &files)?;
    if out.is_json() {
        let files: Vec<_> = files.iter().map(|(path, _)| path).collect();
        let answer = serde_json::json!({"name": args.name, "path": folder, "files": files});
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    tell(args, &folder, out)
}

/// What was made, and what comes next.
fn tell(args: &Args, folder: &Path, out: Out) -> anyhow::Result<()> {
    let (name, shown) = (&args.name, folder.display());
    let what = if args.example.input().is_some() { "step" } else { "HTTP function" };
    out.line(&format!("made the {what} {name} in {shown}"))?;
    out.note("\nNext:");
    out.note(&format!("  cd {shown}"));
    out.note("  sluice build");
    if let Some(input) = args.example.input() {
        out.note("  sluice test               # runs the cases in tests/");
        out.note("  sluice upload             # to a gateway that runs: sluice serve");
        out.note(&format!("  sluice invoke {name} --input '{input}'"));
    }
    let (language, first) = (Language::from(args.lang), template::first_file(args.lang.into()));
    if args.example.input().is_none() {
        out.note(&format!("  wasmtime serve -Scli {}/{name}.wasm", language.output_folder()));
    }
    out.note(&format!("{first} is where the {what} begins; README.md says the rest."));
    Ok(())
}

fn no_such_example(language: Language, example: Example) -> Usage {
    let has = |language: &Language| template::files(*language, example, "step").is_some();
    let languages: Vec<_> = Language::ALL.into_iter().filter(has).map(Language::name).collect();
    let example = example.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Usage(format!("there is no example {example} in {}; it is there in {}", language.name(), languages.join(" and ")))
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
    let is_script = path.extension().is_some_and(|extension| extension == "sh");
    // The umask takes from it.
    let mode = if is_script { 0o777 } else { 0o666 };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> Args {
        Args {
            name: "price-check".parse().unwrap(),
            lang: Lang::Rust,
            example: Example::Order,
            path: Some(folder.to_owned()),
        }
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
