//! Files that appear whole or not at all: what a build makes, and what commands write for their users.
//!
//! Invariant: until [`WholeFile::finish`] nothing is under the final name, and a
//! [`WholeFile`] that is dropped leaves nothing behind.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Like every other new file: the umask takes from it.
const MODE: u32 = 0o666;

/// A file under a temporary name.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
}

impl WholeFile {
    /// Begins a file in the folder of `place`, so that the rename is one step.
    ///
    /// # Errors
    /// The folder is not there, or can't be written to.
    pub fn begin(place: &Path) -> io::Result<Self> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".sluice-").suffix(".part").permissions(Permissions::from_mode(MODE));
        Ok(Self { file: builder.tempfile_in(folder).map_err(|error| without_place(&error))? })
    }

    /// Appends.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts it under its name, which must be free.
    ///
    /// # Errors
    /// The name is taken, or the disk fails; nothing is left behind.
    pub fn finish_new(self, place: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist_noclobber(place).map(|_| ()).map_err(|error| error.error)
    }

    /// Puts it under its name; what was there is replaced.
    ///
    /// # Errors
    /// The disk fails; nothing is left behind.
    pub fn finish(self, place: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(place).map(|_| ()).map_err(|error| error.error)
    }
}

/// The temporary name says nothing to anybody.
fn without_place(error: &io::Error) -> io::Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at path ").map_or(text.as_str(), |(reason, _)| reason);
    io::Error::new(error.kind(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_new_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.wasm");
        std::fs::write(&place, "old").unwrap();
        let mut file = WholeFile::begin(&place).unwrap();
        file.write(b"new").unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"old");
        file.finish(&place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"new");
    }

    #[test]
    fn an_error_does_not_show_the_temporary_name() {
        let error = WholeFile::begin(Path::new("/nonexistent/a.xml")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = WholeFile::begin(&folder.path().join("a.wasm")).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
