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
    let roots = x509::certificates_from_pem(include_bytes!("../../tests/data/rsa-ca.pem")).unwrap();
    let chain = x509::certificates_from_pem(include_bytes!("../../tests/data/p256.pem")).unwrap();
    let key = P256Key::from_pem(include_bytes!("../../tests/data/p256.key")).unwrap();
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
