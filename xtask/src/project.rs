//! Where things are in this repository, and cargo as a fresh shell would run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::steps::Step;

/// The repository's root.
pub fn root() -> PathBuf {
    // What cargo says now beats what it said at compile time: a target folder may serve several clones.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A path under the root.
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// `cargo` in the root.
pub fn cargo() -> Command {
    cargo_in(&root())
}

/// The `sluice` that these sources make.
pub fn sluice() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "sluice", "--"]);
    command
}

/// `cargo` in a folder.
///
/// What `cargo run` tells this program about itself must not reach the next cargo: build scripts
/// watch some of these variables (ring's does) and would run again at every change between
/// `cargo xtask` and plain `cargo`.
pub fn cargo_in(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if about_us.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// The triple of this machine, as the toolchain of this repository names it.
pub fn host(step: &Step) -> Result<String> {
    let version = step.output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}

/// A file that cargo has built, or found up to date.
#[derive(Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The target's name, with underscores for a library.
    pub target: String,
    /// `bin`, `cdylib`, `lib`, …
    pub kinds: Vec<String>,
    /// All files of it.
    pub files: Vec<PathBuf>,
}

/// The option with which cargo writes what [`artifacts`] reads, and its diagnostics as usual.
pub const ARTIFACTS_OPTION: &str = "--message-format=json-render-diagnostics";

/// Reads cargo's JSON messages.
pub fn artifacts(messages: &str) -> Result<Vec<Artifact>> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<Target>,
        #[serde(default)]
        filenames: Vec<PathBuf>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut artifacts = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).with_context(|| format!("cargo wrote: {line}"))?;
        let Some(target) = message.target.filter(|_| message.reason == "compiler-artifact") else { continue };
        let files = message.executable.map_or(message.filenames, |executable| vec![executable]);
        artifacts.push(Artifact { target: target.name, kinds: target.kind, files });
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_read_and_other_messages_passed_over() {
        let messages = concat!(
            r#"{"reason":"build-script-executed","package_id":"x","linked_libs":[]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["cdylib"],"name":"bad_json"},"filenames":["/t/bad_json.wasm"],"executable":null,"fresh":true}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"sluice"},"filenames":["/t/sluice"],"executable":"/t/sluice"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = artifacts(messages).unwrap();
        let names: Vec<_> = found.iter().map(|artifact| artifact.target.as_str()).collect();
        assert_eq!(names, ["bad_json", "sluice"]);
        assert_eq!(found[0].files, [PathBuf::from("/t/bad_json.wasm")]);
    }

    #[test]
    fn text_that_is_no_message_is_an_error() {
        artifacts("warning: something").unwrap_err();
    }
}
