//! What a hostile or broken peer sends: never a panic, never a wrong text, always an error.

mod common;

use common::oracle::{self, Oracle};
use common::{Authority, Leaf, now, wire};
use core::future::Future;
use embassy_futures::block_on;
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use picolet_tls::{Acceptor, Alert, Clients, Connector, Identity, P256Key, TlsError};
use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::version::TLS13;
use std::sync::{Arc, LazyLock};

struct World {
    authority: Authority,
    connector: Connector,
    acceptor: Acceptor,
}

/// Made once: making keys is the slow part.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let authority = Authority::new();
    let roots = authority.roots();
    World {
        connector: Connector::new(&roots, Some(&authority.identity(&Leaf::client())), now).unwrap(),
        acceptor: Acceptor::new(
            &authority.identity(&Leaf::server()),
            Clients::Optional(&roots),
            now,
        )
        .unwrap(),
        authority,
    }
});

/// Runs both; if one is done and the other waits for ever, that one is told that the line is dead.
fn settle<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (Option<A>, Option<B>) {
    async fn patience() {
        for _ in 0..100 {
            embassy_futures::yield_now().await;
        }
    }
    let run = async {
        let mut a = core::pin::pin!(a);
        let mut b = core::pin::pin!(b);
        match select(&mut a, &mut b).await {
            Either::First(a) => match select(b, patience()).await {
                Either::First(b) => (Some(a), Some(b)),
                Either::Second(()) => (Some(a), None),
            },
            Either::Second(b) => match select(a, patience()).await {
                Either::First(a) => (Some(a), Some(b)),
                Either::Second(()) => (None, Some(b)),
            },
        }
    };
    match block_on(select(run, async {
        for _ in 0..2000 {
            embassy_futures::yield_now().await;
        }
    })) {
        Either::First(outcome) => outcome,
        Either::Second(()) => (None, None),
    }
}

/// Both sides never come out with a text that the other did not send, whichever bit of either flight is flipped.
#[test]
fn any_flipped_bit_of_a_handshake_ends_it() {
    let World {
        connector, acceptor, ..
    } = &*WORLD;
    // A whole exchange has about 300 bytes from the client's first flight and 900 from the server's.
    for at in (0..1400).step_by(3) {
        for of_client in [false, true] {
            let (mut near, mut far) = wire();
            if of_client {
                far.flip = Some(at)
            } else {
                near.flip = Some(at)
            }
            let client = async {
                let mut stream = connector.connect("api.test", near).await?;
                stream.write_all(b"hello").await?;
                stream.flush().await?;
                let mut text = [0; 5];
                stream
                    .read_exact(&mut text)
                    .await
                    .map_err(|_| TlsError::Truncated)?;
                Ok::<_, TlsError>(text)
            };
            let server = async {
                let mut stream = acceptor.accept(far).await?;
                let mut text = [0; 5];
                stream
                    .read_exact(&mut text)
                    .await
                    .map_err(|_| TlsError::Truncated)?;
                stream.write_all(b"world").await?;
                stream.flush().await?;
                Ok::<_, TlsError>(text)
            };
            let (client, server) = settle(client, server);
            if let Some(Ok(text)) = client {
                assert_eq!(&text, b"world", "byte {at}");
            }
            if let Some(Ok(text)) = server {
                assert_eq!(&text, b"hello", "byte {at}");
            }
        }
    }
}

#[test]
fn any_flipped_bit_of_a_record_is_noticed() {
    let World {
        connector, authority, ..
    } = &*WORLD;
    let config = Arc::new(oracle::server(authority, &[&TLS13]));
    for at in 0..60 {
        let (near, far) = wire();
        let mut far = Oracle::server(&config, far);
        let (near, result) = block_on(join(connector.connect("api.test", near), far.shake()));
        result.unwrap();
        let mut near = near.unwrap();
        block_on(async {
            far.write(b"first").await;
            near.read_exact(&mut [0; 5]).await.unwrap();
            let before = far.end.sent().len();
            far.write(b"second").await;
            let length = far.end.sent().len() - before;
            if at >= length {
                return;
            }
            // A length that has grown makes it wait for more: so the line is cut as well.
            near.get_ref().damage(at);
            near.get_ref().cut();
            let mut text = [0; 6];
            match near.read(&mut text).await {
                Ok(count) => panic!("byte {at}: {count} bytes were taken for genuine"),
                Err(error) => assert!(
                    matches!(
                        error,
                        TlsError::Corrupt | TlsError::Protocol | TlsError::TooLarge | TlsError::Truncated
                    ),
                    "byte {at}: {error:?}"
                ),
            }
        });
    }
}

/// An authority's client whose certificate has an extension of so many bytes.
fn large(authority: &Authority, bytes: usize) -> Identity {
    let mut parameters = CertificateParams::default();
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
        .custom_extensions
        .push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; bytes]));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let issued = authority.issuer(parameters, key);
    let key = P256Key::from_der(&issued.key().serialize_der()).unwrap();
    Identity::new(vec![issued.der().to_vec()], &key).unwrap()
}

/// With the limit of a board.
#[test]
fn client_gets_an_alert_when_its_chain_is_larger_than_the_server_takes() {
    let World {
        authority, acceptor, ..
    } = &*WORLD;
    let acceptor = acceptor.clone().with_record_limits(6144, 6144);
    for (bytes, accepted) in [(4500, true), (5500, true), (6500, false)] {
        let connector = Connector::new(&authority.roots(), Some(&large(authority, bytes)), now).unwrap();
        let (near, far) = wire();
        let client = async {
            let mut stream = connector.connect("api.test", near).await?;
            stream.write_all(b"hello").await?;
            stream.flush().await?;
            let mut text = [0; 5];
            stream.read(&mut text).await
        };
        let server = async {
            let mut stream = acceptor.accept(far).await?;
            let known = stream.peer_certificate().is_some();
            stream.write_all(b"world").await?;
            stream.flush().await?;
            Ok::<_, TlsError>(known)
        };
        let (client, server) = block_on(join(client, server));
        if accepted {
            assert_eq!((client, server), (Ok(5), Ok(true)), "{bytes} bytes");
        } else {
            assert_eq!(server, Err(TlsError::TooLarge), "{bytes} bytes");
            // decode_error (RFC 8446, section 6.2).
            assert_eq!(client, Err(TlsError::Refused(Alert(50))), "{bytes} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let World { connector, acceptor, .. } = &*WORLD;
        for server in [false, true] {
            let (near, far) = wire();
            near.inject(&bytes);
            drop(far);
            let result = if server { block_on(acceptor.accept(near)) } else { block_on(connector.connect("api.test", near)) };
            prop_assert!(result.is_err());
        }
    }

    /// Records with a right header around garbage, so that it gets as far as the state machine.
    #[test]
    fn garbage_in_records_is_an_error(
        records in prop::collection::vec((20u8..24, prop::collection::vec(any::<u8>(), 0..300)), 1..6),
        message in prop::sample::select(vec![1u8, 2, 4, 8, 11, 13, 15, 20, 24, 25]),
    ) {
        let World { connector, acceptor, .. } = &*WORLD;
        let mut bytes = Vec::new();
        for (kind, mut payload) in records {
            if kind == 22 && payload.len() > 4 {
                let length = (payload.len() - 4) as u32;
                payload[..4].copy_from_slice(&length.to_be_bytes());
                payload[0] = message;
            }
            bytes.extend([kind, 3, 3]);
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend(payload);
        }
        for server in [false, true] {
            let (near, far) = wire();
            near.inject(&bytes);
            drop(far);
            let result = if server { block_on(acceptor.accept(near)) } else { block_on(connector.connect("api.test", near)) };
            prop_assert!(result.is_err());
        }
    }
}
