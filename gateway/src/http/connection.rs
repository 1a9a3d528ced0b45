//! One connection, from its first byte to its end.
//!
//! Owns the protocol's settings, the order in which a connection ends, and the
//! answers to heads that never became a request. Does not own requests
//! ([`Service`]). Invariants: a client that leaves drops the future of its
//! request; a connection that is told to stop finishes its requests and takes
//! no more.
//!
//! hyper's connections are used one by one instead of `auto`'s, because only
//! they give the socket back, which is needed to write 408 and to let a client
//! that is still sending read its answer.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, InFlight, Overdue, Timeouts};
use super::listener::Config;
use super::socket::{Protocol, Socket};
use super::{Peer, Problem};
use crate::error::Code;

/// How long a connection that is to be closed may take over it: to take the last
/// answer, and to stop sending. Closing at once would reset it, and the answer
/// would be lost on the way.
const LINGER: Duration = Duration::from_secs(2);
/// Requests at once on one HTTP/2 connection; browsers and proxies use 100.
const STREAMS_MAX: u32 = 200;
/// Requests that were cancelled before they were looked at, until the connection
/// is cut (`CVE-2023-44487`); the `h2` crate's own number.
const PENDING_RESETS_MAX: usize = 20;
/// How often an HTTP/2 peer is asked whether it is still there, and how long it
/// may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// What an HTTP/2 answer is handed over in: `h2` takes a piece when the peer's
/// window has room for a part of it, so that a piece that is asked for is progress.
/// No larger than a frame is anyway.
const PIECE_BYTES: usize = 16 * 1024;
/// Enough to read a body in few calls; a larger head needs a larger one.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// What answers requests. Cheap to clone.
pub trait Service: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Unpin + Send + 'static;

    /// The service for the connections of one peer.
    #[must_use]
    fn for_peer(&self, peer: Peer) -> Self {
        let _ = peer;
        self.clone()
    }

    /// Answers a request. Dropped where the client leaves.
    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to a head that never became a request.
    fn refuse(&self, problem: Problem) -> Response<Bytes>;
}

/// What all connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Settings {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    timeouts: Timeouts,
}

impl Settings {
    pub(super) fn new(config: &Config) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            .header_read_timeout(None)
            .max_header_size(config.head_bytes)
            .max_buf_size(config.head_bytes.saturating_add(1).max(BUFFER_BYTES_MIN))
            .timer(TokioTimer::new());
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            // Twice, so that the service sees heads that are over the bound and
            // refuses them itself; `h2` refuses larger ones with a bare 431.
            .max_header_list_size(u32::try_from(config.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .timer(TokioTimer::new());
        Self { http1, http2, timeouts: Timeouts { head: config.head_timeout, idle: config.idle_timeout } }
    }
}

/// Serves one connection until it ends or `stop` says so and it is drained.
pub(super) async fn serve<S: Service>(stream: TcpStream, service: S, settings: Arc<Settings>, stop: CancellationToken) {
    let activity = Activity::new();
    let mut socket = Socket::new(stream, Arc::clone(&activity));
    let detected = tokio::select! {
        biased;
        detected = socket.detect() => detected,
        overdue = activity.overdue(&settings.timeouts) => {
            return refuse_overdue(socket, &service, overdue).await;
        }
        () = stop.cancelled() => return,
    };
    let connection = Connection { service, activity, settings, stop };
    match detected {
        Ok(Protocol::Http1) => connection.http1(socket).await,
        Ok(Protocol::Http2) => connection.http2(socket).await,
        // The peer left before it said a word.
        Err(_) => {}
    }
}

struct Connection<S> {
    service: S,
    activity: Arc<Activity>,
    settings: Arc<Settings>,
    stop: CancellationToken,
}

impl<S: Service> Connection<S> {
    async fn http1(self, socket: Socket) {
        let service = hyper::service::service_fn(|request| tracked(&self.service, &self.activity, request, usize::MAX));
        let mut connection = self.settings.http1.serve_connection(TokioIo::new(socket), service);
        let mut overdue = pin!(self.activity.overdue(&self.settings.timeouts));
        let (mut stopping, mut stopped_while_idle) = (false, false);
        let overdue = loop {
            tokio::select! {
                biased;
                // What went wrong shows in the socket; the rest is the peer's doing.
                _ = &mut connection => break None,
                overdue = &mut overdue => break Some(overdue),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    stopped_while_idle = !self.activity.owes_an_answer();
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let socket = connection.into_parts().io.into_inner();
        if let Some(overdue) = overdue {
            refuse_overdue(socket, &self.service, overdue).await;
        } else if let Some(status) = socket.held_back() {
            refuse(socket.into_stream(), &self.service, malformed_head(status)).await;
        } else if !socket.has_ended() && !stopped_while_idle {
            // Also while stopping, which the time for draining bounds.
            linger(socket.into_stream()).await;
        }
    }

    async fn http2(self, socket: Socket) {
        let (service, activity) = (self.service.clone(), Arc::clone(&self.activity));
        let service = hyper::service::service_fn(move |request| {
            let (service, activity) = (service.clone(), Arc::clone(&activity));
            async move { tracked(&service, &activity, request, PIECE_BYTES).await }
        });
        let mut connection = pin!(self.settings.http2.serve_connection(TokioIo::new(socket), service));
        let overdue = tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            overdue = self.activity.overdue(&self.settings.timeouts) => Some(overdue),
            () = self.stop.cancelled() => None,
        };
        connection.as_mut().graceful_shutdown();
        match overdue {
            Some(Overdue::Reading) => {}
            // Time to say goodbye.
            Some(Overdue::Idle | Overdue::Head) => drop(tokio::time::timeout(LINGER, connection).await),
            None => {
                tokio::select! {
                    _ = connection => {}
                    _ = self.activity.overdue(&self.settings.timeouts) => {}
                }
            }
        }
    }
}

async fn tracked<S: Service>(
    service: &S,
    activity: &Arc<Activity>,
    request: Request<Incoming>,
    piece_bytes: usize,
) -> Result<Response<Tracked<S::Body>>, Infallible> {
    let mut in_flight = activity.request_began();
    let response = service.call(request).await;
    in_flight.answering();
    Ok(response.map(|body| Tracked { body, rest: Bytes::new(), piece_bytes, in_flight }))
}

/// A body whose request is in flight until the last of it is handed over.
struct Tracked<B> {
    body: B,
    /// What the body gave and is not handed over.
    rest: Bytes,
    piece_bytes: usize,
    in_flight: InFlight,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        this.in_flight.progressed();
        let piece = this.rest.split_to(this.rest.len().min(this.piece_bytes));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        // The upper first: a lower above it is a defect that panics.
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(body.lower().saturating_add(rest));
        hint
    }
}

/// The problem in place of what hyper would have said.
fn malformed_head(status: u16) -> Problem {
    match status {
        // 414 is for targets over 64 KiB, which hyper bounds by itself.
        431 | 414 => {
            Problem::new(Code::HeadersTooLarge, "the request's head is over its bound, or has over 100 headers")
        }
        _ => Problem::new(Code::BadRequest, "the request's head is not HTTP"),
    }
}

async fn refuse_overdue<S: Service>(socket: Socket, service: &S, overdue: Overdue) {
    match overdue {
        Overdue::Head => {
            let problem = Problem::new(Code::RequestTimeout, "the request's head did not arrive in time");
            refuse(socket.into_stream(), service, problem).await;
        }
        // There is nobody to tell.
        Overdue::Idle | Overdue::Reading => {}
    }
}

async fn refuse<S: Service>(mut stream: TcpStream, service: &S, problem: Problem) {
    let answer = http1_text(&service.refuse(problem));
    if matches!(tokio::time::timeout(LINGER, stream.write_all(&answer)).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// An answer as HTTP/1.1 writes it, for where hyper doesn't.
fn http1_text(response: &Response<Bytes>) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", status.as_u16());
    // Writing to a string doesn't fail.
    let _ = write!(head, "content-length: {}\r\n", response.body().len());
    let mut text = head.into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(response.body());
    text
}

/// Closes our side and reads what the peer still sends, for a while.
async fn linger(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        let mut discarded = [0; 8192];
        while stream.read(&mut discarded).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Whatever came of it, the connection is closed now.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn an_answer_is_handed_over_in_pieces_and_in_flight_until_the_last() {
        let activity = Activity::new();
        let body = Full::new(Bytes::from(vec![b'x'; 25]));
        let mut tracked = Tracked { body, rest: Bytes::new(), piece_bytes: 10, in_flight: activity.request_began() };
        for (length, left) in [(10, 15), (10, 5), (5, 0)] {
            let piece = tracked.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((piece.len(), tracked.size_hint().exact()), (length, Some(left)));
            assert_eq!(tracked.is_end_stream(), left == 0);
            assert!(activity.owes_an_answer());
        }
        assert!(tracked.frame().await.is_none());
        drop(tracked);
        assert!(!activity.owes_an_answer());
    }
}
