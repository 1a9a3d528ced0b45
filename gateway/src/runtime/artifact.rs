//! Compiled components on this machine's disk.
//!
//! Owns the artefact folder and its key. Does not own components' bytes (`blob`)
//! nor what is mapped (`cache`). Invariant: nothing is mapped as code that this
//! service did not write here itself, for exactly this engine; loading foreign
//! bytes as code would be running them.
//!
//! An artefact is at `<compatibility>/<digest>.cwasm`: what another engine made is
//! in another folder, and is removed at the next start.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::Metering;
use crate::model::Digest;

type HmacSha256 = Hmac<Sha256>;

/// The HMAC stands behind the artefact in the same file, so that one rename
/// publishes both.
const TAG_BYTES: usize = 32;

const KEY_FILE: &str = "node.key";

/// The bits of a mode that are for others than the owner.
const OTHERS: u32 = 0o077;

/// Changes when what an artefact means to us changes, beyond what wasmtime tells.
const FORMAT: &[u8] = b"sluice-artifact-v1";

/// Compiled components by digest. Cheap to share behind an `Arc`.
pub(super) struct Artifacts {
    /// That of this engine.
    folder: PathBuf,
    key: [u8; 32],
    /// What else must be equal: engine version, target, settings, metering.
    compatibility: [u8; 32],
}

/// Why an artefact can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The disk does not do it.
    #[error("{context} {}", path.display())]
    Disk {
        context: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Whoever owns it could write code that is then run here.
    #[error("{} belongs to another user (id {owner}): remove it, or give it to the user of this process", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    /// The file is not what was written: it was removed, an alert is due.
    #[error("the artefact of {0} does not have its authentication code")]
    Forged(Digest),
    /// wasmtime does not take it.
    #[error("the artefact of {0} can't be mapped: {1}")]
    Unusable(Digest, wasmtime::Error),
}

impl Artifacts {
    /// Opens the folder, makes it (0700) and its key (0600) where they are missing,
    /// takes them from others where they are looser, and removes what a crash left
    /// half-written and what another engine made.
    pub(super) fn open(folder: &Path, engine: &Engine, metering: Metering) -> Result<Self, Error> {
        make_folder(folder)?;
        make_private(folder, 0o700)?;
        let key = load_or_make_key(&folder.join(KEY_FILE))?;
        let compatibility = compatibility(engine, metering);
        let current = hex::encode(compatibility);
        remove_all_but(folder, |name| name == KEY_FILE || name == current);
        let folder = folder.join(current);
        make_folder(&folder)?;
        make_private(&folder, 0o700)?;
        remove_all_but(&folder, |name| digest_of(name).is_some());
        Ok(Self { folder, key, compatibility })
    }

    /// The component, mapped; `None` when it was not compiled yet. A file that was
    /// tampered with is removed.
    pub(super) fn load(&self, engine: &Engine, digest: Digest) -> Result<Option<(Component, u64)>, Error> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Disk { context: "opening", path, source }),
        };
        let Some(bytes) = self.verify(&mut file, digest).map_err(|source| Error::Disk {
            context: "reading",
            path: path.clone(),
            source,
        })?
        else {
            let _ = fs::remove_file(&path);
            return Err(Error::Forged(digest));
        };
        map(engine, &file).map(|component| Some((component, bytes))).map_err(|error| {
            let _ = fs::remove_file(&path);
            Error::Unusable(digest, error)
        })
    }

    /// A file under a temporary name, for what the compiler makes; dropped, it is gone.
    pub(super) fn begin(&self) -> Result<NamedTempFile, Error> {
        let begun = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder);
        begun.map_err(|source| Error::Disk { context: "writing in", path: self.folder.clone(), source })
    }

    /// Keeps what the compiler wrote: HMAC, fsync, rename. Whoever wrote it has ended.
    pub(super) fn keep(&self, digest: Digest, mut code: NamedTempFile) -> Result<(), Error> {
        let path = self.path(digest);
        let write = move |path: &Path| -> io::Result<()> {
            let file = code.as_file_mut();
            file.rewind()?;
            let mut mac = self.mac(digest);
            update(&mut mac, &mut *file)?;
            file.write_all(&mac.finalize().into_bytes())?;
            file.sync_all()?;
            code.persist(path)?;
            File::open(&self.folder)?.sync_all()
        };
        write(&path).map_err(|source| Error::Disk { context: "writing", path, source })
    }

    /// Keeps code as if the compiler had written it.
    #[cfg(test)]
    pub(super) fn store(&self, digest: Digest, compiled: &[u8]) -> Result<(), Error> {
        let mut code = self.begin()?;
        code.write_all(compiled).unwrap();
        self.keep(digest, code)
    }

    /// Removes an artefact whose component is gone.
    pub(super) fn remove(&self, digest: Digest) {
        let _ = fs::remove_file(self.path(digest));
    }

    /// Removes the artefacts of all components but these.
    pub(super) fn retain(&self, digests: &HashSet<Digest>) {
        remove_all_but(&self.folder, |name| digest_of(name).is_some_and(|digest| digests.contains(&digest)));
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}.cwasm"))
    }

    fn mac(&self, digest: Digest) -> HmacSha256 {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = HmacSha256::new_from_slice(&self.key).expect("a key of 32 bytes");
        mac.update(FORMAT);
        mac.update(digest.as_bytes());
        mac.update(&self.compatibility);
        mac
    }

    /// The length of the artefact if the file is whole and ours.
    fn verify(&self, file: &mut File, digest: Digest) -> io::Result<Option<u64>> {
        let length = file.metadata()?.len();
        let Some(compiled) = length.checked_sub(TAG_BYTES as u64) else { return Ok(None) };
        file.rewind()?;
        let mut mac = self.mac(digest);
        update(&mut mac, io::Read::by_ref(file).take(compiled))?;
        let mut tag = [0; TAG_BYTES];
        file.read_exact(&mut tag)?;
        Ok(mac.verify_slice(&tag).is_ok().then_some(compiled))
    }
}

/// Takes in all that is left of `body`.
fn update(mac: &mut HmacSha256, mut body: impl io::Read) -> io::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = body.read(&mut chunk)?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { return Ok(()) };
        mac.update(part);
    }
}

/// Maps the very file that was verified: by its descriptor, since the name could
/// mean another file by now.
fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    #[expect(unsafe_code, reason = "mapping compiled code is what this Rust module is for")]
    // SAFETY: the file was written by `keep` from `Engine::precompile_component`'s
    // output, made in this process or by its child of the same program; its HMAC, under a key that only this service's user can read, covers
    // the bytes, the component and the engine's settings, and was verified on this
    // descriptor. The folder is 0700 and files in it are replaced, never rewritten.
    unsafe {
        Component::deserialize_file(engine, path)
    }
}

/// Maps code that a test has made itself.
#[cfg(test)]
pub(super) fn map_for_tests(engine: &Engine, file: &File) {
    map(engine, file).unwrap();
}

/// What must be equal in the engine that compiles and the one that runs.
pub(super) fn compatibility(engine: &Engine, metering: Metering) -> [u8; 32] {
    /// wasmtime tells its settings through `Hash`; a SHA-256 makes a name of them
    /// that does not depend on the standard library's hasher.
    struct Into256(Sha256);
    impl Hasher for Into256 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Into256(Sha256::new());
    hasher.write(FORMAT);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    metering.hash(&mut hasher);
    hasher.0.finalize().into()
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::Disk { context: "making", path: path.to_owned(), source })
}

/// Modes given at the making say nothing of what was there before, or came from a copy.
fn make_private(path: &Path, mode: u32) -> Result<(), Error> {
    let disk = |context| move |source| Error::Disk { context, path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(disk("looking at"))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::Foreign { path: path.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & OTHERS != 0 {
        tracing::warn!(path = %path.display(), "others could use this; it is the gateway's alone from now on");
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(disk("changing the mode of"))?;
    }
    Ok(())
}

/// What can't be removed only takes room.
fn remove_all_but(folder: &Path, is_kept: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(&is_kept) {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn digest_of(name: &str) -> Option<Digest> {
    name.strip_suffix(".cwasm")?.parse().ok()
}

fn load_or_make_key(path: &Path) -> Result<[u8; 32], Error> {
    let disk = |context| move |source| Error::Disk { context, path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => {
            make_private(path, 0o600)?;
            // A key of another length is no key; with a new one all artefacts are compiled again.
            if let Ok(key) = bytes.try_into() {
                return Ok(key);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(disk("reading")(source)),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| disk("making a key for")(io::Error::other(error)))?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(disk("writing"))?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(disk("writing"))?;
    Ok(key)
}

#[cfg(test)]
mod tests;
