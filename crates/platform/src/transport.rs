//! TCP as a machine offers it to TLS.

use crate::{Addresses, DialError, Duration};
use core::fmt;
use core::future::Future;
use core::net::IpAddr;
use embedded_io_async::{Read, Write};

/// An API server, as the settings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    /// Whether to speak TLS; only lab mode allows to go without.
    pub tls: bool,
    /// The name or address, an IPv6 address without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Host and port as a `Host` header has them.
    pub authority: &'a str,
}

impl<'a> Server<'a> {
    /// Reads `https://HOST[:PORT]` or `http://HOST[:PORT]`.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(url: &'a str) -> Result<Self, &'static str> {
        let malformed = "write it as https://HOST:PORT, without a path";
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(malformed),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(malformed)?)),
                None => return Err(malformed),
            },
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(of_host) {
            return Err(malformed);
        }
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0).ok_or(malformed)?
            }
            Some(_) => return Err(malformed),
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host,
            port,
            authority,
        })
    }
}

/// TCP sockets, names and time limits of one node. TLS, the choice of servers and the counters are built on it once, for all
/// machines.
pub trait Transport {
    /// A TCP connection.
    type Socket: Read + Write;
    /// What [`Transport::with_timeout`] returns when the limit has passed.
    type Elapsed;

    /// Length of the text in a TLS record that is sent, in bytes.
    const FRAGMENT_BYTES: usize;

    /// How many servers there are.
    fn servers(&self) -> u8;

    /// A server by its index, or `None` behind the last one.
    fn server(&self, index: u8) -> Option<Server<'_>>;

    /// The addresses of a server; none if its name does not resolve. The caller limits the time.
    fn resolve(&self, server: Server<'_>) -> impl Future<Output = Addresses>;

    /// Connects to an address of a server. The caller limits the time.
    ///
    /// # Errors
    /// [`DialError::NoNetwork`] or [`DialError::Connect`].
    fn connect(
        &self,
        server: Server<'_>,
        address: IpAddr,
    ) -> impl Future<Output = Result<Self::Socket, DialError>>;

    /// Waits for `future` until `limit` has passed.
    ///
    /// # Errors
    /// The limit has passed.
    fn with_timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Self::Elapsed>>;

    /// Closes a connection on which the handshake failed, such that the peer can read the alert. Does not wait for it.
    fn hang_up(&self, socket: Self::Socket);

    /// Logs, as a warning, that TLS with a server failed.
    fn log_server_failure(&self, server: Server<'_>, error: &dyn fmt::Display);

    /// Logs, for debugging, that TLS with a client failed.
    fn log_client_failure(&self, peer: IpAddr, error: &dyn fmt::Display);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_read_from_its_url() {
        let of = |tls, host, port, authority| {
            Ok(Server {
                tls,
                host,
                port,
                authority,
            })
        };
        for (url, server) in [
            ("https://a", of(true, "a", 443, "a")),
            ("https://a:6443/", of(true, "a", 6443, "a:6443")),
            ("https://[fd00::1]:1", of(true, "fd00::1", 1, "[fd00::1]:1")),
            ("https://[fd00::1]", of(true, "fd00::1", 443, "[fd00::1]")),
            ("http://10.0.2.2", of(false, "10.0.2.2", 80, "10.0.2.2")),
        ] {
            assert_eq!(Server::parse(url), server, "{url}");
        }
        for malformed in [
            "10.0.0.1:6443",
            "https://",
            "https://:1",
            "https://a:0",
            "https://a:+443",
            "https://a:70000",
            "https://a:b",
            "https://a/x",
            "https://u@a",
            "https://a?x",
            "https://[fd00::1",
            "https://[fd00::1]1",
        ] {
            assert!(Server::parse(malformed).is_err(), "{malformed}");
        }
    }
}
