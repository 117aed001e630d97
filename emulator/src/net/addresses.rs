//! The addresses of the network that the device sees.

use std::net::Ipv4Addr;

/// The host as the device sees it, which is its gateway, DHCP and time server.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The DNS server as the device sees it.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The address that the first device gets by DHCP.
pub const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
