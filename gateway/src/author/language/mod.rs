//! The languages of steps: how a folder shows which one it is, and what compiles it.
//!
//! Owns the compilers' command lines. Does not own what is done with their output (`project`). Invariant: what is
//! missing is told before anything is compiled, with the command that installs it.

mod assemblyscript;
mod rust;
mod tinygo;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A language that steps are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// By cargo.
    Rust,
    /// By TinyGo.
    TinyGo,
    /// By asc, from npm.
    AssemblyScript,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program, or a part of it, isn't installed.
    #[error("{what}")]
    Missing {
        /// What is wrong.
        what: String,
        /// The commands that mend it.
        install: Vec<String>,
    },
    /// A program is there and can't be started.
    #[error("{program} can't be started")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The compiler has told why on standard error.
    #[error("the step does not compile")]
    Compile,
    /// The compiler ended well and made nothing that is a step.
    #[error("{compiler} made no module")]
    NoOutput {
        /// Its name.
        compiler: &'static str,
        /// What an author can do.
        advice: String,
    },
    /// What the compiler is to read can't be written.
    #[error("{} can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its output can't be read.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rust, Self::TinyGo, Self::AssemblyScript];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::TinyGo => "TinyGo",
            Self::AssemblyScript => "AssemblyScript",
        }
    }

    /// The file that shows that a folder is in this language.
    #[must_use]
    pub const fn marker(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::TinyGo => "go.mod",
            Self::AssemblyScript => "asconfig.json",
        }
    }

    /// Where a folder of this language has what is built.
    #[must_use]
    pub const fn output_folder(self) -> &'static str {
        match self {
            Self::Rust => "target",
            Self::TinyGo | Self::AssemblyScript => "build",
        }
    }

    /// The languages whose marker is in the folder.
    #[must_use]
    pub fn of(folder: &Path) -> Vec<Self> {
        Self::ALL.into_iter().filter(|language| folder.join(language.marker()).is_file()).collect()
    }

    /// Compiles the folder, and gives the bytes of a component or a core module. The compiler's words go to standard
    /// error.
    ///
    /// # Errors
    /// What is missing, or that it doesn't compile.
    pub fn compile(self, folder: &Path, arguments: &[String]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Rust => rust::compile(folder, arguments),
            Self::TinyGo => tinygo::compile(folder, arguments),
            Self::AssemblyScript => assemblyscript::compile(folder, arguments),
        }
    }
}

/// Runs a program to its end, with its words on standard error.
pub(super) fn run(command: &mut Command) -> Result<(), Error> {
    // Its standard output would be taken for the answer of a command that is piped.
    let done = command.stdin(Stdio::null()).stdout(io::stderr()).status();
    let program = command.get_program().to_string_lossy().into_owned();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::Compile),
        Err(source) => Err(Error::Start { program, source }),
    }
}

/// What a program says of itself; `None` where there is no such program.
fn version(program: &str, argument: &str) -> Option<String> {
    version_in(Path::new("."), program, argument)
}

/// What it says of itself in a folder, where it may be another one.
fn version_in(folder: &Path, program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).current_dir(folder).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What gets a program from its makers' archive of one folder, without taking the place of anything.
fn from_archive(url: &str, name: &str) -> Vec<String> {
    let place = format!(".local/{name}");
    vec![
        format!("mkdir -p ~/{place} && curl -fsSL {url} | tar -xz -C ~/{place} --strip-components=1"),
        format!("export PATH=\"$HOME/{place}/bin:$PATH\""),
    ]
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
