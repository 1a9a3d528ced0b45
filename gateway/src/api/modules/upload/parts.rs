//! The parts of an upload's body, one after the other.
//!
//! Owns how much the parser may keep of what it has not understood yet: it looks for the end of a part's
//! header in all that has arrived, without a bound of its own, and takes what is there at once. Does not own
//! what the parts mean (`upload`). Invariant: before a part's content begins, no more than
//! `HEAD_BYTES_MAX` and one frame are kept; afterwards, no more than a frame.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::request;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::body;

/// A part's boundary and header, and whatever stands before the first of them: clients send some 200 bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const UNBOUNDED: usize = usize::MAX;

/// Why the body ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A header, or what stands before the first part, has no end.
    #[error("no part begins within {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// It could not be had.
    #[error("{0}")]
    Body(#[source] body::Error),
}

/// The parts of one body.
#[derive(Debug)]
pub(super) struct Parts {
    multipart: Multipart,
    left: Left,
}

/// Bytes that may still arrive before a part's content begins. Shared by the body and its reader, who are one task.
#[derive(Debug, Clone)]
struct Left(Arc<AtomicUsize>);

impl Parts {
    pub(super) async fn of(
        head: request::Parts,
        body: impl http_body::Body<Data = Bytes, Error = body::Error> + Send + Unpin + 'static,
    ) -> Result<Self, MultipartRejection> {
        let left = Left(Arc::new(AtomicUsize::new(UNBOUNDED)));
        let body = Body::new(Paced { body, left: left.clone(), handed_over: false });
        let multipart = Multipart::from_request(Request::from_parts(head, body), &()).await?;
        Ok(Self { multipart, left })
    }

    /// The next part, whose content the caller has to read to its end: what is left of it would count as the header
    /// of the next.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, MultipartError> {
        self.left.0.store(HEAD_BYTES_MAX, Ordering::Relaxed);
        let field = self.multipart.next_field().await;
        self.left.0.store(UNBOUNDED, Ordering::Relaxed);
        field
    }
}

/// A body that is handed over a frame at a time.
#[derive(Debug)]
struct Paced<B> {
    body: B,
    left: Left,
    handed_over: bool,
}

impl<B: http_body::Body<Data = Bytes, Error = body::Error> + Unpin> http_body::Body for Paced<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.handed_over) {
            // The parser asks until nothing is there, and only then looks at what it has.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = this.left.0.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Some(Err(Error::HeadTooLong)));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx)).map(|frame| frame.map_err(Error::Body));
        if let Some(Ok(frame)) = &frame {
            this.handed_over = true;
            if left != UNBOUNDED {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.left.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
