//! Connections, within their time.
//!
//! Owns how long a host may take until it can be asked: the look-up of its name, TCP and TLS together. Does not
//! choose addresses: `resolver` does. Invariant: a server that accepts and then says nothing holds nobody.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tower::Service;

use super::error::{Cause, ConnectTimeout};
use super::resolver::Resolver;

type Secured = HttpsConnector<HttpConnector<Resolver>>;

/// Connects over TCP and, where the URL says so, TLS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Secured,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(names: Resolver, tls: ClientConfig, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names);
        // TLS is put around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Of several addresses, each has its part of the time.
        tcp.set_connect_timeout(Some(timeout));
        let secured =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        Self { inner: secured.wrap_connector(tcp), timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = <Secured as Service<Uri>>::Response;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, timeout) = (self.inner.call(uri), self.timeout);
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| Err(ConnectTimeout.into()))
        })
    }
}
