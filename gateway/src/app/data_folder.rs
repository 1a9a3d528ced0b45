//! The data folder: made, and this process's alone.
//!
//! Owns the folder's lock and its mode. Does not own what is in it. Invariant:
//! while the lock is held, no other process uses the folder, whatever store it has.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Error;
use crate::config::{GATEWAY_ID_FILE, LOCK_FILE};

/// Keeps other processes from the folder until it is released, or the process ends.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, and takes it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::DataFolder { path: path.to_owned(), source };
        // It holds the admin key: nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        warn_of_readers(path).map_err(failed)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(Error::DataFolderInUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Lets another process have it.
    pub(super) fn release(self) {
        // What can't be unlocked is unlocked with the process.
        let _ = self.lock.unlock();
    }

    /// An id that is the same at every start on this folder, and no other folder's: made
    /// when it is first asked for, or can't be read. Only one process has the folder, so
    /// what ran under this id when it starts runs no more.
    pub(super) fn gateway_id(&self) -> io::Result<Uuid> {
        let path = self.path.join(GATEWAY_ID_FILE);
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(id) = text.trim().parse()
        {
            return Ok(id);
        }
        let id = Uuid::now_v7();
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        writeln!(file, "{id}")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(id)
    }
}

/// The folder may be shared on purpose, with a group that makes backups.
fn warn_of_readers(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(folder = %path.display(), mode, "others than the gateway's user may use the data folder; `chmod 700` it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_keeps_its_id_and_another_has_another() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = DataFolder::open(folder.path()).unwrap();
        let id = first.gateway_id().unwrap();
        first.release();
        assert_eq!(DataFolder::open(folder.path()).unwrap().gateway_id().unwrap(), id);
        assert_ne!(DataFolder::open(other.path()).unwrap().gateway_id().unwrap(), id);
    }

    #[test]
    fn a_folder_is_one_process_s_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err();
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        first.release();
        DataFolder::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
