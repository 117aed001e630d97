//! A connection that is up, as the plaintext stream that the rest of the house sees.

use crate::error::TlsError;
use crate::provider::prepared;
use crate::record::Records;
use crate::x509::CertificateInfo;
use alloc::boxed::Box;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use embedded_io_async::{Error as _, ErrorType, Read, Write};
use picolet_platform::Credential;

/// A TLS connection over `S`.
///
/// Futures of [`Read::read`] and [`Write::write`] may be dropped at any time without losing or repeating a byte, if
/// those of `S` may. A write seals its text and leaves it to be sent by the next read, write, [`Write::flush`] or
/// [`TlsStream::close`].
pub struct TlsStream<S> {
    stream: S,
    records: Box<Records>,
    peer: Option<Box<[u8]>>,
    resumed: bool,
}

impl<S> TlsStream<S> {
    pub(crate) fn new(stream: S, records: Box<Records>, peer: Option<Box<[u8]>>, resumed: bool) -> Self {
        Self {
            stream,
            records,
            peer,
            resumed,
        }
    }

    /// The certificate that the peer showed, verified, in DER; of a chain the peer's own. `None` for a client that
    /// showed none, or one that does not verify.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer.as_deref()
    }

    /// Who the certificate of [`TlsStream::peer_certificate`] speaks for. One without a name speaks for nobody.
    pub fn credential(&self) -> Credential {
        let info = self
            .peer_certificate()
            .and_then(|der| CertificateInfo::from_der(der).ok());
        info.map_or(Credential::None, |info| {
            Credential::of_certificate(info.common_name, info.organizations, info.not_after)
        })
    }

    /// The certificate of [`TlsStream::peer_certificate`], which is not kept from then on.
    pub fn take_peer_certificate(&mut self) -> Option<Box<[u8]>> {
        self.peer.take()
    }

    /// Whether the handshake resumed an earlier session instead of verifying certificates anew.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Sends records with up to so many bytes of text, at most the 16384 of the protocol, in place of 4096: for a server that
    /// shows its clients what others would send.
    pub fn set_fragment(&mut self, bytes: usize) {
        self.records.set_fragment(bytes);
    }

    #[cfg(test)]
    pub(crate) fn into_records(self) -> Box<Records> {
        self.records
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Gives the stream below back, without a farewell.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Read + Write> TlsStream<S> {
    /// Says farewell (`close_notify`) and sends all that waits. What the peer still sends can be read.
    ///
    /// # Errors
    /// When the stream below fails.
    pub async fn close(&mut self) -> Result<(), TlsError> {
        self.records.close()?;
        self.flush().await
    }

    /// Sends what is sealed. Progress is kept in `self`, so that a dropped future loses nothing.
    async fn send(&mut self) -> Result<(), TlsError> {
        while !self.records.pending().is_empty() {
            match self.stream.write(self.records.pending()).await {
                Ok(0) => return Err(TlsError::Io(embedded_io_async::ErrorKind::WriteZero)),
                Ok(count) => self.records.sent(count),
                Err(error) => return Err(TlsError::Io(error.kind())),
            }
        }
        Ok(())
    }
}

/// Waits for a future, and while it is not ready prepares what speeds up later handshakes, a step at a time: whoever else runs
/// on this thread gets his turn between them.
async fn making_use_of_waiting<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        if poll.is_pending() && prepared::advance() {
            context.waker().wake_by_ref();
        }
        poll
    })
    .await
}

impl<S> ErrorType for TlsStream<S> {
    type Error = TlsError;
}

impl<S: Read + Write> Read for TlsStream<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(count) = self.records.read(buffer)? {
                return Ok(count);
            }
            if !self.records.pending().is_empty() {
                self.send().await?;
                self.stream
                    .flush()
                    .await
                    .map_err(|error| TlsError::Io(error.kind()))?;
            }
            match making_use_of_waiting(self.stream.read(self.records.room())).await {
                Ok(0) => return Err(self.records.ended()),
                Ok(count) => {
                    if let Err(error) = self.records.received(count) {
                        // The alert that says why; if it cannot be sent, the error is the same.
                        let _ = self.send().await;
                        let _ = self.stream.flush().await;
                        return Err(error);
                    }
                }
                Err(error) => return Err(TlsError::Io(error.kind())),
            }
        }
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    async fn write(&mut self, text: &[u8]) -> Result<usize, TlsError> {
        if self.records.is_full(text.len()) {
            self.send().await?;
        }
        self.records.write(text)
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        self.send().await?;
        self.stream
            .flush()
            .await
            .map_err(|error| TlsError::Io(error.kind()))
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}
