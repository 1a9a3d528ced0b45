//! Exchanges with other servers.
//!
//! Owns the pool of connections, and the bounds of one exchange. Does not ask for permissions: who
//! sends has. Invariants: nothing closed is connected to, whether the URL has a name or an address;
//! no exchange takes longer or brings more than it may; and one that is dropped ends at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::Instant;

use super::hosts::Hosts;
use super::resolver::{self, Resolver};
use super::{Filter, Target};
use crate::config;

/// Of a head that comes back: what this gateway takes of a request's.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 200;

/// A connection that nobody used for so long is closed: before the minute or more that servers
/// and balancers wait, since a request on one that they close is lost.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long a server may take to be connected to, of the time of the exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// Any but `CONNECT`.
    pub method: Method,
    /// Whom, and for what.
    pub target: Target,
    /// Without those of the connection.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Any; redirects are not followed.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came: nothing is decompressed.
    pub body: Bytes,
}

/// Why nothing came back. The words hold neither addresses nor what was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL's address, or all of its host's, are closed to steps.
    #[error("no address of the host is public")]
    Closed,
    /// The time is over.
    #[error("there was no whole answer in time")]
    TimedOut,
    /// The answer is larger than it may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(u64),
    /// The other side, or the way to it.
    #[error("{what}")]
    Failed {
        /// In which part.
        what: &'static str,
        /// For the operator.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why the way out can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name servers of this machine aren't known.
    #[error("the configuration of this machine's name servers can't be used")]
    Names(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The certificates that this machine trusts can't be read.
    #[error("TLS to other servers can't be set up")]
    Tls(#[from] rustls::Error),
}

/// The way out. One for a process, so that connections are shared by all executions.
pub struct Egress {
    client: Client<Connector, Full<Bytes>>,
    filter: Arc<Filter>,
    hosts: Hosts,
    config: config::Egress,
}

impl Egress {
    /// Opens it; nothing is connected to yet.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn open(config: &config::Egress) -> Result<Self, OpenError> {
        let filter = Arc::new(Filter::new(config.allow_private.clone()));
        let resolver = Resolver::system(Arc::clone(&filter)).map_err(|error| OpenError::Names(error.into()))?;
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        // TLS is put around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(config.connections_per_host)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(HEAD_BYTES_MAX as u32)
            .http2_adaptive_window(true)
            .build(connector.wrap_connector(tcp));
        let hosts = Hosts::new(config.connections_per_host);
        Ok(Self { client, filter, hosts, config: config.clone() })
    }

    /// One exchange, until `deadline` at the latest. A call that is dropped closes its connection.
    ///
    /// # Errors
    /// Why there is no answer. Whether the other side acted on the request is then not known, unless it
    /// is [`Error::Closed`].
    pub async fn send(&self, request: Request, deadline: Instant) -> Result<Response, Error> {
        // The connector takes an address in a URL as it is, without asking a resolver.
        if request.target.address().is_some_and(|address| !self.filter.allows(address)) {
            return Err(Error::Closed);
        }
        let deadline = deadline.min(Instant::now() + Duration::from_millis(self.config.timeout_ms));
        tokio::time::timeout_at(deadline, self.exchange(request)).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, body } = request;
        let _turn = self.hosts.turn(&target).await;
        let mut outgoing = http::Request::new(Full::new(body));
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = target.url().as_str().parse().map_err(|error| failed("the URL can't be sent", error))?;
        *outgoing.version_mut() = Version::HTTP_11;
        *outgoing.headers_mut() = headers;
        let (head, body) = self.client.request(outgoing).await.map_err(told)?.into_parts();
        let body = self.receive(body).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    async fn receive(&self, mut body: Incoming) -> Result<Bytes, Error> {
        let most = self.config.response_bytes;
        let mut received = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed("the answer broke off", error))?;
            let Ok(data) = frame.into_data() else { continue };
            if (received.len() + data.len()) as u64 > most {
                return Err(Error::TooLarge(most));
            }
            received.extend_from_slice(&data);
        }
        Ok(received.freeze())
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// What a failure of the client means.
fn told(error: hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        match this.downcast_ref::<resolver::Error>() {
            Some(resolver::Error::Closed) => return Error::Closed,
            Some(resolver::Error::Unknown) => return failed("there is no such host", error),
            Some(resolver::Error::Failed(_)) => return failed("the host's name can't be looked up", error),
            None => {}
        }
        if this.is::<rustls::Error>() {
            return failed("TLS with the host failed", error);
        }
        if let Some(http) = this.downcast_ref::<hyper::Error>() {
            if http.is_parse_too_large() {
                return failed("the head of the answer is too large", error);
            }
            if http.is_parse() {
                return failed("the answer is not HTTP", error);
            }
        }
        cause = this.source();
    }
    if error.is_connect() {
        failed("the host can't be connected to", error)
    } else {
        failed("the host closed the connection", error)
    }
}

fn failed(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Failed { what, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
