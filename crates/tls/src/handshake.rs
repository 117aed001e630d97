//! Shaking hands: rustls's unbuffered state machine driven over an async stream, one record at a time.

use crate::clients::ClientVerifier;
use crate::error::TlsError;
use crate::record::{Direction, HEADER, Kernel, LONGEST, Records};
use crate::stream::TlsStream;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use embedded_io_async::{Error as _, Read, Write};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, ExtractedSecrets, HandshakeKind};
use rustls_pki_types::CertificateDer;

/// Hands that were shaken over a stream: with that stream it becomes a [`TlsStream`].
pub struct Handshake {
    records: Box<Records>,
    /// The end entity's certificate in DER, verified.
    peer: Option<Box<[u8]>>,
    resumed: bool,
}

impl Handshake {
    /// The connection over `stream`, which must be the one that hands were shaken over.
    pub fn over<S>(self, stream: S) -> TlsStream<S> {
        TlsStream::new(stream, self.records, self.peer, self.resumed)
    }
}

impl Handshake {
    /// Whether a session was resumed.
    pub(crate) const fn resumed(&self) -> bool {
        self.resumed
    }

    /// The certificate that the peer showed, in this handshake or in the one of the session that is resumed.
    pub(crate) fn peer(&self) -> Option<&[u8]> {
        self.peer.as_deref()
    }

    /// Takes records with payloads of up to `limit` bytes from now on.
    pub(crate) fn set_record_limit(&mut self, limit: usize) {
        self.records.set_limit(limit.min(LONGEST));
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// Bytes that wait on either side of the state machine.
#[derive(Default)]
pub(crate) struct Buffers {
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

/// What the state machine wants next.
pub(crate) enum Step {
    /// Another record.
    Receive,
    /// Nothing: hands are shaken.
    Done,
}

/// A client's or a server's state machine.
pub(crate) trait Engine {
    /// Works through what there is.
    fn step(&mut self, buffers: &mut Buffers) -> Result<Step, TlsError>;
    /// After an error: encodes the alert that tells the peer, and whatever waits before it.
    fn drain(&mut self, buffers: &mut Buffers);
    /// The certificates that the peer showed, in this handshake or in the one of the session that is resumed.
    fn peer(&self) -> &[CertificateDer<'static>];
    /// Whether a session was resumed.
    fn resumed(&self) -> bool;
    /// Hands over the keys.
    fn finish(self: Box<Self>) -> Result<(ExtractedSecrets, Kernel), Error>;
}

macro_rules! engine {
    ($connection:ty, $side:ident) => {
        impl Engine for $connection {
            fn step(&mut self, buffers: &mut Buffers) -> Result<Step, TlsError> {
                loop {
                    let UnbufferedStatus { discard, state, .. } =
                        self.process_tls_records(&mut buffers.inbound);
                    let step = match state {
                        Ok(ConnectionState::EncodeTlsData(mut data)) => {
                            encode(&mut buffers.outbound, |place| data.encode(place)).map(|()| None)
                        }
                        Ok(ConnectionState::TransmitTlsData(data)) => {
                            data.done();
                            Ok(None)
                        }
                        Ok(ConnectionState::BlockedHandshake) => Ok(Some(Step::Receive)),
                        Ok(ConnectionState::WriteTraffic(_)) => Ok(Some(Step::Done)),
                        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(TlsError::Truncated),
                        // Early data is never offered or accepted, and other data is not read before the end.
                        Ok(_) => Err(TlsError::Protocol),
                        Err(error) => Err(error.into()),
                    };
                    buffers.inbound.drain(..discard);
                    if buffers.inbound.is_empty() {
                        buffers.inbound = Vec::new();
                    }
                    if let Some(step) = step? {
                        return Ok(step);
                    }
                }
            }

            fn drain(&mut self, buffers: &mut Buffers) {
                // rustls hands out what it has to send before it looks at anything that was received. It must not look
                // at that again: the same bytes would be the same error, and it sends one fatal alert only.
                while self.wants_write() {
                    let UnbufferedStatus {
                        state: Ok(ConnectionState::EncodeTlsData(mut data)),
                        ..
                    } = self.process_tls_records(&mut buffers.inbound)
                    else {
                        return;
                    };
                    if encode(&mut buffers.outbound, |place| data.encode(place)).is_err() {
                        return;
                    }
                }
            }

            fn peer(&self) -> &[CertificateDer<'static>] {
                self.peer_certificates().unwrap_or_default()
            }

            fn resumed(&self) -> bool {
                self.handshake_kind() == Some(HandshakeKind::Resumed)
            }

            fn finish(self: Box<Self>) -> Result<(ExtractedSecrets, Kernel), Error> {
                let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
                Ok((secrets, Kernel::$side(kernel)))
            }
        }
    };
}
engine!(UnbufferedClientConnection, Client);
engine!(UnbufferedServerConnection, Server);

/// Lets rustls put one record behind those that wait already.
fn encode(
    outbound: &mut Vec<u8>,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsError> {
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = put(&mut []) else {
        return Err(TlsError::Internal);
    };
    let start = outbound.len();
    outbound
        .try_reserve_exact(required_size)
        .map_err(|_| TlsError::Memory)?;
    outbound.resize(start + required_size, 0);
    put(&mut outbound[start..])
        .map(|_| ())
        .map_err(|_| TlsError::Internal)
}

/// Shakes hands over `stream`, taking records with payloads of up to `limit` bytes. With `clients` the peer is a client,
/// whose certificate is dropped if it does not verify; a server's was verified by the engine.
///
/// A future that is dropped before its end leaves nothing behind but the stream in an unknown state.
pub(crate) async fn shake<S: Read + Write>(
    mut engine: Box<dyn Engine + '_>,
    stream: &mut S,
    limit: usize,
    clients: Option<&ClientVerifier>,
) -> Result<Handshake, TlsError> {
    let limit = limit.min(LONGEST);
    let mut buffers = Buffers::default();
    loop {
        let step = engine.step(&mut buffers);
        if step.is_err() {
            engine.drain(&mut buffers);
            let _ = flush(stream, &mut buffers.outbound).await;
        }
        let step = step?;
        flush(stream, &mut buffers.outbound).await?;
        match step {
            Step::Receive => receive(stream, &mut buffers.inbound, limit).await?,
            Step::Done if buffers.inbound.is_empty() => break,
            Step::Done => return Err(TlsError::Protocol),
        }
    }
    let peer = verified(&*engine, clients);
    conclude(engine, limit, peer)
}

/// The peer's own certificate, if it counts.
// In a frame of its own, as below: verifying a chain takes kilobytes of stack.
#[inline(never)]
fn verified(engine: &dyn Engine, clients: Option<&ClientVerifier>) -> Option<Box<[u8]>> {
    let chain = engine.peer();
    let counts = clients.is_none_or(|clients| clients.is_verified(chain, engine.resumed()));
    let own = chain.first().filter(|_| counts)?;
    Some(own.as_ref().into())
}

/// The connection's records, once hands are shaken.
// In a frame of its own: what is large is here, and the handshake need not have it below it.
#[inline(never)]
fn conclude(
    engine: Box<dyn Engine + '_>,
    limit: usize,
    peer: Option<Box<[u8]>>,
) -> Result<Handshake, TlsError> {
    let resumed = engine.resumed();
    let (secrets, kernel) = engine.finish()?;
    let records = Records::new(
        kernel,
        Direction::new(secrets.tx)?,
        Direction::new(secrets.rx)?,
        limit,
    );
    Ok(Handshake {
        records: Box::new(records),
        peer,
        resumed,
    })
}

async fn flush<S: Write>(stream: &mut S, outbound: &mut Vec<u8>) -> Result<(), TlsError> {
    if outbound.is_empty() {
        return Ok(());
    }
    stream
        .write_all(outbound)
        .await
        .map_err(|error| TlsError::Io(error.kind()))?;
    *outbound = Vec::new();
    stream.flush().await.map_err(|error| TlsError::Io(error.kind()))
}

/// Appends one record. Messages may be split over records, so what is there already may be the beginning of one.
async fn receive<S: Read>(stream: &mut S, inbound: &mut Vec<u8>, limit: usize) -> Result<(), TlsError> {
    let mut header = [0; HEADER];
    exact(stream, &mut header).await?;
    let [kind, major, _, high, low] = header;
    if !(20..=23).contains(&kind) || major != 3 {
        return Err(TlsError::NotTls);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let start = inbound.len() + HEADER;
    if length > limit || start + length > 2 * limit {
        // The engine refuses a header with a length that no record has, and has an alert for the peer.
        inbound.extend_from_slice(&[kind, major, 3, 0xff, 0xff]);
        return Ok(());
    }
    inbound
        .try_reserve_exact(HEADER + length)
        .map_err(|_| TlsError::Memory)?;
    inbound.extend_from_slice(&header);
    inbound.resize(start + length, 0);
    exact(stream, &mut inbound[start..]).await
}

async fn exact<S: Read>(stream: &mut S, mut place: &mut [u8]) -> Result<(), TlsError> {
    while !place.is_empty() {
        match stream
            .read(place)
            .await
            .map_err(|error| TlsError::Io(error.kind()))?
        {
            0 => return Err(TlsError::Truncated),
            count => place = place.get_mut(count..).unwrap_or_default(),
        }
    }
    Ok(())
}
