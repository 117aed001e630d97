//! Addresses as text (RFC 5952).
//!
//! Why not `IpAddr`'s `Display`: it takes 1.6 KB more of flash (docs/decisions/0005-size-tricks.md). Write `Address(ip)` wherever an
//! address is formatted in code that runs on a board.

use core::fmt;
use core::net::IpAddr;

/// Writes an address.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v4, segments) = match self.0 {
            IpAddr::V4(v4) => (Some(v4), [0; 8]),
            IpAddr::V6(v6) => (v6.to_ipv4_mapped(), v6.segments()),
        };
        if let Some(v4) = v4 {
            let [a, b, c, d] = v4.octets().map(u32::from);
            let prefix = if self.0.is_ipv6() { "::ffff:" } else { "" };
            return write!(f, "{prefix}{a}.{b}.{c}.{d}");
        }
        // The longest run of zeros, the first of several, is left out.
        let (mut from, mut to, mut run) = (0, 0, 0);
        for (at, segment) in segments.iter().enumerate() {
            run = if *segment == 0 { run + 1 } else { 0 };
            if run > 1 && run > to - from {
                (from, to) = (at + 1 - run, at + 1);
            }
        }
        for (at, segment) in segments.iter().enumerate() {
            if at == from && from < to {
                f.write_str("::")?;
            } else if !(from..to).contains(&at) {
                let colon = if at > 0 && at != to { ":" } else { "" };
                write!(f, "{colon}{:x}", u32::from(*segment))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;
    use std::string::ToString;

    proptest! {
        #[test]
        fn as_the_standard_library_writes_it(
            v4 in any::<[u8; 4]>(),
            v6 in proptest::array::uniform8(prop_oneof![Just(0), any::<u16>()]),
        ) {
            for address in [
                IpAddr::V4(Ipv4Addr::from(v4)),
                IpAddr::V6(Ipv6Addr::from(v6)),
                IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_mapped()),
            ] {
                prop_assert_eq!(Address(address).to_string(), address.to_string());
            }
        }
    }
}
