//! Bytes by digest, over `OpenDAL`: in a folder, or in a bucket of an object store.
//!
//! Owns where components' bytes are, and the files that they pass through on their way
//! (`spool`). Does not own what they mean (`registry`) nor compiled code
//! (`runtime::artifact`). Invariants: what `get` returns has the digest that was asked for; and
//! no component is ever whole in memory.
//!
//! A blob is at `aa/bb/<digest in hex>`, after the digest's first two bytes, and a name that
//! exists has all its bytes: in a folder it is written to `tmp/` and renamed, and an object
//! store shows none before it is whole.

mod folder;
mod owner;
mod runs;
mod s3;
mod spool;

pub use owner::Owner;
pub use spool::{Map, Spool, SpoolFolder, SpoolWriter};

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use opendal::options::WriteOptions;
use opendal::{ErrorKind, Operator, Writer};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::folder::Folder;
use crate::clock::Clock;
use crate::config;
use crate::model::Digest;

/// How long bytes in a bucket are kept that no row refers to: bytes come before their row, which
/// may be another gateway's. An intake takes minutes at most.
const UNREFERENCED_FOR: Duration = Duration::from_hours(1);
/// How long a component may take to and from a folder: a disk that hangs is told of, not waited for.
const FOLDER_TIMEOUT: Duration = Duration::from_mins(10);
/// The largest component that can be configured. More is no component of ours, whatever it is.
const BLOB_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    operator: Operator,
    /// Asks once, where `operator` may try again.
    probe: Operator,
    place: Place,
    spools: SpoolFolder,
    clock: Clock,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
enum Place {
    /// This process's alone.
    Folder(Arc<Folder>),
    /// Other gateways may have it too.
    Bucket { timeout: Duration },
}

/// What was found where bytes were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing, or the same bytes.
    Stored,
    /// Other bytes, which these replaced. In a folder only: a bucket's are not looked at.
    Mended {
        /// What they were.
        found: Digest,
    },
}

/// What became of bytes that are not wanted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// They are not there.
    Gone,
    /// They were put so recently that another gateway may be about to refer to them. A later
    /// sweep takes them.
    Kept,
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
    /// Opens the store. A folder is made, freed from what a process that died left half written,
    /// and this process's until it is released; a bucket is not asked for anything. Components
    /// are spooled below `data_dir`, which is this process's alone.
    pub async fn open(config: &config::Blobs, data_dir: &Path, clock: Clock) -> Result<Self, Error> {
        const CONTEXT: &str = "opening its folder";
        let spool = data_dir.join(config::SPOOL_FOLDER);
        let spools = blocking("opening the folder to spool in", move || SpoolFolder::open(spool)).await?;
        match config {
            config::Blobs::Folder { path } => {
                let root = path.clone();
                let folder = blocking(CONTEXT, move || Folder::open(root)).await?;
                let operator = folder.operator().map_err(|error| unavailable(CONTEXT, error))?;
                let place = Place::Folder(Arc::new(folder));
                Ok(Self { probe: operator.clone(), operator, place, spools, clock })
            }
            config::Blobs::S3(s3) => {
                let bucket = s3::open(s3).map_err(|error| unavailable("setting up its client", error))?;
                let place = Place::Bucket { timeout: Duration::from_millis(s3.total_timeout_ms) };
                Ok(Self { operator: bucket.patient, probe: bucket.once, place, spools, clock })
            }
        }
    }

    /// Where components are spooled on their way here.
    #[must_use]
    pub const fn spools(&self) -> &SpoolFolder {
        &self.spools
    }

    /// Whether other gateways may have the same bytes: then some that nobody refers to stay for a
    /// while, and a sweep has to come again.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.place, Place::Bucket { .. })
    }

    /// Stores a component, whole, and reads it back. In a folder, bytes that are stored already are
    /// left and damaged ones are replaced, which is told; in a bucket they are written anew, so that no other
    /// gateway takes them for forgotten. A call that fails or is cancelled leaves the whole blob,
    /// or a temporary file that the next start removes; or, in a bucket, at most an upload in parts
    /// that was not ended.
    pub async fn put(&self, component: &Spool) -> Result<Put, Error> {
        let digest = component.digest();
        let Place::Folder(folder) = &self.place else {
            self.write(component).await?;
            self.verify(digest).await?;
            return Ok(Put::Stored);
        };
        let put = match self.verify(digest).await {
            Ok(()) => None,
            Err(Error::Missing(_)) => Some(Put::Stored),
            Err(Error::Integrity { found, .. }) => Some(Put::Mended { found }),
            Err(error @ Error::Unavailable { .. }) => return Err(error),
        };
        if put.is_some() {
            self.write(component).await?;
            self.verify(digest).await?;
        }
        // Done for a blob that was there too: who put it may have died before this line.
        let folder = Arc::clone(folder);
        blocking("syncing its folders", move || folder.sync(digest)).await?;
        Ok(put.unwrap_or(Put::Stored))
    }

    /// The component with this digest, verified. A call that fails or is cancelled leaves nothing
    /// behind.
    pub async fn get(&self, digest: Digest) -> Result<Spool, Error> {
        let mut chunks = self.read(digest).await?;
        let mut writer = self.spools.create().await?;
        while let Some(chunk) = chunks.try_next().await? {
            writer = writer.write(&chunk).await?;
        }
        let component = writer.finish().await?;
        as_expected(digest, component.digest())?;
        Ok(component)
    }

    /// Removes the bytes of `digest`, and from a bucket only those that are there for an hour;
    /// nothing happens where there are none. A `put` of the same bytes by this process at the same
    /// time may come first: callers that do both take turns.
    pub async fn delete(&self, digest: Digest) -> Result<Deleted, Error> {
        let failed = |error| unavailable("deleting a blob", error);
        let path = path_of(digest);
        if self.is_shared() {
            let put_at = match self.operator.stat(&path).await {
                Ok(metadata) => metadata.last_modified().map(jiff::Timestamp::from),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Deleted::Gone),
                Err(error) => return Err(failed(error)),
            };
            // A store that doesn't say is one whose bytes are never known to be old.
            let age = put_at.map(|put_at| self.clock.now().duration_since(put_at));
            let is_old = age.and_then(|age| Duration::try_from(age).ok()).is_some_and(|age| age > UNREFERENCED_FOR);
            if !is_old {
                return Ok(Deleted::Kept);
            }
        }
        self.operator.delete(&path).await.map_err(failed)?;
        Ok(Deleted::Gone)
    }

    /// Every digest that is stored, for the sweep. What isn't at the place of a blob is passed over.
    pub async fn list(&self) -> Result<Vec<Digest>, Error> {
        const CONTEXT: &str = "listing the blobs";
        let failed = |error| unavailable(CONTEXT, error);
        let list = async {
            let entries = self.operator.lister_with("").recursive(true).await.map_err(failed)?;
            entries.try_filter_map(async |entry| Ok(digest_at(entry.path()))).try_collect().await.map_err(failed)
        };
        timeout_at(self.deadline(), list).await.map_err(|late| unavailable(CONTEXT, late))?
    }

    /// A round trip, for readiness.
    pub async fn ping(&self) -> Result<(), Error> {
        let answer = if self.is_shared() {
            // Any answer will do, also that there is nothing; a bucket that is missing is an error.
            match self.probe.lister_with("").limit(1).await {
                Ok(mut entries) => entries.try_next().await.map(|_| ()),
                Err(error) => Err(error),
            }
        } else {
            // OpenDAL's own check takes a folder that is gone for an empty one.
            let temporary = format!("{}/", folder::TEMPORARY);
            self.probe.stat(&temporary).await.map(|_| ())
        };
        answer.map_err(|error| unavailable("answering", error))
    }

    /// Lets another process have the folder; nothing may be asked of the store any more.
    pub fn release(&self) {
        if let Place::Folder(folder) = &self.place {
            folder.release();
        }
    }

    async fn write(&self, component: &Spool) -> Result<(), Error> {
        let failed = |error| unavailable("writing a blob", error);
        let deadline = self.deadline();
        let chunk = self.is_shared().then_some(s3::PART_BYTES);
        let options = WriteOptions { chunk, ..WriteOptions::default() };
        let path = path_of(component.digest());
        let mut writer = self.operator.writer_options(&path, options).await.map_err(failed)?;
        let written = match copy(component, &mut writer, deadline).await {
            Ok(()) => writer.close().await.map(|_| ()).map_err(failed),
            Err(error) => Err(error),
        };
        if written.is_err() {
            // A full disk is not made fuller; what stays in a folder is swept at the next start.
            let _ = writer.abort().await;
        }
        written
    }

    /// Reads all of a blob and keeps nothing of it.
    async fn verify(&self, digest: Digest) -> Result<(), Error> {
        let mut chunks = self.read(digest).await?;
        let mut hasher = Sha256::new();
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
        }
        as_expected(digest, Digest::from_bytes(hasher.finalize().into()))
    }

    /// What is stored under a digest, right or wrong, within the time for it.
    async fn read(
        &self,
        digest: Digest,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<>, Error> {
        let failed = move |error: opendal::Error| match error.kind() {
            ErrorKind::NotFound => Error::Missing(digest),
            _ => unavailable("reading a blob", error),
        };
        let deadline = self.deadline();
        let reader = self.operator.reader(&path_of(digest)).await.map_err(failed)?;
        let buffers = reader.into_stream(..).await.map_err(failed)?;
        let mut left = BLOB_BYTES_MAX;
        let bounded = buffers.map(move |buffer| {
            let buffer = buffer.map_err(failed)?;
            let size = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(size).ok_or_else(|| {
                unavailable(
                    "reading a blob",
                    io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any component"),
                )
            })?;
            Ok(buffer.to_bytes())
        });
        Ok(Box::pin(in_time(bounded, deadline)))
    }

    fn deadline(&self) -> Instant {
        let timeout = match self.place {
            Place::Folder(_) => FOLDER_TIMEOUT,
            Place::Bucket { timeout } => timeout,
        };
        Instant::now() + timeout
    }
}

/// The stream until the deadline, and then an error.
fn in_time(
    stream: impl Stream<Item = Result<Bytes, Error>> + Send + Unpin,
    deadline: Instant,
) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    futures_util::stream::try_unfold(stream, move |mut stream| async move {
        match timeout_at(deadline, stream.try_next()).await {
            Ok(next) => Ok(next?.map(|bytes| (bytes, stream))),
            Err(late) => Err(unavailable("reading a blob", late)),
        }
    })
}

/// The deadline is looked at between writes, each of which has its own: one that is dropped in the
/// middle would leave a writer that can't take back what it did.
async fn copy(component: &Spool, writer: &mut Writer, deadline: Instant) -> Result<(), Error> {
    const CONTEXT: &str = "writing a blob";
    let mut chunks = Box::pin(component.chunks());
    while let Some(chunk) = chunks.try_next().await? {
        if Instant::now() > deadline {
            return Err(unavailable(CONTEXT, io::Error::from(io::ErrorKind::TimedOut)));
        }
        writer.write(chunk).await.map_err(|error| unavailable(CONTEXT, error))?;
    }
    Ok(())
}

fn as_expected(expected: Digest, found: Digest) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Integrity { expected, found }) }
}

fn path_of(digest: Digest) -> String {
    let [first, second, ..] = digest.as_bytes();
    format!("{first:02x}/{second:02x}/{digest}")
}

fn digest_at(path: &str) -> Option<Digest> {
    let digest = path.rsplit('/').next()?.parse().ok()?;
    (path_of(digest) == path).then_some(digest)
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
