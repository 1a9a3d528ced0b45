//! The mirror step in every language: what `sluice init` writes, with other author's files.
//!
//! Owns the folders that it is made in. Does not own the author's files (`guest-templates/conformance/mirror`) nor where
//! components are published (`guests`). Invariant: all but those files is what an author gets, as it is now.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::project;
use crate::steps::Step;
use crate::tinygo::Environment;

/// What the step is called.
const NAME: &str = "mirror";

/// A language of the mirror.
pub struct Mirror {
    /// As `sluice init` and the folder of the author's files have it.
    pub language: &'static str,
    /// What the component is called among the guests.
    pub guest: &'static str,
    /// The order step's own files, which would be compiled too.
    order: &'static [&'static str],
    /// Where a build puts the component, and what else.
    output: &'static str,
}

/// In Rust.
pub const RUST: Mirror = Mirror { language: "rust", guest: "mirror", order: &[], output: "target" };
/// In Go.
pub const TINYGO: Mirror = Mirror {
    language: "tinygo",
    guest: "mirror-tinygo",
    order: &["order.go", "order_test.go", "cases_test.go", "coupons.go"],
    output: "build",
};
/// In AssemblyScript.
pub const ASSEMBLYSCRIPT: Mirror =
    Mirror { language: "assemblyscript", guest: "mirror-assemblyscript", order: &[], output: "build" };

/// All of them.
pub const ALL: [Mirror; 3] = [RUST, TINYGO, ASSEMBLYSCRIPT];

impl Mirror {
    /// Makes its folder anew, builds it, and gives the component.
    pub fn build(&self, step: &mut Step, environment: &Environment) -> Result<Vec<u8>> {
        let folder = project::path("target/guests-build").join(format!("{NAME}-{}", self.language));
        remove(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        let mut init = project::sluice();
        step.run(init.args(["init", NAME, "--lang", self.language, "--path"]).arg(&folder))?;
        for file in self.order {
            fs::remove_file(folder.join(file)).with_context(|| format!("the template has no {file} any more"))?;
        }
        let own = project::path("guest-templates/conformance/mirror").join(self.language);
        copy(&own, &folder).with_context(|| format!("can't copy {}", own.display()))?;
        let mut build = project::sluice();
        step.run(build.arg("build").arg(&folder).args(self.arguments(&folder)?).envs(environment))?;
        let component = folder.join(self.output).join(format!("{NAME}.wasm"));
        let bytes = fs::read(&component).with_context(|| format!("can't read {}", component.display()))?;
        step.note(format!("{} bytes", bytes.len()));
        Ok(bytes)
    }

    /// What keeps a new folder from being built from nothing.
    fn arguments(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        match self.language {
            "rust" => Ok(vec!["--".into(), "--target-dir".into(), project::path("target/guests-build/mirror")]),
            "assemblyscript" => {
                let packages = project::path("guest-templates/assemblyscript/node_modules");
                symlink(&packages, folder.join("node_modules"))
                    .with_context(|| format!("can't link {}", packages.display()))?;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Copies what is in a folder and below, over what is there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_over_what_is_there() {
        let temporary = tempfile::tempdir().unwrap();
        let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::create_dir_all(to.join("src")).unwrap();
        fs::write(from.join("src/lib.rs"), "new").unwrap();
        fs::write(to.join("src/lib.rs"), "old").unwrap();
        fs::write(to.join("src/step.rs"), "stays").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("src/lib.rs")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.join("src/step.rs")).unwrap(), "stays");
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert!(!to.exists());
    }
}
