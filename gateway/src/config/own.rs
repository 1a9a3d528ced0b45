//! What is the gateway's own, and no database of steps.
//!
//! Owns the comparison. Does not own where things are (the sections). Invariant: a path is compared by what it leads
//! to, so that no link and no other spelling gets around it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{
    ADMIN_KEY_FILE, ARTEFACTS_FOLDER, Blobs, DatabaseUrl, GATEWAY_ID_FILE, LOCK_FILE, PostgresUrl, SPOOL_FOLDER, Store,
};

/// Where the gateway keeps what it lives on.
#[derive(Debug)]
pub(super) struct Own<'a> {
    store: &'a Store,
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// What SQLite has beside a file.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

impl<'a> Own<'a> {
    pub(super) fn new(store: &'a Store, blobs: &Blobs, data_dir: &Path) -> Self {
        let mut files = [ADMIN_KEY_FILE, LOCK_FILE, GATEWAY_ID_FILE].map(|file| data_dir.join(file)).to_vec();
        let mut folders = [ARTEFACTS_FOLDER, SPOOL_FOLDER].map(|folder| data_dir.join(folder)).to_vec();
        if let Store::Sqlite { path } = store {
            files.extend(with_beside(path));
        }
        if let Blobs::Folder { path } = blobs {
            folders.push(path.clone());
        }
        Self { store, files, folders }
    }

    /// # Errors
    /// The database is the gateway's own; in words without the URL.
    pub(super) fn check(&self, url: &DatabaseUrl) -> Result<(), String> {
        match (url, self.store) {
            (DatabaseUrl::Sqlite { path }, _) if self.has(path) => Err(
                "this is the gateway's own, `[store]`, `[blobs]` or its data folder's: a database of steps is a file \
                     of its own"
                    .to_owned(),
            ),
            (DatabaseUrl::Postgres(database), Store::Postgres(store)) if is_same(database, &store.url) => {
                Err("this is the database of `[store] url`, with the gateway's keys and audit: steps need another one"
                    .to_owned())
            }
            (DatabaseUrl::Sqlite { .. } | DatabaseUrl::Postgres(_) | DatabaseUrl::MySql(_), _) => Ok(()),
        }
    }

    fn has(&self, path: &Path) -> bool {
        let folders: Vec<_> = self.folders.iter().map(|folder| resolved(folder)).collect();
        with_beside(path).any(|path| {
            let (place, inode) = (resolved(&path), inode(&path));
            let is_file = self
                .files
                .iter()
                .any(|own| resolved(own) == place || inode.is_some_and(|inode| Some(inode) == self::inode(own)));
            is_file || folders.iter().any(|folder| place.starts_with(folder))
        })
    }
}

fn with_beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = |suffix: &&str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    std::iter::once(path.to_owned()).chain(BESIDE.iter().map(beside))
}

/// Device and inode, which a hard link shares.
fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Where a path leads, also one whose end isn't there yet.
fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = whole.ancestors().find_map(|part| Some((part.canonicalize().ok()?, whole.strip_prefix(part).ok()?)));
    let Some((there, rest)) = there else { return whole };
    // What isn't there has no links, so `..` means what it says.
    rest.components().fold(there, |mut path, part| {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
        path
    })
}

/// Whether they share a server and are one database there.
fn is_same(one: &PostgresUrl, other: &PostgresUrl) -> bool {
    let servers = |url: &PostgresUrl| -> Vec<(String, u16)> {
        url.servers().map(|(host, port)| (format!("{host:?}").to_lowercase(), port)).collect()
    };
    let others = servers(other);
    one.database() == other.database() && servers(one).iter().any(|server| others.contains(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_or_link_leads_to_what_is_the_gateways_own() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("blobs")).unwrap();
        std::fs::write(data.join("sluice.db"), "").unwrap();
        std::os::unix::fs::symlink(&data, folder.path().join("other")).unwrap();
        std::os::unix::fs::symlink(data.join("sluice.db"), data.join("soft.db")).unwrap();
        std::fs::hard_link(data.join("sluice.db"), data.join("hard.db")).unwrap();
        let (store, blobs) = (Store::default_in(&data), Blobs::default_in(&data));
        let own = Own::new(&store, &blobs, &data);
        let check = |url: &str| own.check(&DatabaseUrl::parse(url, &data).unwrap());
        let above = folder.path().join("other/sluice.db").display().to_string();
        for path in [
            "sluice.db",
            "./sluice.db",
            "sluice.db-wal",
            "sluice.db-shm",
            "sluice.db-journal",
            "soft.db",
            "hard.db",
            "admin.key",
            "lock",
            "gateway.id",
            "spool/x.db",
            "blobs/x.db",
            "artifacts/x.db",
            "blobs/../sluice.db",
            "none/../sluice.db",
            &above,
        ] {
            let said = check(&format!("sqlite:{path}")).unwrap_err();
            assert!(said.contains("[store]") && !said.contains("sluice.db"), "{path}: {said}");
        }
        for path in ["shop.db", "sluice.db2", "blobs.db", "shop/sluice.db"] {
            assert_eq!(check(&format!("sqlite:{path}")), Ok(()), "{path}");
        }
    }

    #[test]
    fn the_database_of_the_store_is_no_database_of_steps_whoever_connects_to_it() {
        let store = Store::Postgres(Box::new(
            crate::config::Postgres::parse("postgres://own:hunter2@DB.example.com/sluice").unwrap(),
        ));
        let blobs = Blobs::default_in(Path::new("/data"));
        let own = Own::new(&store, &blobs, Path::new("/data"));
        let check = |url: &str| own.check(&DatabaseUrl::parse(url, Path::new("/data")).unwrap());
        for url in
            ["postgres://steps@db.example.com:5432/sluice", "postgresql://own@DB.EXAMPLE.com/sluice?sslmode=require"]
        {
            let said = check(url).unwrap_err();
            assert!(said.contains("[store] url") && !said.contains("hunter2"), "{said}");
        }
        for url in [
            "postgres://own@db.example.com/shop",
            "postgres://own@db.example.com:5433/sluice",
            "postgres://own@other.example.com/sluice",
            "mysql://own@db.example.com/sluice",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }
}
