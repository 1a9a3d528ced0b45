//! `sluice build --watch`: builds and uploads again when a file of the step changes.
//!
//! Owns which files are looked at, when, and what each upload is called. Does not own the build nor the upload.
//! Invariant: what a build itself writes, lock files too, starts no other one.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::build::{advised, open};
use super::client::{Client, Remote};
use super::failure;
use super::modules::{View, path};
use super::output::Out;
use super::upload;
use crate::author::{PASSED_OVER, Project};

/// Editors write a file in several steps, and a person waits for longer than this anyway.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Files and folders: more than any step has. It is a folder by mistake, such as a home.
const ENTRIES_MAX: usize = 20_000;

/// Compilers and package managers write them anew when what the author has written asks for something else.
const LOCK_FILES: [&str; 3] = ["Cargo.lock", "package-lock.json", "go.sum"];

/// Goes on until it is interrupted; what doesn't compile or isn't taken is told, and waits for the next change.
pub(super) async fn run(dir: PathBuf, compiler: Vec<String>, remote: Remote, out: Out) -> anyhow::Result<()> {
    let mut last: Option<View> = None;
    let mut has_warned = false;
    loop {
        let watched = Arc::new(Watched::of(&dir));
        let files = watched.look().await?;
        if files.is_cut && !has_warned {
            has_warned = true;
            out.warn(&format!(
                "{} has more than {ENTRIES_MAX} files and folders: changes of the others are not seen",
                dir.display()
            ));
        }
        match build_and_upload(&dir, &compiler, &remote, out).await {
            Ok(view) => {
                let reference = format!("{}@{}", view.name, view.version);
                if out.is_json() {
                    let answer = serde_json::json!({"id": view.id, "name": view.name, "version": view.version});
                    out.json(answer.to_string().as_bytes())?;
                } else {
                    out.line(&format!("uploaded {reference}"))?;
                }
                if !view.functions.is_empty() {
                    out.note(&format!("  sluice invoke {reference} --input '{}'", upload::example(&dir)));
                }
                if let Some(last) = last.replace(view) {
                    forget(&last, &remote, out).await;
                }
            }
            // The exit code is for whoever doesn't watch.
            Err(error) => drop(failure::report(&error, out)),
        }
        let files = files.with_locks_of(watched.look().await?);
        out.note("waiting for a change; Ctrl-C ends");
        watched.changed(&files).await?;
    }
}

async fn build_and_upload(dir: &Path, compiler: &[String], remote: &Remote, out: Out) -> anyhow::Result<View> {
    let project = open(dir)?;
    let version = project.version();
    let compiler = compiler.to_vec();
    // A signal must get through while it compiles.
    tokio::task::spawn_blocking(move || project.build(&compiler).map(drop)).await?.map_err(advised)?;
    let version = version_of_now(version.as_deref())?;
    let args = upload::Args::of_folder(dir.to_owned(), version, remote.clone());
    Ok(upload::send(args, out).await?.read()?)
}

/// A source of the step that is newer than its component; cases are none.
pub(super) fn newer_source(dir: &Path, component: &Path) -> Option<PathBuf> {
    let built = component.metadata().and_then(|data| data.modified()).ok()?;
    let tests = dir.join("tests");
    let is_newer = |path: &Path, changed: SystemTime| changed > built && path.parent() != Some(tests.as_path());
    Watched::of(dir)
        .files()
        .changed
        .into_iter()
        .find_map(|(path, (changed, _))| is_newer(&path, changed).then_some(path))
}

/// A version never changes, so each build, of which there may be two in a second, is a pre-release of its own; nobody
/// who asks for the name gets one.
fn version_of_now(version: Option<&str>) -> anyhow::Result<semver::Version> {
    let mut version = semver::Version::parse(version.unwrap_or("0.1.0"))?;
    let now = Timestamp::now().as_millisecond();
    let before = if version.pre.is_empty() { String::new() } else { format!("{}.", version.pre) };
    version.pre = semver::Prerelease::new(&format!("{before}dev.{now}"))?;
    version.build = semver::BuildMetadata::EMPTY;
    Ok(version)
}

/// The one before, which nobody calls any more.
async fn forget(view: &View, remote: &Remote, out: Out) {
    let deleted = async { anyhow::Ok(Client::new(remote, out)?.delete(&path(&view.id, &[])).await?) };
    if deleted.await.is_err() {
        out.warn(&format!("{} {} could not be deleted, and stays", view.name, view.version));
    }
}

/// A step's folder, of which compilers and the author's own build write a part.
struct Watched {
    folder: PathBuf,
    /// What a build command makes; it would start the next build.
    output: Option<PathBuf>,
}

/// The files of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Files {
    /// When each was changed, and how long it is.
    changed: BTreeMap<PathBuf, (SystemTime, u64)>,
    /// There are more.
    is_cut: bool,
}

impl Files {
    /// These, with the lock files as they are after a build.
    fn with_locks_of(mut self, after: Self) -> Self {
        let is_lock = |path: &Path| LOCK_FILES.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
        self.changed.retain(|path, _| !is_lock(path));
        self.changed.extend(after.changed.into_iter().filter(|(path, _)| is_lock(path)));
        self
    }
}

impl Watched {
    fn of(folder: &Path) -> Self {
        // A manifest with mistakes is told of by the build.
        let output = Project::open(folder).ok().and_then(|project| project.own_output());
        Self { folder: folder.to_owned(), output: output.map(|path| path.components().collect()) }
    }

    /// Those that are there now; a link is what it leads to.
    fn files(&self) -> Files {
        let mut found = Files::default();
        let (mut folders, mut seen, mut entries) = (vec![self.folder.clone()], HashSet::new(), 0_usize);
        while let Some(folder) = folders.pop() {
            // Links may lead in circles. What goes while it is looked at is a change that the next look sees.
            if !folder.metadata().is_ok_and(|data| seen.insert((data.dev(), data.ino()))) {
                continue;
            }
            let passed_over = if folder == self.folder { &PASSED_OVER[..] } else { &[] };
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                entries += 1;
                if entries > ENTRIES_MAX {
                    found.is_cut = true;
                    return found;
                }
                let (name, path) = (entry.file_name(), entry.path());
                match path.metadata() {
                    Ok(data) if data.is_dir() && !passed_over.iter().any(|passed| name == *passed) => {
                        folders.push(path);
                    }
                    Ok(data) if data.is_file() && self.is_source(&path) => {
                        let changed = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                        found.changed.insert(path, (changed, data.len()));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        found
    }

    /// As [`files`](Self::files), on a thread of its own: signals and uploads go on.
    async fn look(self: &Arc<Self>) -> anyhow::Result<Files> {
        let watched = Arc::clone(self);
        Ok(tokio::task::spawn_blocking(move || watched.files()).await?)
    }

    fn is_source(&self, path: &Path) -> bool {
        self.output.as_ref().is_none_or(|output| *output != path.components().collect::<PathBuf>())
    }

    /// Waits until they are others and have come to rest.
    async fn changed(self: &Arc<Self>, before: &Files) -> anyhow::Result<Files> {
        let mut seen = before.clone();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.look().await?;
            if now == seen && now != *before {
                return Ok(now);
            }
            seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_build_is_a_pre_release_that_comes_before_the_release() {
        let release = semver::Version::new(1, 2, 3);
        for version in [Some("1.2.3"), Some("1.2.3+build"), Some("1.2.3-rc.1")] {
            let now = version_of_now(version).unwrap();
            assert!(now < release && now.to_string().contains("dev."), "{now}");
        }
        assert!(version_of_now(Some("1.2")).is_err());
    }

    #[tokio::test]
    async fn a_change_is_seen_and_what_a_build_writes_is_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("target")).unwrap();
        std::fs::write(folder.path().join("a.rs"), "1").unwrap();
        let manifest = "[build]\ncommand = [\"make\"]\noutput = \"./step.wasm\"\n";
        std::fs::write(folder.path().join("sluice.step.toml"), manifest).unwrap();
        let watched = Arc::new(Watched::of(folder.path()));
        let before = watched.files();
        std::fs::write(folder.path().join("target/a.wasm"), "x").unwrap();
        std::fs::write(folder.path().join("step.wasm"), "x").unwrap();
        assert_eq!(watched.files(), before);
        let seen = before.clone();
        let changed = tokio::spawn(async move { watched.changed(&seen).await });
        std::fs::write(folder.path().join("b.rs"), "22").unwrap();
        assert_ne!(changed.await.unwrap().unwrap(), before);
    }

    #[test]
    fn a_lock_file_that_a_build_writes_is_no_change_and_a_source_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write("Cargo.lock", "1");
        write("a.rs", "1");
        let watched = Watched::of(folder.path());
        let before = watched.files();
        write("Cargo.lock", "22");
        write("package-lock.json", "1");
        assert_eq!(before.clone().with_locks_of(watched.files()), watched.files());
        write("a.rs", "22");
        assert_ne!(before.with_locks_of(watched.files()), watched.files());
    }

    #[test]
    fn what_a_link_leads_to_is_watched_and_a_circle_ends() {
        use std::os::unix::fs::symlink;

        let [folder, elsewhere] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        std::fs::write(elsewhere.path().join("shared.rs"), "1").unwrap();
        symlink(elsewhere.path(), folder.path().join("shared")).unwrap();
        symlink(elsewhere.path().join("shared.rs"), folder.path().join("one.rs")).unwrap();
        symlink(folder.path(), elsewhere.path().join("circle")).unwrap();
        let watched = Watched::of(folder.path());
        let before = watched.files();
        assert_eq!(before.changed.len(), 2, "{before:?}");
        std::fs::write(elsewhere.path().join("shared.rs"), "22").unwrap();
        let after = watched.files();
        assert!(before.changed.iter().all(|(path, seen)| after.changed[path] != *seen), "{after:?}");
    }

    #[test]
    fn a_folder_that_is_no_steps_is_not_looked_through_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let put = |number: usize| std::fs::File::create(folder.path().join(number.to_string())).map(drop).unwrap();
        (0..ENTRIES_MAX).for_each(put);
        let watched = Watched::of(folder.path());
        assert!(!watched.files().is_cut);
        put(ENTRIES_MAX);
        let files = watched.files();
        assert!(files.is_cut && files.changed.len() == ENTRIES_MAX);
    }
}
