//! Bodies of exchanges, both ways, as they pass.
//!
//! Owns their bounds in bytes and time. Invariants: a body never brings more than its bound; and the turn at the
//! host lasts as long as the answer's body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::error::{BadBody, Cause, Error, Wait};
use super::hosts::Turn;

/// The body of a request that is made while it is sent.
pub type RequestBody = UnsyncBoxBody<Bytes, Cause>;

/// What the client sends.
pub(super) enum Outgoing {
    Whole(Full<Bytes>),
    Streamed(Streamed),
}

/// A body that is counted while it passes. Its trailers are dropped: nobody checked them.
pub(super) struct Streamed {
    body: RequestBody,
    bytes_sent: u64,
    bytes_max: u64,
    /// What its head says.
    length: Option<u64>,
}

impl Streamed {
    pub(super) fn new(body: RequestBody, bytes_max: u64, length: Option<u64>) -> Self {
        Self { body, bytes_sent: 0, bytes_max, length }
    }

    fn count(&mut self, bytes: usize) -> Result<(), BadBody> {
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
        if self.bytes_sent > self.bytes_max {
            return Err(BadBody::TooLarge(self.bytes_max));
        }
        if self.length.is_some_and(|length| self.bytes_sent > length) {
            return Err(BadBody::Length);
        }
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cause>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(frame) => frame?,
                None if self.length.is_some_and(|length| self.bytes_sent < length) => {
                    return Poll::Ready(Some(Err(BadBody::Length.into())));
                }
                None => return Poll::Ready(None),
            };
            let Ok(data) = frame.into_data() else { continue };
            return Poll::Ready(Some(self.count(data.len()).map(|()| data).map_err(Into::into)));
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Streamed(body) => body.poll(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            // One that is shorter than its head says has its error still to tell.
            Self::Streamed(body) => {
                body.length.is_none_or(|length| length == body.bytes_sent) && body.body.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(body) => body.length.map_or_else(|| body.body.size_hint(), SizeHint::with_exact),
        }
    }
}

/// What an exchange has of what others wait for, until the end of its answer.
pub(super) struct Share {
    pub(super) _turn: Turn,
    /// Of the execution's, where that counts.
    pub(super) _allowed: Option<OwnedSemaphorePermit>,
}

/// The body of an answer. Dropped before its end, it ends the exchange. After an error there is nothing more.
pub struct ResponseBody {
    /// Until the end.
    incoming: Option<(Incoming, Share)>,
    bytes_received: u64,
    bytes_max: u64,
    deadline: Instant,
    between_bytes: Duration,
    /// The end of the time for the next bytes.
    next_by: Instant,
    /// For that moment, while something is waited for: most bodies are there with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        share: Share,
        bytes_max: u64,
        deadline: Instant,
        between_bytes: Duration,
    ) -> Self {
        let next_by = next(deadline, between_bytes);
        let incoming = Some((incoming, share));
        Self { incoming, bytes_received: 0, bytes_max, deadline, between_bytes, next_by, timer: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some((incoming, _)) = &mut self.incoming else { return Poll::Ready(None) };
        // What is said to be too much is not waited for.
        if incoming.size_hint().lower() > self.bytes_max - self.bytes_received {
            return Poll::Ready(Some(Err(Error::TooLarge(self.bytes_max))));
        }
        let frame = match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(frame)) => frame.map_err(Error::of_body)?,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                let next_by = self.next_by;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next_by)));
                if timer.deadline() != next_by {
                    timer.as_mut().reset(next_by);
                }
                ready!(timer.as_mut().poll(context));
                return Poll::Ready(Some(Err(Error::TimedOut(Wait::Body))));
            }
        };
        // A server that always has another byte is not waited for longer, either.
        if self.deadline <= Instant::now() {
            return Poll::Ready(Some(Err(Error::TimedOut(Wait::Body))));
        }
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > self.bytes_max - self.bytes_received {
            return Poll::Ready(Some(Err(Error::TooLarge(self.bytes_max))));
        }
        self.bytes_received += bytes;
        self.next_by = next(self.deadline, self.between_bytes);
        Poll::Ready(Some(Ok(frame)))
    }
}

/// A time too far away to be told is not.
fn next(deadline: Instant, between_bytes: Duration) -> Instant {
    Instant::now().checked_add(between_bytes).map_or(deadline, |next| next.min(deadline))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let polled = ready!(this.poll(context));
        if !matches!(polled, Some(Ok(_))) {
            this.incoming = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("bytes_received", &self.bytes_received).finish_non_exhaustive()
    }
}
