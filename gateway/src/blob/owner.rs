//! Whose bucket it is: a small object beside the blobs that names the store.
//!
//! Owns that object. Does not own what follows from it (`registry`). Invariant: of several
//! stores whose gateways sweep one bucket, at most one is its owner; who comes first is, until an
//! operator removes the object.

use futures_util::TryStreamExt as _;
use opendal::ErrorKind;
use opendal::options::WriteOptions;
use uuid::Uuid;

use super::{Blobs, Error, unavailable};

/// Beside the folders of blobs. People look for it by this name.
const NAME: &str = "sluice-store-id";
/// The hyphenated form of a UUID. What is longer is none.
const LENGTH: usize = 36;
const CONTEXT: &str = "looking whose bucket it is";

/// Whose bytes are swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Of gateways on the store that was asked for.
    This,
    /// Of gateways on another store: what this one doesn't know may be theirs.
    Another,
}

impl Blobs {
    /// Tells whether the store `id` has these bytes, and has it be the owner where there is none yet. A
    /// folder is this process's alone, so it is not asked. A call that fails or is cancelled may have
    /// made the store the owner.
    pub async fn claim(&self, id: Uuid) -> Result<Owner, Error> {
        if !self.is_shared() {
            return Ok(Owner::This);
        }
        let ours = id.hyphenated().to_string().into_bytes();
        let mut found = self.owner().await?;
        if found.is_none() {
            self.write_owner(&ours).await?;
            // Whoever was first, as far as the service can tell.
            found = self.owner().await?;
        }
        Ok(if found.is_some_and(|found| found == ours) { Owner::This } else { Owner::Another })
    }

    async fn owner(&self) -> Result<Option<Vec<u8>>, Error> {
        let failed = |error| unavailable(CONTEXT, error);
        let reader = self.operator.reader(NAME).await.map_err(failed)?;
        let mut chunks = match reader.into_stream(..).await {
            Ok(chunks) => chunks,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) if found.len() <= LENGTH => found.extend_from_slice(&chunk.to_bytes()),
                Ok(Some(_) | None) => return Ok(Some(found)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Does nothing where there is an owner by now, if the service can tell.
    async fn write_owner(&self, ours: &[u8]) -> Result<(), Error> {
        let only_first = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        let Err(refused) = self.operator.write_options(NAME, ours.to_vec(), only_first).await else { return Ok(()) };
        if refused.kind() == ErrorKind::ConditionNotMatch || self.owner().await?.is_some() {
            return Ok(());
        }
        // Some services know no conditions, and say so. Another failure may be one while somebody else writes.
        if refused.is_temporary() || !matches!(refused.kind(), ErrorKind::Unsupported | ErrorKind::Unexpected) {
            return Err(unavailable(CONTEXT, refused));
        }
        self.operator.write(NAME, ours.to_vec()).await.map_err(|error| unavailable(CONTEXT, error))?;
        Ok(())
    }
}
