//! The first admin key: made once a store, kept beside it.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::clock::Clock;
use crate::config::ADMIN_KEY_FILE;
use crate::http::auth;
use crate::model::{AuditEntry, NewKey, Role, action};
use crate::store::Store;

/// Where the `sluice` command finds the key by itself.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(ADMIN_KEY_FILE)
}

/// Makes the first key unless the store has one. The file comes before the row: a
/// crash between the two leaves a file that the next start replaces, never a key
/// that nobody knows.
pub(super) async fn ensure(store: &dyn Store, clock: &Clock, data_dir: &Path) -> Result<Option<String>, Error> {
    if !store.all_keys().await?.is_empty() {
        return Ok(None);
    }
    let path = path(data_dir);
    let folder = |source| Error::DataFolder { path: data_dir.to_owned(), source };
    let (plaintext, key) = auth::generate_key(NewKey::unrestricted("admin", Role::Admin), clock.now())
        .map_err(|error| folder(std::io::Error::other(error)))?;
    let audit = AuditEntry::by_gateway(key.created_at, action::KEY_CREATE, key.id.to_string())
        .with("name", key.name.as_str())
        .with("role", key.role.as_str());
    write(&path, &plaintext).map_err(folder)?;
    if store.insert_first_key(&key, &audit).await? {
        return Ok(Some(plaintext));
    }
    // Another gateway on the same store was faster; this key opens nothing.
    std::fs::remove_file(&path).map_err(folder)?;
    Ok(None)
}

/// Temporary files are made 0600, and a rename keeps that. A key that is there may
/// belong to a store that is only not the one of this start: the first such is kept.
fn write(path: &Path, key: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{key}")?;
    file.as_file().sync_all()?;
    let kept = path.with_extension("key.old");
    match std::fs::hard_link(path, &kept) {
        Ok(()) => {
            tracing::warn!(kept = %kept.display(), "the store has no keys, but there was an admin key: it is kept");
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
        Err(error) => return Err(error),
    }
    file.persist(path)?;
    Ok(())
}
