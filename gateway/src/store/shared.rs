//! What gateways on one store tell each other through it.
//!
//! Owns the words for it; a backend that can be shared implements them. Does not
//! own what follows from a change (`app`, `registry`). Invariants: who holds a
//! digest is the only one, of all gateways, who stores or removes its bytes; and
//! a change that was committed is told, or found by its number, sooner or later.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::model::{Digest, ExecutionError};

/// A store that several gateways may use at once.
#[async_trait]
pub trait Shared: Send + Sync {
    /// Begins to listen: every change that is committed after this returned is told.
    async fn listen(&self) -> Result<Box<dyn Listener>, Error>;
    /// A number that every change of modules or keys makes another, for whoever can't listen.
    async fn change_number(&self) -> Result<i64, Error>;
    /// Waits until no other gateway (nor call) holds `digest`, and holds it. Whoever
    /// stores bytes does it before they are written, until their row is; whoever
    /// removes them does it before looking whether a row refers to them.
    async fn hold(&self, digest: Digest) -> Result<Hold, Error>;
    /// Tells the other gateways that this one lives.
    async fn heartbeat(&self) -> Result<(), Error>;
    /// Marks what was running on gateways that have not been heard of for so long as
    /// failed with `error`; tells how many. Whoever calls it has itself been in touch
    /// with the store for as long: after an outage everybody seems silent.
    async fn end_abandoned(&self, silent_for: Duration, error: &ExecutionError) -> Result<u64, Error>;
}

/// Hears of changes that any gateway made, this one included.
#[async_trait]
pub trait Listener: Send {
    /// Waits for a change of modules or keys; several at once are told once.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the connection is lost, and changes with it. Look at
    /// everything once more when listening again.
    async fn changed(&mut self) -> Result<(), Error>;
}

/// A digest that is held until this is dropped, or the process ends.
pub struct Hold(#[expect(dead_code, reason = "what counts is when it is dropped")] Box<dyn Any + Send>);

impl Hold {
    /// Holds as long as `guard` lives.
    pub(super) fn of(guard: impl Any + Send) -> Self {
        Self(Box::new(guard))
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}
