//! Accepting connections, and ending them.
//!
//! Owns the accept loop, the bound on connections and the drain. Does not own
//! what a connection does (`connection`). Invariant: when [`serve`] returns, no
//! connection is left.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::connection::{self, Service, Settings};
use crate::config;

/// Connections at once. Each may hold a head and a read buffer of 64 KiB, so
/// this is well over a gigabyte at worst, and it leaves room below the usual
/// limit of files for a process under systemd. Those beyond it are closed at once.
const CONNECTIONS_MAX: usize = 10_000;
/// How long accepting rests after an error that passes by itself, such as too
/// many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long requests may go on once told to stop.
    pub drain: Duration,
    /// A head: request line and headers together.
    pub head_bytes: usize,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// How long a connection may be kept without a request.
    pub idle_timeout: Duration,
}

impl From<&config::Server> for Config {
    fn from(server: &config::Server) -> Self {
        Self {
            drain: Duration::from_millis(server.drain_ms),
            head_bytes: server.head_bytes,
            head_timeout: Duration::from_millis(server.head_timeout_ms),
            idle_timeout: Duration::from_millis(server.idle_timeout_ms),
        }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Connections that were not done when the time to drain was over.
    pub cut: usize,
}

/// Serves until `shutdown` resolves, then drains. Dropping the call cuts all
/// connections.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: S,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Report {
    let settings = Arc::new(Settings::new(&config));
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(&ended),
            (stream, peer) = accept(&listener) => {
                // Beyond the bound the stream is dropped, which closes it.
                if connections.len() < CONNECTIONS_MAX {
                    let service = service.for_peer(peer);
                    connections.spawn(connection::serve(stream, service, Arc::clone(&settings), stop.clone()));
                }
            }
        }
    }
    drop(listener);
    stop.cancel();
    drain(connections, config.drain).await
}

async fn accept(listener: &TcpListener) -> (TcpStream, Peer) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are written whole; waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                return (stream, Peer::new(address.ip()));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no connection can be accepted now");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn drain(mut connections: JoinSet<()>, time: Duration) -> Report {
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(&ended);
        }
    };
    let in_time = tokio::time::timeout(time, drained).await.is_ok();
    let cut = if in_time { 0 } else { connections.len() };
    connections.shutdown().await;
    Report { cut }
}

fn log_panic(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = error as &dyn std::error::Error, "a connection ended by a panic");
    }
}

#[cfg(test)]
mod tests;
