//! Where things are in this repository.

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    // What cargo says now beats what it said at compile time: a target folder may serve several clones.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The version of a crate in the workspace's lock file, as it was when this was built.
#[must_use]
pub fn locked_version(name: &str) -> Option<&'static str> {
    let name = format!("name = \"{name}\"");
    let mut lines = include_str!("../../Cargo.lock").lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_the_version_of_a_crate_and_of_no_other() {
        assert_eq!(locked_version("sluice-bench"), Some(env!("CARGO_PKG_VERSION")));
        assert!(locked_version("wasmtime").is_some());
        assert_eq!(locked_version("wasmtim"), None);
    }
}
