//! Which addresses are reached from here, and which never.
//!
//! Owns what is global. Does not resolve names. Invariant: an address that is not certainly
//! everybody's is refused, also where it is inside another one.
//!
//! After the IANA special-purpose address registries,
//! <https://www.iana.org/assignments/iana-ipv4-special-registry> and
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>, as of 2025-10.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Who may be reached.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// What the operator opened of what is closed to everybody.
    allowed: Vec<IpNet>,
}

impl Filter {
    /// Everything global, and these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a step may connect to it.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address in an IPv6 socket is that IPv4 address, and the operator's list means it.
        let address = address.to_canonical();
        is_global(address) || self.allowed.iter().any(|network| network.contains(&address))
    }
}

/// Whether an address is one of the public internet's.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

/// Blocks that are not everybody's, with the length of their prefix.
const CLOSED_V4: &[(Ipv4Addr, u8)] = &[
    // "This network", RFC 791; 0.0.0.0 is this host.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private use, RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared address space of providers, RFC 6598.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback, RFC 1122.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, RFC 3927; the metadata services of clouds are here.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments, RFC 6890. Two of them are global, and nobody's API.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation, RFC 5737.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // AS112, RFC 7534 and 7535: sinks for queries about private addresses.
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    // AMT, RFC 7450.
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    // 6to4 relays, RFC 7526.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarks, RFC 2544.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast, RFC 5771.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, RFC 1112, and broadcast, RFC 919.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_global_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4.iter().any(|&(network, length)| {
        let mask = u32::MAX << (32 - u32::from(length));
        address.to_bits() & mask == network.to_bits()
    })
}

/// What is given out to everybody is in here, RFC 4291; all else is reserved, local, multicast, or stands
/// for an IPv4 address. Those of `64:ff9b::/96` are judged by it; all others that do are closed.
const OPEN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks of that which are not everybody's.
const CLOSED_V6: &[(Ipv6Addr, u8)] = &[
    // Protocol assignments, RFC 2928: Teredo (2001::/32), benchmarks (2001:2::/48), ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation, RFC 3849 and 9637.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, RFC 3056: an IPv4 address, reached through a relay.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // AS112, RFC 7534.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// IPv4 addresses for hosts that only have IPv6, RFC 6052. Where a network translates, its names have these, so
/// they are what the IPv4 address inside is.
const TRANSLATED: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// An IPv4 address in an interface's identifier, RFC 5214, with the bit for "local" and "universal" left out.
const ISATAP: u64 = 0x0000_5efe_0000_0000;
const ISATAP_MASK: u64 = 0xfdff_ffff_0000_0000;

fn is_global_v6(address: Ipv6Addr) -> bool {
    let within = |&(network, length): &(Ipv6Addr, u8)| {
        let mask = u128::MAX << (128 - u32::from(length));
        address.to_bits() & mask == network.to_bits()
    };
    let [.., a, b, c, d] = address.octets();
    let inside = Ipv4Addr::new(a, b, c, d);
    if within(&TRANSLATED) {
        return is_global_v4(inside);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the identifier is the lower half")]
    let identifier = address.to_bits() as u64;
    if identifier & ISATAP_MASK == ISATAP && !is_global_v4(inside) {
        return false;
    }
    within(&OPEN_V6) && !CLOSED_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether the registry says "globally reachable", and whether steps reach it.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Reach {
        /// "False", or "N/A": closed.
        No,
        /// "True" and closed all the same: servers of the network itself, translations and tunnels, and no API.
        Infrastructure,
        /// Judged by the IPv4 address inside.
        Inside,
    }
    use Reach::{Infrastructure, Inside, No};

    /// Both registries, row by row, and the multicast registries' blocks.
    const REGISTRY: &[(&str, &str, Reach)] = &[
        ("0.0.0.0/8", "\"this network\"", No),
        ("0.0.0.0/32", "\"this host on this network\"", No),
        ("10.0.0.0/8", "private use", No),
        ("100.64.0.0/10", "shared address space", No),
        ("127.0.0.0/8", "loopback", No),
        ("169.254.0.0/16", "link-local, and metadata", No),
        ("172.16.0.0/12", "private use", No),
        ("192.0.0.0/24", "IETF protocol assignments", No),
        ("192.0.0.0/29", "IPv4 service continuity prefix", No),
        ("192.0.0.8/32", "IPv4 dummy address", No),
        ("192.0.0.9/32", "port control protocol anycast", Infrastructure),
        ("192.0.0.10/32", "TURN anycast", Infrastructure),
        ("192.0.0.170/32", "NAT64/DNS64 discovery", No),
        ("192.0.0.171/32", "NAT64/DNS64 discovery", No),
        ("192.0.2.0/24", "documentation (TEST-NET-1)", No),
        ("192.31.196.0/24", "AS112-v4", Infrastructure),
        ("192.52.193.0/24", "AMT", Infrastructure),
        ("192.88.99.0/24", "deprecated (6to4 relay anycast)", No),
        ("192.88.99.2/32", "6a44 relay anycast", No),
        ("192.168.0.0/16", "private use", No),
        ("192.175.48.0/24", "direct delegation AS112 service", Infrastructure),
        ("198.18.0.0/15", "benchmarking", No),
        ("198.51.100.0/24", "documentation (TEST-NET-2)", No),
        ("203.0.113.0/24", "documentation (TEST-NET-3)", No),
        ("224.0.0.0/4", "multicast", No),
        ("240.0.0.0/4", "reserved", No),
        ("255.255.255.255/32", "limited broadcast", No),
        ("::1/128", "loopback", No),
        ("::/128", "unspecified", No),
        ("::/96", "IPv4-compatible, deprecated", No),
        ("::ffff:0:0/96", "IPv4-mapped", Inside),
        ("64:ff9b::/96", "IPv4-IPv6 translation", Inside),
        ("64:ff9b:1::/48", "IPv4-IPv6 translation", No),
        ("100::/64", "discard-only", No),
        ("100:0:0:1::/64", "dummy IPv6 prefix", No),
        ("2001::/23", "IETF protocol assignments", No),
        ("2001::/32", "Teredo", No),
        ("2001:1::1/128", "port control protocol anycast", Infrastructure),
        ("2001:1::2/128", "TURN anycast", Infrastructure),
        ("2001:1::3/128", "DNS-SD service registration anycast", Infrastructure),
        ("2001:2::/48", "benchmarking", No),
        ("2001:3::/32", "AMT", Infrastructure),
        ("2001:4:112::/48", "AS112-v6", Infrastructure),
        ("2001:10::/28", "deprecated (ORCHID)", No),
        ("2001:20::/28", "ORCHIDv2", Infrastructure),
        ("2001:30::/28", "drone remote ID", Infrastructure),
        ("2001:db8::/32", "documentation", No),
        ("2002::/16", "6to4", No),
        ("2620:4f:8000::/48", "direct delegation AS112 service", Infrastructure),
        ("3fff::/20", "documentation", No),
        ("5f00::/16", "segment routing (SRv6) SIDs", No),
        ("fc00::/7", "unique-local", No),
        ("fe80::/10", "link-local unicast", No),
        ("fec0::/10", "site-local, deprecated", No),
        ("ff00::/8", "multicast", No),
    ];

    /// Just outside of those blocks, and well-known.
    const GLOBAL: &[&str] = &[
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:db7:ffff::1",
        "2001:db9::",
        "2003::",
        "2606:4700:4700::1111",
        "2620:4f:7fff::1",
        "3ffe:ffff::1",
        "3fff:1000::",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn allows(address: IpAddr) -> bool {
        Filter::default().allows(address)
    }

    #[test]
    fn nothing_of_the_special_registries_is_reached_and_what_is_beside_them_is() {
        for (block, what, _) in REGISTRY.iter().filter(|(_, _, reach)| *reach != Inside) {
            let block: IpNet = block.parse().unwrap();
            for address in [block.network(), block.broadcast()] {
                assert!(!allows(address), "{what}: {address}");
            }
        }
        for text in GLOBAL {
            assert!(allows(address(text)), "{text}");
        }
    }

    #[test]
    fn what_stands_for_an_ipv4_address_is_what_that_is() {
        for (block, what, _) in REGISTRY.iter().filter(|(_, _, reach)| *reach == Inside) {
            let start = block.parse::<ipnet::Ipv6Net>().unwrap().network().to_bits();
            for (inside, reached) in [("8.8.8.8", true), ("127.0.0.1", false), ("169.254.169.254", false)] {
                let bits = start | u128::from(inside.parse::<Ipv4Addr>().unwrap().to_bits());
                assert_eq!(allows(Ipv6Addr::from_bits(bits).into()), reached, "{what} of {inside}");
            }
        }
        for (text, reached) in [
            ("2606:4700::5efe:10.0.0.1", false),
            ("2606:4700::200:5efe:169.254.169.254", false),
            ("2606:4700::5efe:8.8.8.8", true),
        ] {
            assert_eq!(allows(address(text)), reached, "{text}");
        }
    }

    #[test]
    fn an_operator_opens_networks_and_their_addresses_in_any_form() {
        let filter = Filter::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "8.8.8.8"] {
            assert!(filter.allows(address(text)), "{text}");
        }
        for text in ["10.2.0.1", "::ffff:10.2.0.1", "::10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::", "fc00::1"] {
            assert!(!filter.allows(address(text)), "{text}");
        }
    }

    proptest! {
        /// However an IPv4 address that is closed is written as an IPv6 one, it is closed.
        #[test]
        fn a_closed_address_is_closed_inside_of_others(row in 0_usize..27, place: u32) {
            let block: ipnet::Ipv4Net = REGISTRY[row].0.parse().unwrap();
            let closed = Ipv4Addr::from_bits(block.network().to_bits() | place & block.hostmask().to_bits());
            prop_assert!(!allows(closed.into()));
            let [a, b, c, d] = closed.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for inside in [
                closed.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
                Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
            ] {
                prop_assert!(!allows(inside.into()), "{inside}");
            }
        }
    }
}
