//! The record layer once hands are shaken (RFC 8446, section 5), without any input or output.
//!
//! rustls keeps the key schedule and the tickets (its kernel interface, made for systems that encrypt elsewhere).
//! Encrypting here costs a quarter of the memory: a record is decrypted where it lies and read from there, and its
//! buffer is as large as its header says and freed once it is read.

use crate::error::{Alert, TlsError};
use crate::provider::aead::{AES_GCM_RECORDS, Cipher, TAG};
use alloc::vec::Vec;
use core::ops::Range;
use rustls::ConnectionTrafficSecrets;
use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{Iv, Nonce, make_tls13_aad};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

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
    payload: Vec<u8>,
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
            payload: Vec::new(),
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
            self.payload = Vec::new();
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
                self.payload = Vec::new();
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
        self.payload = Vec::new();
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

#[cfg(test)]
pub(crate) mod tests {
    //! What only a peer with our own keys could send. Everything else is in `tests/`.

    use super::*;
    use crate::{Acceptor, Clients, Connector, Identity, P256Key, TlsStream, x509};
    use alloc::boxed::Box;
    use alloc::collections::VecDeque;
    use alloc::rc::Rc;
    use alloc::vec;
    use core::cell::RefCell;
    use core::future::poll_fn;
    use core::task::Poll;
    use embassy_futures::block_on;
    use embassy_futures::join::join;
    use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
    use proptest::prelude::*;

    type Lane = Rc<RefCell<VecDeque<u8>>>;

    pub(crate) struct End(Lane, Lane);

    impl ErrorType for End {
        type Error = ErrorKind;
    }

    impl Read for End {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            poll_fn(|_| match self.0.borrow_mut().pop_front() {
                Some(byte) => {
                    buffer[0] = byte;
                    Poll::Ready(Ok(1))
                }
                None => Poll::Pending,
            })
            .await
        }
    }

    impl Write for End {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            self.1.borrow_mut().extend(bytes);
            Ok(bytes.len())
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    /// The records of a client and of the server that it talks to.
    fn pair() -> (Box<Records>, Box<Records>) {
        let (near, far) = streams();
        (near.into_records(), far.into_records())
    }

    fn streams() -> (TlsStream<End>, TlsStream<End>) {
        let roots = x509::certificates_from_pem(include_bytes!("../tests/data/rsa-ca.pem")).unwrap();
        let chain = x509::certificates_from_pem(include_bytes!("../tests/data/p256.pem")).unwrap();
        let key = P256Key::from_pem(include_bytes!("../tests/data/p256.key")).unwrap();
        let identity = Identity::new(chain, &key).unwrap();
        let now = || Some(1_800_000_000);
        let connector = Connector::new(&roots, None, now).unwrap();
        let acceptor = Acceptor::new(&identity, Clients::Anonymous, now).unwrap();
        connect(&connector, &acceptor)
    }

    /// Both ends of a new connection.
    pub(crate) fn connect(connector: &Connector, acceptor: &Acceptor) -> (TlsStream<End>, TlsStream<End>) {
        let (a, b) = (Lane::default(), Lane::default());
        let (near, far) = block_on(join(
            connector.connect("api.test", End(a.clone(), b.clone())),
            acceptor.accept(End(b, a)),
        ));
        (near.unwrap(), far.unwrap())
    }

    /// Takes all that `from` has sealed over to `to`, and returns what text it was.
    fn carry(from: &mut Records, to: &mut Records) -> Result<Vec<u8>, TlsError> {
        let bytes = from.pending().to_vec();
        from.sent(bytes.len());
        let mut bytes = &bytes[..];
        let mut text = Vec::new();
        while !bytes.is_empty() {
            let room = to.room();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            room[..count].copy_from_slice(now);
            to.received(count)?;
            bytes = later;
            let mut buffer = [0; FRAGMENT];
            if let Ok(Some(count)) = to.read(&mut buffer) {
                text.extend_from_slice(&buffer[..count]);
            }
        }
        Ok(text)
    }

    /// What the other side makes of one record with this content.
    fn send(kind: u8, content: &[u8], to_client: bool) -> Result<Box<Records>, TlsError> {
        let (client, server) = pair();
        let (mut from, mut to) = if to_client {
            (server, client)
        } else {
            (client, server)
        };
        from.seal(kind, content).unwrap();
        carry(&mut from, &mut to)?;
        Ok(to)
    }

    #[test]
    fn refuses_what_may_not_come_now() {
        let protocol = Some(TlsError::Protocol);
        for (kind, content, to_client, expected) in [
            (HANDSHAKE, &[][..], true, protocol),
            // A ticket for a server, one that is cut for a client, a second ClientHello, a request for a certificate.
            (HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 0], false, protocol),
            (HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 2, 0, 0], true, protocol),
            (HANDSHAKE, &[1, 0, 0, 0], false, protocol),
            (HANDSHAKE, &[13, 0, 0, 0], true, protocol),
            // New keys must be the last in their record, and ask for 0 or 1.
            (
                HANDSHAKE,
                &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE, 0, 0, 1, 0],
                true,
                protocol,
            ),
            (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 2], true, protocol),
            (HANDSHAKE, &[KEY_UPDATE, 0, 0, 0], true, protocol),
            (
                HANDSHAKE,
                &[NEW_SESSION_TICKET, 1, 0, 0],
                true,
                Some(TlsError::TooLarge),
            ),
            (ALERT, &[2], true, protocol),
            (ALERT, &[2, 40], true, Some(TlsError::Refused(Alert(40)))),
            (20, &[1], true, protocol),
            (0, &[], true, protocol),
            // These are fine.
            (ALERT, &[1, 90], true, None),
            (APPLICATION_DATA, &[], true, None),
            (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1], false, None),
        ] {
            assert_eq!(
                send(kind, content, to_client).err(),
                expected,
                "{kind} {content:?}"
            );
        }
    }

    #[test]
    fn server_refuses_a_message_when_its_header_has_arrived() {
        for (header, expected) in [
            ([NEW_SESSION_TICKET, 0, 31, 0], TlsError::Protocol),
            ([1, 0, 31, 0], TlsError::Protocol),
            ([KEY_UPDATE, 0, 31, 0], TlsError::TooLarge),
        ] {
            assert_eq!(
                send(HANDSHAKE, &header, false).err(),
                Some(expected),
                "{header:?}"
            );
        }
    }

    #[test]
    fn puts_messages_together_and_takes_nothing_between() {
        let (mut client, mut server) = pair();
        client.seal(HANDSHAKE, &[KEY_UPDATE, 0]).unwrap();
        client.seal(HANDSHAKE, &[0, 1]).unwrap();
        client.seal(HANDSHAKE, &[1]).unwrap();
        client.sender = client.kernel.next_sender().unwrap();
        carry(&mut client, &mut server).unwrap();
        // It has answered with new keys of its own, once.
        assert_eq!(server.pending().len(), HEADER + 5 + 1 + TAG);
        carry(&mut server, &mut client).unwrap();
        client.write(b"new keys").unwrap();
        assert_eq!(carry(&mut client, &mut server).unwrap(), b"new keys");

        // Text that waits is no reason to leave a request without its answer; a request more is.
        server.write(b"waits").unwrap();
        let before = server.pending().len();
        for _ in 0..2 {
            client.seal(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1]).unwrap();
            client.sender = client.kernel.next_sender().unwrap();
        }
        carry(&mut client, &mut server).unwrap();
        assert_eq!(server.pending().len() - before, HEADER + 5 + 1 + TAG);
        assert_eq!(carry(&mut server, &mut client).unwrap(), b"waits");

        client.seal(HANDSHAKE, &[KEY_UPDATE, 0]).unwrap();
        client.seal(APPLICATION_DATA, b"between").unwrap();
        assert_eq!(carry(&mut client, &mut server), Err(TlsError::Protocol));
    }

    #[test]
    fn takes_new_keys_before_the_old_are_worn() {
        let (mut client, mut server) = pair();
        // As if an AES key had been used as often as it may.
        let key = aes_gcm::KeyInit::new(&[7; 16].into());
        client.sender.cipher = Cipher::Aes128Gcm(Box::new(key));
        let key = aes_gcm::KeyInit::new(&[7; 16].into());
        server.receiver.cipher = Cipher::Aes128Gcm(Box::new(key));
        client.sender.sequence = AES_GCM_RECORDS - 2;
        server.receiver.sequence = AES_GCM_RECORDS - 2;
        for round in 0..4 {
            client.write(&[round]).unwrap();
            assert_eq!(carry(&mut client, &mut server).unwrap(), [round]);
        }
        assert!(client.sender.sequence < 4 && server.receiver.sequence < 4);
    }

    #[test]
    fn holds_no_buffer_at_rest() {
        let (mut client, mut server) = pair();
        for length in [1, 4096, 9000] {
            let text = vec![1; length];
            let mut text = &text[..];
            while !text.is_empty() {
                let (now, later) = text.split_at(client.write(text).unwrap());
                assert_eq!(carry(&mut client, &mut server).unwrap(), now);
                text = later;
            }
        }
        for records in [client, server] {
            assert_eq!(
                records.payload.capacity() + records.message.capacity() + records.outbound.capacity(),
                0
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an authenticated peer puts into records: no panic, and nothing is kept beyond one message.
        #[test]
        fn any_content_is_survived(
            records in prop::collection::vec(
                (prop::sample::select(vec![0u8, 20, ALERT, HANDSHAKE, APPLICATION_DATA]),
                 prop::collection::vec(any::<u8>(), 0..40),
                 prop::sample::select(vec![NEW_SESSION_TICKET, KEY_UPDATE, 1])),
                1..8),
            to_client: bool,
        ) {
            let (client, server) = pair();
            let (mut from, mut to) = if to_client { (server, client) } else { (client, server) };
            for (kind, mut content, message) in records {
                if kind == HANDSHAKE && content.len() > 4 {
                    let length = content.len() - 4;
                    content[..4].copy_from_slice(&[message, 0, 0, length as u8]);
                }
                from.seal(kind, &content).unwrap();
                if carry(&mut from, &mut to).is_err() {
                    break;
                }
                prop_assert!(to.message.len() <= MESSAGE && to.pending().len() <= 2 * (HEADER + 5 + 1 + TAG));
            }
        }
    }
}
