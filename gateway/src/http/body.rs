//! The body of a request, within its bound and its time.
//!
//! Owns how much is read and for how long. Does not own what is in it.
//! Invariants: no more than the bound is ever kept; a body that says that it is
//! larger is refused before a byte of it is read; a sender that is slower than
//! `BYTES_PER_EXTRA_SECOND` runs out of time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::Problem;
use crate::error::Code;

/// What buys a sender another second: the rate of a bad mobile line. A module
/// of 50 MiB may take half an hour over it; a byte a second buys nothing.
const BYTES_PER_EXTRA_SECOND: u64 = 32 * 1024;

/// A body of this size and less is read without asking for room.
const FREE_BYTES: u64 = 64 * 1024;
/// What a permit stands for.
const PERMIT_BYTES: u64 = 64 * 1024;
/// Permits of all bodies together: 256 MiB.
const PERMITS: u32 = 4096;
/// What a sender who found no room is told to wait.
const RETRY_AFTER_S: u32 = 1;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// All of it.
    pub bytes_max: u64,
    /// From when it is first waited for to its end, for the smallest.
    pub timeout: Duration,
}

/// Why a body could not be had. After any of these the connection has to be
/// closed: the rest of the body may still be on its way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is over its bound.
    #[error("the request's body is over {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// It did not arrive in time.
    #[error("the request's body did not arrive in time")]
    TimedOut,
    /// Others' bodies take all the memory that there is for them.
    #[error("too many large bodies are being read")]
    NoRoom,
    /// The client left in the middle, or the body is not framed as it says. An
    /// answer reaches nobody in the first case.
    #[error("the request's body is broken off")]
    Broken(#[source] BoxError),
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::TooLarge { limit } => Self::new(Code::TooLarge, detail).limit(*limit),
            Error::NoRoom => Self::new(Code::Overloaded, detail).retry_after_s(RETRY_AFTER_S),
            Error::TimedOut => Self::new(Code::RequestTimeout, detail),
            Error::Broken(_) => Self::new(Code::BadRequest, detail),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// Memory for all large bodies that are held at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Room {
    permits: Arc<Semaphore>,
    wait: Duration,
}

impl Room {
    /// All of it free; who finds none waits for at most `wait`.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(PERMITS as usize)), wait }
    }

    /// A body over all that there is takes all of it.
    async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(PERMITS).min(PERMITS);
        let taken = tokio::time::timeout(self.wait, Arc::clone(&self.permits).acquire_many_owned(permits)).await;
        taken.ok().and_then(Result::ok).ok_or(Error::NoRoom)
    }
}

/// Reads a whole body, a large one when there is room for it; the room is taken until
/// the second is dropped. Small ones pay nothing. A call that is dropped leaves nothing
/// behind.
pub async fn read_in<B>(room: &Room, body: B, bounds: Bounds) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let hint = body.size_hint();
    // One that doesn't say its size may be as large as any.
    let bytes = hint.upper().unwrap_or(bounds.bytes_max);
    if hint.lower() > bounds.bytes_max || bytes <= FREE_BYTES {
        return Ok((read(body, bounds).await?, None));
    }
    let taken = room.take(bytes).await?;
    Ok((read(body, bounds).await?, Some(taken)))
}

/// Reads a whole body. A call that is dropped leaves nothing behind.
pub async fn read<B>(body: B, bounds: Bounds) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut body = Limited::new(body, bounds)?;
    let Some(first) = next_data(&mut body).await? else { return Ok(Bytes::new()) };
    // Small bodies come in one piece, which is then handed on without a copy.
    let Some(second) = next_data(&mut body).await? else { return Ok(first) };
    let mut whole = BytesMut::with_capacity(first.len() + second.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(data) = next_data(&mut body).await? {
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn next_data<B>(body: &mut Limited<B>) -> Result<Option<Bytes>, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        if body.is_end_stream() {
            return Ok(None);
        }
        match body.frame().await {
            None => return Ok(None),
            Some(frame) => {
                // Trailers mean nothing to us.
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A body that ends with an [`Error`] at its bound or when its time is over.
#[derive(Debug)]
pub struct Limited<B> {
    inner: B,
    bounds: Bounds,
    received_bytes: u64,
    /// Set when the body is first waited for: one that is there already costs no timer.
    timer: Option<Timer>,
}

#[derive(Debug)]
struct Timer {
    started: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl<B: Body> Limited<B> {
    /// Bounds `inner`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where its `Content-Length` is over the bound.
    pub fn new(inner: B, bounds: Bounds) -> Result<Self, Error> {
        if inner.size_hint().lower() > bounds.bytes_max {
            return Err(Error::TooLarge { limit: bounds.bytes_max });
        }
        Ok(Self { inner, bounds, received_bytes: 0, timer: None })
    }

    fn received(&mut self, bytes: usize) -> Result<(), Error> {
        self.received_bytes = self.received_bytes.saturating_add(bytes as u64);
        let limit = self.bounds.bytes_max;
        if self.received_bytes > limit { Err(Error::TooLarge { limit }) } else { Ok(()) }
    }

    fn poll_time_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let allowed = time_allowed(self.bounds.timeout, self.received_bytes);
        let timer = self.timer.get_or_insert_with(|| {
            let started = Instant::now();
            Timer { started, sleep: Box::pin(tokio::time::sleep_until(started + allowed)) }
        });
        let deadline = timer.started + allowed;
        if timer.sleep.deadline() != deadline {
            timer.sleep.as_mut().reset(deadline);
        }
        timer.sleep.as_mut().poll(cx)
    }
}

/// How long a body may take of which so much has arrived; or been taken, by who reads a large answer.
#[must_use]
pub fn time_allowed(timeout: Duration, received_bytes: u64) -> Duration {
    timeout.saturating_add(Duration::from_secs(received_bytes / BYTES_PER_EXTRA_SECOND))
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(this.received(bytes).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::Broken(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this.poll_time_over(cx).map(|()| Some(Err(Error::TimedOut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
