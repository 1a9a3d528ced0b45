//! Bytes by digest, over `OpenDAL`.
//!
//! Owns where components' bytes are. Does not own what they mean (`registry`)
//! nor compiled code (`runtime::artifact`). Invariant: what `get` returns has
//! the digest that was asked for.
//!
//! A blob is at `aa/bb/<digest in hex>`, after the digest's first two bytes. It is
//! written to `tmp/` and renamed, so a name that exists has all its bytes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use opendal::{ErrorKind, Operator, services};
use tokio::task::spawn_blocking;

use crate::config;
use crate::model::Digest;

const TEMPORARY: &str = "tmp";

/// The blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    operator: Operator,
    folder: Arc<Folder>,
}

/// The folder of the file backend, and this process's part in it.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// This process's alone: another's sweep would take what this one stores.
    lock: File,
}

/// Why bytes could not be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is stored under this digest.
    #[error("no blob {0}")]
    Missing(Digest),
    /// What is stored is not what was put there: an alert, never a retry.
    #[error("the stored bytes of {expected} have the digest {found}")]
    Integrity {
        /// What was asked for.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The storage does not answer, or not as it should. Retry later.
    #[error("the blob store failed: {context}")]
    Unavailable {
        /// What was being done.
        context: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Blobs {
    /// Opens the store, makes its folder, and removes what a process that died left
    /// half written. The folder is this process's until it is released.
    pub async fn open(config: &config::Blobs) -> Result<Self, Error> {
        const CONTEXT: &str = "opening its folder";
        let config::Blobs::Folder { path } = config;
        let root = path.clone();
        let folder = blocking(CONTEXT, move || Folder::open(root)).await?;
        let not_unicode =
            || unavailable(CONTEXT, io::Error::new(io::ErrorKind::InvalidInput, "its path is not Unicode"));
        let temporary = folder.root.join(TEMPORARY);
        let backend = services::Fs::default()
            .root(folder.root.to_str().ok_or_else(not_unicode)?)
            .atomic_write_dir(temporary.to_str().ok_or_else(not_unicode)?);
        let operator = Operator::new(backend).map_err(|error| unavailable(CONTEXT, error))?;
        Ok(Self { operator, folder: Arc::new(folder) })
    }

    /// Stores `bytes`: temporary name, fsync, rename, read back and verified. Bytes
    /// that are stored already are left; damaged ones are replaced. A call that is
    /// cancelled leaves the whole blob, or nothing but a temporary file that the
    /// next start removes.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = digest_of(bytes.clone()).await?;
        match self.get(digest).await {
            Ok(_) => {}
            Err(Error::Missing(_) | Error::Integrity { .. }) => {
                self.write(digest, bytes).await.map_err(|error| unavailable("writing a blob", error))?;
                self.get(digest).await?;
            }
            Err(error @ Error::Unavailable { .. }) => return Err(error),
        }
        // OpenDAL syncs the file and not the folders, so a power failure could take
        // the name. Done for a blob that was there too: who put it may have died
        // before this line.
        let folder = Arc::clone(&self.folder);
        blocking("syncing its folders", move || folder.sync(digest)).await?;
        Ok(digest)
    }

    /// The bytes of `digest`, verified.
    pub async fn get(&self, digest: Digest) -> Result<Bytes, Error> {
        let bytes = match self.operator.read(&path_of(digest)).await {
            Ok(buffer) => buffer.to_bytes(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::Missing(digest)),
            Err(error) => return Err(unavailable("reading a blob", error)),
        };
        let found = digest_of(bytes.clone()).await?;
        if found == digest { Ok(bytes) } else { Err(Error::Integrity { expected: digest, found }) }
    }

    /// Removes the bytes of `digest`; nothing happens where there are none. A `put`
    /// of the same bytes at the same time may come first: callers that do both take
    /// turns.
    pub async fn delete(&self, digest: Digest) -> Result<(), Error> {
        self.operator.delete(&path_of(digest)).await.map_err(|error| unavailable("deleting a blob", error))
    }

    /// Every digest that is stored, for the sweep at start. What isn't at the place
    /// of a blob is passed over.
    pub async fn list(&self) -> Result<Vec<Digest>, Error> {
        let failed = |error| unavailable("listing the blobs", error);
        let entries = self.operator.lister_with("").recursive(true).await.map_err(failed)?;
        entries.try_filter_map(async |entry| Ok(digest_at(entry.path()))).try_collect().await.map_err(failed)
    }

    /// A round trip, for readiness.
    pub async fn ping(&self) -> Result<(), Error> {
        // OpenDAL's own check takes a folder that is gone for an empty one.
        let temporary = format!("{TEMPORARY}/");
        self.operator.stat(&temporary).await.map(|_| ()).map_err(|error| unavailable("answering", error))
    }

    /// Lets another process have the folder; nothing may be asked of the store any more.
    pub fn release(&self) {
        // What can't be unlocked is unlocked with the process.
        let _ = self.folder.lock.unlock();
    }

    async fn write(&self, digest: Digest, bytes: Bytes) -> opendal::Result<()> {
        let mut writer = self.operator.writer(&path_of(digest)).await?;
        let written = match writer.write(bytes).await {
            Ok(()) => writer.close().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if written.is_err() {
            // A full disk is not made fuller; what stays is swept at the next start.
            let _ = writer.abort().await;
        }
        written
    }
}

impl Folder {
    fn open(root: PathBuf) -> io::Result<Self> {
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

    /// Makes the name of a blob survive a power failure.
    fn sync(&self, digest: Digest) -> io::Result<()> {
        let blob = self.root.join(path_of(digest));
        blob.ancestors().skip(1).take(3).try_for_each(|folder| File::open(folder)?.sync_all())
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

fn path_of(digest: Digest) -> String {
    let [first, second, ..] = digest.as_bytes();
    format!("{first:02x}/{second:02x}/{digest}")
}

fn digest_at(path: &str) -> Option<Digest> {
    let digest = path.rsplit('/').next()?.parse().ok()?;
    (path_of(digest) == path).then_some(digest)
}

/// 50 MiB take a tenth of a second: too long for a thread that serves others.
async fn digest_of(bytes: Bytes) -> Result<Digest, Error> {
    blocking("hashing", move || Ok(Digest::of(&bytes))).await
}

async fn blocking<T: Send + 'static>(
    context: &'static str,
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let result = spawn_blocking(task).await.map_err(|panicked| unavailable(context, panicked))?;
    result.map_err(|error| unavailable(context, error))
}

fn unavailable(context: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable { context, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
