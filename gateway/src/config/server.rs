//! `[server]`: where and how requests are taken.

use std::net::SocketAddr;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    /// The address to listen on; loopback unless the operator says otherwise.
    pub listen: SocketAddr,
    /// How long requests may go on after SIGTERM.
    pub drain_ms: u64,
    /// A request's head: request line and headers together.
    pub head_bytes: usize,
    /// A request's body, uploads of modules aside (`[limits] module_bytes`).
    pub body_bytes: usize,
    /// Time to the end of a head, from its first byte.
    pub head_timeout_ms: u64,
    /// Time to the end of a body; large ones get more as they arrive.
    pub body_timeout_ms: u64,
    /// How long a connection may be kept without a request.
    pub idle_timeout_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            drain_ms: 10_000,
            head_bytes: 65_536,
            body_bytes: 10 * 1024 * 1024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
        }
    }
}
