//! Records after the handshake, with rustls as released at the other end: large ones, split ones, new keys, tickets,
//! and futures that are dropped halfway.

mod common;

use common::oracle::{self, Oracle};
use common::{Authority, End, Leaf, NOW, now, wire};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_futures::{block_on, yield_now};
use embedded_io_async::{Read, Write};
use picolet_tls::{Acceptor, Clients, Connector, TlsError, TlsStream};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, ServerConfig};
use std::sync::Arc;

/// Our client, with a client certificate, and rustls's server.
fn client(connector: &Connector, config: &Arc<ServerConfig>) -> (TlsStream<End>, Oracle) {
    let (near, far) = wire();
    let mut far = Oracle::server(config, far);
    let (near, result) = block_on(join(connector.connect("api.test", near), far.shake()));
    result.unwrap();
    (near.unwrap(), far)
}

fn connector(authority: &Authority) -> Connector {
    Connector::new(
        &authority.roots(),
        Some(&authority.identity(&Leaf::client())),
        now,
    )
    .unwrap()
}

async fn read_exactly(stream: &mut TlsStream<End>, count: usize) -> Vec<u8> {
    let mut text = vec![0; count];
    stream.read_exact(&mut text).await.unwrap();
    text
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[test]
fn carries_large_texts_both_ways_with_either_suite_and_group() {
    let authority = Authority::new();
    let connector = connector(&authority);
    for (suite, group) in [
        (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, NamedGroup::X25519),
        (CipherSuite::TLS13_AES_128_GCM_SHA256, NamedGroup::secp256r1),
    ] {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|offered| offered.suite() == suite);
        // With P-256 alone the server asks for another key share first (HelloRetryRequest).
        provider.kx_groups.retain(|offered| offered.name() == group);
        let pair = oracle::pair(&authority, &Leaf::server());
        let config = oracle::server_with(provider, &authority, pair, &[&TLS13]);
        let (mut near, mut far) = client(&connector, &Arc::new(config));
        assert_eq!(
            far.connection
                .negotiated_cipher_suite()
                .map(|suite| suite.suite()),
            Some(suite)
        );
        let text = pattern(100_000);
        block_on(async {
            far.write(&text).await;
            assert_eq!(read_exactly(&mut near, text.len()).await, text);
            let (written, read) = join(
                async {
                    near.write_all(&text).await.unwrap();
                    near.flush().await
                },
                far.read(text.len()),
            )
            .await;
            written.unwrap();
            assert_eq!(read, text);
        });
    }
}

#[test]
fn prefers_chacha_as_a_server_whatever_the_client_prefers() {
    let authority = Authority::new();
    let roots = authority.roots();
    let acceptor = Acceptor::new(
        &authority.identity(&Leaf::server()),
        Clients::Required(&roots),
        now,
    )
    .unwrap();
    let mut config = oracle::client(&authority, &[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (near, far) = wire();
    let mut near = Oracle::client(&Arc::new(config), near);
    let (result, far) = block_on(join(near.shake(), acceptor.accept(far)));
    result.unwrap();
    let suite = near.connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    assert_eq!(
        near.connection.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519
    );
    assert_eq!(near.connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut far = far.unwrap();
    block_on(async {
        near.write(&pattern(20_000)).await;
        assert_eq!(read_exactly(&mut far, 20_000).await, pattern(20_000));
        near.close().await;
        assert_eq!(far.read(&mut [0]).await, Ok(0));
    });
}

#[test]
fn takes_handshakes_and_tickets_split_over_small_records() {
    let authority = Authority::new();
    let mut config = oracle::server(&authority, &[&TLS13]);
    config.max_fragment_size = Some(64);
    let config = Arc::new(config);
    let connector = connector(&authority);
    let (mut near, mut far) = client(&connector, &config);
    block_on(async {
        far.write(b"behind the tickets").await;
        assert_eq!(read_exactly(&mut near, 18).await, b"behind the tickets");
    });
    assert!(client(&connector, &config).0.resumed());
}

#[test]
fn resumes_with_the_newest_ticket_and_keeps_the_identity() {
    let authority = Authority::new();
    let config = Arc::new(oracle::server(&authority, &[&TLS13]));
    let connector = connector(&authority);
    for round in 0..4 {
        let (mut near, mut far) = client(&connector, &config);
        assert_eq!(near.resumed(), round > 0, "round {round}");
        assert_eq!(far.connection.peer_certificates().map(<[_]>::len), Some(1));
        assert!(near.peer_certificate().is_some());
        block_on(async {
            far.write(b"x").await;
            read_exactly(&mut near, 1).await;
        });
    }
    // A clone shares the ticket; another connector has none.
    assert!(client(&connector.clone(), &config).0.resumed());
    let other = Connector::new(&authority.roots(), None, now).unwrap();
    assert!(!client(&other, &config).0.resumed());
    // A server that has forgotten its sessions gets a full handshake.
    let forgetful = Arc::new(oracle::server(&authority, &[&TLS13]));
    assert!(!client(&connector, &forgetful).0.resumed());
}

#[test]
fn follows_key_updates() {
    let authority = Authority::new();
    let (mut near, mut far) = client(
        &connector(&authority),
        &Arc::new(oracle::server(&authority, &[&TLS13])),
    );
    block_on(async {
        for round in 0..5 {
            far.connection.refresh_traffic_keys().unwrap();
            far.write(&[round; 100]).await;
            assert_eq!(read_exactly(&mut near, 100).await, [round; 100]);
            near.write_all(&[round; 100]).await.unwrap();
            near.flush().await.unwrap();
            assert_eq!(far.read(100).await, [round; 100]);
        }
    });
}

#[test]
fn loses_nothing_when_futures_are_dropped() {
    let authority = Authority::new();
    let connector = connector(&authority);
    let (mut near, far) = wire();
    (near.chunk, near.stutters) = (7, true);
    let mut far = Oracle::server(&Arc::new(oracle::server(&authority, &[&TLS13])), far);
    let (near, result) = block_on(join(connector.connect("api.test", near), far.shake()));
    result.unwrap();
    let mut near = near.unwrap();
    let text = pattern(40_000);
    block_on(async {
        far.write(&text).await;
        let (mut got, mut dropped) = (Vec::new(), 0);
        while got.len() < text.len() {
            let mut buffer = [0; 333];
            match select(near.read(&mut buffer), yield_now()).await {
                Either::First(count) => got.extend_from_slice(&buffer[..count.unwrap()]),
                Either::Second(()) => dropped += 1,
            }
        }
        assert_eq!(got, text);
        let (mut sent, mut cut) = (0, 0);
        while sent < text.len() {
            match select(near.write(&text[sent..]), yield_now()).await {
                Either::First(count) => sent += count.unwrap(),
                Either::Second(()) => cut += 1,
            }
        }
        while let Either::Second(()) = select(near.flush(), yield_now()).await {
            cut += 1;
        }
        assert_eq!(far.read(text.len()).await, text);
        assert!(
            dropped > 1000 && cut > 1000,
            "only {dropped} and {cut} futures were dropped"
        );
    });
}

#[test]
fn reads_in_pieces_of_any_size() {
    let authority = Authority::new();
    let (mut near, mut far) = client(
        &connector(&authority),
        &Arc::new(oracle::server(&authority, &[&TLS13])),
    );
    let text = pattern(30_000);
    block_on(async {
        far.write(&text).await;
        let mut got = Vec::new();
        for size in (1..).step_by(37) {
            let mut buffer = vec![0; size.min(text.len() - got.len())];
            if buffer.is_empty() {
                break;
            }
            let count = near.read(&mut buffer).await.unwrap();
            got.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(got, text);
        assert_eq!(near.read(&mut []).await, Ok(0));
    });
}

#[test]
fn speaks_no_older_version() {
    let authority = Authority::new();
    let (near, far) = wire();
    let mut far = Oracle::server(&Arc::new(oracle::server(&authority, &[&TLS12])), far);
    let connector = connector(&authority);
    let (near, _) = block_on(join(connector.connect("api.test", near), far.shake()));
    assert_eq!(near.unwrap_err(), TlsError::Version);

    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now).unwrap();
    let (near, far) = wire();
    let mut near = Oracle::client(&Arc::new(oracle::client(&authority, &[&TLS12])), near);
    let (result, far) = block_on(join(near.shake(), acceptor.accept(far)));
    assert_eq!(far.unwrap_err(), TlsError::Version);
    assert_eq!(
        result.unwrap_err(),
        rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion)
    );
}

#[test]
fn says_when_there_is_nothing_in_common() {
    let authority = Authority::new();
    let mut provider = rustls::crypto::ring::default_provider();
    provider
        .kx_groups
        .retain(|group| group.name() == NamedGroup::secp384r1);
    let pair = oracle::pair(&authority, &Leaf::server());
    let config = oracle::server_with(provider, &authority, pair, &[&TLS13]);
    let (near, far) = wire();
    let mut far = Oracle::server(&Arc::new(config), far);
    let connector = connector(&authority);
    let (near, _) = block_on(join(connector.connect("api.test", near), far.shake()));
    assert_eq!(near.unwrap_err(), TlsError::Refused(picolet_tls::Alert(40)));
}

#[test]
fn verifies_a_server_with_an_rsa_key() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    // RSA-3072 with PSS on the handshake, its certificate by RSA-2048 with SHA-512.
    let authority = Authority::new();
    let pair = (
        vec![CertificateDer::from_pem_slice(include_bytes!("data/rsa-3072.pem")).unwrap()],
        PrivateKeyDer::from_pem_slice(include_bytes!("data/rsa-3072.key")).unwrap(),
    );
    let config = Arc::new(oracle::server_with(
        rustls::crypto::ring::default_provider(),
        &authority,
        pair,
        &[&TLS13],
    ));
    let roots = picolet_tls::x509::certificates_from_pem(include_bytes!("data/rsa-ca.pem")).unwrap();
    let connector = Connector::new(&roots, None, || Some(NOW + 30 * 86_400)).unwrap();
    client(&connector, &config);
}
