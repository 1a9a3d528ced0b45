//! How many modules are on their way in or out at once.
//!
//! Owns whose turn it is, and for how long a download may keep its own. Does not own the bytes. Invariants: no
//! more modules are on disk for transfers than there are turns; a turn is taken before the bytes are; and no key
//! has more than half of the turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Code;
use crate::http::{Problem, body};
use crate::model::KeyId;

/// Each holds a file of up to `limits.module_bytes`, however slowly it arrives.
const UPLOADS_MAX: usize = 4;
/// Each holds such a file until its last byte is sent.
const DOWNLOADS_MAX: usize = 8;
/// How long a turn is waited for: some intakes, and less than clients' patience.
const WAIT: Duration = Duration::from_secs(5);
const RETRY_AFTER_S: u32 = 5;

/// Why a download is broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error<E> {
    /// Its reader is slower than a sender may be.
    #[error("the reader of a module was too slow: {sent_bytes} bytes in {elapsed:?}")]
    TooSlow {
        /// What was handed over.
        sent_bytes: u64,
        /// Since the download began.
        elapsed: Duration,
    },
    /// The bytes could not be had.
    #[error(transparent)]
    Source(E),
}

/// The turns. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Transfers {
    uploads: Arc<Turns>,
    downloads: Arc<Turns>,
    wait: Duration,
}

/// Those of one direction.
#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    each_key: usize,
    /// What is left of each key's share; no longer than one of its turns is taken or waited for.
    keys: Mutex<HashMap<KeyId, Weak<Semaphore>>>,
}

/// One turn; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_key: OwnedSemaphorePermit,
}

impl Default for Transfers {
    fn default() -> Self {
        let (uploads, downloads) = (Turns::new(UPLOADS_MAX), Turns::new(DOWNLOADS_MAX));
        Self { uploads: Arc::new(uploads), downloads: Arc::new(downloads), wait: WAIT }
    }
}

impl Transfers {
    pub(super) async fn upload(&self, key: KeyId) -> Result<Turn, Problem> {
        self.turn(&self.uploads, key, "too many modules are being uploaded").await
    }

    pub(super) async fn download(&self, key: KeyId) -> Result<Turn, Problem> {
        self.turn(&self.downloads, key, "too many modules are being downloaded").await
    }

    async fn turn(&self, turns: &Turns, key: KeyId, detail: &'static str) -> Result<Turn, Problem> {
        let turn = tokio::time::timeout(self.wait, turns.take(key)).await;
        turn.ok().flatten().ok_or_else(|| Problem::new(Code::Overloaded, detail).retry_after_s(RETRY_AFTER_S))
    }
}

impl Turns {
    fn new(count: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(count)), each_key: (count / 2).max(1), keys: Mutex::default() }
    }

    /// The key's own first: whoever waits for that stands in nobody else's way.
    async fn take(&self, key: KeyId) -> Option<Turn> {
        let of_key = self.share(key).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _of_all: of_all, _of_key: of_key })
    }

    fn share(&self, key: KeyId) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are transfers at this moment, so a walk is cheap.
        keys.retain(|_, share| share.strong_count() > 0);
        if let Some(share) = keys.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(Semaphore::new(self.each_key));
        keys.insert(key, Arc::downgrade(&share));
        share
    }
}

impl Turn {
    /// The turn is over when the stream is dropped: after its end, or when its client has left. A client that
    /// takes the bytes more slowly than an upload may come, from `timeout` on, gets no more of them; one that takes
    /// nothing at all doesn't ask here, and is the connection's to cut.
    pub(super) fn until_sent<E>(
        self,
        stream: impl Stream<Item = Result<Bytes, E>>,
        timeout: Duration,
    ) -> impl Stream<Item = Result<Bytes, Error<E>>> {
        let (started, mut sent_bytes) = (Instant::now(), 0_u64);
        stream.map(move |chunk| {
            let _held = &self;
            let elapsed = started.elapsed();
            if elapsed > body::time_allowed(timeout, sent_bytes) {
                return Err(Error::TooSlow { sent_bytes, elapsed });
            }
            let chunk = chunk.map_err(Error::Source)?;
            sent_bytes = sent_bytes.saturating_add(chunk.len() as u64);
            Ok(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const PATIENT: Duration = Duration::from_mins(1);

    fn key(number: u128) -> KeyId {
        KeyId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn impatient() -> Transfers {
        Transfers { wait: Duration::from_millis(1), ..Transfers::default() }
    }

    fn chunks(count: usize, bytes: usize) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        stream::iter((0..count).map(move |_| Ok(Bytes::from(vec![0; bytes]))))
    }

    #[tokio::test]
    async fn who_finds_no_turn_in_time_is_told_when_to_come_back() {
        let transfers = impatient();
        let mut sent = Vec::new();
        for number in 0..DOWNLOADS_MAX as u128 {
            let turn = transfers.download(key(number)).await.unwrap();
            sent.push(Box::pin(turn.until_sent(chunks(2, 1), PATIENT)));
        }
        assert_eq!(transfers.download(key(100)).await.unwrap_err().code(), Code::Overloaded);
        let mut half_sent = sent.pop().unwrap();
        assert_eq!(half_sent.next().await.unwrap().unwrap().len(), 1);
        assert_eq!(transfers.download(key(100)).await.unwrap_err().code(), Code::Overloaded);
        drop(half_sent);
        transfers.download(key(100)).await.unwrap();
        transfers.upload(key(100)).await.unwrap();
    }

    #[tokio::test]
    async fn a_key_has_half_of_the_turns_at_most_and_leaves_the_rest_to_others() {
        let transfers = impatient();
        let mut uploads = Vec::new();
        for _ in 0..UPLOADS_MAX / 2 {
            uploads.push(transfers.upload(key(1)).await.unwrap());
        }
        assert_eq!(transfers.upload(key(1)).await.unwrap_err().code(), Code::Overloaded);
        // Nobody else waits behind the one that may not.
        let mut waiting = std::pin::pin!(transfers.uploads.take(key(1)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let other = transfers.upload(key(2)).await.unwrap();
        drop(uploads.pop());
        assert!(waiting.await.is_some());
        drop((uploads, other));
        transfers.upload(key(3)).await.unwrap();
        assert_eq!(transfers.uploads.keys.lock().unwrap().len(), 1, "of keys without a transfer nothing is kept");
    }

    #[tokio::test]
    async fn a_reader_that_is_slower_than_a_sender_may_be_gets_no_more() {
        let transfers = Transfers::default();
        let turn = || async { transfers.download(key(1)).await.unwrap() };
        // Each chunk buys a second, which nobody needs here.
        let quick = turn().await.until_sent(chunks(20, 64 * 1024), PATIENT);
        assert!(quick.all(async |chunk| chunk.is_ok()).await);
        let mut slow = Box::pin(turn().await.until_sent(chunks(20, 1024), Duration::from_millis(20)));
        assert!(slow.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(matches!(slow.next().await, Some(Err(Error::TooSlow { sent_bytes: 1024, .. }))));
    }
}
