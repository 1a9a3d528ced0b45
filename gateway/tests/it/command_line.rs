//! The command line over a real gateway, as an author lives with it.

mod cases;
mod examples;
mod jobs;
mod keys;
mod languages;
mod life;
mod local;
mod permissions;
mod prerequisites;
mod refusals;
mod signing;
mod sizes;
mod terminal;
mod transfer;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{TestGateway, process};

/// Compiling a step takes some seconds on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(3);

/// An author: a folder to work in, and a gateway.
struct Author {
    folder: tempfile::TempDir,
    gateway: TestGateway,
}

impl Author {
    async fn new() -> Self {
        Self::with(TestGateway::start().await)
    }

    fn with(gateway: TestGateway) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), gateway }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// A command that finds the gateway and its admin key.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(self.folder.path(), arguments);
        command.env("SLUICE_SERVER", format!("http://{}", self.gateway.address()));
        command.env("SLUICE_DATA_DIR", self.gateway.folder().path());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments)).await
    }
}

/// What a command that has ended said.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    async fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the end of the command").unwrap();
        output.into()
    }

    /// Itself, if it ended well.
    #[track_caller]
    fn done(self) -> Self {
        self.ended(0)
    }

    /// Itself, if it was refused or failed, and said nothing of success.
    #[track_caller]
    fn failed(self) -> Self {
        let ran = self.ended(1);
        assert!(ran.stderr.contains("error: "), "{ran:?}");
        ran
    }

    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        // Neither stream is a terminal here.
        assert!(!self.stdout.contains('\u{1b}') && !self.stderr.contains('\u{1b}'), "{self:?}");
        self
    }

    /// The one document on standard output.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Itself, if standard error says all of this.
    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        self
    }

    /// The value behind a name, in what `show` and `build` print for scripts.
    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
        line.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Writes a guest where an author could have it.
fn put_guest(author: &Author, name: &str) -> String {
    let file = format!("{name}.wasm");
    std::fs::write(author.path(&file), crate::support::guest(name)).unwrap();
    file
}

/// A step whose build takes no compiler: it copies a guest, which a test may change, to where the step's is.
fn put_step(author: &Author, guest: &str) {
    let step = author.path("step");
    std::fs::create_dir_all(step.join("tests")).unwrap();
    let build = "[build]\ncommand = [\"cp\", \"in.wasm\", \"out.wasm\"]\noutput = \"out.wasm\"\n";
    let manifest = format!("name = \"{guest}\"\nversion = \"1.0.0\"\n{build}");
    std::fs::write(step.join("sluice.step.toml"), manifest).unwrap();
    std::fs::write(step.join("in.wasm"), crate::support::guest(guest)).unwrap();
}

/// What Ctrl-C in a terminal sends.
fn interrupt(child: &tokio::process::Child) {
    use rustix::process::{Pid, Signal, kill_process};

    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
}

/// The names of everything in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
