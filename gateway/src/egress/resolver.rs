//! Names to addresses that may be connected to.
//!
//! Owns the look-up. Invariant: an address that leaves here was let through by the [`Filter`], and it
//! is the one that is connected to: nobody looks the name up a second time.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

use super::{Filter, owner};

/// One attempt at one name server; the exchange has its own time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a name server says is believed for no longer, so that a service that moved is found.
const BELIEVED_MAX: Duration = Duration::from_mins(1);
/// That there is no such name, for less: it may be about to be made.
const DISBELIEVED_MAX: Duration = Duration::from_secs(5);

/// Of one name. The time for connecting is shared by them all, and who needs more has a balancer.
const ADDRESSES_MAX: usize = 16;

/// At once. Each has a few sockets: for both kinds of address, and a second name server.
pub(super) const LOOK_UPS_MAX: usize = 32;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is none that steps may connect to.
    #[error("no address of the host is public")]
    Closed,
    /// Nobody knows the name.
    #[error("there is no such host")]
    Unknown,
    /// No answer, or none that helps.
    #[error("the name can't be looked up")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Looks names up as this machine does, and drops what is closed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Resolver {
    // The client clones its connector, and so this, for each request; a resolver has its search list by value.
    names: Arc<TokioResolver>,
    filter: Arc<Filter>,
    turns: Arc<Semaphore>,
}

impl Resolver {
    /// With this machine's name servers and its file of hosts.
    pub(super) fn system(filter: Arc<Filter>) -> Result<Self, Error> {
        Self::bounded(TokioResolver::builder_tokio().map_err(failed)?, filter)
    }

    fn bounded(mut builder: ResolverBuilder<TokioRuntimeProvider>, filter: Arc<Filter>) -> Result<Self, Error> {
        let options = builder.options_mut();
        options.timeout = ATTEMPT_TIMEOUT;
        options.positive_max_ttl = Some(BELIEVED_MAX);
        options.negative_max_ttl = Some(DISBELIEVED_MAX);
        Ok(Self {
            names: Arc::new(builder.build().map_err(failed)?),
            filter,
            turns: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
        })
    }

    /// With one name server, and the text of a file of hosts.
    #[cfg(test)]
    pub(super) fn for_tests(server: SocketAddr, hosts: &str, filter: Arc<Filter>) -> Self {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        let server = NameServerConfig::new(server.ip(), true, connections);
        let search = vec!["search.test.".parse().unwrap()];
        let config = ResolverConfig::from_parts(None, search, vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let mut resolver = Self::bounded(builder, filter).unwrap();
        let mut known = hickory_resolver::Hosts::default();
        known.read_hosts_conf(hosts.as_bytes()).unwrap();
        Arc::get_mut(&mut resolver.names).unwrap().set_hosts(Arc::new(known));
        resolver
    }

    async fn look_up(self, name: Name) -> Result<std::vec::IntoIter<SocketAddr>, Error> {
        // The owner's first: who waits for one of its own holds none of all.
        let owner = owner::current();
        let _own_turn = match &owner {
            Some(owner) => Some(owner.look_up().await.map_err(failed)?),
            None => None,
        };
        let _turn = self.turns.acquire().await.map_err(failed)?;
        let found = self.names.lookup_ip(asked(name.as_str()).as_ref()).await.map_err(|error| {
            if error.is_nx_domain() || error.is_no_records_found() { Error::Unknown } else { failed(error) }
        })?;
        // The connector puts the port in.
        let open: Vec<_> = found
            .iter()
            .filter(|address| self.filter.allows(*address))
            .map(|address| (address, 0).into())
            .take(ADDRESSES_MAX)
            .collect();
        if open.is_empty() { Err(Error::Closed) } else { Ok(open.into_iter()) }
    }
}

/// What has a dot is the whole name: a search list would lead one that isn't there, or not any more, to another host.
fn asked(name: &str) -> Cow<'_, str> {
    if name.contains('.') { format!("{name}.").into() } else { name.into() }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Failed(Box::new(error))
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().look_up(name))
    }
}
