use super::*;
use crate::runtime::engine;

/// A component without anything in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn open(folder: &Path, engine: &Engine) -> Artifacts {
    Artifacts::open(folder, engine, Metering::Fuel).unwrap()
}

fn folder_of_engine(folder: &Path) -> PathBuf {
    let mut found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.is_dir()).unwrap()
}

fn only_artifact(folder: &Path) -> PathBuf {
    let subfolder = folder_of_engine(folder);
    let mut found = fs::read_dir(subfolder).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|extension| extension == "cwasm")).unwrap()
}

#[test]
fn an_artefact_is_mapped_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine::for_tests(Metering::Fuel);
    let digest = Digest::of(EMPTY);
    let compiled = engine.precompile_component(EMPTY).unwrap();
    open(folder.path(), &engine).store(digest, &compiled).unwrap();
    let (_, bytes) = open(folder.path(), &engine).load(&engine, digest).unwrap().unwrap();
    assert_eq!(bytes, compiled.len() as u64);
    assert!(open(folder.path(), &engine).load(&engine, Digest::of(b"another")).unwrap().is_none());
}

#[test]
fn a_changed_byte_anywhere_is_refused_and_the_file_removed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine::for_tests(Metering::Fuel);
    let artifacts = open(folder.path(), &engine);
    let digest = Digest::of(EMPTY);
    let compiled = engine.precompile_component(EMPTY).unwrap();
    artifacts.store(digest, &compiled).unwrap();
    let length = fs::metadata(only_artifact(folder.path())).unwrap().len();
    for at in [0, length / 2, length - 1] {
        artifacts.store(digest, &compiled).unwrap();
        let path = only_artifact(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(artifacts.load(&engine, digest), Err(Error::Forged(_))));
        assert!(!path.exists());
    }
}

#[test]
fn an_artefact_of_another_key_component_or_engine_is_not_taken() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let metered = engine::for_tests(Metering::Fuel);
    let unmetered = engine::for_tests(Metering::Off);
    let digest = Digest::of(EMPTY);
    let artifacts = open(folder.path(), &metered);
    artifacts.store(digest, &metered.precompile_component(EMPTY).unwrap()).unwrap();
    let path = only_artifact(folder.path());

    // A file of another node, moved here.
    let foreign = open(other.path(), &metered);
    fs::copy(&path, foreign.path(digest)).unwrap();
    assert!(matches!(foreign.load(&metered, digest), Err(Error::Forged(_))));

    // A file of another component under this one's name.
    let another = Digest::of(b"another");
    fs::copy(&path, artifacts.path(another)).unwrap();
    assert!(matches!(artifacts.load(&metered, another), Err(Error::Forged(_))));

    // Another engine looks in another folder, and doesn't believe a file of this one's.
    let aside = other.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let off = Artifacts::open(folder.path(), &unmetered, Metering::Off).unwrap();
    assert!(off.load(&unmetered, digest).unwrap().is_none());
    fs::rename(&aside, off.path(digest)).unwrap();
    assert!(matches!(off.load(&unmetered, digest), Err(Error::Forged(_))));
}

#[test]
fn what_other_engines_and_older_versions_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (metered, unmetered) = (engine::for_tests(Metering::Fuel), engine::for_tests(Metering::Off));
    let digest = Digest::of(EMPTY);
    open(folder.path(), &metered).store(digest, b"code").unwrap();
    let old = only_artifact(folder.path());
    let old_layout = folder.path().join(format!("{digest}.cwasm"));
    fs::write(&old_layout, b"code").unwrap();
    let key = fs::read(folder.path().join(KEY_FILE)).unwrap();
    Artifacts::open(folder.path(), &unmetered, Metering::Off).unwrap();
    assert!(!old.parent().unwrap().exists() && !old_layout.exists());
    assert_eq!(fs::read(folder.path().join(KEY_FILE)).unwrap(), key);
}

#[test]
fn artefacts_of_components_that_are_gone_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = open(folder.path(), &engine::for_tests(Metering::Fuel));
    let (kept, gone) = (Digest::of(b"kept"), Digest::of(b"gone"));
    for digest in [kept, gone] {
        artifacts.store(digest, b"code").unwrap();
    }
    artifacts.retain(&HashSet::from([kept]));
    assert!(artifacts.path(kept).exists() && !artifacts.path(gone).exists());
}

#[test]
fn modes_that_others_loosened_are_tightened() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine::for_tests(Metering::Fuel);
    open(folder.path(), &engine);
    let key = folder.path().join(KEY_FILE);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o775)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    open(folder.path(), &engine);
    assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    // Root's, unless the tests run as root; then it is nobody's to give away to.
    let folder = tempfile::tempdir().unwrap();
    let foreign = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        folder.path()
    } else {
        Path::new("/")
    };
    let refused = make_private(foreign, 0o700).unwrap_err();
    assert!(refused.to_string().contains("belongs to another user"), "{refused}");
}

#[test]
fn the_folder_and_its_key_are_the_services_own() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("artifacts");
    fs::create_dir(parent.path().join("x")).unwrap();
    let engine = engine::for_tests(Metering::Fuel);
    open(&folder, &engine);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(folder.join("node.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let half = folder_of_engine(&folder).join(".new-crashed");
    fs::write(&half, b"half").unwrap();
    open(&folder, &engine);
    assert!(!half.exists());
}
