//! Our client and our server with each other: that they agree, and that each refusal has its name.

mod common;

use common::{Authority, End, Leaf, NOW, now, wire};
use embassy_futures::block_on;
use embassy_futures::join::join;
use embedded_io_async::{Read, Write};
use picolet_tls::x509::certificates_from_pem;
use picolet_tls::{Acceptor, Alert, Clients, Connector, Identity, SetupError, TlsError, TlsStream};
use rcgen::ExtendedKeyUsagePurpose;
use std::sync::atomic::{AtomicU64, Ordering};

type Outcome = Result<TlsStream<End>, TlsError>;

const DAY: u64 = 86_400;

fn shake(connector: &Connector, name: &str, acceptor: &Acceptor) -> (Outcome, Outcome) {
    let (near, far) = wire();
    block_on(join(connector.connect(name, near), acceptor.accept(far)))
}

async fn read(stream: &mut TlsStream<End>) -> Result<Vec<u8>, TlsError> {
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer).await?;
    Ok(buffer[..count].to_vec())
}

#[test]
fn agrees_with_client_certificate_and_carries_bytes_both_ways() {
    let authority = Authority::new();
    let client = authority.identity(&Leaf::client());
    let roots = authority.roots();
    let connector = Connector::new(&roots, Some(&client), now).unwrap();
    let server = authority.identity(&Leaf::server());
    for clients in [Clients::Required(&roots), Clients::Optional(&roots)] {
        let acceptor = Acceptor::new(&server, clients, now).unwrap();
        for name in ["api.test", "10.0.2.2"] {
            let (near, far) = shake(&connector, name, &acceptor);
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            assert_eq!(far.peer_certificate(), Some(client.certificate()));
            assert_eq!(near.peer_certificate(), Some(server.certificate()));
            assert!(!near.resumed());
            block_on(async {
                near.write_all(b"GET /healthz").await.unwrap();
                near.flush().await.unwrap();
                assert_eq!(read(&mut far).await.unwrap(), b"GET /healthz");
                far.write_all(b"ok").await.unwrap();
                far.flush().await.unwrap();
                assert_eq!(read(&mut near).await.unwrap(), b"ok");
            });
        }
    }
}

#[test]
fn takes_clients_without_certificate_where_it_is_optional() {
    let authority = Authority::new();
    let roots = authority.roots();
    let connector = Connector::new(&roots, None, now).unwrap();
    for clients in [Clients::Optional(&roots), Clients::Anonymous] {
        let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), clients, now).unwrap();
        let (near, far) = shake(&connector, "api.test", &acceptor);
        near.unwrap();
        assert_eq!(far.unwrap().peer_certificate(), None);
    }
}

#[test]
fn works_where_bytes_come_one_by_one_and_late() {
    let authority = Authority::new();
    let roots = authority.roots();
    let connector = Connector::new(&roots, Some(&authority.identity(&Leaf::client())), now).unwrap();
    let acceptor = Acceptor::new(
        &authority.identity(&Leaf::server()),
        Clients::Required(&roots),
        now,
    )
    .unwrap();
    let (mut near, mut far) = wire();
    (near.chunk, near.stutters) = (1, true);
    (far.chunk, far.stutters) = (3, true);
    let (near, far) = block_on(join(connector.connect("api.test", near), acceptor.accept(far)));
    near.unwrap();
    far.unwrap();
}

#[test]
fn names_what_is_wrong_with_a_server() {
    let authority = Authority::new();
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let server = Leaf::server;
    let client_only = Leaf {
        usage: Some(ExtendedKeyUsagePurpose::ClientAuth),
        ..server()
    };
    for (name, identity, expected, alert) in [
        (
            "other.test",
            authority.identity(&server()),
            TlsError::WrongName,
            42,
        ),
        ("10.0.2.3", authority.identity(&server()), TlsError::WrongName, 42),
        (
            "api.test",
            Authority::named("other").identity(&server()),
            TlsError::UnknownIssuer,
            48,
        ),
        // Another cluster's authority of the same name, as every kubeadm cluster's is.
        (
            "api.test",
            Authority::new().identity(&server()),
            TlsError::BadSignature,
            51,
        ),
        (
            "api.test",
            authority.identity(&Leaf {
                days: (-3, -1),
                ..server()
            }),
            TlsError::Expired {
                not_after: NOW - DAY,
                now: NOW,
            },
            45,
        ),
        (
            "api.test",
            authority.identity(&Leaf {
                days: (1, 3),
                ..server()
            }),
            TlsError::NotYetValid {
                not_before: NOW + DAY,
                now: NOW,
            },
            45,
        ),
        (
            "api.test",
            authority.identity(&client_only),
            TlsError::WrongUsage,
            43,
        ),
    ] {
        let acceptor = Acceptor::new(&identity, Clients::Anonymous, now).unwrap();
        let (near, far) = shake(&connector, name, &acceptor);
        assert_eq!(near.unwrap_err(), expected);
        let TlsError::Refused(Alert(found)) = far.unwrap_err() else {
            panic!("{expected:?}")
        };
        assert!(
            found == alert || found == 42 || found == 46,
            "{expected:?}: alert {found}"
        );
    }
}

#[test]
fn names_what_is_wrong_with_a_client() {
    let authority = Authority::new();
    let roots = authority.roots();
    let acceptor = Acceptor::new(
        &authority.identity(&Leaf::server()),
        Clients::Required(&roots),
        now,
    )
    .unwrap();
    let client = Leaf::client;
    let server_only = Leaf {
        usage: Some(ExtendedKeyUsagePurpose::ServerAuth),
        ..client()
    };
    for (identity, expected) in [
        (None, TlsError::CertificateRequired),
        (
            Some(Authority::named("other").identity(&client())),
            TlsError::UnknownIssuer,
        ),
        (
            Some(authority.identity(&Leaf {
                days: (-3, -1),
                ..client()
            })),
            TlsError::Expired {
                not_after: NOW - DAY,
                now: NOW,
            },
        ),
        (
            Some(authority.identity(&Leaf {
                days: (1, 3),
                ..client()
            })),
            TlsError::NotYetValid {
                not_before: NOW + DAY,
                now: NOW,
            },
        ),
        (Some(authority.identity(&server_only)), TlsError::WrongUsage),
    ] {
        let connector = Connector::new(&roots, identity.as_ref(), now).unwrap();
        let (near, far) = shake(&connector, "api.test", &acceptor);
        assert_eq!(far.unwrap_err(), expected);
        // A TLS 1.3 client is done before the server has looked at its certificate.
        let error = block_on(read(&mut near.unwrap())).unwrap_err();
        let TlsError::Refused(alert) = error else {
            panic!("{expected:?}: {error:?}")
        };
        assert!(alert.is_about_our_certificate(), "{expected:?}: {alert:?}");
    }
}

#[test]
fn server_is_verified_when_its_chain_leads_to_a_p384_root() {
    // As GitHub's: the intermediate has a P-256 key and is signed with SHA-384 by a P-384 root.
    let authority = |name: &str| {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        (parameters.not_before, parameters.not_after) = (common::date(-10), common::date(10));
        parameters
    };
    let root = || {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        rcgen::CertifiedIssuer::self_signed(authority("root"), key).unwrap()
    };
    let (right, wrong) = (root(), root());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let intermediate = rcgen::CertifiedIssuer::signed_by(authority("intermediate"), key, &right).unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec!["api.test".into()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (common::date(-1), common::date(1));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = leaf.signed_by(&key, &intermediate).unwrap();
    let key = picolet_tls::P256Key::from_der(&key.serialize_der()).unwrap();
    let chain = vec![leaf.der().to_vec(), intermediate.der().to_vec()];
    let identity = Identity::new(chain, &key).unwrap();
    let none = [right.der().to_vec()];
    let acceptor = Acceptor::new(&identity, Clients::Optional(&none), now).unwrap();
    for (root, verifies) in [(&right, true), (&wrong, false)] {
        let connector = Connector::new(&[root.der().to_vec()], None, now).unwrap();
        let (near, _) = shake(&connector, "api.test", &acceptor);
        assert_eq!(near.is_ok(), verifies);
    }
}

#[test]
fn verifies_an_rsa_authority_with_three_signature_algorithms() {
    // The CA's own key is RSA-2048, as kubeadm's is. What it signed: P-256 with SHA-256, RSA-3072 with SHA-512 (the
    // latter is in tests/records.rs, since we only sign with P-256).
    let roots = certificates_from_pem(include_bytes!("data/rsa-ca.pem")).unwrap();
    let later = || Some(NOW + 30 * DAY);
    let identity =
        Identity::from_pem(include_bytes!("data/p256.pem"), include_bytes!("data/p256.key")).unwrap();
    let acceptor = Acceptor::new(&identity, Clients::Required(&roots), later).unwrap();
    let connector = Connector::new(&roots, Some(&identity), later).unwrap();
    let (near, far) = shake(&connector, "api.test", &acceptor);
    near.unwrap();
    assert_eq!(far.unwrap().peer_certificate(), Some(identity.certificate()));
}

#[test]
fn judges_nothing_without_the_time() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now).unwrap();
    let connector = Connector::new(&authority.roots(), None, || None).unwrap();
    let (near, _) = shake(&connector, "api.test", &acceptor);
    assert_eq!(near.unwrap_err(), TlsError::TimeUnknown);
}

#[test]
fn refuses_to_be_set_up_wrongly() {
    let authority = Authority::new();
    assert_eq!(Connector::new(&[], None, now).unwrap_err(), SetupError::NoRoot);
    assert_eq!(
        Connector::new(&[vec![1, 2, 3]], None, now).unwrap_err(),
        SetupError::Root
    );
    let identity = authority.identity(&Leaf::server());
    assert_eq!(
        Acceptor::new(&identity, Clients::Required(&[]), now).unwrap_err(),
        SetupError::NoRoot
    );
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let (near, _far) = wire();
    assert_eq!(
        block_on(connector.connect("not a name", near)).unwrap_err(),
        TlsError::ServerName
    );
}

#[test]
fn says_when_the_other_side_does_not_speak_tls() {
    let authority = Authority::new();
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now).unwrap();
    let (near, _far) = wire();
    near.inject(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    assert_eq!(
        block_on(connector.connect("api.test", near)).unwrap_err(),
        TlsError::NotTls
    );
    let (near, _far) = wire();
    near.inject(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(block_on(acceptor.accept(near)).unwrap_err(), TlsError::NotTls);
    let (near, far) = wire();
    drop(far);
    assert_eq!(
        block_on(connector.connect("api.test", near)).unwrap_err(),
        TlsError::Truncated
    );
}

#[test]
fn closes_on_records_over_the_limit() {
    let authority = Authority::new();
    let identity = authority.identity(&Leaf::server());
    let acceptor = Acceptor::new(&identity, Clients::Anonymous, now)
        .unwrap()
        .with_record_limits(1024, 1024);
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let (near, far) = shake(&connector, "api.test", &acceptor);
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    block_on(async {
        near.write_all(&[7; 2000]).await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(read(&mut far).await, Err(TlsError::TooLarge));
        assert_eq!(read(&mut far).await, Err(TlsError::TooLarge));
        assert_eq!(read(&mut near).await, Err(TlsError::Refused(Alert(22))));
    });
    // A ClientHello that is too large.
    let (near, _far) = wire();
    near.inject(&[22, 3, 1, 4, 1]);
    assert_eq!(block_on(acceptor.accept(near)).unwrap_err(), TlsError::TooLarge);
}

#[test]
fn each_direction_is_closed_by_itself() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now).unwrap();
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let (near, far) = shake(&connector, "api.test", &acceptor);
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    block_on(async {
        near.write_all(b"all").await.unwrap();
        near.close().await.unwrap();
        assert_eq!(near.write(b"more").await, Err(TlsError::Closed));
        assert_eq!(read(&mut far).await.unwrap(), b"all");
        assert_eq!(read(&mut far).await.unwrap(), b"");
        // The other half still works.
        far.write_all(b"answer").await.unwrap();
        far.close().await.unwrap();
        far.close().await.unwrap();
        assert_eq!(read(&mut near).await.unwrap(), b"answer");
        assert_eq!(read(&mut near).await.unwrap(), b"");
    });
}

#[test]
fn tells_a_farewell_from_a_cut() {
    let authority = Authority::new();
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now).unwrap();
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let (near, far) = shake(&connector, "api.test", &acceptor);
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    block_on(async {
        far.write_all(b"part").await.unwrap();
        far.flush().await.unwrap();
        drop(far);
        assert_eq!(read(&mut near).await.unwrap(), b"part");
        assert_eq!(read(&mut near).await, Err(TlsError::Truncated));
    });
}

/// A node whose clock nobody has set learns when the server's certificate is valid, and nothing of it is given away.
#[test]
fn asks_for_the_time_without_knowing_it() {
    let authority = Authority::new();
    let roots = authority.roots();
    let identity = authority.identity(&Leaf::client());
    for days in [(-1, 1), (-3, -1), (1, 3)] {
        let connector = Connector::new(&roots, Some(&identity), || None).unwrap();
        let server = authority.identity(&Leaf {
            days,
            ..Leaf::server()
        });
        let acceptor = Acceptor::new(&server, Clients::Optional(&roots), now).unwrap();
        let (near, _) = shake(&connector, "api.test", &acceptor);
        assert_eq!(near.unwrap_err(), TlsError::TimeUnknown);
        let (mut end, far) = wire();
        let (near, far) = block_on(join(
            connector.shake_undated("api.test", &mut end),
            acceptor.accept(far),
        ));
        let ((near, validity), mut far) = (near.unwrap(), far.unwrap());
        let mut near = near.over(end);
        let second = |days: i64| NOW.checked_add_signed(days * DAY as i64).unwrap();
        assert_eq!(
            (validity.not_before, validity.not_after),
            (second(days.0), second(days.1))
        );
        assert_eq!(validity.contains(NOW), days.0 < 0 && days.1 > 0);
        assert_eq!(far.peer_certificate(), None);
        block_on(async {
            far.write_all(b"Date").await.unwrap();
            far.flush().await.unwrap();
            assert_eq!(read(&mut near).await.unwrap(), b"Date");
        });
    }
}

/// Whoever has seen a server's certificates can show them.
#[test]
fn validity_is_that_of_the_last_server_when_another_handshake_fails() {
    let authority = Authority::new();
    let roots = authority.roots();
    let connector = Connector::new(&roots, None, now).unwrap();
    let accepted = |days| {
        let server = authority.identity(&Leaf {
            days,
            ..Leaf::server()
        });
        Acceptor::new(&server, Clients::Anonymous, now).unwrap()
    };
    let (near, _) = shake(&connector, "api.test", &accepted((-1, 1)));
    near.unwrap();
    let validity = connector.validity().expect("it is known");
    for days in [(-3, -1), (-1, 30)] {
        let (mut near, far) = wire();
        let acceptor = accepted(days);
        let (near, _) = block_on(join(
            connector.shake_undated("other.test", &mut near),
            acceptor.accept(far),
        ));
        assert_eq!(near.unwrap_err(), TlsError::WrongName);
        assert_eq!(connector.validity(), Some(validity), "{days:?}");
    }
}

#[test]
fn asks_nobody_else_for_the_time() {
    let authority = Authority::new();
    let connector = Connector::new(&authority.roots(), None, || None).unwrap();
    let client_only = Leaf {
        usage: Some(ExtendedKeyUsagePurpose::ClientAuth),
        ..Leaf::server()
    };
    for (identity, name, expected) in [
        (
            authority.identity(&Leaf::server()),
            "other.test",
            TlsError::WrongName,
        ),
        (authority.identity(&client_only), "api.test", TlsError::WrongUsage),
        (
            Authority::new().identity(&Leaf::server()),
            "api.test",
            TlsError::BadSignature,
        ),
        (
            Authority::named("other").identity(&Leaf::server()),
            "api.test",
            TlsError::UnknownIssuer,
        ),
    ] {
        let acceptor = Acceptor::new(&identity, Clients::Anonymous, now).unwrap();
        let (mut near, far) = wire();
        let (near, _) = block_on(join(
            connector.shake_undated(name, &mut near),
            acceptor.accept(far),
        ));
        assert_eq!(near.unwrap_err(), expected);
    }
}

#[test]
fn resumes_with_our_own_server_and_keeps_who_the_client_is() {
    let authority = Authority::new();
    let roots = authority.roots();
    let client = authority.identity(&Leaf::client());
    let connector = Connector::new(&roots, Some(&client), now).unwrap();
    let acceptor = || {
        let server = authority.identity(&Leaf::server());
        Acceptor::new(&server, Clients::Required(&roots), now)
            .unwrap()
            .with_tickets()
    };
    let mine = acceptor();
    for (acceptor, resumed) in [(&mine, false), (&mine, true), (&mine, true), (&acceptor(), false)] {
        let (near, far) = shake(&connector, "api.test", acceptor);
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!((near.resumed(), far.resumed()), (resumed, resumed));
        assert_eq!(far.peer_certificate(), Some(client.certificate()));
        block_on(async {
            // The ticket comes with the first text.
            far.write_all(b"x").await.unwrap();
            far.flush().await.unwrap();
            assert_eq!(read(&mut near).await.unwrap(), b"x");
        });
    }
    // The ticket is the connector's, not the server's.
    let other = Connector::new(&roots, Some(&authority.identity(&Leaf::client())), now).unwrap();
    assert!(!shake(&other, "api.test", &mine).0.unwrap().resumed());
}

#[test]
fn session_is_not_resumed_when_the_certificate_of_its_server_has_expired() {
    static TIME: AtomicU64 = AtomicU64::new(NOW);
    let clock = || Some(TIME.load(Ordering::Relaxed));
    let authority = Authority::new();
    let roots = authority.roots();
    let connector = Connector::new(&roots, None, clock).unwrap();
    // Valid for a day from now on.
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, clock)
        .unwrap()
        .with_tickets();
    let end = NOW + DAY;
    for (time, expected) in [
        (end - 9, Some(false)),
        (end, Some(true)),
        (end + 1, None),
        (end + 2, None),
    ] {
        TIME.store(time, Ordering::Relaxed);
        let (near, far) = shake(&connector, "api.test", &acceptor);
        assert_eq!(near.as_ref().ok().map(TlsStream::resumed), expected, "{time}");
        let Ok(mut near) = near else { continue };
        block_on(async {
            let mut far = far.unwrap();
            far.write_all(b"x").await.unwrap();
            far.flush().await.unwrap();
            assert_eq!(read(&mut near).await.unwrap(), b"x");
        });
    }
}

#[test]
fn session_is_not_resumed_with_a_server_of_another_name() {
    let authority = Authority::new();
    let roots = authority.roots();
    let connector = Connector::new(&roots, None, now).unwrap();
    let acceptor = Acceptor::new(&authority.identity(&Leaf::server()), Clients::Anonymous, now)
        .unwrap()
        .with_tickets();
    // A server is not told which address it is called by.
    let (near, far) = shake(&connector, "10.0.2.2", &acceptor);
    block_on(async {
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(read(&mut near).await.unwrap(), b"x");
    });
    let (near, _) = shake(&connector, "10.0.2.3", &acceptor);
    assert_eq!(near.map(|_| ()), Err(TlsError::WrongName));
}
