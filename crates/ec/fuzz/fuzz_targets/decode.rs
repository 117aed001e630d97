//! Any bytes as every encoding there is: no panic, what is read is written the same, and `p256` reads it too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_ec::p256::{PublicKey, SecretKey, Signature};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::from_der(bytes) {
        assert_eq!(signature.to_der().as_bytes(), bytes);
        let theirs = p256::ecdsa::Signature::from_der(bytes).expect("p256 reads it too");
        assert_eq!(theirs.to_bytes()[..], signature.to_bytes());
    } else {
        assert!(p256::ecdsa::Signature::from_der(bytes).is_err());
    }
    let point = PublicKey::from_sec1_bytes(bytes);
    if let Ok(key) = point {
        assert!(bytes == key.to_sec1_bytes() || bytes == key.to_sec1_compressed_bytes());
        assert!(p256::PublicKey::from_sec1_bytes(bytes).is_ok());
    } else if let [2..=4, ..] = bytes {
        assert!(p256::PublicKey::from_sec1_bytes(bytes).is_err());
    }
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
    }
    for key in [SecretKey::from_pkcs8_der(bytes), SecretKey::from_sec1_der(bytes)]
        .into_iter()
        .flatten()
    {
        let again = SecretKey::from_pkcs8_der(&*key.to_pkcs8_der()).expect("what is written is read");
        assert_eq!(again.to_bytes(), key.to_bytes());
    }
});
