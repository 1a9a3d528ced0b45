//! `cargo xtask check`: what can be said without running the product.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::project;
use crate::steps::{Step, Steps};
use crate::{licences, sources};

/// The checks and the structure test, for a person who wants to know before CI does.
pub fn run_all(steps: &mut Steps) -> Result<()> {
    run(steps);
    steps.attempt("structure", |step| {
        let tests =
            step.output(project::cargo().args(["test", "--package", "sluice", "--test", "it", "structure::"]))?;
        // A filter that matches nothing passes, too.
        ensure!(!tests.contains("running 0 tests"), "there are no structure tests");
        Ok(())
    });
    steps.finish()
}

/// The checks. The structure test is left out: whoever calls this runs all tests.
pub fn run(steps: &mut Steps) {
    steps.attempt("format", |step| step.run(project::cargo().args(["fmt", "--all", "--check"])));
    steps.attempt("format of guests and fuzz targets", |step| {
        for folder in ["fuzz", "guest-templates/fixtures", "guest-templates/rust"] {
            step.run(project::cargo_in(&project::path(folder)).args(["fmt", "--all", "--check"]))?;
        }
        Ok(())
    });
    steps.attempt("source files", |step| sources::check(step, &project::root()));
    steps.attempt("copies of the WIT", |step| wit_copies(step, &project::root()));
    licences::check(steps);
    steps.attempt("clippy", |step| {
        step.run(project::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    steps.attempt("docs", |step| {
        step.run(project::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    });
}

/// How all of our own files begin.
const PACKAGE: &[u8] = b"package sluice:step";

/// A template must build when it is copied out of here, so it carries the interfaces; they are those of `wit/`.
fn wit_copies(step: &mut Step, root: &Path) -> Result<()> {
    let mut copies = 0;
    for copy in sources::files_below(&root.join("guest-templates"), "wit")? {
        let Some(original) = copy.file_name().map(|name| root.join("wit").join(name)) else { continue };
        if !original.is_file() {
            continue;
        }
        let (ours, theirs) = (fs::read(&original)?, fs::read(&copy)?);
        // A world of the author's own may have any file name.
        if !theirs.starts_with(PACKAGE) {
            continue;
        }
        if ours != theirs {
            bail!("{} differs from {}: copy it again", copy.display(), original.display());
        }
        copies += 1;
    }
    step.note(format!("{copies} are as the original"));
    fs::metadata(root.join("wit")).map(drop).context("there is no wit folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::Detail;

    #[test]
    fn a_copy_of_the_wit_that_differs_is_found() {
        let root = tempfile::tempdir().unwrap();
        let copy = root.path().join("guest-templates/rust/wit");
        fs::create_dir_all(&copy).unwrap();
        fs::create_dir(root.path().join("wit")).unwrap();
        let types = root.path().join("wit/types.wit");
        fs::write(&types, "package sluice:step@0.1.0; interface a {}").unwrap();
        fs::copy(&types, copy.join("types.wit")).unwrap();
        let mut steps = Steps::new(Detail::Failures);
        steps.step("same", |step| wit_copies(step, root.path())).unwrap();
        fs::write(copy.join("types.wit"), "package author:order-check; interface a {}").unwrap();
        steps.step("another package", |step| wit_copies(step, root.path())).unwrap();
        fs::write(copy.join("types.wit"), "package sluice:step@0.1.0; interface b {}").unwrap();
        steps.step("other", |step| wit_copies(step, root.path())).unwrap_err();
    }
}
