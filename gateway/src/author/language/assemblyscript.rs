//! AssemblyScript, by asc from npm, which makes a core module.
//!
//! Owns which packages are fetched: those of the folder's lock file. Invariant: nothing is installed outside of the
//! step's folder.

use std::path::Path;
use std::process::Command;

use super::{Error, run};

/// The oldest that asc runs on.
const NODE_MIN: u32 = 20;

/// With npm in it.
const NODE: &str = "v24.11.0";

/// The compiler, once the packages are there.
const ASC: &str = "node_modules/assemblyscript/bin/asc.js";
/// What the packages are to be.
const LOCK: &str = "package-lock.json";
/// What they are: npm writes it when all of them are there.
const INSTALLED: &str = "node_modules/.package-lock.json";
/// Where they are.
const PACKAGES: &str = "node_modules";

pub(super) fn compile(folder: &Path, arguments: &[String]) -> Result<Vec<u8>, Error> {
    check_node()?;
    if !has_packages(folder) {
        install_packages(folder)?;
    }
    let output = "build/module.wasm";
    let mut asc = Command::new("node");
    asc.arg(ASC).args(["--config", "asconfig.json", "--target", "release", "--outFile", output]);
    run(asc.args(arguments).current_dir(folder))?;
    super::read(&folder.join(output))
}

fn check_node() -> Result<(), Error> {
    let missing = |what: String| Error::Missing { what, install: install_node() };
    let Some(version) = super::version("node", "--version") else {
        return Err(missing("Node.js is not installed, or `node` is not on PATH".to_owned()));
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MIN) {
        return Err(missing(format!("Node.js is {version}, and AssemblyScript needs {NODE_MIN} or later")));
    }
    Ok(())
}

/// Debian 12 has an older one.
fn install_node() -> Vec<String> {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let url = format!("https://nodejs.org/dist/{NODE}/node-{NODE}-linux-{machine}.tar.gz");
    let mut install = super::from_archive(&url, &format!("node-{NODE}"));
    install.push("or, from Debian 13 on: sudo apt-get install nodejs npm".to_owned());
    install
}

/// Whether the packages are there as the lock file has them. Who has no lock file may have them of another program, and
/// a link leads to packages that are somebody else's too: npm would remove them there.
fn has_packages(folder: &Path) -> bool {
    if folder.join(PACKAGES).is_symlink() {
        return folder.join(ASC).is_file();
    }
    let changed = |file: &str| folder.join(file).metadata().and_then(|data| data.modified());
    let is_as_locked = match (changed(LOCK), changed(INSTALLED)) {
        (Ok(lock), Ok(installed)) => installed >= lock,
        (Ok(_), Err(_)) => false,
        (Err(_), _) => true,
    };
    is_as_locked && folder.join(ASC).is_file()
}

fn install_packages(folder: &Path) -> Result<(), Error> {
    if super::version("npm", "--version").is_none() {
        let what = "npm is not installed, or not on PATH".to_owned();
        return Err(Error::Missing { what, install: install_node() });
    }
    let add = vec!["npm install --save-dev assemblyscript".to_owned()];
    if folder.join(PACKAGES).is_symlink() {
        let what = format!("{PACKAGES} is a link, and there is no AssemblyScript behind it; add it where that leads:");
        return Err(Error::Missing { what, install: add });
    }
    let command = if folder.join(LOCK).is_file() { "ci" } else { "install" };
    run(Command::new("npm").args([command, "--no-audit", "--no-fund"]).current_dir(folder))?;
    if folder.join(ASC).is_file() {
        return Ok(());
    }
    let what = "package.json does not ask for AssemblyScript; add it with:".to_owned();
    Err(Error::Missing { what, install: add })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn packages_are_there_when_they_are_as_new_as_the_lock_file_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let put = |file: &str, age_s: u64| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap().set_modified(now - Duration::from_secs(age_s)).unwrap();
        };
        assert!(!has_packages(folder.path()));
        put(ASC, 50);
        assert!(has_packages(folder.path()), "another program than npm put them there");
        put(LOCK, 40);
        assert!(!has_packages(folder.path()), "npm was cut off");
        put(INSTALLED, 30);
        assert!(has_packages(folder.path()));
        put(LOCK, 20);
        assert!(!has_packages(folder.path()), "the lock file was changed since");
        put(INSTALLED, 10);
        assert!(has_packages(folder.path()));
        fs::remove_file(folder.path().join(ASC)).unwrap();
        assert!(!has_packages(folder.path()));
    }

    #[test]
    fn packages_behind_a_link_are_left_to_whose_they_are() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path().join(PACKAGES), folder.path().join(PACKAGES)).unwrap();
        assert!(!has_packages(folder.path()));
        fs::create_dir_all(other.path().join(ASC).parent().unwrap()).unwrap();
        fs::write(other.path().join(ASC), "").unwrap();
        fs::write(folder.path().join(LOCK), "").unwrap();
        assert!(has_packages(folder.path()), "npm would take the lock file for a newer one");
    }
}
