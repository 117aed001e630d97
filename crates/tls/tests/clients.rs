//! Whose certificate counts: only one of the client CA, valid now and for client authentication. Any other is as none.

mod common;

use common::oracle::Oracle;
use common::{Authority, End, Leaf, NOW, date, now, wire};
use embassy_futures::block_on;
use embassy_futures::join::join;
use embedded_io_async::{Read, Write};
use picolet_platform::Credential;
use picolet_tls::{Acceptor, Clients, Connector, Identity, P256Key, TlsStream};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DAY: u64 = 86_400;

/// What an attacker would like to be.
fn administrator(alg: &'static SignatureAlgorithm) -> (CertificateParams, KeyPair) {
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "kubernetes-admin");
    parameters
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (parameters, KeyPair::generate_for(alg).unwrap())
}

fn self_signed() -> Identity {
    let (parameters, key) = administrator(&PKCS_ECDSA_P256_SHA256);
    let certificate = parameters.self_signed(&key).unwrap();
    Identity::new(
        vec![certificate.der().to_vec()],
        &P256Key::from_der(&key.serialize_der()).unwrap(),
    )
    .unwrap()
}

/// A client of `root` with `count` certificates between them.
fn behind(root: &Authority, count: usize) -> Identity {
    let mut chain: Vec<CertifiedIssuer<'static, KeyPair>> = Vec::new();
    for n in 0..count {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, format!("intermediate {n}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let issued = match chain.last() {
            None => root.issuer(parameters, key),
            Some(issuer) => CertifiedIssuer::signed_by(parameters, key, issuer).unwrap(),
        };
        chain.push(issued);
    }
    let (parameters, key) = administrator(&PKCS_ECDSA_P256_SHA256);
    let leaf = parameters.signed_by(&key, chain.last().unwrap()).unwrap();
    let mut certificates = vec![leaf.der().to_vec()];
    certificates.extend(chain.iter().rev().map(|issued| issued.der().to_vec()));
    Identity::new(certificates, &P256Key::from_der(&key.serialize_der()).unwrap()).unwrap()
}

/// Both ends of a connection that carried a request and its answer.
fn exchange(connector: &Connector, acceptor: &Acceptor) -> (TlsStream<End>, TlsStream<End>) {
    let (near, far) = wire();
    let (near, far) = block_on(join(connector.connect("api.test", near), acceptor.accept(far)));
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    block_on(async {
        let mut buffer = [0; 16];
        near.write_all(b"GET /healthz").await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut buffer[..12]).await.unwrap();
        assert_eq!(&buffer[..12], b"GET /healthz");
        far.write_all(b"ok").await.unwrap();
        far.flush().await.unwrap();
        near.read_exact(&mut buffer[..2]).await.unwrap();
    });
    (near, far)
}

#[test]
fn client_is_unauthenticated_when_its_certificate_does_not_verify() {
    let authority = Authority::new();
    let roots = authority.roots();
    let server = authority.identity(&Leaf::server());
    let dated = |days| {
        authority.identity(&Leaf {
            days,
            ..Leaf::client()
        })
    };
    let server_only = Leaf {
        usage: Some(ExtendedKeyUsagePurpose::ServerAuth),
        ..Leaf::client()
    };
    for (what, identity) in [
        ("self-signed", self_signed()),
        (
            "unrelated CA",
            Authority::named("other").identity(&Leaf::client()),
        ),
        ("CA of the same name", Authority::new().identity(&Leaf::client())),
        ("expired", dated((-3, -1))),
        ("not valid yet", dated((1, 3))),
        ("for servers", authority.identity(&server_only)),
        ("the server's own", server.clone()),
        ("long chain", behind(&authority, 3)),
        ("unrelated chain", behind(&Authority::named("other"), 2)),
    ] {
        let connector = Connector::new(&roots, Some(&identity), now).unwrap();
        let acceptor = Acceptor::new(&server, Clients::Optional(&roots), now)
            .unwrap()
            .with_tickets();
        for resumed in [false, true] {
            let (_, far) = exchange(&connector, &acceptor);
            assert_eq!(far.resumed(), resumed, "{what}");
            assert_eq!(far.peer_certificate(), None, "{what}");
            assert_eq!(far.credential(), Credential::None, "{what}");
        }
        let strict = Acceptor::new(&server, Clients::Required(&roots), now).unwrap();
        let (near, far) = wire();
        let (_, far) = block_on(join(connector.connect("api.test", near), strict.accept(far)));
        assert!(far.is_err(), "{what}");
    }
    for count in 1..3 {
        let connector = Connector::new(&roots, Some(&behind(&authority, count)), now).unwrap();
        let acceptor = Acceptor::new(&server, Clients::Optional(&roots), now).unwrap();
        let (_, far) = exchange(&connector, &acceptor);
        assert!(far.peer_certificate().is_some(), "{count} intermediates");
    }
}

/// A chain that is in a ticket counts for as long as it is valid.
#[test]
fn client_is_unauthenticated_when_its_certificate_has_expired_since_it_was_verified() {
    let authority = Authority::new();
    let roots = authority.roots();
    let identity = authority.identity(&Leaf::client());
    let server = authority.identity(&Leaf {
        days: (-9, 9),
        ..Leaf::server()
    });
    let clock = Arc::new(AtomicU64::new(NOW + DAY - 60));
    let time = clock.clone();
    let time = move || Some(time.load(Ordering::Relaxed));
    let acceptor = Acceptor::new(&server, Clients::Optional(&roots), time.clone())
        .unwrap()
        .with_tickets();
    let connector = Connector::new(&roots, Some(&identity), time.clone()).unwrap();
    for (at, resumed, known) in [
        (NOW + DAY - 60, false, true),
        (NOW + DAY - 50, true, true),
        (NOW + DAY, true, true),
        (NOW + DAY + 1, true, false),
    ] {
        clock.store(at, Ordering::Relaxed);
        let (_, far) = exchange(&connector, &acceptor);
        assert_eq!(far.resumed(), resumed, "at {at}");
        assert_eq!(far.peer_certificate().is_some(), known, "at {at}");
    }
    let again = Connector::new(&roots, Some(&identity), time).unwrap();
    let (_, far) = exchange(&again, &acceptor);
    assert_eq!((far.resumed(), far.peer_certificate()), (false, None));
}

/// Signs with a key, whatever certificate it shows.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What rustls's own client comes to that shows `certificate`, of which it has `key`, and whom the server takes it for.
fn shows(authority: &Authority, certificate: &[u8], key: &KeyPair) -> Result<Credential, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = vec![certificate.to_vec().into()];
    let mut store = RootCertStore::empty();
    store.add(authority.der().into()).unwrap();
    let config = ClientConfig::builder_with_details(provider, Arc::new(common::oracle::Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_client_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key)))));
    let roots = authority.roots();
    let server = authority.identity(&Leaf::server());
    let acceptor = Acceptor::new(&server, Clients::Optional(&roots), now).unwrap();
    let (near, far) = wire();
    let mut near = Oracle::client(&Arc::new(config), near);
    let client = async {
        near.shake().await?;
        near.write(b"x").await;
        Ok(())
    };
    let (near, far) = block_on(join(client, acceptor.accept(far)));
    match far {
        Ok(far) => near.map(|()| far.credential()),
        Err(_) => Err(rustls::Error::DecryptError),
    }
}

#[test]
fn client_is_unauthenticated_when_its_key_is_of_another_kind() {
    let authority = Authority::new();
    for alg in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let (mut parameters, key) = administrator(alg);
        parameters.not_after = date(1);
        let certificate = parameters.self_signed(&key).unwrap();
        assert_eq!(shows(&authority, certificate.der(), &key), Ok(Credential::None));
    }
}

#[test]
fn client_is_unauthenticated_when_its_certificate_has_an_unknown_critical_extension() {
    let authority = Authority::new();
    let (mut parameters, key) = administrator(&PKCS_ECDSA_P256_SHA256);
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    parameters.custom_extensions.push(extension);
    let certificate = parameters.self_signed(&key).unwrap();
    assert_eq!(shows(&authority, certificate.der(), &key), Ok(Credential::None));
}

#[test]
fn client_is_known_by_the_uid_and_the_hash_of_its_certificate() {
    let authority = Authority::new();
    let (name, uid) = (
        DnType::CommonName,
        DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]),
    );
    for (attributes, expected) in [
        (&[(&name, "ops")][..], Some(None)),
        (&[(&name, "ops"), (&uid, "7")], Some(Some("7"))),
        (&[(&name, "ops"), (&uid, "")], None),
        (&[(&name, "")], None),
        (&[(&uid, "7")], None),
    ] {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            parameters.distinguished_name.push((*kind).clone(), *value);
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certified = authority.issuer(parameters, key);
        let credential = shows(&authority, certified.der(), certified.key()).unwrap();
        let Some(expected) = expected else {
            assert_eq!(credential, Credential::None, "{attributes:?}");
            continue;
        };
        let Credential::Certificate(subject) = credential else {
            panic!("{attributes:?}");
        };
        assert_eq!((&*subject.user, subject.uid.as_deref()), ("ops", expected));
        let hash: String = Sha256::digest(certified.der())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(*subject.credential_id, *format!("X509SHA256={hash}"));
    }
}

#[test]
fn handshake_ends_when_the_client_does_not_have_the_key_of_its_certificate() {
    let authority = Authority::new();
    let (valid, key) = authority.issue(&Leaf::client());
    assert!(matches!(
        shows(&authority, &valid, &key),
        Ok(Credential::Certificate(_))
    ));
    let (parameters, own) = administrator(&PKCS_ECDSA_P256_SHA256);
    let unrelated = parameters.self_signed(&own).unwrap();
    let (_, other) = administrator(&PKCS_ECDSA_P256_SHA256);
    for certificate in [&valid[..], unrelated.der()] {
        assert!(shows(&authority, certificate, &other).is_err());
    }
}
