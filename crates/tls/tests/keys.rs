//! Keys and certificates as openssl, kubeadm and kubeconfigs have them.

use picolet_tls::x509::certificates_from_pem;
use picolet_tls::{Identity, P256Key, SetupError};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/", $name))
    };
}

#[test]
fn reads_pkcs8_and_sec1() {
    let pkcs8 = P256Key::from_pem(data!("p256.key")).unwrap();
    // openssl puts a block of curve parameters before the key.
    let sec1 = P256Key::from_pem(data!("p256-sec1.key")).unwrap();
    assert_eq!(pkcs8.public_key_der(), sec1.public_key_der());
    Identity::from_pem(data!("p256.pem"), data!("p256-sec1.key")).unwrap();
}

#[test]
fn own_form_is_read_again_by_us_and_by_others() {
    let key = P256Key::generate().unwrap();
    let again = P256Key::from_der(&key.to_pkcs8()).unwrap();
    assert_eq!(again.public_key_der(), key.public_key_der());
    assert_eq!(
        P256Key::from_pem(key.to_pem().as_bytes())
            .unwrap()
            .public_key_der(),
        key.public_key_der()
    );
    // ring refuses PKCS#8 without the public key, rustls's reader of files does not care: openssl's own is compared.
    let mut chain = certificates_from_pem(data!("p256.pem")).unwrap();
    chain.extend(certificates_from_pem(data!("rsa-ca.pem")).unwrap());
    Identity::new(
        chain,
        &P256Key::from_der(&P256Key::from_pem(data!("p256.key")).unwrap().to_pkcs8()).unwrap(),
    )
    .unwrap();
}

#[test]
fn says_what_is_wrong_with_a_key() {
    let of = |pem: &[u8]| P256Key::from_pem(pem).unwrap_err();
    assert_eq!(of(data!("rsa-3072.key")), SetupError::KeyKind);
    assert_eq!(of(data!("rsa-pkcs1.key")), SetupError::KeyKind);
    assert_eq!(of(data!("p384.key")), SetupError::KeyKind);
    assert_eq!(of(data!("p384-sec1.key")), SetupError::KeyKind);
    assert_eq!(of(data!("p256-encrypted.key")), SetupError::NoKey);
    assert_eq!(of(data!("p256.pem")), SetupError::NoKey);
    assert_eq!(of(b""), SetupError::NoKey);
    assert_eq!(
        of(b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"),
        SetupError::Pem
    );
    assert_eq!(
        of(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        SetupError::Key
    );
}

#[test]
fn says_what_is_wrong_with_an_identity() {
    let of = |chain: &[u8], key: &[u8]| Identity::from_pem(chain, key).unwrap_err();
    assert_eq!(
        of(data!("rsa-ca.pem"), data!("p256.key")),
        SetupError::KeyMismatch
    );
    assert_eq!(
        of(data!("p256.key"), data!("p256.key")),
        SetupError::NoCertificate
    );
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(of(damaged, data!("p256.key")), SetupError::Certificate);
    assert_eq!(
        Identity::new(vec![], &P256Key::generate().unwrap()).unwrap_err(),
        SetupError::NoCertificate
    );
}

#[test]
fn refuses_every_key_cut_or_damaged_without_panic() {
    for pem in [&data!("p256.key")[..], data!("p256-sec1.key")] {
        let key = P256Key::from_pem(pem).unwrap();
        let der = key.to_pkcs8();
        for end in 0..der.len() {
            assert!(P256Key::from_der(&der[..end]).is_err());
        }
        for bit in 0..der.len() * 8 {
            let mut der = der.to_vec();
            der[bit / 8] ^= 1 << (bit % 8);
            let _ = P256Key::from_der(&der);
        }
    }
}
