//! What runs of jobs hold that is too large for a row.
//!
//! Owns where that is: `runs/<run>/<digest>`, so that a run's bytes go with it and nobody counts who refers to them. A component's
//! sweep passes it over. Invariant: what is read has the digest that was asked for.

use futures_util::TryStreamExt as _;
use tokio::time::timeout_at;

use super::{Blobs, Error, as_expected, unavailable};
use crate::model::{Digest, RunId};

impl Blobs {
    /// Stores a text of a run. The same again changes nothing; a call that fails or is cancelled may leave a whole text,
    /// which goes with the run.
    pub async fn put_of_run(&self, run: RunId, text: &str) -> Result<Digest, Error> {
        const CONTEXT: &str = "writing what a run holds";
        let digest = Digest::of(text.as_bytes());
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        let path = path_of(run, digest);
        let written = timeout_at(self.deadline(), self.operator.write(&path, bytes)).await;
        written.map_err(|late| unavailable(CONTEXT, late))?.map_err(|error| unavailable(CONTEXT, error))?;
        Ok(digest)
    }

    /// A text of a run.
    pub async fn get_of_run(&self, run: RunId, digest: Digest) -> Result<String, Error> {
        const CONTEXT: &str = "reading what a run holds";
        let path = path_of(run, digest);
        let read = timeout_at(self.deadline(), self.operator.read(&path)).await;
        let bytes = read.map_err(|late| unavailable(CONTEXT, late))?.map_err(|error| match error.kind() {
            opendal::ErrorKind::NotFound => Error::Missing(digest),
            _ => unavailable(CONTEXT, error),
        })?;
        let bytes = bytes.to_vec();
        as_expected(digest, Digest::of(&bytes))?;
        // Only text is put, and these are the same bytes.
        String::from_utf8(bytes).map_err(|error| unavailable(CONTEXT, error))
    }

    /// Removes all that a run holds; nothing happens where that is nothing.
    pub async fn delete_of_run(&self, run: RunId) -> Result<(), Error> {
        const CONTEXT: &str = "deleting what a run held";
        let failed = |error| unavailable(CONTEXT, error);
        let delete = async {
            let folder = format!("runs/{run}/");
            let entries: Vec<_> = self
                .operator
                .lister_with(&folder)
                .recursive(true)
                .await
                .map_err(failed)?
                .try_collect()
                .await
                .map_err(failed)?;
            for entry in entries {
                self.operator.delete(entry.path()).await.map_err(failed)?;
            }
            self.operator.delete(&folder).await.map_err(failed)
        };
        timeout_at(self.deadline(), delete).await.map_err(|late| unavailable(CONTEXT, late))?
    }
}

fn path_of(run: RunId, digest: Digest) -> String {
    format!("runs/{run}/{digest}")
}
