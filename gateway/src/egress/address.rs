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
    (Ipv4Addr::new(0, 0, 0, 0), 8),
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
/// for an IPv4 address.
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

fn is_global_v6(address: Ipv6Addr) -> bool {
    let within = |&(network, length): &(Ipv6Addr, u8)| {
        let mask = u128::MAX << (128 - u32::from(length));
        address.to_bits() & mask == network.to_bits()
    };
    within(&OPEN_V6) && !CLOSED_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The registries, row by row: a first and a last address, and whether steps reach them.
    const REGISTRY: &[(&str, &str, &str)] = &[
        ("this network", "0.0.0.0", "0.255.255.255"),
        ("private use", "10.0.0.0", "10.255.255.255"),
        ("shared address space", "100.64.0.0", "100.127.255.255"),
        ("loopback", "127.0.0.0", "127.255.255.255"),
        ("link-local, and metadata", "169.254.0.0", "169.254.255.255"),
        ("private use", "172.16.0.0", "172.31.255.255"),
        ("protocol assignments", "192.0.0.0", "192.0.0.255"),
        ("documentation", "192.0.2.0", "192.0.2.255"),
        ("AS112-v4", "192.31.196.0", "192.31.196.255"),
        ("AMT", "192.52.193.0", "192.52.193.255"),
        ("6to4 relays", "192.88.99.0", "192.88.99.255"),
        ("private use", "192.168.0.0", "192.168.255.255"),
        ("direct delegation AS112", "192.175.48.0", "192.175.48.255"),
        ("benchmarking", "198.18.0.0", "198.19.255.255"),
        ("documentation", "198.51.100.0", "198.51.100.255"),
        ("documentation", "203.0.113.0", "203.0.113.255"),
        ("multicast", "224.0.0.0", "239.255.255.255"),
        ("reserved, and broadcast", "240.0.0.0", "255.255.255.255"),
        ("unspecified", "::", "::"),
        ("loopback", "::1", "::1"),
        ("IPv4-compatible", "::2", "::ffff:ffff"),
        ("IPv4-IPv6 translation", "64:ff9b::", "64:ff9b::ffff:ffff"),
        ("the same, local", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
        ("discard-only", "100::", "100::ffff:ffff:ffff:ffff"),
        ("dummy prefix", "100:0:0:1::", "100::1:ffff:ffff:ffff:ffff"),
        ("protocol assignments", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("Teredo", "2001::", "2001::ffff:ffff:ffff:ffff:ffff:ffff"),
        ("benchmarking", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
        ("documentation", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("6to4", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("direct delegation AS112", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
        ("documentation", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("segment routing", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("unique-local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("link-local", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("site-local, deprecated", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("multicast", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
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
        for (what, first, last) in REGISTRY {
            for text in [first, last] {
                assert!(!allows(address(text)), "{what}: {text}");
            }
        }
        for text in GLOBAL {
            assert!(allows(address(text)), "{text}");
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
        fn a_closed_address_is_closed_inside_of_others(row in 0_usize..18, place: u32) {
            let (_, first, last) = REGISTRY[row];
            let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
            let (first, last) = (bits(first), bits(last));
            let closed = Ipv4Addr::from_bits(first + place % (last - first + 1));
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
            ] {
                prop_assert!(!allows(inside.into()), "{inside}");
            }
        }
    }
}
