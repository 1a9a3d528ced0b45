//! Exchanges with other servers.
//!
//! Owns the pool of connections, and the bounds of one exchange. Does not ask for permissions: who
//! sends has. Invariants: nothing closed is connected to, whether the URL has a name or an address;
//! no exchange takes longer or brings more than it may; and one that is dropped ends at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::{Instant, timeout_at};

use super::allowance::{Allowance, AnswerRoom, Room};
use super::body::{Outgoing, RequestBody, ResponseBody, Share, Streamed};
use super::connector::{Connector, Limits};
use super::error::{Cause, Error, Failure, Wait};
use super::hosts::Hosts;
use super::owner::{self, Owner, Owners};
use super::resolver::Resolver;
use super::{Filter, Target, headers};
use crate::config;

/// Of a head that comes back: what this gateway takes of a request's.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
const HEADERS_MAX: usize = 200;

/// A connection that nobody used for so long is closed: before the minute or more that servers
/// and balancers wait, since a request on one that they close is lost.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long a server may take until it can be asked, of the time of the exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server may send ahead of an answer over HTTP/2 that nobody reads.
const WINDOW_BYTES: u32 = 256 * 1024;

/// Of an answer that is held whole. Below it is as much as the buffers of its connection, and all answers that
/// are under way have no more together than the executions that wait for them have memory.
const FREE_BYTES: u64 = 64 * 1024;

/// An HTTP/2 connection that many share and that has gone quiet is asked whether it still is one; without it,
/// each exchange on a dead one would wait for its own end.
const PING_AFTER: Duration = Duration::from_secs(10);
const PONG_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked; `B` is a whole body, or one that is made while it is sent ([`RequestBody`]).
#[derive(Debug)]
pub struct Request<B = Bytes> {
    /// One that [`super::method`] lets through.
    pub method: Method,
    /// Whom, and for what.
    pub target: Target,
    /// Those that [`headers::outgoing`] lets through.
    pub headers: HeaderMap,
    /// At most `[egress] request_bytes`.
    pub body: B,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Any but 101; redirects are not followed.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came: nothing is decompressed.
    pub body: Bytes,
    /// Its part of the memory for answers, to be kept for as long as the body is; `None` of a small one.
    pub room: Option<AnswerRoom>,
}

/// How long an exchange may take; never longer than `[egress] timeout_ms` in all.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The end of all of it.
    pub deadline: Instant,
    /// From the turn at the host until it can be asked.
    pub connect: Duration,
    /// Until the head of the answer is there, with all that is before it.
    pub first_byte: Duration,
    /// From some bytes of its body to the next.
    pub between_bytes: Duration,
}

impl Times {
    /// Nothing but an end.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, connect: Duration::MAX, first_byte: Duration::MAX, between_bytes: Duration::MAX }
    }
}

/// Why the way out can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name servers of this machine aren't known.
    #[error("the configuration of this machine's name servers can't be used")]
    Names(#[source] Cause),
    /// The certificates that this machine trusts can't be read.
    #[error("TLS to other servers can't be set up")]
    Tls(#[from] rustls::Error),
}

/// The way out. One for a process, so that connections are shared by all executions.
pub struct Egress {
    client: Client<Connector, Outgoing>,
    filter: Arc<Filter>,
    hosts: Hosts,
    owners: Owners,
    room: Room,
    config: config::Egress,
}

impl Egress {
    /// Opens it; nothing is connected to yet.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn open(config: &config::Egress) -> Result<Self, OpenError> {
        let filter = Arc::new(Filter::new(config.allow_private.clone()));
        let names = Resolver::system(Arc::clone(&filter)).map_err(|error| OpenError::Names(error.into()))?;
        let tls = tls_versions()?.with_platform_verifier()?.with_no_client_auth();
        Ok(Self::with(config, filter, Connector::new(names, tls, Limits::of_this_machine(CONNECT_TIMEOUT))))
    }

    fn with(config: &config::Egress, filter: Arc<Filter>, connector: Connector) -> Self {
        let owners = Owners::new(connector.connections(), config.response_bytes);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(config.connections_per_host)
            .http1_max_buf_size(HEAD_BYTES_MAX as usize)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(HEAD_BYTES_MAX)
            // An answer that nobody reads must not stop the others on its connection.
            .http2_initial_stream_window_size(WINDOW_BYTES)
            .http2_initial_connection_window_size(connection_window(config.connections_per_host))
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PONG_TIMEOUT)
            .build(connector);
        let (hosts, room) = (Hosts::new(config.connections_per_host), Room::for_answers_of(config.response_bytes));
        Self { client, filter, hosts, owners, room, config: config.clone() }
    }

    /// What a request's body may have: the configuration's `[egress] request_bytes`.
    #[must_use]
    pub fn request_bytes(&self) -> u64 {
        self.config.request_bytes
    }

    /// What one execution may have at once. Executions with the same `owner` share its part of the look-ups and of
    /// the connections.
    #[must_use]
    pub fn allowance(&self, owner: &str) -> Allowance {
        Allowance::of(self.owners.get(owner))
    }

    /// One exchange, until `deadline` at the latest, as the `allowance`'s owner's; it is not one of those that an
    /// execution may have at once. A call that is dropped closes its connection.
    ///
    /// # Errors
    /// Why there is no answer. The other side was not asked where that is [`Error::Closed`],
    /// [`Error::RequestTooLarge`], [`Error::Length`] or a [`Failure`] on the way to it; after all others nobody knows
    /// whether it acted.
    pub async fn send(&self, request: Request, deadline: Instant, allowance: &Allowance) -> Result<Response, Error> {
        let bytes_max = self.config.request_bytes;
        let Request { method, target, mut headers, body } = request;
        let bytes = body.len() as u64;
        if bytes > bytes_max {
            return Err(Error::RequestTooLarge(bytes_max));
        }
        // The client writes it.
        if headers.remove(CONTENT_LENGTH).is_some_and(|said| headers::length(&said) != Some(bytes)) {
            return Err(Error::Length);
        }
        let whole = Request { method, target, headers, body: Outgoing::Whole(Full::new(body)) };
        let (head, body) = self.exchange(whole, Times::until(deadline), allowance.owner(), None).await?.into_parts();
        let (body, room) = self.collected(body, &allowance.owner()).await?;
        Ok(Response { status: head.status, headers: head.headers, body, room })
    }

    /// The same with bodies that pass while they are made, as many at once as the execution's `allowance` has. The
    /// answer's body has the same bounds, and ends the exchange when it is dropped. Trailers of the request are not
    /// sent.
    ///
    /// # Errors
    /// As of [`Egress::send`]; a request's body that is too large, or shorter than its `content-length` says, is only
    /// known when a part of it was sent. What comes after that length may not be asked for.
    pub async fn stream(
        &self,
        request: Request<RequestBody>,
        times: Times,
        allowance: &Allowance,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let bytes_max = self.config.request_bytes;
        let Request { method, target, headers, body } = request;
        let length = headers.get(CONTENT_LENGTH).map(|said| headers::length(said).ok_or(Error::Length)).transpose()?;
        if length.unwrap_or_default().max(body.size_hint().lower()) > bytes_max {
            return Err(Error::RequestTooLarge(bytes_max));
        }
        let body = Outgoing::Streamed(Streamed::new(body, bytes_max, length));
        self.exchange(Request { method, target, headers, body }, times, allowance.owner(), Some(allowance)).await
    }

    /// What `send` and `stream` share: until the head is there.
    async fn exchange(
        &self,
        request: Request<Outgoing>,
        times: Times,
        owner: Arc<Owner>,
        allowance: Option<&Allowance>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        // The connector takes an address in a URL as it is, without asking a resolver.
        if request.target.address().is_some_and(|address| !self.filter.allows(address)) {
            return Err(Error::Closed);
        }
        let now = Instant::now();
        let deadline = times.deadline.min(now + Duration::from_millis(self.config.timeout_ms));
        let first_byte = now.checked_add(times.first_byte).map_or(deadline, |first| first.min(deadline));
        let share = timeout_at(first_byte, self.share(&request.target, allowance)).await;
        let share = share.map_err(|_| Error::TimedOut(Wait::Connection))?;
        let connected = Instant::now().checked_add(times.connect).map_or(first_byte, |by| by.min(first_byte));
        let answer = owner::asking(owner, self.ask(request, connected, first_byte)).await?;
        let bytes_max = self.config.response_bytes;
        Ok(answer.map(|body| ResponseBody::new(body, share, bytes_max, deadline, times.between_bytes)))
    }

    /// The execution's part first: one that has its own all taken holds no turn that others wait for.
    async fn share(&self, target: &Target, allowance: Option<&Allowance>) -> Share {
        let allowed = match allowance {
            Some(allowance) => allowance.take().await,
            None => None,
        };
        Share { _turn: self.hosts.turn(target).await, _allowed: allowed }
    }

    async fn ask(
        &self,
        request: Request<Outgoing>,
        connected: Instant,
        first_byte: Instant,
    ) -> Result<http::Response<Incoming>, Error> {
        let Request { method, target, headers, body } = request;
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() =
            target.url().as_str().parse().map_err(|error: http::uri::InvalidUri| Error::failed(Failure::Url, error))?;
        *outgoing.version_mut() = Version::HTTP_11;
        *outgoing.headers_mut() = headers;
        let mut connection = capture_connection(&mut outgoing);
        let mut answering = pin!(self.client.request(outgoing));
        let answer = if connected == first_byte {
            // One moment for both: what was waited for is asked when it has come.
            timeout_at(first_byte, answering).await.map_err(|_| {
                let is_connected = connection.connection_metadata().is_some();
                Error::TimedOut(if is_connected { Wait::Head } else { Wait::Connection })
            })?
        } else {
            let connecting = async { connection.wait_for_connection_metadata().await.is_some() };
            tokio::select! {
                biased;
                // One that isn't connected to is told of here only.
                answer = &mut answering => answer,
                in_time = timeout_at(connected, connecting) => {
                    in_time.map_err(|_| Error::TimedOut(Wait::Connection))?;
                    timeout_at(first_byte, answering).await.map_err(|_| Error::TimedOut(Wait::Head))?
                }
            }
        };
        let mut answer = answer.map_err(Error::of_client)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::failed(Failure::NotHttp, "another protocol, that nobody asked for"));
        }
        // The chunks counted, RFC 9112, section 6.3; who reads on must not take the other.
        if answer.headers().contains_key(TRANSFER_ENCODING) {
            answer.headers_mut().remove(CONTENT_LENGTH);
        }
        Ok(answer)
    }

    /// The body as one piece, and its part of the memory for answers; of one that came as one, nothing is copied.
    async fn collected(&self, mut body: ResponseBody, owner: &Owner) -> Result<(Bytes, Option<AnswerRoom>), Error> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut room = self.room_for(&body, body.size_hint().lower(), owner).await?;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if room.is_none() && (first.len() + all.len() + data.len()) as u64 > FREE_BYTES {
                // All that may still come, so that it is waited for once.
                room = self.room_for(&body, self.config.response_bytes, owner).await?;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        let whole = if all.is_empty() { first } else { all.freeze() };
        if let Some(room) = &mut room {
            room.keep(whole.len());
        }
        Ok((whole, room))
    }

    /// Room for an answer of so many bytes, where they count; more than it may have are never waited for.
    async fn room_for(&self, body: &ResponseBody, bytes: u64, owner: &Owner) -> Result<Option<AnswerRoom>, Error> {
        if bytes <= FREE_BYTES || bytes > self.config.response_bytes {
            return Ok(None);
        }
        timeout_at(body.deadline(), AnswerRoom::take([owner.answers(), &self.room], bytes))
            .await
            .map_err(|_| Error::TimedOut(Wait::Body))
    }
}

/// Of one connection: all exchanges that it may have at once can leave all of their windows unread.
fn connection_window(exchanges: usize) -> u32 {
    // RFC 9113, section 6.9.1.
    const MOST: u32 = (1 << 31) - 1;
    u32::try_from(exchanges).unwrap_or(MOST).saturating_mul(WINDOW_BYTES).min(MOST)
}

fn tls_versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("filter", &self.filter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
