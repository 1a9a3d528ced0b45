//! Go, by TinyGo for WASI 0.2.
//!
//! Owns the flags: an instance lives for one call, so its memory is never collected and nothing is scheduled.
//! Invariant: a core module is made, whose world is embedded here, so that no other tool has to be installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use super::{Error, run};
use crate::author::optimize::{self, WASM_OPT};

/// The oldest that knows WASI 0.2 as the template has it.
const VERSION_MIN: (u32, u32) = (0, 41);
/// What the template's `go.mod` asks for. A Go that fetches newer ones by itself says so in the step's folder.
const GO_MIN: (u32, u32) = (1, 25);

const TARGET: &str = "build/target.json";
const MODULE: &str = "build/module.wasm";

/// What is installed where there is none: the newest Go that this TinyGo takes.
const VERSION: &str = "0.41.0";
const GO: &str = "1.26.0";

pub(super) fn compile(folder: &Path, arguments: &[String]) -> Result<Vec<u8>, Error> {
    check_tools(folder)?;
    let target = target()?;
    let write =
        || std::fs::create_dir_all(folder.join("build")).and_then(|()| std::fs::write(folder.join(TARGET), target));
    write().map_err(|source| Error::Write { path: folder.join(TARGET), source })?;
    let mut tinygo = Command::new("tinygo");
    // `module.std` keeps the bindings from encoding/json, which is larger than most steps.
    tinygo.args(["build", &format!("-target={TARGET}"), "-tags=module.std", "-opt=2", "-no-debug"]);
    tinygo.args(["-scheduler=none", "-gc=leaking", "-o", MODULE]);
    run(tinygo.args(arguments).arg(".").current_dir(folder))?;
    super::read(&folder.join(MODULE))
}

/// TinyGo's own target file for WASI 0.2 without a world: with one it would ask for wasm-tools.
fn target() -> Result<String, Error> {
    let root = super::version("tinygo", "env").and_then(|said| root(&said));
    let root = root.ok_or_else(|| no_tinygo("this TinyGo does not say where its own files are".to_owned()))?;
    check_optimizer(&root)?;
    let path = root.join("targets/wasip2.json");
    let text = super::read(&path)?;
    let Ok(mut target) = serde_json::from_slice::<Map<String, Value>>(&text) else {
        return Err(no_tinygo(format!("{} is not what TinyGo has there", path.display())));
    };
    for key in ["wit-package", "wit-world"] {
        target.remove(key);
    }
    Ok(Value::Object(target).to_string())
}

/// Of `TINYGOROOT="/usr/local/lib/tinygo"`, among other lines.
fn root(said: &str) -> Option<PathBuf> {
    let line = said.lines().find_map(|line| line.strip_prefix("TINYGOROOT="))?;
    Some(PathBuf::from(line.trim_matches('"')))
}

/// TinyGo calls it after each build, wherever it finds it.
fn check_optimizer(root: &Path) -> Result<(), Error> {
    let is_named = std::env::var_os("WASMOPT").is_some();
    if is_named || root.join("bin").join(WASM_OPT).is_file() || optimize::find().is_ok() {
        return Ok(());
    }
    let what = format!("{WASM_OPT} of binaryen is not installed, and TinyGo needs it");
    Err(Error::Missing { what, install: vec![optimize::INSTALL.to_owned()] })
}

fn no_tinygo(what: String) -> Error {
    let releases = "https://github.com/tinygo-org/tinygo/releases/download";
    let url = format!("{releases}/v{VERSION}/tinygo{VERSION}.linux-{}.tar.gz", machine());
    let mut install = super::from_archive(&url, &format!("tinygo{VERSION}"));
    install.push("other ways: https://tinygo.org/getting-started/install".to_owned());
    Error::Missing { what, install }
}

fn no_go(what: String) -> Error {
    let url = format!("https://go.dev/dl/go{GO}.linux-{}.tar.gz", machine());
    let mut install = super::from_archive(&url, &format!("go{GO}"));
    install.push("other ways: https://go.dev/doc/install".to_owned());
    Error::Missing { what, install }
}

/// As Go calls it.
const fn machine() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn check_tools(folder: &Path) -> Result<(), Error> {
    check_go(folder)?;
    let Some(version) = super::version("tinygo", "version") else {
        return Err(no_tinygo("TinyGo is not installed, or `tinygo` is not on PATH".to_owned()));
    };
    match number(&version, "tinygo version ") {
        Some(number) if number >= VERSION_MIN => Ok(()),
        _ => Err(no_tinygo(format!("this is {version}; a step needs {}.{} or later", VERSION_MIN.0, VERSION_MIN.1))),
    }
}

fn check_go(folder: &Path) -> Result<(), Error> {
    let told = super::version_in(folder, "go", "version");
    // One that is too old, and can't fetch the one that `go.mod` asks for, tells its own version elsewhere only.
    let Some(version) = told.or_else(|| super::version_in(Path::new("/"), "go", "version")) else {
        return Err(no_go("Go is not installed, or `go` is not on PATH".to_owned()));
    };
    match number(&version, "go version go") {
        // One between two releases has no number; TinyGo checks it too.
        None => Ok(()),
        Some(number) if number >= GO_MIN => Ok(()),
        Some(_) => Err(no_go(format!("this is {version}; a step needs Go {}.{} or later", GO_MIN.0, GO_MIN.1))),
    }
}

/// Of `tinygo version 0.41.0 linux/amd64 (using go version go1.26 …)`, after the words before it.
fn number(version: &str, before: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix(before)?.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_among_what_tinygo_tells() {
        let said = "GOOS=\"linux\"\nTINYGOROOT=\"/usr/local/lib/tinygo\"\nGOROOT=\"/usr/local/go\"";
        assert_eq!(root(said).unwrap(), Path::new("/usr/local/lib/tinygo"));
        assert_eq!(root("GOOS=\"linux\""), None);
    }

    #[test]
    fn a_version_is_found_in_what_a_program_says() {
        let said = "tinygo version 0.41.0 linux/amd64 (using go version go1.26.8 and LLVM version 19.1.7)";
        let tinygo = |said| number(said, "tinygo version ");
        assert_eq!(tinygo(said), Some((0, 41)));
        assert_eq!(tinygo("tinygo version 0.42.0-dev linux/amd64"), Some((0, 42)));
        assert_eq!(tinygo("go version go1.26.8"), None);
        let go = |said| number(said, "go version go");
        assert_eq!(go("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(go("go version go1.25rc1 linux/amd64"), Some((1, 25)));
        assert_eq!(go("go version devel go1.27-1e7a38f linux/amd64"), None);
    }
}
