//! Connections, within their time and number.
//!
//! Owns how long a host may take until it can be asked (the look-up of its name, TCP and TLS together), and how
//! many connections there are to all hosts. Does not choose addresses: `resolver` does; nor what one owner may
//! have of them: `owner` does. Invariants: a server
//! that accepts and then says nothing holds nobody; and connections that nobody uses leave room for others.

use std::io::{IoSlice, Result as IoResult};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use rustix::process::{Resource, getrlimit};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use super::error::{Cause, ConnectTimeout};
use super::owner::{self, Owner};
use super::resolver::Resolver;

/// To all hosts: four for each of the executions that run at once by default.
const CONNECTIONS_MAX: usize = 4_096;

type Secured = HttpsConnector<HttpConnector<Resolver>>;
type Stream = <Secured as Service<Uri>>::Response;

/// What connecting may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeout: Duration,
    /// At once. A module that may ask any host of a domain, `*.example.com`, has as many hosts as it likes, and
    /// each leaves a connection behind that nobody uses.
    pub(super) connections: usize,
}

impl Limits {
    /// As many as there are files for, with as many left for who asks this gateway, and a second socket for
    /// each while the host's addresses of both kinds are tried.
    pub(super) fn of_this_machine(timeout: Duration) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
        Self { timeout, connections: usize::try_from(files).unwrap_or(usize::MAX).clamp(2, CONNECTIONS_MAX) }
    }
}

/// Connects over TCP and, where the URL says so, TLS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Secured,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(names: Resolver, tls: ClientConfig, limits: Limits) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names);
        // TLS is put around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Of several addresses, each has its part of the time.
        tcp.set_connect_timeout(Some(limits.timeout));
        let secured =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { inner: secured.wrap_connector(tcp), limits, places }
    }

    /// How many connections there may be at once.
    pub(super) const fn connections(&self) -> usize {
        self.limits.connections
    }

    async fn connect(mut self, uri: Uri, owner: Arc<Owner>) -> Result<Placed, Cause> {
        // Its own first: who waits for one of those holds none of all.
        let own = owner.place().await?;
        let place = Arc::clone(&self.places).acquire_owned().await?;
        // The half that is left is for connections that end with their exchange.
        let is_kept = owner.has_room() && self.places.available_permits() >= self.limits.connections / 2;
        // Another task may go on with it, where a connection is free before this one is made.
        let stream = owner::asking(owner, self.inner.call(uri)).await?;
        Ok(Placed { stream, is_kept, _own: own, _place: place })
    }
}

impl Service<Uri> for Connector {
    type Response = Placed;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Placed, Cause>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(owner) = owner::current() else { return Box::pin(async { Err(NoOwner.into()) }) };
        let (timeout, connecting) = (self.limits.timeout, self.clone().connect(uri, owner));
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| Err(ConnectTimeout.into()))
        })
    }
}

/// A defect of this room: every request is polled as its owner's.
#[derive(Debug, thiserror::Error)]
#[error("nobody asks for this connection")]
struct NoOwner;

/// A connection that has a place among all.
pub(super) struct Placed {
    stream: Stream,
    is_kept: bool,
    _own: owner::Place,
    _place: OwnedSemaphorePermit,
}

impl Connection for Placed {
    fn connected(&self) -> Connected {
        let connected = self.stream.connected();
        if !self.is_kept {
            connected.poison();
        }
        connected
    }
}

impl Read for Placed {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for Placed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
