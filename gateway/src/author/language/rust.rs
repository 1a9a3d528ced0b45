//! Rust, by cargo for `wasm32-wasip2`, which makes a component by itself.
//!
//! Invariant: what is taken is the component of the folder's own package, whatever else cargo built.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Error;

/// What a step is compiled for.
const TARGET: &str = "wasm32-wasip2";

pub(super) fn compile(folder: &Path, arguments: &[String]) -> Result<Vec<u8>, Error> {
    check_tools(folder, arguments)?;
    let started = |source| cannot_start("cargo", source);
    let manifest = folder.join("Cargo.toml");
    let manifest = std::fs::canonicalize(&manifest).map_err(|source| Error::Read { path: manifest, source })?;
    let mut cargo = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(started)?;
    let mut found = Vec::new();
    if let Some(stdout) = cargo.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            found.extend(artefacts(&line.map_err(started)?, &manifest));
        }
    }
    if !cargo.wait().map_err(started)?.success() {
        return Err(Error::Compile);
    }
    let advice = "Cargo.toml needs a library with:  [lib] crate-type = [\"cdylib\"]".to_owned();
    super::read(&found.pop().ok_or(Error::NoOutput { compiler: "cargo", advice })?)
}

/// Refuses before the first crate is compiled.
fn check_tools(folder: &Path, arguments: &[String]) -> Result<(), Error> {
    // Whoever builds the standard library needs no installed one.
    if arguments.iter().any(|argument| argument.contains("build-std")) {
        return Ok(());
    }
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|source| cannot_start("rustc", source))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libraries.is_dir() {
        return Ok(());
    }
    Err(Error::Missing {
        what: format!("this Rust can't compile for {TARGET}; install it with:"),
        install: vec![format!("rustup target add {TARGET}")],
    })
}

fn cannot_start(program: &str, source: io::Error) -> Error {
    if source.kind() != io::ErrorKind::NotFound {
        return Error::Start { program: program.to_owned(), source };
    }
    let install = vec!["curl https://sh.rustup.rs -sSf | sh".to_owned()];
    Error::Missing { what: format!("Rust is not installed, or `{program}` is not on PATH"), install }
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
}
