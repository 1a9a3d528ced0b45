//! `cargo xtask guests`: the components that tests and the demo use.
//!
//! Owns `target/guests/*.wasm`. Does not own the guests: cargo says which there are. Invariant: what
//! lies in that folder was built from the sources as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::mirrors::{self, Mirror};
use crate::project::{self, Artifact};
use crate::steps::{Step, Steps};
use crate::{system, tinygo, webhooks};

const TARGET: &str = "wasm32-wasip2";
/// The template's crate has the name that its author gives it; as a guest of ours it has this one.
const TEMPLATE: &str = "order-check";
/// Those that another compiler than cargo makes; as guests they have their language after the name.
const LANGUAGES: [&str; 2] = [TINYGO, ASSEMBLYSCRIPT];
const TINYGO: &str = "tinygo";
const ASSEMBLYSCRIPT: &str = "assemblyscript";

/// Builds all guests.
pub fn run(steps: &mut Steps) -> Result<()> {
    build(steps)?;
    build_languages(steps)?;
    webhooks::install(steps)?;
    println!("\n{}", folder().display());
    Ok(())
}

/// The file of a guest.
pub fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.wasm"))
}

/// Builds what has changed; guests that are no more are removed.
pub fn build(steps: &mut Steps) -> Result<()> {
    steps.step("guests: the wasm32-wasip2 target", ensure_target)?;
    let mut guests = steps.step("guests: fixtures", |step| {
        let guests = compile(step, "guest-templates/fixtures", "target/guests-build/fixtures")?;
        step.note(format!("{} components", guests.len()));
        Ok(guests)
    })?;
    let template = steps.step("guests: the Rust template", |step| {
        let built = compile(step, "guest-templates/rust", "target/guests-build/rust")?;
        let mut files = built.into_values();
        match (files.next(), files.next()) {
            (Some(file), None) => Ok(file),
            _ => bail!("guest-templates/rust should build one component"),
        }
    })?;
    guests.insert(TEMPLATE.to_owned(), template);
    publish(&guests, &folder())
}

/// Builds the templates of the other languages, with the `sluice` that these sources make, and the mirror in each.
pub fn build_languages(steps: &mut Steps) -> Result<()> {
    let tinygo = steps.step("guests: TinyGo", tinygo::ensure)?;
    let none = tinygo::Environment::new();
    steps.step("guests: the TinyGo template", |step| build_template(step, TINYGO, &tinygo))?;
    steps.step("guests: the AssemblyScript template", |step| {
        system::ensure(step, &[system::NODE, system::NPM])?;
        system::ensure_version(system::NODE, "--version", system::NODE_MIN, "https://nodejs.org")?;
        build_template(step, ASSEMBLYSCRIPT, &none)
    })?;
    steps.step("guests: the mirror in Rust", |step| build_mirror(step, &mirrors::RUST, &none))?;
    steps.step("guests: the mirror in TinyGo", |step| build_mirror(step, &mirrors::TINYGO, &tinygo))?;
    steps.step("guests: the mirror in AssemblyScript", |step| build_mirror(step, &mirrors::ASSEMBLYSCRIPT, &none))
}

fn build_mirror(step: &mut Step, mirror: &Mirror, environment: &tinygo::Environment) -> Result<()> {
    let bytes = mirror.build(step, environment)?;
    replace(&file(mirror.guest), &bytes)
}

fn build_template(step: &mut Step, language: &str, environment: &tinygo::Environment) -> Result<()> {
    let source = project::path("guest-templates").join(language);
    step.run(project::sluice().arg("build").arg(&source).envs(environment))?;
    let bytes = fs::read(source.join("build").join(format!("{TEMPLATE}.wasm")))?;
    step.note(format!("{} bytes", bytes.len()));
    replace(&file(&name_in(language)), &bytes)
}

fn name_in(language: &str) -> String {
    format!("{TEMPLATE}-{language}")
}

fn folder() -> PathBuf {
    project::path("target/guests")
}

fn ensure_target(step: &mut Step) -> Result<()> {
    let sysroot = step.output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(project::root()))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        step.note("installed");
        return Ok(());
    }
    println!("    guests are components for {TARGET}: its standard library is missing, rustup gets it");
    let added = step.run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(project::root()));
    added.context(
        "the target can't be installed: run `rustup target add wasm32-wasip2` where rustup can reach the network, \
         or follow CONTRIBUTING.md, \"If rustup can't download the target\"",
    )
}

/// Builds a guest workspace; component files by name.
fn compile(step: &Step, source: &str, target_folder: &str) -> Result<BTreeMap<String, PathBuf>> {
    let source = project::path(source);
    let mut cargo = project::cargo_in(&source);
    cargo
        .args(["build", "--workspace", "--release", "--target", TARGET, project::ARTIFACTS_OPTION, "--target-dir"])
        .arg(project::path(target_folder))
        // They would take the place of the flags in the guests' `.cargo/config.toml`, which keep the memory small.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let messages = step.output(&mut cargo)?;
    let guests = components(&project::artifacts(&messages)?);
    if guests.is_empty() {
        bail!("{} builds no component", source.display());
    }
    Ok(guests)
}

fn components(artifacts: &[Artifact]) -> BTreeMap<String, PathBuf> {
    let of_guests = artifacts.iter().filter(|artifact| artifact.kinds.iter().any(|kind| kind == "cdylib"));
    let with_file = of_guests.filter_map(|artifact| {
        let file = artifact.files.iter().find(|file| file.extension().is_some_and(|extension| extension == "wasm"))?;
        Some((artifact.target.replace('_', "-"), file.clone()))
    });
    with_file.collect()
}

fn publish(guests: &BTreeMap<String, PathBuf>, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let others: Vec<_> =
        LANGUAGES.map(name_in).into_iter().chain(mirrors::ALL.map(|mirror| mirror.guest.to_owned())).collect();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !guests.contains_key(&name) && !others.contains(&name) {
            fs::remove_file(&file).with_context(|| format!("can't remove {}", file.display()))?;
        }
    }
    for (name, built) in guests {
        let bytes = fs::read(built).with_context(|| format!("can't read {}", built.display()))?;
        replace(&folder.join(format!("{name}.wasm")), &bytes)?;
    }
    Ok(())
}

/// A test that runs at this moment must never see half a file.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let unfinished = file.with_extension("wasm.unfinished");
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, file))
        .with_context(|| format!("can't write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(target: &str, kind: &str, files: &[&str]) -> Artifact {
        let files = files.iter().map(PathBuf::from).collect();
        Artifact { target: target.to_owned(), kinds: vec![kind.to_owned()], files }
    }

    #[test]
    fn components_are_named_with_hyphens_and_libraries_are_none() {
        let artifacts = [
            artifact("bad_json", "cdylib", &["/t/bad_json.wasm"]),
            artifact("wit_bindgen", "lib", &["/t/libwit_bindgen.rlib"]),
        ];
        let found = components(&artifacts);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("bad-json".to_owned(), PathBuf::from("/t/bad_json.wasm"))]);
    }

    #[test]
    fn publishing_writes_new_bytes_and_removes_guests_that_are_gone() {
        let temporary = tempfile::tempdir().unwrap();
        let (built, folder) = (temporary.path().join("spin.wasm"), temporary.path().join("guests"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("gone.wasm"), "old").unwrap();
        fs::write(folder.join("order-check-tinygo.wasm"), "built by another step").unwrap();
        fs::write(folder.join("mirror.wasm"), "built by another step").unwrap();
        fs::write(folder.join("spin.wasm"), "old").unwrap();
        fs::write(&built, "new").unwrap();
        publish(&BTreeMap::from([("spin".to_owned(), built)]), &folder).unwrap();
        assert_eq!(fs::read(folder.join("spin.wasm")).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    }
}
