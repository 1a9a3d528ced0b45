//! TinyGo: the one that is installed, else one that is made in `target/tinygo`.
//!
//! Owns where the compiler comes from. Does not own how it is called (`sluice build`). Invariant: both are found as
//! `tinygo`, and tell of a root with a target file for WASI 0.2.
//!
//! All but finding it can go once CI's machines can download TinyGo's releases, or Debian has a
//! package of it: then `tinygo` is on `PATH`, as it is for authors.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use crate::project;
use crate::steps::Step;
use crate::system;

const MODULE: &str = "github.com/tinygo-org/tinygo";
/// Named, because the module proxy lists no versions of this module.
const VERSION: &str = "v0.41.0";
/// What Debian 12 has; TinyGo is made for 20, and takes 19 with the target file below.
const LLVM: &str = "/usr/lib/llvm-19";

/// What `sluice build` has to find in its environment, so that it has a `tinygo`: nothing where one is installed.
pub type Environment = BTreeMap<&'static str, OsString>;

/// Finds TinyGo, or makes it. Goes on where an earlier try ended.
pub fn ensure(step: &mut Step) -> Result<Environment> {
    system::ensure(step, &[system::WASM_OPT])?;
    if let Some(program) = system::find("tinygo") {
        step.note(format!("installed: {}", program.display()));
        return Ok(Environment::new());
    }
    make(step, &project::path("target/tinygo"))
}

fn make(step: &mut Step, folder: &Path) -> Result<Environment> {
    let environment = Environment::from([
        ("TINYGOROOT", folder.join("root").into()),
        ("PATH", path_with(&folder.join("bin"))?),
        // A GOFLAGS of the machine's is for another Go.
        ("GOFLAGS", OsString::new()),
    ]);
    let stamp = folder.join("made");
    if fs::read_to_string(&stamp).is_ok_and(|version| version == VERSION) {
        step.note(format!("made before: {VERSION} with LLVM 19"));
        return Ok(environment);
    }
    println!(
        "    TinyGo is not installed: it is made from its Go module {VERSION} with LLVM 19, which takes a minute or two"
    );
    system::ensure(step, &system::FOR_TINYGO)?;
    system::ensure_version(system::GO, "version", system::GO_MIN, "https://go.dev/doc/install")?;
    let module = build_program(step, folder)?;
    let root = folder.join("root");
    copy_root(&module, &root)?;
    let linker = folder.join("bin/wasm-ld");
    if !linker.is_symlink() {
        symlink(Path::new(LLVM).join("bin/wasm-ld"), &linker).context("can't link wasm-ld")?;
    }
    adapt_target(&root.join("targets/wasip2.json"), &libraries(step)?)?;
    fs::write(stamp, VERSION)?;
    step.note(format!("made {VERSION} with LLVM 19"));
    Ok(environment)
}

/// Builds the program; the folder of its module, in Go's cache, has its library.
fn build_program(step: &Step, folder: &Path) -> Result<PathBuf> {
    // A release's LLVM is linked in; this one is Debian's, by a tag. `go install` would ask the proxy for the list.
    let source = folder.join("go");
    fs::create_dir_all(&source).with_context(|| format!("can't make {}", source.display()))?;
    let manifest = format!("module made\n\ngo 1.25\n\nrequire {MODULE} {VERSION}\n\ntool {MODULE}\n");
    fs::write(source.join("go.mod"), manifest)?;
    let go = || {
        let mut command = Command::new("go");
        command.current_dir(&source).env("GOFLAGS", "-mod=mod");
        command
    };
    println!("    go build {MODULE}");
    step.run(go().args(["build", "-tags", "llvm19", "-o"]).arg(folder.join("bin/tinygo")).arg(MODULE))?;
    let module = step.output(go().args(["list", "-m", "-f", "{{.Dir}}", MODULE]))?;
    Ok(PathBuf::from(module.trim()))
}

/// TinyGo's library where it can write, as it wants to; the cache of Go's modules is read-only.
fn copy_root(module: &Path, root: &Path) -> Result<()> {
    for part in ["src", "targets"] {
        copy_folder(&module.join(part), &root.join(part))?;
    }
    // A submodule of TinyGo's repository, which no archive has. It must be there; a step of ours doesn't use it.
    fs::create_dir_all(root.join("src/net/http"))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("can't make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            let bytes = fs::read(entry.path())?;
            fs::write(&copy, bytes).with_context(|| format!("can't write {}", copy.display()))?;
        }
    }
    Ok(())
}

/// What takes the place of the C library that TinyGo's releases carry: `memcpy` and its like, and arithmetic.
fn libraries(step: &Step) -> Result<[PathBuf; 2]> {
    let sysroot = step.output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(project::root()))?;
    let libc = Path::new(sysroot.trim()).join("lib/rustlib/wasm32-wasip2/lib/self-contained/libc.a");
    let libraries = [libc, PathBuf::from(system::WASM_BUILTINS)];
    if let Some(missing) = libraries.iter().find(|library| !library.is_file()) {
        bail!(
            "{} is missing: `rustup target add wasm32-wasip2` brings the one, Debian's libclang-rt-19-dev-wasm32 the other",
            missing.display()
        );
    }
    Ok(libraries)
}

/// Changes TinyGo's own target file.
fn adapt_target(file: &Path, libraries: &[PathBuf]) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let mut target: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("can't understand {}", file.display()))?;
    for_llvm_19(&mut target, libraries)?;
    fs::write(file, serde_json::to_string_pretty(&target)?).with_context(|| format!("can't write {}", file.display()))
}

/// Takes out what came with LLVM 20, and links the C library that is there.
fn for_llvm_19(target: &mut Map<String, Value>, libraries: &[PathBuf]) -> Result<()> {
    for library in ["libc", "rtlib"] {
        target.remove(library);
    }
    let features = target.get("features").and_then(Value::as_str).context("TinyGo's target file has no features")?;
    let known: Vec<_> =
        features.split(',').filter(|name| !["+bulk-memory-opt", "+call-indirect-overlong"].contains(name)).collect();
    let known = Value::from(known.join(","));
    let flags =
        target.get_mut("ldflags").and_then(Value::as_array_mut).context("TinyGo's target file has no ldflags")?;
    flags.extend(libraries.iter().map(|library| Value::from(library.to_string_lossy())));
    target.insert("features".to_owned(), known);
    Ok(())
}

fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_path_buf()].into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).context("the target folder's path has a colon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_file_loses_what_llvm_19_does_not_know() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("wasip2.json");
        let own = r#"{"features": "+bulk-memory,+bulk-memory-opt,+call-indirect-overlong,-multivalue", "libc": "wasmbuiltins",
            "rtlib": "compiler-rt", "ldflags": ["--no-entry"], "gc": "precise"}"#;
        fs::write(&file, own).unwrap();
        adapt_target(&file, &[PathBuf::from("/l/libc.a")]).unwrap();
        let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let wanted = serde_json::json!({"features": "+bulk-memory,-multivalue", "ldflags": ["--no-entry", "/l/libc.a"], "gc": "precise"});
        assert_eq!(written, wanted);
    }
}
