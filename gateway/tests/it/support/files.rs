//! What a gateway keeps in its data folder besides the database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Digests, in hex.
    pub blobs: BTreeSet<String>,
    /// Names of compiled components.
    pub artifacts: BTreeSet<String>,
    /// Whatever is half written, or should not be there at all.
    pub others: Vec<PathBuf>,
}

impl Files {
    /// The files below a data folder.
    pub fn of(folder: &Path) -> Self {
        let mut files = Self { blobs: BTreeSet::new(), artifacts: BTreeSet::new(), others: Vec::new() };
        for path in paths_below(folder) {
            let path = path.strip_prefix(folder).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_blob = path.starts_with("blobs") && name.len() == 64;
            let is_known = [
                "lock",
                "sluice.db",
                "sluice.db.lock",
                "sluice.db-wal",
                "sluice.db-shm",
                "admin.key",
                "gateway.id",
                "sluice.toml",
            ]
            .contains(&path.to_str().unwrap())
                || path == Path::new("blobs/tmp/lock")
                || path == Path::new("artifacts/node.key");
            if is_blob && path.parent().unwrap() == Path::new("blobs").join(&name[..2]).join(&name[2..4]) {
                files.blobs.insert(name);
            } else if path.starts_with("artifacts") && path.extension().is_some_and(|extension| extension == "cwasm") {
                files.artifacts.insert(name);
            } else if !is_known {
                files.others.push(path.to_owned());
            }
        }
        files
    }
}

/// Where the bytes of a digest are.
pub fn blob(folder: &Path, digest: &str) -> PathBuf {
    folder.join("blobs").join(&digest[..2]).join(&digest[2..4]).join(digest)
}

/// Every compiled component.
pub fn artifacts(folder: &Path) -> Vec<PathBuf> {
    let all = paths_below(&folder.join("artifacts")).into_iter();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

/// Changes one bit of one byte in the middle of a file.
pub fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // Another process may be at work in here.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}
