//! Where the key of a remote command comes from.
//!
//! Owns the order of the look-up and the words for it. Invariants: a key is never
//! printed, only the place where it was found is; and one that nobody named goes to
//! this machine's gateways only.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use reqwest::header::HeaderValue;

use crate::config::{ADMIN_KEY_FILE, DATA_FOLDER};

/// A key, or why there is none.
pub(super) enum Key {
    /// One to send.
    Found {
        /// The `Authorization` header, marked as sensitive.
        header: HeaderValue,
        /// Where it was.
        place: Place,
    },
    /// Nothing to send; the server decides whether that will do.
    Missing {
        /// The file that was tried last.
        file: PathBuf,
        /// Why it gave no key.
        reason: String,
    },
    /// Nothing to send: the server is on another machine, and nobody said which key it is to have.
    Unnamed,
}

/// Where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Its data folder may be the one that is nearest.
    ThisMachine,
    /// No data folder that is found by itself is its own.
    AnotherMachine,
}

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `--key` or `SLUICE_KEY`.
    Given,
    /// The data folder.
    File(PathBuf),
}

impl Key {
    /// What was given, else what is in the data folder; that is `data_dir`, or the
    /// nearest `data` with a key, from the working folder upwards: who has changed
    /// into a step's folder still means the gateway beside it. Only what was named is for
    /// a server on another machine: whoever runs that one would have the admin key of ours.
    pub(super) fn find(given: Option<&str>, data_dir: Option<&Path>, server: Server) -> anyhow::Result<Self> {
        if let Some(key) = given.map(str::trim).filter(|key| !key.is_empty()) {
            return Self::found(key, Place::Given);
        }
        let file = match (data_dir, server) {
            (Some(folder), _) => absolute(folder).join(ADMIN_KEY_FILE),
            (None, Server::ThisMachine) => nearest_file(&absolute(Path::new("."))),
            (None, Server::AnotherMachine) => return Ok(Self::Unnamed),
        };
        match std::fs::read_to_string(&file) {
            Ok(text) if text.trim().is_empty() => Ok(Self::Missing { file, reason: "the file is empty".to_owned() }),
            Ok(text) => Self::found(text.trim(), Place::File(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::Missing { file, reason: "no such file".to_owned() })
            }
            Err(error) => Ok(Self::Missing { file, reason: error.to_string() }),
        }
    }

    fn found(key: &str, place: Place) -> anyhow::Result<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| anyhow!("the key of {place} has characters that no key has"))?;
        header.set_sensitive(true);
        Ok(Self::Found { header, place })
    }

    /// What to do when the server does not take it.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Found { place: Place::Given, .. } => {
                "the gateway does not take the key of --key or SLUICE_KEY: an admin makes another with `sluice key create`; without them, the data folder's admin key is used"
                    .to_owned()
            }
            Self::Found { place: Place::File(file), .. } => format!(
                "the gateway does not take the key in {}: give another with --key or SLUICE_KEY, which an admin makes with `sluice key create`, or name the gateway's own data folder with --data-dir",
                file.display()
            ),
            Self::Missing { file, reason } => format!(
                "no key was found: neither --key nor SLUICE_KEY is given, and {} can't be read ({reason}); run this beside the gateway's data folder, or name that with --data-dir",
                file.display()
            ),
            Self::Unnamed => "no key was sent: a gateway on another machine gets the one of --key or SLUICE_KEY, or of a data folder \
                that is named with --data-dir or SLUICE_DATA_DIR, and never one that is found by itself"
                .to_owned(),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The key file of `folder` or the nearest one above that has one; where none has, `folder`'s own.
fn nearest_file(folder: &Path) -> PathBuf {
    let file = |folder: &Path| folder.join(DATA_FOLDER).join(ADMIN_KEY_FILE);
    folder.ancestors().map(file).find(|file| file.is_file()).unwrap_or_else(|| file(folder))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("--key or SLUICE_KEY"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

// By hand, so that no log of arguments or errors ever has a key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { place, .. } => write!(f, "Found({place})"),
            Self::Missing { file, reason } => write!(f, "Missing({}: {reason})", file.display()),
            Self::Unnamed => f.write_str("Unnamed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(key: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(ADMIN_KEY_FILE), key).unwrap();
        folder
    }

    fn header(key: &Key) -> &str {
        match key {
            Key::Found { header, .. } => header.to_str().unwrap(),
            Key::Missing { reason, .. } => panic!("no key: {reason}"),
            Key::Unnamed => panic!("no key"),
        }
    }

    #[test]
    fn a_given_key_wins_over_the_data_folders() {
        let folder = folder("sk_file\n");
        assert_eq!(
            header(&Key::find(Some("sk_given"), Some(folder.path()), Server::ThisMachine).unwrap()),
            "Bearer sk_given"
        );
        assert_eq!(header(&Key::find(None, Some(folder.path()), Server::ThisMachine).unwrap()), "Bearer sk_file");
    }

    #[test]
    fn an_empty_variable_counts_as_none() {
        let folder = folder("sk_file\n");
        assert_eq!(header(&Key::find(Some(""), Some(folder.path()), Server::ThisMachine).unwrap()), "Bearer sk_file");
    }

    #[test]
    fn the_nearest_data_folder_with_a_key_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let step = root.path().join("work/step/src");
        std::fs::create_dir_all(step.join("data")).unwrap();
        std::fs::create_dir_all(root.path().join("work/data")).unwrap();
        assert_eq!(nearest_file(&step), step.join("data/admin.key"), "there is none: the folder's own is named");
        std::fs::write(root.path().join("work/data/admin.key"), "sk_file").unwrap();
        assert_eq!(nearest_file(&step), root.path().join("work/data/admin.key"));
        std::fs::write(step.join("data/admin.key"), "sk_nearer").unwrap();
        assert_eq!(nearest_file(&step), step.join("data/admin.key"));
    }

    #[test]
    fn another_machine_gets_no_key_that_nobody_named() {
        let folder = folder("sk_file\n");
        let there = Server::AnotherMachine;
        assert_eq!(header(&Key::find(Some("sk_given"), None, there).unwrap()), "Bearer sk_given");
        assert_eq!(header(&Key::find(None, Some(folder.path()), there).unwrap()), "Bearer sk_file");
        let unnamed = Key::find(Some(" "), None, there).unwrap();
        assert!(matches!(unnamed, Key::Unnamed), "{unnamed:?}");
        for place in ["--key", "SLUICE_KEY", "--data-dir"] {
            assert!(unnamed.advice().contains(place));
        }
    }

    #[test]
    fn the_advice_names_every_place_that_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let advice = Key::find(None, Some(folder.path()), Server::ThisMachine).unwrap().advice();
        for place in ["--key", "SLUICE_KEY", "admin.key", "no such file", "--data-dir"] {
            assert!(advice.contains(place), "{advice}");
        }
    }

    #[test]
    fn neither_advice_nor_debug_nor_an_error_shows_the_key() {
        let key = Key::find(Some("sk_secret"), Some(Path::new("data")), Server::ThisMachine).unwrap();
        let refused = Key::find(Some("sk_sec\nret"), Some(Path::new("data")), Server::ThisMachine).unwrap_err();
        for text in [key.advice(), format!("{key:?}"), format!("{refused:?}")] {
            assert!(!text.contains("sk_sec"), "{text}");
        }
    }
}
