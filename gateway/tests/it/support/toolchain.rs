//! The compilers that an author has, and tests of the three languages too.

use std::path::Path;

use tokio::process::Command;

/// Gives a command the TinyGo that is on `PATH`, or else the one that `cargo xtask guests` has made.
///
/// # Panics
/// Says how to get it where there is none.
pub fn with_tinygo(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join("tinygo").is_file()) {
        return;
    }
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tinygo");
    let advice = "there is no TinyGo on PATH or in target/tinygo: run `cargo xtask guests`";
    let made = made.canonicalize().expect(advice);
    assert!(made.join("bin/tinygo").is_file(), "{advice}");
    let path = std::env::join_paths([made.join("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
    command.env("PATH", path).env("TINYGOROOT", made.join("root")).env("GOFLAGS", "");
}
