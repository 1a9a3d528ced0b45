//! What the component in a step's folder was made from, so that nothing is compiled twice.
//!
//! Owns the note beside the component, and what counts as the same sources. Invariant: whenever it isn't certain that a
//! compiler would be given the same files, there is no answer, and the step is compiled.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::language::Language;
use crate::model::Digest;

/// What compilers and package managers write, and the history, in the step's own folder: deeper, a folder of such a
/// name is the author's.
pub const PASSED_OVER: [&str; 4] = ["target", "build", "node_modules", ".git"];
/// Where the cases are, which no compiler reads, but Go where a file asks for them.
const CASES: &str = "tests";

/// How Go takes a file into a program, at the beginning of a line of its own.
const EMBED: &[u8] = b"//go:embed ";

/// More than any step has, and as fast to read as to compile.
const FILES_MAX: usize = 2_000;
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The note.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastBuild {
    /// What it was made from.
    pub(super) source: Digest,
    /// What was made.
    pub(super) component: Digest,
    /// Before it was optimised.
    pub(super) compiled_bytes: usize,
    /// Whether it was.
    pub(super) is_optimized: bool,
}

/// As it is on disk.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Of the `sluice` that wrote it: another may encode and optimise otherwise.
    version: String,
    #[serde(flatten)]
    last: LastBuild,
}

impl LastBuild {
    /// The note beside a component; `None` where there is none that is of it and of this `sluice`.
    pub(super) fn of(component: &Path, bytes: &[u8]) -> Option<Self> {
        let Note { version, last } = serde_json::from_slice(&fs::read(place(component)).ok()?).ok()?;
        (version == env!("CARGO_PKG_VERSION") && last.component == Digest::of(bytes)).then_some(last)
    }

    /// Leaves the note. A note that isn't there costs a build, so it fails nothing.
    pub(super) fn write(self, component: &Path) {
        let note = Note { version: env!("CARGO_PKG_VERSION").to_owned(), last: self };
        let _ = serde_json::to_vec(&note).map(|note| fs::write(place(component), note));
    }
}

fn place(component: &Path) -> PathBuf {
    component.with_extension("wasm.built")
}

/// Of all files that the language's compiler may read. `None` where they can't be known, or where it is itself quick to
/// find that nothing has changed.
pub(super) fn sources(language: Language, folder: &Path) -> Option<Digest> {
    if language == Language::Rust || reads_elsewhere(language, folder) {
        return None;
    }
    let mut found = Found::default();
    found.folder(folder, Path::new(""))?;
    if found.embeds {
        found.files.append(&mut found.cases);
    }
    found.files.sort_unstable();
    Some(Digest::of(&serde_json::to_vec(&found.files).ok()?))
}

/// Whether packages of this machine, outside of the folder, are a part of the step.
fn reads_elsewhere(language: Language, folder: &Path) -> bool {
    let says = |file: &str, words: &[&str]| {
        fs::read_to_string(folder.join(file)).is_ok_and(|text| words.iter().any(|word| text.contains(word)))
    };
    match language {
        Language::Rust => true,
        Language::TinyGo => {
            let is_in_workspace = folder
                .canonicalize()
                .map_or(true, |folder| folder.ancestors().any(|folder| folder.join("go.work").exists()));
            is_in_workspace || says("go.mod", &["=> .", "=> /"])
        }
        Language::AssemblyScript => says("package.json", &["\"file:", "\"link:", "\"workspace:", "\"workspaces\""]),
    }
}

#[derive(Default)]
struct Found {
    files: Vec<(PathBuf, Digest)>,
    cases: Vec<(PathBuf, Digest)>,
    bytes: u64,
    /// Whether a file of Go may take others into the component.
    embeds: bool,
}

impl Found {
    /// `None` at what is no plain file or folder, such as a link to elsewhere, or past a bound.
    fn folder(&mut self, root: &Path, below: &Path) -> Option<()> {
        for entry in fs::read_dir(root.join(below)).ok()? {
            let entry = entry.ok()?;
            let (kind, name) = (entry.file_type().ok()?, entry.file_name());
            let path = below.join(&name);
            if kind.is_dir() {
                if !(below == Path::new("") && PASSED_OVER.iter().any(|passed| name == *passed)) {
                    self.folder(root, &path)?;
                }
            } else if !kind.is_file() {
                return None;
            } else {
                self.bytes += entry.metadata().ok()?.len();
                if self.files.len() + self.cases.len() == FILES_MAX || self.bytes > BYTES_MAX {
                    return None;
                }
                self.file(path, &fs::read(entry.path()).ok()?);
            }
        }
        Some(())
    }

    fn file(&mut self, path: PathBuf, bytes: &[u8]) {
        let is = |wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
        self.embeds |= is("go") && bytes.windows(EMBED.len()).any(|part| part == EMBED);
        let is_case = path.parent() == Some(Path::new(CASES)) && is("json");
        let files = if is_case { &mut self.cases } else { &mut self.files };
        files.push((path, Digest::of(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn only_what_a_compiler_reads_makes_other_sources() {
        let step = folder(&[("go.mod", "module step"), ("a/b.go", "package b")]);
        let before = sources(Language::TinyGo, step.path()).unwrap();
        for (path, is_read) in [
            ("tests/case.json", false),
            ("build/step.wasm", false),
            ("tests/a_test.go", true),
            ("tests/deeper/case.json", true),
            ("a/build/b.go", true),
            ("a/c.go", true),
            ("a/b.go", true),
        ] {
            let path = step.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let old = fs::read(&path).ok();
            fs::write(&path, "another").unwrap();
            assert_eq!(sources(Language::TinyGo, step.path()).unwrap() != before, is_read, "{}", path.display());
            match old {
                Some(old) => fs::write(&path, old).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
        }
        assert_eq!(sources(Language::TinyGo, step.path()), Some(before));
    }

    #[test]
    fn a_case_that_go_takes_into_the_component_is_a_source() {
        let source = "package a\n\n//go:embed tests/case.json\nvar example string\n";
        let step = folder(&[("go.mod", "module step"), ("a.go", source), ("tests/case.json", "{}")]);
        let before = sources(Language::TinyGo, step.path()).unwrap();
        fs::write(step.path().join("tests/case.json"), "another").unwrap();
        assert_ne!(sources(Language::TinyGo, step.path()).unwrap(), before);
    }

    #[test]
    fn what_may_lie_elsewhere_has_no_answer() {
        let answer = |language, files: &[(&str, &str)]| sources(language, folder(files).path());
        assert_eq!(answer(Language::Rust, &[("Cargo.toml", "")]), None);
        assert_eq!(answer(Language::TinyGo, &[("go.mod", "module a\nreplace b => ../b\n")]), None);
        assert_eq!(answer(Language::TinyGo, &[("go.mod", "module a"), ("go.work", "use .")]), None);
        let linked = r#"{"dependencies": {"b": "file:../b"}}"#;
        assert_eq!(answer(Language::AssemblyScript, &[("package.json", linked)]), None);
        assert!(answer(Language::AssemblyScript, &[("package.json", "{}")]).is_some());
        let step = folder(&[("package.json", "{}")]);
        std::os::unix::fs::symlink("/etc/hostname", step.path().join("link.ts")).unwrap();
        assert_eq!(sources(Language::AssemblyScript, step.path()), None);
    }

    #[test]
    fn a_note_is_of_one_component() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        assert_eq!(LastBuild::of(&path, b"x"), None);
        let made = || LastBuild {
            source: Digest::of(b"source"),
            component: Digest::of(b"x"),
            compiled_bytes: 1,
            is_optimized: true,
        };
        made().write(&path);
        assert_eq!(LastBuild::of(&path, b"x"), Some(made()));
        assert_eq!(LastBuild::of(&path, b"y"), None);
        let note = fs::read_to_string(place(&path)).unwrap();
        fs::write(place(&path), note.replace(env!("CARGO_PKG_VERSION"), "0.0.0-other")).unwrap();
        assert_eq!(LastBuild::of(&path, b"x"), None);
    }
}
