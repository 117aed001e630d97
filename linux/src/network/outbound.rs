//! Connections to the API server, which end when the node shows another certificate.
//!
//! The API server knows a connection by the certificate of its handshake, and refuses requests once that has expired. A
//! kubelet closes its connections for the same reason (`closeAllConns` in `pkg/kubelet/certificate/transport.go`).

use super::Stream;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Which certificate is shown, as a number that counts up.
#[derive(Default)]
pub(super) struct Generation {
    number: Cell<u64>,
    changed: Notify,
}

impl Generation {
    /// Ends the connections that were made until now.
    pub(super) fn end(&self) {
        self.number.set(self.number.get() + 1);
        self.changed.notify_waiters();
    }

    /// The one of now.
    pub(super) fn number(&self) -> u64 {
        self.number.get()
    }

    /// Takes `stream` as a connection whose handshake began in the generation `made_in`.
    pub(super) fn connection(self: &Rc<Self>, made_in: u64, stream: Stream) -> Outbound {
        Outbound {
            stream,
            made_in,
            generation: self.clone(),
        }
    }
}

/// A connection to the API server.
pub(crate) struct Outbound {
    stream: Stream,
    made_in: u64,
    generation: Rc<Generation>,
}

impl Outbound {
    fn is_over(&self) -> bool {
        self.made_in != self.generation.number.get()
    }
}

impl ErrorType for Outbound {
    type Error = ErrorKind;
}

impl Read for Outbound {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.is_over() {
            return Err(ErrorKind::ConnectionAborted);
        }
        tokio::select! {
            biased;
            () = self.generation.changed.notified() => Err(ErrorKind::ConnectionAborted),
            read = self.stream.read(buffer) => read,
        }
    }
}

impl Write for Outbound {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self.is_over() {
            true => Err(ErrorKind::ConnectionAborted),
            false => self.stream.write(bytes).await,
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self.is_over() {
            true => Err(ErrorKind::ConnectionAborted),
            false => self.stream.flush().await,
        }
    }
}
