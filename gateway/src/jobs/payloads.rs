//! JSON of runs, small and large.
//!
//! Owns what goes to the blob store instead of a row.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::blob::{self, Blobs};
use crate::model::job::Payload;
use crate::model::{JsonText, RunId};
use crate::telemetry::Metrics;

/// Between two tries at a store that is away.
const AGAIN: Duration = Duration::from_millis(250);

/// Stores and loads them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Payloads {
    pub(super) blobs: Blobs,
    pub(super) metrics: Metrics,
}

impl Payloads {
    /// Where the row has it.
    pub(super) async fn put(&self, run: RunId, text: &JsonText) -> Result<Payload, blob::Error> {
        let length = text.as_str().len();
        if length <= Payload::INLINE_BYTES_MAX {
            return Ok(Payload::Inline(text.clone()));
        }
        let digest = self.blobs.put_of_run(run, text.as_str()).await?;
        let size_bytes = length as u64;
        self.metrics.jobs().offloaded(size_bytes);
        Ok(Payload::Blob { digest, size_bytes })
    }

    /// The same, however long the blob store is away: no step has to be done again for that.
    pub(super) async fn put_whenever(&self, run: RunId, text: &JsonText) -> Payload {
        loop {
            match self.put(run, text).await {
                Ok(payload) => return payload,
                Err(error) => {
                    tracing::warn!(run_id = %run, error = &error as &dyn std::error::Error, "what a run holds could not be stored; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// The text.
    pub(super) async fn get(&self, run: RunId, payload: &Payload) -> Result<JsonText, blob::Error> {
        match payload {
            Payload::Inline(text) => Ok(text.clone()),
            Payload::Blob { digest, .. } => {
                let text = self.blobs.get_of_run(run, *digest).await?;
                JsonText::parse(&text).map_err(|_| blob::Error::Missing(*digest))
            }
        }
    }

    /// The value, however long the blob store is away.
    ///
    /// # Errors
    /// What waiting does not mend: it is gone, or is not what was stored.
    pub(super) async fn value_whenever(&self, run: RunId, payload: &Payload) -> Result<Arc<Value>, blob::Error> {
        loop {
            match self.get(run, payload).await {
                Ok(text) => return Ok(Arc::new(serde_json::from_str(text.as_str()).unwrap_or_default())),
                Err(error @ blob::Error::Unavailable { .. }) => {
                    tracing::warn!(run_id = %run, error = &error as &dyn std::error::Error, "what a run holds could not be had; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
