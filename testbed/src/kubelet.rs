//! Connections to the node's kubelet API.

use crate::wire::{Bell, Socket, wire};
use crate::{BOARD, KUBELET_PORT, PATIENCE, Testbed, abuse, spawn};
use anyhow::{Result, anyhow};
use picolet_devcluster::host::Dial;
use picolet_devcluster::{CallKubelet, KubeletAnswer};
use picolet_emulator::net::Local;
use picolet_platform::Clock;
use picolet_tls::TlsStream;
use std::cell::Cell;
use std::io;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Duration;

impl Testbed {
    /// Asks the node's kubelet API for `path`, as the API server would. Status and body.
    ///
    /// # Errors
    /// When the board stops or does not answer.
    pub fn get(&mut self, path: &str) -> Result<(u16, String)> {
        let answer = self
            .kubelets
            .get(BOARD.to_string(), KUBELET_PORT, path.to_owned());
        let read = async move {
            let KubeletAnswer { status, mut body, .. } = answer.await?;
            let mut text = Vec::new();
            while let Some(piece) = body().await {
                text.extend(piece);
            }
            Ok::<_, String>((status, String::from_utf8_lossy(&text).into_owned()))
        };
        self.block_on(Duration::from_secs(15), read)?
            .map_err(|error| anyhow!("GET {path}: {error}"))
    }

    /// Opens a TCP connection to the node's kubelet API.
    pub fn call(&self) -> impl Future<Output = io::Result<Socket>> + use<> {
        let inward = self.inward.clone();
        async move { inward.dial(&BOARD.to_string(), KUBELET_PORT).await }
    }

    /// The same with TLS, as the API server.
    ///
    /// # Errors
    /// When its certificate cannot be used.
    pub fn call_tls(&self) -> Result<impl Future<Output = io::Result<TlsStream<Socket>>> + use<>> {
        let connector = self.pki.kubelet_connector(self.clock.for_tls())?;
        let call = self.call();
        Ok(async move {
            let stream = connector.connect(&BOARD.to_string(), call.await?).await;
            stream.map_err(io::Error::other)
        })
    }

    /// Sends the node's kubelet API a request as the API server, and returns all that comes back until the connection ends,
    /// or the board is silent for five seconds.
    ///
    /// # Errors
    /// When the board stops, or nothing comes of it.
    pub fn ask(&mut self, request: &str) -> Result<String> {
        let (call, request, clock) = (self.call_tls()?, request.to_owned(), self.clock());
        let ask = async move {
            let mut stream = call.await?;
            let patience = async || clock.sleep(PATIENCE.into()).await;
            Ok(abuse::exchange(&mut stream, request.as_bytes(), patience).await)
        };
        self.block_on(Duration::from_secs(60), ask)?
    }

    /// Has the API server shake hands with the node's kubelet API, and hang up; cycles that the board was awake for.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub fn handshake_inward(&mut self) -> Result<u64> {
        self.handshake_inward_and(|_| {})
    }

    /// As [`Self::handshake_inward`], with `meanwhile` done between two slices of time.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub fn handshake_inward_and(&mut self, meanwhile: impl FnMut(&mut Self)) -> Result<u64> {
        let connector = self.pki.kubelet_connector(self.clock.for_tls())?;
        let inward = self.inward.clone();
        let before = self.awake();
        let shake = async move {
            let socket = inward.dial(&BOARD.to_string(), KUBELET_PORT).await?;
            connector
                .connect(&BOARD.to_string(), socket)
                .await
                .map_err(io::Error::other)
        };
        let stream = self.block_on_and(Duration::from_secs(15), shake, meanwhile)??;
        let cycles = self.awake() - before;
        drop(stream);
        Ok(cycles)
    }

    /// Opens a TCP connection to the node's kubelet API and lets it go; the returned cell has how long that took once it is
    /// there.
    pub fn dial_inward(&self) -> Rc<Cell<Option<Duration>>> {
        let (inward, clock) = (self.inward.clone(), self.clock.clone());
        let took = Rc::new(Cell::new(None));
        let given = took.clone();
        spawn(&self.pool.spawner(), async move {
            let began = clock.uptime();
            if let Ok(socket) = inward.dial(&BOARD.to_string(), KUBELET_PORT).await {
                given.set(Some(clock.uptime().saturating_sub(began).into()));
                drop(socket);
            }
        });
        took
    }
}

/// Connections to the board.
#[derive(Clone, Debug)]
pub(crate) struct Inward {
    pub(crate) network: Local,
    pub(crate) bell: Bell,
}

impl Dial for Inward {
    type Stream = Socket;

    async fn dial(&self, address: &str, port: u16) -> io::Result<Socket> {
        let address = address
            .parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no IPv4 address"))?;
        let (plug, socket) = wire(self.bell.clone());
        self.network.connect(SocketAddrV4::new(address, port), plug);
        match socket.connected().await {
            Ok(()) => Ok(socket),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}
