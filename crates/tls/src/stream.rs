//! A connection that is up, as the plaintext stream that the rest of the house sees.

use crate::arithmetic::prepared;
use crate::error::TlsError;
use crate::record::Records;
use crate::x509::CertificateInfo;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use embedded_io_async::{Error as _, ErrorType, Read, Write};
use picolet_platform::{Credential, Subject};
use sha2::{Digest, Sha256};

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

    /// Who the certificate of [`TlsStream::peer_certificate`] speaks for. One without a name speaks for nobody, and so does
    /// one with an empty UID or several.
    pub fn credential(&self) -> Credential {
        let subject = self.peer_certificate().and_then(subject);
        subject.map_or(Credential::None, |subject| {
            Credential::Certificate(Box::new(subject))
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

/// Who a certificate speaks for, as the x509 authenticator of Kubernetes 1.36 reads it
/// (`pkg/authentication/request/x509`, `CommonNameUserConversion`).
fn subject(der: &[u8]) -> Option<Subject> {
    let info = CertificateInfo::from_der(der).ok()?;
    let mut uids = info.uids;
    let uid = uids.pop();
    if !uids.is_empty() || uid.as_deref() == Some("") {
        return None;
    }
    let user = info.common_name.filter(|name| !name.is_empty())?;
    let mut credential_id = String::from("X509SHA256=");
    for byte in Sha256::digest(der) {
        for digit in [byte >> 4, byte & 15] {
            credential_id.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    Some(Subject {
        user: user.into(),
        uid: uid.map(Into::into),
        groups: info.organizations.into_iter().map(Into::into).collect(),
        credential_id: credential_id.into(),
        not_after: info.not_after,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn certificate_speaks_for_nobody_when_it_has_two_uids() {
        let mut parameters = CertificateParams::default();
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CommonName, "ops");
        for last in [2, 3] {
            name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, last]), "7");
        }
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut der = certificate.der().to_vec();
        assert_eq!(
            subject(&der).and_then(|subject| subject.uid).as_deref(),
            Some("7")
        );
        let other = [0x2b, 6, 1, 4, 1, 0x83, 0xc2, 0x53, 3];
        while let Some(at) = der.windows(other.len()).position(|oid| oid == other) {
            der[at + other.len() - 1] = 2;
        }
        assert!(CertificateInfo::from_der(&der).is_ok());
        assert_eq!(subject(&der), None);
    }
}
