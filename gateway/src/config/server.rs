//! `[server]`: where and how requests are taken.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::print::Printer;
use super::reader::Section;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How long a connection may be kept without a request, or with an answer that nobody takes.
    pub idle_timeout_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Self::LISTEN_DEFAULT,
            drain_ms: 10_000,
            head_bytes: 65_536,
            body_bytes: 10 * 1024 * 1024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
        }
    }
}

/// More than a day is a mistake in the unit.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Server {
    /// Where a gateway listens, and where commands look for one, unless told.
    pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            listen: section.text("listen", default.listen, |text| {
                text.parse().map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080")
            }),
            drain_ms: section.integer("drain_ms", default.drain_ms, 1..=DAY_MS),
            head_bytes: section.integer("head_bytes", default.head_bytes, 1024..=1024 * 1024),
            body_bytes: section.integer("body_bytes", default.body_bytes, 1024..=1024 * 1024 * 1024),
            head_timeout_ms: section.integer("head_timeout_ms", default.head_timeout_ms, 1..=DAY_MS),
            body_timeout_ms: section.integer("body_timeout_ms", default.body_timeout_ms, 1..=DAY_MS),
            idle_timeout_ms: section.integer("idle_timeout_ms", default.idle_timeout_ms, 1..=DAY_MS),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("server");
        printer.string("listen", &self.listen.to_string());
        printer.number("drain_ms", self.drain_ms);
        printer.number("head_bytes", self.head_bytes);
        printer.number("body_bytes", self.body_bytes);
        printer.number("head_timeout_ms", self.head_timeout_ms);
        printer.number("body_timeout_ms", self.body_timeout_ms);
        printer.number("idle_timeout_ms", self.idle_timeout_ms);
    }
}
