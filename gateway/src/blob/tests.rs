use std::path::PathBuf;

use futures_util::future::join_all;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

async fn opened(folder: &Path) -> Result<Blobs, Error> {
    let config = config::Blobs::Folder { path: folder.join("blobs") };
    Blobs::open(&config, folder, Clock::system()).await
}

async fn open(folder: &TempDir) -> Blobs {
    opened(folder.path()).await.unwrap()
}

async fn start() -> (TempDir, Blobs) {
    let folder = TempDir::new().unwrap();
    let blobs = open(&folder).await;
    (folder, blobs)
}

async fn put(blobs: &Blobs, bytes: &[u8]) -> Digest {
    let component = Spool::of(bytes).unwrap();
    blobs.put(&component).await.unwrap();
    component.digest()
}

async fn got(blobs: &Blobs, digest: Digest) -> Vec<u8> {
    blobs.get(digest).await.unwrap().map().unwrap().to_vec()
}

fn file_of(folder: &TempDir, digest: Digest) -> PathBuf {
    folder.path().join("blobs").join(path_of(digest))
}

fn temporary_files(folder: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.path().join("blobs/tmp")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("lock")).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn p20_module_hash_calculation(bytes in proptest::collection::vec(any::<u8>(), 0..100_000)) {
        block_on(async {
            let (folder, blobs) = start().await;
            let digest = put(&blobs, &bytes).await;
            assert_eq!(digest, Digest::of(&bytes));
            assert_eq!(got(&blobs, digest).await, bytes);
            assert_eq!(temporary_files(&folder), Vec::<PathBuf>::new());
        });
    }

    #[test]
    fn p52_hash_verification_on_load(
        bytes in proptest::collection::vec(any::<u8>(), 1..10_000),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        block_on(async {
            let (folder, blobs) = start().await;
            let digest = put(&blobs, &bytes).await;
            let mut damaged = bytes.clone();
            damaged[place.index(bytes.len())] ^= 1 << bit;
            std::fs::write(file_of(&folder, digest), &damaged).unwrap();
            let error = blobs.get(digest).await.unwrap_err();
            assert!(matches!(error, Error::Integrity { expected, found } if expected == digest && found == Digest::of(&damaged)));
            put(&blobs, &bytes).await;
            assert_eq!(got(&blobs, digest).await, bytes);
        });
    }
}

#[tokio::test]
async fn a_blob_that_was_cut_short_is_refused() {
    let (folder, blobs) = start().await;
    let digest = put(&blobs, b"a component").await;
    std::fs::write(file_of(&folder, digest), b"a comp").unwrap();
    assert!(matches!(blobs.get(digest).await, Err(Error::Integrity { .. })));
}

#[tokio::test]
async fn a_blob_that_was_never_put_is_missing() {
    let (_folder, blobs) = start().await;
    let digest = Digest::of(b"nobody");
    assert!(matches!(blobs.get(digest).await, Err(Error::Missing(missing)) if missing == digest));
}

#[tokio::test]
async fn putting_the_same_bytes_at_once_stores_them_once() {
    let (folder, blobs) = start().await;
    let component = Spool::of(&vec![7; 300_000]).unwrap();
    for put in join_all((0..16).map(|_| blobs.put(&component))).await {
        put.unwrap();
    }
    assert_eq!(blobs.list().await.unwrap(), [component.digest()]);
    assert_eq!(temporary_files(&folder), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_list_has_every_blob_and_nothing_else() {
    let (folder, blobs) = start().await;
    let mut digests = Vec::new();
    for number in 0..20_u8 {
        digests.push(put(&blobs, &[number]).await);
    }
    let gone = digests.pop().unwrap();
    blobs.delete(gone).await.unwrap();
    let root = folder.path().join("blobs");
    std::fs::write(root.join("notes.txt"), "not ours").unwrap();
    std::fs::write(root.join("tmp").join(Digest::of(b"half").to_string()), "half written").unwrap();
    std::fs::create_dir_all(root.join("00/00")).unwrap();
    std::fs::write(root.join("00/00").join(Digest::of(b"elsewhere").to_string()), "elsewhere").unwrap();
    let mut listed = blobs.list().await.unwrap();
    listed.sort();
    digests.sort();
    assert_eq!(listed, digests);
}

#[tokio::test]
async fn deleting_is_done_once_and_may_be_repeated() {
    let (_folder, blobs) = start().await;
    let digest = put(&blobs, b"short-lived").await;
    blobs.delete(digest).await.unwrap();
    blobs.delete(digest).await.unwrap();
    assert!(matches!(blobs.get(digest).await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn leftovers_of_a_process_that_died_are_removed_at_the_next_start() {
    let (folder, blobs) = start().await;
    let kept = put(&blobs, b"kept").await;
    let half = folder.path().join("blobs/tmp/half");
    std::fs::write(&half, "half").unwrap();
    drop(blobs);
    let blobs = open(&folder).await;
    assert!(!half.exists());
    assert_eq!(got(&blobs, kept).await, b"kept");
}

#[tokio::test]
async fn what_another_process_is_writing_is_left_alone() {
    let (folder, blobs) = start().await;
    let half = folder.path().join("blobs/tmp/half");
    std::fs::write(&half, "half").unwrap();
    let second = opened(folder.path()).await;
    let Err(Error::Unavailable { source, .. }) = second else { panic!("{second:?}") };
    assert!(source.to_string().contains("in use by another process"), "{source}");
    assert!(half.exists());
    blobs.release();
    open(&folder).await;
    assert!(!half.exists());
}

#[tokio::test]
async fn a_put_that_is_given_up_leaves_a_whole_blob_or_none() {
    let (_folder, blobs) = start().await;
    let component = Spool::of(&vec![1; 4 * 1024 * 1024]).unwrap();
    for polls in 0..40 {
        let mut put = Box::pin(blobs.put(&component));
        for _ in 0..polls {
            if futures_util::poll!(put.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(put);
        match blobs.get(component.digest()).await {
            Ok(stored) => assert_eq!(stored.digest(), component.digest()),
            Err(error) => assert!(matches!(error, Error::Missing(_)), "{error}"),
        }
        blobs.delete(component.digest()).await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_ready() {
    let (folder, blobs) = start().await;
    blobs.ping().await.unwrap();
    std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
    assert!(matches!(blobs.ping().await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_at_the_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let config = config::Blobs::Folder { path: file.join("blobs") };
    let opened = Blobs::open(&config, folder.path(), Clock::system()).await;
    assert!(matches!(opened, Err(Error::Unavailable { .. })));
}

#[test]
fn the_place_of_a_blob_has_nothing_of_its_author_in_it() {
    let digest = Digest::of(b"");
    assert_eq!(path_of(digest), "e3/b0/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(digest_at(&path_of(digest)), Some(digest));
    assert_eq!(digest_at(&format!("tmp/{digest}")), None);
    assert!("../../etc/passwd".parse::<Digest>().is_err());
}
