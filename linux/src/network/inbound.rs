//! The kubelet port.

use super::hang_up;
use crate::clock::WallClock;
use anyhow::{Context, Result, anyhow};
use embedded_io_adapters::tokio_1::FromTokio;
use picolet_tls::{Acceptor, Clients, Identity, SetupError};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Callers who wait for a handshake; more are turned away by the kernel, without a word of TLS. So many are over in less than half a
/// minute even if none of them ever speaks.
const BACKLOG: u32 = 32;
/// A TLS record with the fatal alert `internal_error` (RFC 8446, section 6). It is what a kubelet sends that has no serving certificate
/// yet (`GetCertificate` in `cmd/kubelet/app/server.go` fails).
const NO_CERTIFICATE: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The port at which a node is called.
///
/// It is bound when the node starts, with or without a certificate: a port that is taken is then found while somebody looks, and
/// nobody else can take it while the certificate waits for approval.
pub(crate) struct Inbound {
    listener: TcpListener,
    acceptor: RefCell<Option<Acceptor>>,
    /// What the acceptor is made of: what is shown, and the client CA.
    identity: RefCell<Option<Identity>>,
    clients: RefCell<Vec<Vec<u8>>>,
    clock: WallClock,
    /// Lab mode's port, in the clear and for reading only.
    read_only: Option<TcpListener>,
}

impl Inbound {
    /// Binds the kubelet port at `address`, and lab mode's beside it. Without an identity callers are refused until one is shown.
    ///
    /// # Errors
    /// A port cannot be bound, or an authority is malformed.
    pub(crate) fn open(
        address: SocketAddr,
        identity: Option<&Identity>,
        client_authorities: &[Vec<u8>],
        clock: WallClock,
        read_only_port: Option<u16>,
    ) -> Result<Self> {
        let read_only = match read_only_port {
            Some(port) => Some(listen(SocketAddr::new(address.ip(), port))?),
            None => None,
        };
        let inbound = Self {
            listener: listen(address)?,
            acceptor: RefCell::new(None),
            identity: RefCell::default(),
            clients: RefCell::new(client_authorities.to_vec()),
            clock,
            read_only,
        };
        if let Some(identity) = identity {
            inbound.show(identity)?;
        }
        Ok(inbound)
    }

    /// Shows this to callers from now on.
    ///
    /// # Errors
    /// An authority is malformed.
    pub(super) fn show(&self, identity: &Identity) -> Result<(), SetupError> {
        self.accept_with(Some(identity), &self.clients.borrow())?;
        *self.identity.borrow_mut() = Some(identity.clone());
        Ok(())
    }

    /// Verifies callers by this client CA from now on. Connections that are open stay.
    ///
    /// # Errors
    /// An authority is malformed; the old CA counts.
    pub(super) fn trust(&self, clients: Vec<Vec<u8>>) -> Result<(), SetupError> {
        self.accept_with(self.identity.borrow().as_ref(), &clients)?;
        *self.clients.borrow_mut() = clients;
        Ok(())
    }

    fn accept_with(&self, identity: Option<&Identity>, clients: &[Vec<u8>]) -> Result<(), SetupError> {
        if let Some(identity) = identity {
            let acceptor = Acceptor::new(identity, Clients::Optional(clients), self.clock.clone())?;
            *self.acceptor.borrow_mut() = Some(acceptor);
        }
        Ok(())
    }

    /// Waits for a caller of the kubelet port, while there is a certificate to show.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Acceptor)> {
        loop {
            let (socket, peer) = self.listener.accept().await?;
            let acceptor = self.acceptor.borrow().clone();
            match acceptor {
                Some(acceptor) => return Ok((socket, peer, acceptor)),
                None => refuse(socket).await,
            }
        }
    }

    /// Waits for a caller of lab mode's port.
    pub(super) async fn accept_read_only(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.read_only {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        }
    }
}

/// Tells a caller that there is no certificate to show.
async fn refuse(mut socket: TcpStream) {
    // The send buffer of a new connection has room for it; a caller that is gone needs no word.
    if socket.write_all(&NO_CERTIFICATE).await.is_ok() {
        hang_up(FromTokio::new(socket)).await;
    }
}

/// Opens a port.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    bind(address).map_err(|error| {
        let (port, ip) = (address.port(), address.ip());
        match error.kind() {
            io::ErrorKind::AddrInUse => anyhow!(
                "another process listens on {address} (the kubelet of this machine?): stop it, or pass another --port or --node-ip"
            ),
            io::ErrorKind::AddrNotAvailable => {
                anyhow!("this machine does not have the address {ip}: pass one that it has with --node-ip")
            }
            io::ErrorKind::PermissionDenied => anyhow!(
                "no permission to listen on port {port}: pass a --port from 1024, or give the process CAP_NET_BIND_SERVICE"
            ),
            _ => anyhow!(error),
        }
    })
    .with_context(|| format!("cannot listen on {address}"))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
