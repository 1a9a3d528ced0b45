//! Where the key of a remote command comes from.
//!
//! Owns the order of the look-up and the words for it. Invariant: a key is never
//! printed; only the place where it was found is.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use reqwest::header::HeaderValue;

/// The file that the first start of a gateway writes into its data folder.
const FILE_NAME: &str = "admin.key";

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
    /// What was given, else what is in the data folder.
    pub(super) fn find(given: Option<&str>, data_dir: &Path) -> anyhow::Result<Self> {
        if let Some(key) = given.map(str::trim).filter(|key| !key.is_empty()) {
            return Self::found(key, Place::Given);
        }
        let file = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()).join(FILE_NAME);
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
                "the key of --key or SLUICE_KEY is not one of this gateway's: without them, the data folder's admin key is used"
                    .to_owned()
            }
            Self::Found { place: Place::File(file), .. } => format!(
                "the key in {} is not one of this gateway's: give another with --key or SLUICE_KEY, or name the gateway's own data folder with --data-dir",
                file.display()
            ),
            Self::Missing { file, reason } => format!(
                "no key was found: neither --key nor SLUICE_KEY is given, and {} can't be read ({reason}); name the gateway's data folder with --data-dir",
                file.display()
            ),
        }
    }
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(key: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), key).unwrap();
        folder
    }

    fn header(key: &Key) -> &str {
        match key {
            Key::Found { header, .. } => header.to_str().unwrap(),
            Key::Missing { reason, .. } => panic!("no key: {reason}"),
        }
    }

    #[test]
    fn a_given_key_wins_over_the_data_folders() {
        let folder = folder("sk_file\n");
        assert_eq!(header(&Key::find(Some("sk_given"), folder.path()).unwrap()), "Bearer sk_given");
        assert_eq!(header(&Key::find(None, folder.path()).unwrap()), "Bearer sk_file");
    }

    #[test]
    fn an_empty_variable_counts_as_none() {
        let folder = folder("sk_file\n");
        assert_eq!(header(&Key::find(Some(""), folder.path()).unwrap()), "Bearer sk_file");
    }

    #[test]
    fn the_advice_names_every_place_that_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let advice = Key::find(None, folder.path()).unwrap().advice();
        for place in ["--key", "SLUICE_KEY", "admin.key", "no such file", "--data-dir"] {
            assert!(advice.contains(place), "{advice}");
        }
    }

    #[test]
    fn neither_advice_nor_debug_nor_an_error_shows_the_key() {
        let key = Key::find(Some("sk_secret"), Path::new("data")).unwrap();
        let refused = Key::find(Some("sk_sec\nret"), Path::new("data")).unwrap_err();
        for text in [key.advice(), format!("{key:?}"), format!("{refused:?}")] {
            assert!(!text.contains("sk_sec"), "{text}");
        }
    }
}
