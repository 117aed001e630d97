//! Our client and our server with each other: that they agree, and that each refusal has its name.

mod common;

use common::{Authority, End, Leaf, NOW, now, wire};
use embassy_futures::block_on;
use embassy_futures::join::join;
use embedded_io_async::{Read, Write};
use picolet_tls::{Acceptor, Clients, Connector, TlsError, TlsStream};

type Outcome = Result<TlsStream<End>, TlsError>;

fn shake(connector: &Connector, name: &str, acceptor: &Acceptor) -> (Outcome, Outcome) {
    let (near, far) = wire();
    block_on(join(connector.connect(name, near), acceptor.accept(far)))
}

#[test]
fn agrees_with_client_certificate_and_carries_bytes_both_ways() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&Leaf::client());
    let client = picolet_tls::Identity::new(
        vec![certificate.clone()],
        &picolet_tls::P256Key::from_der(&key.serialize_der()).unwrap(),
    )
    .unwrap();
    let roots = authority.roots();
    let connector = Connector::new(&roots, Some(&client), now).unwrap();
    let acceptor = Acceptor::new(
        &authority.identity(&Leaf::server()),
        Clients::Required(&roots),
        now,
    )
    .unwrap();
    for name in ["api.test", "10.0.2.2"] {
        let (near, far) = shake(&connector, name, &acceptor);
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(far.peer_certificate(), Some(&certificate[..]));
        assert!(!near.resumed());
        block_on(async {
            near.write_all(b"GET /healthz").await.unwrap();
            near.flush().await.unwrap();
            let mut buffer = [0; 64];
            let count = far.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], b"GET /healthz");
            far.write_all(b"ok").await.unwrap();
            far.close().await.unwrap();
            let count = near.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], b"ok");
            assert_eq!(near.read(&mut buffer).await, Ok(0));
        });
    }
}

#[test]
fn names_what_is_wrong_with_a_server() {
    let authority = Authority::new();
    let other = Authority::new();
    let connector = Connector::new(&authority.roots(), None, now).unwrap();
    let expired = authority.identity(&Leaf {
        days: (-3, -1),
        ..Leaf::server()
    });
    let future = authority.identity(&Leaf {
        days: (1, 3),
        ..Leaf::server()
    });
    let day = 86_400;
    for (name, identity, expected) in [
        (
            "other.test",
            authority.identity(&Leaf::server()),
            TlsError::WrongName,
        ),
        (
            "api.test",
            other.identity(&Leaf::server()),
            TlsError::BadSignature,
        ),
        (
            "api.test",
            expired,
            TlsError::Expired {
                not_after: NOW - day,
                now: NOW,
            },
        ),
        (
            "api.test",
            future,
            TlsError::NotYetValid {
                not_before: NOW + day,
                now: NOW,
            },
        ),
        (
            "api.test",
            authority.identity(&Leaf {
                names: vec!["api.test".into()],
                ..Leaf::client()
            }),
            TlsError::WrongUsage,
        ),
    ] {
        let acceptor = Acceptor::new(&identity, Clients::Anonymous, now).unwrap();
        let (near, far) = shake(&connector, name, &acceptor);
        assert_eq!(near.unwrap_err(), expected);
        assert!(
            matches!(far.unwrap_err(), TlsError::Refused(alert) if alert.is_about_our_certificate() || expected == TlsError::BadSignature),
            "{expected:?}"
        );
    }
}
