//! The file backend's folder.
//!
//! Owns the folder's lock, its temporary files and the syncing of names. Does not own
//! what is in it. Invariant: while the lock is held, no other process writes there.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use opendal::{Operator, services};

use super::path_of;
use crate::model::Digest;

pub(super) const TEMPORARY: &str = "tmp";

/// The folder, and this process's part in it.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// This process's alone: another's sweep would take what this one stores.
    lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, takes it, and removes what is half written. Blocks.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let temporary = root.join(TEMPORARY);
        std::fs::create_dir_all(&temporary)?;
        let lock = File::options().create(true).truncate(false).write(true).open(temporary.join("lock"))?;
        match lock.try_lock() {
            // Nobody else uses the folder, so nobody is writing what is in there.
            Ok(()) => sweep(&temporary)?,
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "the blob folder {} is in use by another process: stop that one, or give this one a folder of its own",
                    root.display()
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { root, lock })
    }

    /// What reads and writes in the folder.
    pub(super) fn operator(&self) -> io::Result<Operator> {
        let not_unicode = || io::Error::new(io::ErrorKind::InvalidInput, "its path is not Unicode");
        let temporary = self.root.join(TEMPORARY);
        let backend = services::Fs::default()
            .root(self.root.to_str().ok_or_else(not_unicode)?)
            .atomic_write_dir(temporary.to_str().ok_or_else(not_unicode)?);
        Operator::new(backend).map_err(io::Error::other)
    }

    /// Makes the name of a blob survive a power failure: `OpenDAL` syncs the file and not the
    /// folders. Blocks.
    pub(super) fn sync(&self, digest: Digest) -> io::Result<()> {
        let blob = self.root.join(path_of(digest));
        blob.ancestors().skip(1).take(3).try_for_each(|folder| File::open(folder)?.sync_all())
    }

    /// Lets another process have it.
    pub(super) fn release(&self) {
        // What can't be unlocked is unlocked with the process.
        let _ = self.lock.unlock();
    }
}

fn sweep(temporary: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(temporary)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "lock") {
            continue;
        }
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}
