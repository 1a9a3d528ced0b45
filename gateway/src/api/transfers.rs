//! How many modules are on their way in or out at once.
//!
//! Owns whose turn it is. Does not own the bytes. Invariant: no more modules are on
//! disk for transfers than there are turns; a turn is taken before the bytes are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Code;
use crate::http::Problem;

/// Each holds a file of up to `limits.module_bytes`, however slowly it arrives.
const UPLOADS_MAX: usize = 4;
/// Each holds such a file until its last byte is sent.
const DOWNLOADS_MAX: usize = 8;
/// How long a turn is waited for: some intakes, and less than clients' patience.
const WAIT: Duration = Duration::from_secs(5);
const RETRY_AFTER_S: u32 = 5;

/// The turns. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Transfers {
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    wait: Duration,
}

/// One turn; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            wait: WAIT,
        }
    }
}

impl Transfers {
    pub(super) async fn upload(&self) -> Result<Turn, Problem> {
        self.turn(&self.uploads, "too many modules are being uploaded").await
    }

    pub(super) async fn download(&self) -> Result<Turn, Problem> {
        self.turn(&self.downloads, "too many modules are being downloaded").await
    }

    async fn turn(&self, turns: &Arc<Semaphore>, detail: &'static str) -> Result<Turn, Problem> {
        let permit = tokio::time::timeout(self.wait, Arc::clone(turns).acquire_owned()).await;
        let none = || Problem::new(Code::Overloaded, detail).retry_after_s(RETRY_AFTER_S);
        permit.ok().and_then(Result::ok).map(|permit| Turn { _permit: permit }).ok_or_else(none)
    }
}

impl Turn {
    /// The turn is over when the stream is dropped: after its end, or when its client has left.
    pub(super) fn until_sent<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        stream.map(move |item| {
            let _held = &self;
            item
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_turn_in_time_is_told_when_to_come_back() {
        let transfers = Transfers { wait: Duration::from_millis(1), ..Transfers::default() };
        let mut sent = Vec::new();
        for _ in 0..DOWNLOADS_MAX {
            sent.push(Box::pin(transfers.download().await.unwrap().until_sent(stream::iter([1, 2]))));
        }
        assert_eq!(transfers.download().await.unwrap_err().code(), Code::Overloaded);
        let mut half_sent = sent.pop().unwrap();
        assert_eq!(half_sent.next().await, Some(1));
        assert_eq!(transfers.download().await.unwrap_err().code(), Code::Overloaded);
        drop(half_sent);
        transfers.download().await.unwrap();
        transfers.upload().await.unwrap();
    }
}
