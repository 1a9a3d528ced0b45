use std::io::Read as _;

use futures_util::TryStreamExt as _;
use proptest::prelude::*;

use super::*;

fn folder() -> (tempfile::TempDir, SpoolFolder) {
    let folder = tempfile::tempdir().unwrap();
    let spools = SpoolFolder::open(folder.path().join("spool")).unwrap();
    (folder, spools)
}

fn entries(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path().join("spool")).unwrap().count()
}

async fn spooled(spools: &SpoolFolder, pieces: &[Vec<u8>]) -> Spool {
    let mut writer = spools.create().await.unwrap();
    for piece in pieces {
        writer = writer.write(piece).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(spool: &Spool) -> Vec<u8> {
    spool.chunks().try_collect::<Vec<_>>().await.unwrap().concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn p20_a_spool_has_the_bytes_and_the_digest_of_its_pieces(
        pieces in prop::collection::vec((any::<u8>(), 0..700_000_usize), 0..6),
    ) {
        let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|(byte, length)| vec![byte; length]).collect();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (folder, spools) = folder();
            let whole = pieces.concat();
            let spool = spooled(&spools, &pieces).await;
            assert_eq!((spool.digest(), spool.size_bytes()), (Digest::of(&whole), whole.len() as u64));
            assert!(read(&spool).await == whole);
            assert!(*spool.map().unwrap() == whole);
            let mut by_descriptor = Vec::new();
            spool.file().unwrap().read_to_end(&mut by_descriptor).unwrap();
            assert!(by_descriptor == whole);
            assert_eq!(entries(&folder), 0);
        });
    }
}

#[tokio::test]
async fn every_descriptor_has_a_place_of_its_own_and_none_can_write() {
    let (_folder, spools) = folder();
    let spool = spooled(&spools, &[b"a component".to_vec()]).await;
    let (mut first, mut second) = (spool.file().unwrap(), spool.file().unwrap());
    let mut start = [0; 4];
    first.read_exact(&mut start).unwrap();
    second.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"a co");
    assert!(first.write_all(b"x").is_err());
    assert_eq!(read(&spool).await, b"a component");
}

#[tokio::test]
async fn a_spool_that_is_not_what_was_written_never_comes_whole() {
    let mut file = tempfile::tempfile().unwrap();
    let bytes = vec![7; 3 * CHUNK_BYTES];
    file.write_all(&bytes).unwrap();
    let spool = Spool { file: Arc::new(file), size_bytes: bytes.len() as u64, digest: Digest::of(b"something else") };
    let mut received = 0;
    let mut chunks = Box::pin(spool.chunks());
    let error = loop {
        match chunks.try_next().await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => panic!("it came whole"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    assert_eq!(received, 2 * CHUNK_BYTES);
}

#[tokio::test]
async fn a_spool_that_is_given_up_leaves_nothing() {
    let (folder, spools) = folder();
    let writer = spools.create().await.unwrap().write(&vec![1; 2 * BUFFER_BYTES]).await.unwrap();
    assert_eq!(writer.size_bytes(), 2 * BUFFER_BYTES as u64);
    assert_eq!(entries(&folder), 0);
    drop(writer);
    assert_eq!(entries(&folder), 0);
}

#[test]
fn what_a_process_that_died_left_is_removed_at_the_next_start() {
    let (folder, _spools) = folder();
    std::fs::write(folder.path().join("spool/.tmpAbCdEf"), "half").unwrap();
    SpoolFolder::open(folder.path().join("spool")).unwrap();
    assert_eq!(entries(&folder), 0);
}
