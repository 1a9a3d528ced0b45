//! A step's folder: which language it is in, what it is called, and its component.
//!
//! Owns the order of a build. Invariant: a component is put in its place only after it passed the checks that the
//! gateway will make.

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;

use super::language::{self, Language};
use super::last_build::{self, LastBuild};
use super::manifest::{self, Build, Command, Manifest};
use super::optimize::{self, WASM_OPT};
use super::whole_file::WholeFile;
use super::{Mistake, componentize};
use crate::error::FieldError;
use crate::model::{Digest, ModuleName};
use crate::registry::{self, Component};

/// No author has a folder of this name: what is in it may go.
const COMPILED_CODE: &str = ".sluice-compiled";

/// A step's folder.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    manifest: Manifest,
    builder: Builder,
    /// What the language's own manifest says.
    package: Package,
}

/// What makes the module.
#[derive(Debug)]
enum Builder {
    /// With what the manifest adds to its arguments.
    Language(Language, Vec<String>),
    Own(Command),
}

/// A name and a version as a language's own manifest has them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Package {
    name: Option<String>,
    version: Option<String>,
}

/// A component that the gateway would take.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// It, and what it exports and imports.
    pub prebuilt: Prebuilt,
    /// As the compiler made it, before anything was optimised.
    pub compiled_bytes: usize,
    /// Why it isn't optimised; `None` where it is.
    pub not_optimized: Option<optimize::Error>,
}

/// A component that was built by somebody else.
#[derive(Debug)]
pub struct Prebuilt {
    /// It.
    pub bytes: Vec<u8>,
    /// What it exports and imports.
    pub component: Component,
}

impl Prebuilt {
    /// Checks it as the gateway would.
    ///
    /// # Errors
    /// It would be refused.
    pub fn of(bytes: Vec<u8>) -> Result<Self, Error> {
        let component = check(&bytes)?;
        Ok(Self { bytes, component })
    }
}

/// Why there is no project, or no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing shows a language.
    #[error("there is no step in {}: it has none of {markers}", shown(folder))]
    NoStep {
        /// The folder.
        folder: PathBuf,
        /// What one of them would have.
        markers: String,
    },
    /// Several languages, and nothing says which one.
    #[error("{} could be a step in {languages}", shown(folder))]
    SeveralLanguages {
        /// The folder.
        folder: PathBuf,
        /// Their names.
        languages: String,
    },
    /// `sluice.step.toml`.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The language's own manifest, in words.
    #[error("{0}")]
    Package(String),
    /// The compiler.
    #[error(transparent)]
    Language(#[from] language::Error),
    /// The core module.
    #[error(transparent)]
    Componentize(#[from] componentize::Error),
    /// The gateway would refuse it.
    #[error("the gateway would refuse the component")]
    Refused(Vec<Mistake>),
    /// It can't be put in its place.
    #[error("{} can't be written", path.display())]
    Write {
        /// Its place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A folder in a sentence.
fn shown(folder: &Path) -> String {
    if folder == Path::new(".") { "this folder".to_owned() } else { folder.display().to_string() }
}

impl Project {
    /// The step of a folder.
    ///
    /// # Errors
    /// It is none, or its manifest has mistakes.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut manifest = Manifest::read(folder)?;
        let languages = Language::of(folder);
        let builder = match (manifest.build.take().unwrap_or_default(), &languages[..]) {
            (Build::Own(command), _) => Builder::Own(command),
            (Build::Language { arguments }, [language]) => Builder::Language(*language, arguments),
            (Build::Language { .. }, []) => {
                let markers = Language::ALL.map(Language::marker).join(", ");
                return Err(Error::NoStep { folder: folder.to_owned(), markers });
            }
            (Build::Language { .. }, several) => {
                let languages = several.iter().map(|language| language.name()).collect::<Vec<_>>().join(" and ");
                return Err(Error::SeveralLanguages { folder: folder.to_owned(), languages });
            }
        };
        let package = match builder {
            Builder::Language(language, _) => Package::read(language, folder)?,
            Builder::Own(_) => Package::default(),
        };
        Ok(Self { folder: folder.to_owned(), manifest, builder, package })
    }

    /// What `sluice.step.toml` says, but for the build.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is called; not necessarily as a module may be.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.manifest.name.as_ref().map(ModuleName::as_str).or(self.package.name.as_deref())
    }

    /// Its version; not necessarily one.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.manifest.version.as_ref().map(ToString::to_string).or_else(|| self.package.version.clone())
    }

    /// Where a build puts the component, the same wherever the compiler has its own files.
    #[must_use]
    pub fn component(&self) -> PathBuf {
        let output = match &self.builder {
            Builder::Language(language, _) => language.output_folder(),
            Builder::Own(_) => "build",
        };
        self.folder.join(output).join(format!("{}.wasm", self.name().unwrap_or("step")))
    }

    /// What a build command of the author's own makes, wherever in the folder that is.
    #[must_use]
    pub fn own_output(&self) -> Option<PathBuf> {
        match &self.builder {
            Builder::Language(..) => None,
            Builder::Own(build) => Some(self.folder.join(&build.output)),
        }
    }

    /// The folder of compiled code, beside the component, so that the next run finds it.
    #[must_use]
    pub fn compiled_code(&self) -> PathBuf {
        self.component().with_file_name(COMPILED_CODE)
    }

    /// Compiles, encodes, optimises, checks, and puts the component in its place.
    ///
    /// # Errors
    /// What an author has to mend. What was there stays then.
    pub fn build(&self, arguments: &[String]) -> Result<Built, Error> {
        // Before they are compiled: what is changed meanwhile is compiled the next time.
        let source = self.sources().filter(|_| arguments.is_empty());
        let compiled = match &self.builder {
            Builder::Language(language, own) => language.compile(&self.folder, &[own, arguments].concat())?,
            Builder::Own(command) => command.run(&self.folder, arguments)?,
        };
        let is_component = !componentize::is_core_module(&compiled);
        // What is around a core module is made from other files than those that were compiled.
        let source = source.or_else(|| is_component.then(|| Digest::of(&compiled)));
        if let Some(built) = source.filter(|_| is_component).and_then(|source| self.made_from(source)) {
            return Ok(built);
        }
        let compiled = if is_component { compiled } else { componentize::component(compiled, &self.folder)? };
        self.finish(&compiled, source)
    }

    /// The component as it is where nothing has changed since it was made, as far as that is certain; else as
    /// [`build`](Self::build) makes it.
    ///
    /// # Errors
    /// As those of [`build`](Self::build).
    pub fn build_where_changed(&self) -> Result<Built, Error> {
        self.sources().and_then(|source| self.made_from(source)).map_or_else(|| self.build(&[]), Ok)
    }

    fn sources(&self) -> Option<Digest> {
        match &self.builder {
            Builder::Language(language, _) => last_build::sources(*language, &self.folder),
            Builder::Own(_) => None,
        }
    }

    /// The component that is there, if it was made from this and would not become smaller now.
    fn made_from(&self, source: Digest) -> Option<Built> {
        let path = self.component();
        let bytes = std::fs::read(&path).ok()?;
        let last = LastBuild::of(&path, &bytes).filter(|last| last.source == source)?;
        let not_optimized = if last.is_optimized { None } else { Some(optimize::find().err()?) };
        let prebuilt = Prebuilt::of(bytes).ok()?;
        // As new as its sources; a time that can't be set costs a needless warning.
        let _ = std::fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(Built { path, prebuilt, compiled_bytes: last.compiled_bytes, not_optimized })
    }

    fn finish(&self, compiled: &[u8], source: Option<Digest>) -> Result<Built, Error> {
        check(compiled)?;
        let (bytes, not_optimized) = match optimize::component(compiled) {
            Ok(bytes) => (bytes, None),
            Err(error) => (compiled.to_vec(), Some(error)),
        };
        let prebuilt = Prebuilt::of(bytes)?;
        let (path, compiled_bytes) = (self.component(), compiled.len());
        put(&prebuilt.bytes, &path).map_err(|source| Error::Write { path: path.clone(), source })?;
        if let Some(source) = source {
            let component = Digest::of(&prebuilt.bytes);
            LastBuild { source, component, compiled_bytes, is_optimized: not_optimized.is_none() }.write(&path);
        }
        Ok(Built { path, prebuilt, compiled_bytes, not_optimized })
    }
}

impl Command {
    fn run(&self, folder: &Path, arguments: &[String]) -> Result<Vec<u8>, language::Error> {
        let (program, own) = self.words.split_first().ok_or(language::Error::Compile)?;
        language::run(process::Command::new(program).args(own).args(arguments).current_dir(folder))?;
        let path = folder.join(&self.output);
        std::fs::read(&path).map_err(|source| language::Error::Read { path, source })
    }
}

impl Package {
    fn read(language: Language, folder: &Path) -> Result<Self, Error> {
        let path = match language {
            Language::Rust => folder.join("Cargo.toml"),
            Language::AssemblyScript => folder.join("package.json"),
            // A Go module has neither.
            Language::TinyGo => return Ok(Self::default()),
        };
        let unreadable = |error: &dyn std::fmt::Display| Error::Package(format!("{}: {error}", path.display()));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(&error)),
        };
        match language {
            Language::Rust => Self::of_cargo(&text).map_err(|error| unreadable(&error)),
            Language::AssemblyScript | Language::TinyGo => {
                let package: serde_json::Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
                let text = |key: &str| package.get(key)?.as_str().map(str::to_owned);
                Ok(Self { name: text("name"), version: text("version") })
            }
        }
    }

    fn of_cargo(text: &str) -> Result<Self, String> {
        let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let package = manifest.get("package").and_then(toml::Value::as_table);
        let text = |key: &str| package?.get(key)?.as_str().map(str::to_owned);
        let name = text("name").ok_or("it has no [package] with a name: name the step's own folder")?;
        Ok(Self { name: Some(name), version: text("version") })
    }
}

/// As the gateway's intake does it.
fn check(bytes: &[u8]) -> Result<Component, Error> {
    let mistake = |FieldError { path, message, .. }| Mistake { path, message };
    registry::inspect(bytes).map_err(|mistakes| Error::Refused(mistakes.into_iter().map(mistake).collect()))
}

fn put(bytes: &[u8], path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    // An upload may read it at this moment.
    let mut file = WholeFile::begin(path)?;
    file.write(bytes)?;
    file.finish(path)
}

/// Where `wasm-opt` comes from, for whoever doesn't have it.
#[must_use]
pub fn optimizer_advice() -> String {
    format!("{WASM_OPT} of binaryen makes components smaller: {}", optimize::INSTALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_name_and_a_version_are_the_manifests_or_the_languages() {
        let cargo = ("Cargo.toml", "[package]\nname = \"a\"\nversion = \"1.2.3\"");
        let plain = folder(&[cargo]);
        let project = Project::open(plain.path()).unwrap();
        assert_eq!((project.name(), project.version().as_deref()), (Some("a"), Some("1.2.3")));
        assert_eq!(project.component(), plain.path().join("target/a.wasm"));
        let own = folder(&[cargo, ("sluice.step.toml", "name = \"b\"\nversion = \"2.0.0\"")]);
        let project = Project::open(own.path()).unwrap();
        assert_eq!((project.name(), project.version().as_deref()), (Some("b"), Some("2.0.0")));
        let npm = folder(&[("asconfig.json", "{}"), ("package.json", r#"{"name": "c", "version": "3.0.0"}"#)]);
        let project = Project::open(npm.path()).unwrap();
        assert_eq!((project.name(), project.version().as_deref()), (Some("c"), Some("3.0.0")));
        let workspace = folder(&[("Cargo.toml", "[package]\nname = \"a\"\nversion.workspace = true")]);
        assert_eq!(Project::open(workspace.path()).unwrap().version(), None);
    }

    #[test]
    fn a_folder_that_is_no_step_or_two_is_told_of() {
        let told = |files: &[(&str, &str)]| Project::open(folder(files).path()).unwrap_err().to_string();
        assert!(told(&[]).contains("Cargo.toml, go.mod, asconfig.json"));
        assert!(told(&[("Cargo.toml", ""), ("go.mod", "")]).contains("Rust and TinyGo"));
        assert!(told(&[("Cargo.toml", "[workspace]")]).contains("no [package]"));
    }

    #[test]
    fn a_build_of_the_authors_own_is_checked_like_any() {
        let manifest = "name = \"own\"\n[build]\ncommand = [\"cp\", \"in.wasm\", \"out.wasm\"]\noutput = \"out.wasm\"";
        let folder = folder(&[("sluice.step.toml", manifest), ("in.wasm", "nothing")]);
        let project = Project::open(folder.path()).unwrap();
        assert!(matches!(project.build(&[]), Err(Error::Refused(mistakes)) if !mistakes.is_empty()));
        assert!(!project.component().exists());
    }
}
