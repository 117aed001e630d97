//! The address that a node reports and listens on.

use crate::network::ServerConfig;
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};

/// The ways from this machine to the API servers. Finding them resolves names, so it is done once for all nodes.
pub(crate) struct Routes {
    /// The address by which this machine reaches the first server that it knows a way to.
    from: Option<IpAddr>,
    /// The first server that is not on this machine.
    remote: Option<String>,
}

impl Routes {
    pub(crate) fn find(servers: &[ServerConfig]) -> Self {
        let ways: Vec<_> = servers.iter().map(towards).collect();
        let is_remote = |way: &Option<IpAddr>| way.is_none_or(|from| !from.is_loopback());
        let remote = servers.iter().zip(&ways).find(|(_, way)| is_remote(way));
        Self {
            remote: remote.map(|(server, _)| server.authority.clone()),
            from: ways.into_iter().flatten().next(),
        }
    }
}

/// The address of the `n`-th node, by what `--node-ip` says, and without it by the ways to the servers.
///
/// # Errors
/// `--node-ip` is an address that nobody can reach, or too few follow it.
pub(crate) fn of_node<'a>(
    given: Option<IpAddr>,
    n: u32,
    routes: impl FnOnce() -> &'a Routes,
) -> Result<IpAddr> {
    let first = match given {
        Some(address) if address.is_unspecified() || address.is_multicast() => bail!(
            "--node-ip {address}: nobody can reach a node there; give an address of this machine, or leave the flag out"
        ),
        Some(address) => address,
        None => routes().from.unwrap_or(Ipv4Addr::LOCALHOST.into()),
    };
    counted(first, n).context("--node-ip: there are not enough addresses behind it")
}

/// What is wrong with `address` as that of a node, for those who gave it.
pub(crate) fn warning<'a>(address: IpAddr, routes: impl FnOnce() -> &'a Routes) -> Option<String> {
    if !address.is_loopback() {
        return None;
    }
    let remote = routes().remote.as_ref()?;
    Some(format!(
        "the API server at {remote} cannot reach the kubelet API at {address}, so kubectl logs and exec of this node fail; \
         give --node-ip an address of this machine"
    ))
}

/// The address from which this machine sends to that server. Nothing is sent.
fn towards(server: &ServerConfig) -> Option<IpAddr> {
    let mut addresses = (&*server.host, server.port).to_socket_addrs().ok()?;
    addresses.find_map(|address| {
        let any: IpAddr = match address {
            std::net::SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(address).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

/// The `n`-th address behind `first`.
fn counted(first: IpAddr, n: u32) -> Option<IpAddr> {
    match first {
        IpAddr::V4(address) => Some(Ipv4Addr::from(u32::from(address).checked_add(n)?).into()),
        IpAddr::V6(address) => {
            Some(std::net::Ipv6Addr::from(u128::from(address).checked_add(n.into())?).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(url: &str) -> Routes {
        Routes::find(&[ServerConfig::parse(url, false).expect("a URL")])
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_counted_up() {
        let address = |text: &str, n| counted(address(text), n).map(|ip| ip.to_string());
        assert_eq!(address("127.0.78.255", 1).as_deref(), Some("127.0.79.0"));
        assert_eq!(address("255.255.255.255", 1), None);
        assert_eq!(address("2001:db8::ffff", 1).as_deref(), Some("2001:db8::1:0"));
    }

    #[test]
    fn node_has_the_address_that_reaches_the_server_when_none_is_given() {
        let local = routes("https://127.0.0.1:6443");
        assert_eq!(
            of_node(None, 0, || &local).expect("an address"),
            address("127.0.0.1")
        );
        assert_eq!(warning(address("127.0.0.1"), || &local), None);
        // TEST-NET-1 (RFC 5737): no packet is sent, and without a route there is none to choose.
        let remote = routes("https://192.0.2.1:6443");
        let chosen = of_node(None, 0, || &remote).expect("an address");
        assert!(!chosen.is_unspecified());
        let said = warning(address("127.0.0.1"), || &remote).expect("a warning");
        assert!(
            said.contains("192.0.2.1:6443") && said.contains("--node-ip"),
            "{said}"
        );
        assert_eq!(warning(address("192.0.2.20"), || &remote), None);
    }

    #[test]
    fn address_is_refused_when_nobody_can_reach_it() {
        for unreachable in ["0.0.0.0", "::", "224.0.0.1"] {
            let refused = of_node(Some(address(unreachable)), 0, || unreachable!("it is not needed"));
            let said = refused.expect_err("refused").to_string();
            assert!(said.contains("--node-ip"), "{said}");
        }
    }
}
