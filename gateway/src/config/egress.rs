//! `[egress]`: how steps reach other servers.

use ipnet::{IpNet, Ipv4Net};

use super::print::Printer;
use super::reader::Section;

/// `[egress]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Networks that steps may reach although they are not everybody's.
    pub allow_private: Vec<IpNet>,
    /// Of one request's body.
    pub request_bytes: u64,
    /// Of one answer's body.
    pub response_bytes: u64,
    /// Exchanges with one host at once, of all executions together; connections that are kept, too.
    pub connections_per_host: usize,
    /// How long one exchange may take; never longer than the execution has left.
    pub timeout_ms: u64,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            allow_private: Vec::new(),
            // What a guest has room for beside itself; the gateway holds a copy while it is sent.
            request_bytes: 10 * 1024 * 1024,
            // A guest has 64 MiB by default, and this arrives in it as a copy.
            response_bytes: 10 * 1024 * 1024,
            // Servers and balancers take hundreds from one client.
            connections_per_host: 100,
            timeout_ms: 30_000,
        }
    }
}

impl Egress {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            allow_private: section.list("allow_private", |text| {
                // A lone address is a network of one.
                let network =
                    text.parse().or_else(|error| text.parse::<std::net::IpAddr>().map(Into::into).map_err(|_| error));
                network.map(canonical).map_err(|_| "expected networks such as \"10.1.0.0/16\"")
            }),
            request_bytes: section.integer("request_bytes", default.request_bytes, 1..=1024 * 1024 * 1024),
            response_bytes: section.integer("response_bytes", default.response_bytes, 1..=1024 * 1024 * 1024),
            connections_per_host: section.integer("connections_per_host", default.connections_per_host, 1..=10_000),
            timeout_ms: section.integer("timeout_ms", default.timeout_ms, 1..=3_600_000),
        }
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.section("egress");
        printer.strings("allow_private", self.allow_private.iter());
        printer.number("request_bytes", self.request_bytes);
        printer.number("response_bytes", self.response_bytes);
        printer.number("connections_per_host", self.connections_per_host);
        printer.number("timeout_ms", self.timeout_ms);
    }
}

/// IPv4 addresses that are written as IPv6 ones are those: that is how an address is looked for in these networks.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let inside = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    inside.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_mapped_addresses_is_the_one_that_they_stand_for() {
        for (text, meant) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(canonical(text.parse().unwrap()).to_string(), meant, "{text}");
        }
    }
}
