//! A component on its way: on disk instead of in memory.
//!
//! Owns the temporary files of uploads, downloads and loads. Does not own where
//! components stay (`blob`). Invariants: a spooled file has no name, so it is gone with
//! its last holder, however that ends; and once there is a [`Spool`], nobody can write it.

use std::fs::{DirBuilder, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};

use super::{Error, blocking, unavailable};
use crate::model::Digest;

/// What is collected before it is written: a hop to a thread that may block costs more than
/// a small write, and this much memory an upload is flat.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What is read at once: what a connection takes in one go, and little for each download.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where components are spooled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpoolFolder(Arc<Path>);

/// A component that is being spooled; dropped, it is gone.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    hasher: Sha256,
    buffer: Vec<u8>,
    size_bytes: u64,
}

/// A component on disk, under no name: whole, and with a digest that was taken while it was
/// written. Cheap to clone; the file is gone with the last clone, descriptor and map of it.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    size_bytes: u64,
    digest: Digest,
}

/// A spooled component as memory that the kernel reads in and gives back as it likes.
#[derive(Debug)]
pub struct Map(memmap2::Mmap);

impl SpoolFolder {
    /// The folder of this process, which nobody else uses. Made where it is missing, and emptied
    /// of what a process left that died: there is something only where the file system can't
    /// make files without names.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        for entry in std::fs::read_dir(&path)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(Self(path.into()))
    }

    /// Begins to spool.
    pub async fn create(&self) -> Result<SpoolWriter, Error> {
        let folder = Arc::clone(&self.0);
        blocking("spooling a component", move || Ok(SpoolWriter::new(tempfile::tempfile_in(folder)?))).await
    }
}

impl SpoolWriter {
    fn new(file: File) -> Self {
        Self { file, hasher: Sha256::new(), buffer: Vec::new(), size_bytes: 0 }
    }

    /// What was written so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes + self.buffer.len() as u64
    }

    /// Appends `bytes`. A call that fails or is cancelled leaves nothing behind.
    pub async fn write(mut self, mut bytes: &[u8]) -> Result<Self, Error> {
        while !bytes.is_empty() {
            let room = BUFFER_BYTES.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= BUFFER_BYTES {
                self = blocking("spooling a component", move || self.flush()).await?;
            }
        }
        Ok(self)
    }

    /// The component, when all of it was written. A call that fails or is cancelled leaves
    /// nothing behind.
    pub async fn finish(self) -> Result<Spool, Error> {
        blocking("spooling a component", move || self.flush()?.seal()).await
    }

    fn flush(mut self) -> io::Result<Self> {
        self.file.write_all(&self.buffer)?;
        self.hasher.update(&self.buffer);
        self.size_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(self)
    }

    /// Closes the only descriptor that can write.
    fn seal(self) -> io::Result<Spool> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        Ok(Spool { file: Arc::new(opened_again(&self.file)?), size_bytes: self.size_bytes, digest })
    }
}

impl Spool {
    /// Spools what is in memory, in the system's folder for temporary files: for what is small
    /// and of this program's own making, as in tests and benches. Blocks.
    pub fn of(bytes: &[u8]) -> Result<Self, Error> {
        let spool = || {
            let mut writer = SpoolWriter::new(tempfile::tempfile()?);
            writer.buffer.extend_from_slice(bytes);
            writer.flush()?.seal()
        };
        spool().map_err(|error| unavailable("spooling a component", error))
    }

    /// The SHA-256 of all of it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// All of it.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// A descriptor of its own for reading, at the start: for a process that reads the component
    /// from its standard input. Blocks.
    pub fn file(&self) -> Result<File, Error> {
        opened_again(&self.file).map_err(|error| unavailable("opening a spooled component", error))
    }

    /// All of it as memory. Blocks, as reading it may.
    #[expect(unsafe_code, reason = "mapping a file is unsafe, since whoever can write the file changes the memory")]
    pub fn map(&self) -> Result<Map, Error> {
        // SAFETY: the file has no name, this process made it, and the only descriptor that could
        // write or cut it was closed before there was a `Spool`: nothing changes below the map.
        let map = unsafe { memmap2::Mmap::map(&*self.file) };
        map.map(Map).map_err(|error| unavailable("mapping a spooled component", error))
    }

    /// All of it in pieces. The last one comes only when all of them together have the digest
    /// that was taken at first; otherwise the stream ends with an error, and what came of it is
    /// too short.
    pub fn chunks(&self) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let start = Reading { spool: self.clone(), at: 0, hasher: Sha256::new() };
        stream::try_unfold(start, |reading| async move {
            if reading.at >= reading.spool.size_bytes {
                return Ok(None);
            }
            let (chunk, reading) = blocking("reading a spooled component", move || reading.next()).await?;
            if reading.at >= reading.spool.size_bytes {
                let found = Digest::from_bytes(reading.hasher.clone().finalize().into());
                let expected = reading.spool.digest;
                if found != expected {
                    return Err(Error::Integrity { expected, found });
                }
            }
            Ok(Some((chunk, reading)))
        })
    }
}

/// How far a spooled component was read.
struct Reading {
    spool: Spool,
    at: u64,
    hasher: Sha256,
}

impl Reading {
    fn next(mut self) -> io::Result<(Bytes, Self)> {
        let left = usize::try_from(self.spool.size_bytes - self.at).unwrap_or(CHUNK_BYTES);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        self.spool.file.read_exact_at(&mut chunk, self.at)?;
        self.hasher.update(&chunk);
        self.at += chunk.len() as u64;
        Ok((chunk.into(), self))
    }
}

impl std::ops::Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Another descriptor of the same file: only for reading, and with a place of its own.
fn opened_again(file: &File) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    if let Ok(again) = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file))) {
        return Ok(again);
    }
    // Without `/proc` the place is shared by all: whoever reads on from there takes turns.
    let mut again = file.try_clone()?;
    again.rewind()?;
    Ok(again)
}

#[cfg(test)]
mod tests;
