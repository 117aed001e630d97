//! The record layer once hands are shaken (RFC 8446, section 5), without any input or output.
//!
//! rustls keeps the key schedule and the tickets (its kernel interface, made for systems that encrypt elsewhere).
//! Encrypting here costs a quarter of the memory: a record is decrypted where it lies and read from there, and its
//! buffer is as large as its header says and freed once it is read.

#[cfg(test)]
pub(crate) mod tests;

use crate::error::{Alert, TlsError};
use crate::provider::aead::{AES_GCM_RECORDS, Cipher, TAG};
use alloc::vec::Vec;
use core::ops::Range;
use rustls::ConnectionTrafficSecrets;
use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{Iv, Nonce, make_tls13_aad};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use zeroize::Zeroizing;

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 5;
/// What a record has more than its text: header, kind and tag.
pub const RECORD_OVERHEAD: usize = HEADER + 1 + TAG;
/// The longest payload of a record: 2^14 bytes and 256 for the cipher.
pub(crate) const LONGEST: usize = (1 << 14) + 256;
/// The longest text in one record that is sent. A record is one buffer on either side, so larger is not better.
const FRAGMENT: usize = 4096;
/// The longest message that may come after the handshake. Go's tickets carry the client's chain: 2 to 3 KB.
const MESSAGE: usize = 8192;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// rustls's part of the connection.
pub(crate) enum Kernel {
    /// Of a client.
    Client(KernelConnection<ClientConnectionData>),
    /// Of a server.
    Server(KernelConnection<ServerConnectionData>),
}

impl Kernel {
    fn next_sender(&mut self) -> Result<Direction, TlsError> {
        Direction::new(match self {
            Self::Client(kernel) => kernel.update_tx_secret()?,
            Self::Server(kernel) => kernel.update_tx_secret()?,
        })
    }

    fn next_receiver(&mut self) -> Result<Direction, TlsError> {
        Direction::new(match self {
            Self::Client(kernel) => kernel.update_rx_secret()?,
            Self::Server(kernel) => kernel.update_rx_secret()?,
        })
    }
}

/// The keys of one direction and the number of its next record.
pub(crate) struct Direction {
    cipher: Cipher,
    iv: Iv,
    sequence: u64,
}

impl Direction {
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, TlsError> {
        let (cipher, iv) = Cipher::from_secrets(secrets).ok_or(TlsError::Internal)?;
        Ok(Self { cipher, iv, sequence })
    }

    fn next_nonce(&mut self) -> Nonce {
        let nonce = Nonce::new(&self.iv, self.sequence);
        self.sequence += 1;
        nonce
    }

    /// Whether the next record should have new keys.
    fn is_worn(&self) -> bool {
        matches!(self.cipher, Cipher::Aes128Gcm(_)) && self.sequence >= AES_GCM_RECORDS - 1
    }
}

/// What was wrong with what the peer sent: what the caller hears, and the alert that the peer gets.
struct Fault(TlsError, u8);

const UNEXPECTED_MESSAGE: Fault = Fault(TlsError::Protocol, 10);
const BAD_RECORD_MAC: Fault = Fault(TlsError::Corrupt, 20);
const RECORD_OVERFLOW: Fault = Fault(TlsError::TooLarge, 22);
const DECODE_ERROR: Fault = Fault(TlsError::Protocol, 50);
const INTERNAL_ERROR: Fault = Fault(TlsError::Memory, 80);

impl From<TlsError> for Fault {
    fn from(error: TlsError) -> Self {
        Self(error, 80)
    }
}

/// One connection's records, in both directions.
pub(crate) struct Records {
    kernel: Kernel,
    sender: Direction,
    receiver: Direction,
    /// The longest payload that is taken.
    limit: usize,
    /// The most text in a record that is sent.
    fragment: usize,

    header: [u8; HEADER],
    /// How much of the header, then of the payload, has arrived.
    filled: usize,
    /// It is overwritten when it is dropped: requests have tokens.
    payload: Zeroizing<Vec<u8>>,
    /// Where in `payload` there is text that nobody has read yet.
    text: Range<usize>,
    /// The beginning of a handshake message that goes on in the next record.
    message: Vec<u8>,

    /// Sealed records, and how much of them is sent.
    outbound: Vec<u8>,
    sent: usize,
    /// Whether new keys are announced in `outbound`.
    update_waits: bool,

    received_close: bool,
    sent_close: bool,
    /// Once something failed it stays so.
    failed: Option<TlsError>,
}

impl Records {
    pub(crate) fn new(kernel: Kernel, sender: Direction, receiver: Direction, limit: usize) -> Self {
        Self {
            kernel,
            sender,
            receiver,
            limit,
            fragment: FRAGMENT,
            header: [0; HEADER],
            filled: 0,
            payload: Zeroizing::default(),
            text: 0..0,
            message: Vec::new(),
            outbound: Vec::new(),
            sent: 0,
            update_waits: false,
            received_close: false,
            sent_close: false,
            failed: None,
        }
    }

    /// Takes records with payloads of up to `bytes`.
    pub(crate) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Has records sent with up to so much text.
    pub(crate) fn set_fragment(&mut self, bytes: usize) {
        self.fragment = bytes.clamp(1, 1 << 14);
    }

    /// Text that has arrived, as much as fits. `None` if more must be received first; 0 at the peer's farewell.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TlsError> {
        if self.text.is_empty() {
            return match self.failed {
                Some(error) => Err(error),
                None => Ok(self.received_close.then_some(0)),
            };
        }
        let length = buffer.len().min(self.text.len());
        let text = self
            .payload
            .get(self.text.clone())
            .and_then(|text| text.get(..length));
        buffer[..length].copy_from_slice(text.ok_or(TlsError::Internal)?);
        self.text.start += length;
        if self.text.is_empty() {
            self.payload = Zeroizing::default();
        }
        Ok(Some(length))
    }

    /// Where the next bytes from the peer belong, once there is no more text to read. Never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        debug_assert!(self.text.is_empty(), "the text would be overwritten");
        match self.filled.checked_sub(HEADER) {
            None => &mut self.header[self.filled..],
            Some(filled) => &mut self.payload[filled..],
        }
    }

    /// Takes note that `count` bytes were put into [`Records::room`], and acts on the record that they complete.
    pub(crate) fn received(&mut self, count: usize) -> Result<(), TlsError> {
        let before = self.filled;
        self.filled += count;
        let result = if before < HEADER {
            if self.filled < HEADER {
                Ok(())
            } else {
                self.begin()
            }
        } else if self.filled < HEADER + self.payload.len() {
            Ok(())
        } else {
            self.filled = 0;
            self.open()
        };
        result.map_err(|Fault(error, alert)| self.fail(error, alert))
    }

    /// Takes note that the peer hung up.
    pub(crate) fn ended(&mut self) -> TlsError {
        *self.failed.get_or_insert(TlsError::Truncated)
    }

    /// A whole header has arrived.
    fn begin(&mut self) -> Result<(), Fault> {
        let [kind, major, _, high, low] = self.header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != APPLICATION_DATA || major != 3 {
            // A change_cipher_spec may come until the handshake is over, not later (RFC 8446, section 5).
            return Err(UNEXPECTED_MESSAGE);
        }
        if length > self.limit {
            return Err(RECORD_OVERFLOW);
        }
        if length <= TAG {
            return Err(DECODE_ERROR);
        }
        self.payload
            .try_reserve_exact(length)
            .map_err(|_| INTERNAL_ERROR)?;
        self.payload.resize(length, 0);
        Ok(())
    }

    /// A whole record has arrived.
    fn open(&mut self) -> Result<(), Fault> {
        let header = self.header;
        let nonce = self.receiver.next_nonce();
        let inner = self
            .receiver
            .cipher
            .open(nonce, &header, &mut self.payload)
            .map_err(|_| BAD_RECORD_MAC)?;
        // TLSInnerPlaintext: the text, its kind, and zeros.
        let end = inner
            .iter()
            .rposition(|&byte| byte != 0)
            .ok_or(UNEXPECTED_MESSAGE)?;
        if end > 1 << 14 {
            return Err(RECORD_OVERFLOW);
        }
        let kind = inner[end];
        if kind != HANDSHAKE && !self.message.is_empty() {
            return Err(UNEXPECTED_MESSAGE);
        }
        if kind == APPLICATION_DATA {
            self.text = 0..end;
            if end == 0 {
                self.payload = Zeroizing::default();
            }
            return Ok(());
        }
        let payload = core::mem::take(&mut self.payload);
        let content = payload.get(..end).ok_or(DECODE_ERROR)?;
        match kind {
            ALERT => self.alert(content),
            HANDSHAKE => self.handshake(content),
            _ => Err(UNEXPECTED_MESSAGE),
        }
    }

    fn alert(&mut self, content: &[u8]) -> Result<(), Fault> {
        match *content {
            [_, 0] => self.received_close = true,
            // user_canceled is followed by close_notify.
            [_, 90] => {}
            [_, alert] => self.failed = Some(TlsError::Refused(Alert(alert))),
            _ => return Err(DECODE_ERROR),
        }
        self.failed.map_or(Ok(()), |error| Err(Fault(error, 0)))
    }

    /// Messages of the handshake protocol; they may be several in a record, and one may go over several.
    fn handshake(&mut self, content: &[u8]) -> Result<(), Fault> {
        if content.is_empty() {
            return Err(UNEXPECTED_MESSAGE);
        }
        let mut messages = core::mem::take(&mut self.message);
        messages
            .try_reserve_exact(content.len())
            .map_err(|_| INTERNAL_ERROR)?;
        messages.extend_from_slice(content);
        let mut rest = &messages[..];
        while let [kind, a, b, c, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            // Before it is put together: a server takes no message that is longer than a byte.
            let longest = match (*kind, &self.kernel) {
                (NEW_SESSION_TICKET, Kernel::Client(_)) => MESSAGE,
                (KEY_UPDATE, _) => 1,
                _ => return Err(UNEXPECTED_MESSAGE),
            };
            if length > longest {
                return Err(RECORD_OVERFLOW);
            }
            let Some((body, after)) = after.split_at_checked(length) else {
                break;
            };
            rest = after;
            match (*kind, &mut self.kernel) {
                (NEW_SESSION_TICKET, Kernel::Client(kernel)) => {
                    kernel.handle_new_session_ticket(body).map_err(|_| DECODE_ERROR)?;
                }
                (KEY_UPDATE, _) => {
                    // The keys change behind this message: nothing else may be in its record (section 5.1).
                    if !rest.is_empty() {
                        return Err(UNEXPECTED_MESSAGE);
                    }
                    self.key_update(body)?;
                }
                _ => return Err(UNEXPECTED_MESSAGE),
            }
        }
        let left = rest.len();
        if left > 0 {
            messages.drain(..messages.len() - left);
            self.message = messages;
        }
        Ok(())
    }

    /// Section 4.6.3.
    fn key_update(&mut self, body: &[u8]) -> Result<(), Fault> {
        self.receiver = self.kernel.next_receiver()?;
        match body {
            [0] => Ok(()),
            // One answer that waits to be sent is enough for any number of requests, and only while we still speak.
            [1] if self.sent_close || self.update_waits => Ok(()),
            [1] => Ok(self.update_sender()?),
            _ => Err(Fault(TlsError::Protocol, 47)),
        }
    }

    /// Tells the peer that new keys follow, and takes them.
    fn update_sender(&mut self) -> Result<(), TlsError> {
        self.seal(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0])?;
        self.sender = self.kernel.next_sender()?;
        self.update_waits = true;
        Ok(())
    }

    /// Seals the beginning of `text` and returns its length.
    pub(crate) fn write(&mut self, text: &[u8]) -> Result<usize, TlsError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.sent_close {
            return Err(TlsError::Closed);
        }
        if text.is_empty() {
            return Ok(0);
        }
        if self.sender.is_worn() {
            self.update_sender()?;
        }
        let text = &text[..text.len().min(self.fragment)];
        self.seal(APPLICATION_DATA, text)?;
        Ok(text.len())
    }

    /// Whether another record would make the buffer of sealed ones larger than one full record.
    pub(crate) fn is_full(&self, next: usize) -> bool {
        let pending = self.pending().len();
        pending > 0 && pending + next.min(self.fragment) > self.fragment
    }

    /// Sealed bytes that must be sent.
    pub(crate) fn pending(&self) -> &[u8] {
        self.outbound.get(self.sent..).unwrap_or_default()
    }

    /// Takes note that `count` bytes of [`Records::pending`] were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.outbound.len() {
            self.outbound = Vec::new();
            self.sent = 0;
            self.update_waits = false;
        }
    }

    /// Seals the farewell, once.
    pub(crate) fn close(&mut self) -> Result<(), TlsError> {
        if self.failed.is_none() && !self.sent_close {
            self.seal(ALERT, &[1, 0])?;
            self.sent_close = true;
        }
        Ok(())
    }

    /// Remembers the error, and seals an alert for the peer unless it is the one who complained (0).
    fn fail(&mut self, error: TlsError, alert: u8) -> TlsError {
        self.failed = Some(error);
        self.payload = Zeroizing::default();
        self.message = Vec::new();
        self.filled = 0;
        if alert != 0 && !self.sent_close {
            // The connection is lost in any case.
            let _ = self.seal(ALERT, &[2, alert]);
        }
        error
    }

    fn seal(&mut self, kind: u8, text: &[u8]) -> Result<(), TlsError> {
        let length = text.len() + 1 + TAG;
        let header = make_tls13_aad(length);
        self.outbound
            .try_reserve_exact(HEADER + length)
            .map_err(|_| TlsError::Memory)?;
        let start = self.outbound.len() + HEADER;
        self.outbound.extend_from_slice(&header);
        self.outbound.extend_from_slice(text);
        self.outbound.push(kind);
        let nonce = self.sender.next_nonce();
        let tag = self
            .sender
            .cipher
            .seal(nonce, &header, &mut self.outbound[start..])
            .map_err(|_| TlsError::Internal)?;
        self.outbound.extend_from_slice(&tag);
        Ok(())
    }
}
