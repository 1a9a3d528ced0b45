use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::runtime::engine;

/// A component without anything in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn open(folder: &Path, engine: &Engine) -> Artifacts {
    Artifacts::open(folder.to_owned(), engine, Metering::Fuel).unwrap()
}

fn only_artifact(folder: &Path) -> PathBuf {
    let mut found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
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

    // Another engine looks for another name.
    let off = Artifacts::open(folder.path().to_owned(), &unmetered, Metering::Off).unwrap();
    assert!(off.load(&unmetered, digest).unwrap().is_none());

    // A file of another node, moved here.
    let foreign = open(other.path(), &metered);
    fs::copy(&path, other.path().join(path.file_name().unwrap())).unwrap();
    assert!(matches!(foreign.load(&metered, digest), Err(Error::Forged(_))));

    // A file of another component under this one's name.
    let another = Digest::of(b"another");
    fs::copy(&path, artifacts.path(another)).unwrap();
    assert!(matches!(artifacts.load(&metered, another), Err(Error::Forged(_))));
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
    fs::write(folder.join(".new-crashed"), b"half").unwrap();
    open(&folder, &engine);
    assert!(!folder.join(".new-crashed").exists());
}
