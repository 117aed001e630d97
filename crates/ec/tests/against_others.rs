//! Every operation against RustCrypto's `p256` and `x25519-dalek`: edge scalars and random ones.
#![allow(missing_docs, reason = "tests")]

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::elliptic_curve::sec1::ToSec1Point;
use picolet_ec::{p256 as ours, x25519};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// 0, 1, 2, … and n − 40 … n + 1, all ones, single bits and runs of bits: as 32 bytes, not all of them keys.
fn edges() -> Vec<[u8; 32]> {
    let mut edges: Vec<[u8; 32]> = Vec::new();
    for i in 0..=40u8 {
        let mut small = [0; 32];
        small[31] = i;
        edges.push(small);
        let mut below = ORDER;
        below[31] -= i; // 0x51 is 81
        edges.push(below);
    }
    let mut above = ORDER;
    above[31] += 1;
    edges.extend([above, [0xff; 32], [0xaa; 32], [0x55; 32]]);
    for bit in 0..256 {
        let mut single = [0; 32];
        single[31 - bit / 8] = 1 << (bit % 8);
        edges.push(single);
        // All bits below.
        let mut run = [0xff; 32];
        run[..31 - bit / 8].fill(0);
        run[31 - bit / 8] = ((1u16 << (bit % 8)) - 1) as u8;
        edges.push(run);
    }
    edges
}

fn hash(seed: &[u8]) -> [u8; 32] {
    Sha256::digest(seed).into()
}

/// All that can be done with one key of P-256, in both.
fn check_p256(key: &[u8; 32], digest: &[u8; 32], peer_seed: u8) {
    let theirs = p256::SecretKey::from_slice(key);
    let Ok(own) = ours::SecretKey::from_bytes(key) else {
        assert!(theirs.is_err(), "{key:02x?}");
        return;
    };
    let theirs = theirs.unwrap();
    assert_eq!(*own.to_bytes(), *key);
    let public = own.public_key();
    let their_public = theirs.public_key();
    assert_eq!(
        public.to_sec1_bytes()[..],
        *their_public.to_sec1_point(false).as_bytes()
    );
    assert_eq!(
        public.to_sec1_compressed_bytes()[..],
        *their_public.to_sec1_point(true).as_bytes()
    );
    assert_eq!(
        ours::PublicKey::from_sec1_bytes(&public.to_sec1_bytes()),
        Ok(public)
    );
    assert_eq!(
        ours::PublicKey::from_sec1_bytes(&public.to_sec1_compressed_bytes()),
        Ok(public)
    );
    assert_eq!(ours::PublicKey::from_spki_der(&public.to_spki_der()), Ok(public));
    assert_eq!(
        ours::SecretKey::from_pkcs8_der(&*own.to_pkcs8_der())
            .unwrap()
            .to_bytes(),
        own.to_bytes()
    );

    // RFC 6979 leaves no choice: the signatures are equal.
    let signer = p256::ecdsa::SigningKey::from(&theirs);
    let signature = own.sign(digest);
    let their_signature: p256::ecdsa::Signature = signer.sign_prehash(digest).unwrap();
    assert_eq!(signature.to_bytes()[..], their_signature.to_bytes()[..]);
    assert_eq!(
        ours::Signature::from_der(signature.to_der().as_bytes()),
        Ok(signature)
    );
    let hedged = own.sign_hedged(digest, &hash(key));
    assert_ne!(hedged, signature);
    let mut prepared = Box::new(ours::PreparedKey::EMPTY);
    assert_eq!(prepared.verify(digest, &signature), Err(ours::VerifyError));
    prepared.prepare(&public);
    for signature in [signature, hedged] {
        assert_eq!(public.verify(digest, &signature), Ok(()));
        assert_eq!(prepared.verify(digest, &signature), Ok(()));
        let theirs = p256::ecdsa::Signature::from_slice(&signature.to_bytes()).unwrap();
        signer.verifying_key().verify_prehash(digest, &theirs).unwrap();
        let mut other = *digest;
        other[31] ^= 1;
        assert_eq!(public.verify(&other, &signature), Err(ours::VerifyError));
        assert_eq!(prepared.verify(&other, &signature), Err(ours::VerifyError));
    }

    let peer = p256::SecretKey::from_slice(&hash(&[peer_seed])).unwrap();
    let peer_public =
        ours::PublicKey::from_sec1_bytes(peer.public_key().to_sec1_point(false).as_bytes()).unwrap();
    let their_secret = p256::ecdh::diffie_hellman(theirs.to_nonzero_scalar(), peer.public_key().as_affine());
    assert_eq!(
        own.diffie_hellman(&peer_public).as_bytes()[..],
        their_secret.raw_secret_bytes()[..]
    );
}

fn check_x25519(key: [u8; 32], point: [u8; 32]) {
    let own = x25519::SecretKey::from_bytes(key);
    let base = x25519_dalek::X25519_BASEPOINT_BYTES;
    assert_eq!(
        *own.public_key().as_bytes(),
        x25519_dalek::x25519(key, base),
        "{key:02x?}"
    );
    let theirs = x25519_dalek::x25519(key, point);
    match own.diffie_hellman(&x25519::PublicKey::from_bytes(point)) {
        Ok(secret) => assert_eq!(*secret.as_bytes(), theirs, "{key:02x?} {point:02x?}"),
        Err(x25519::NonContributory) => assert_eq!(theirs, [0; 32], "{key:02x?} {point:02x?}"),
    }
}

#[test]
fn p256_edges() {
    for (i, key) in edges().iter().enumerate() {
        check_p256(key, &hash(&[i as u8]), i as u8);
    }
    // Edges as digests.
    for digest in edges().into_iter().step_by(5) {
        check_p256(&hash(b"key"), &digest, 0);
    }
}

#[test]
fn x25519_edges() {
    let edges = edges();
    for (i, edge) in edges.iter().enumerate() {
        check_x25519(*edge, hash(&[i as u8]));
        check_x25519(hash(&[i as u8]), *edge);
        check_x25519(*edge, edges[(i * 7 + 3) % edges.len()]);
    }
}

/// A signature made for u₁·G + u₂·Q = infinity or with u₁·G = u₂·Q must not confuse a verification.
#[test]
fn exceptional_verifications() {
    let one = {
        let mut one = [0; 32];
        one[31] = 1;
        one
    };
    let own = ours::SecretKey::from_bytes(&one).unwrap(); // Q = G
    let public = own.public_key();
    let mut prepared = Box::new(ours::PreparedKey::EMPTY);
    prepared.prepare(&public);
    let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&public.to_sec1_bytes()).unwrap();
    // With Q = G the sum is (z + r)/s · G: equal terms for z = r, infinity for z = −r.
    for digest in edges().into_iter().take(100) {
        for r in edges().into_iter().take(24) {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&r);
            bytes[32..].copy_from_slice(&one);
            let signature = ours::Signature::from_bytes(&bytes);
            let theirs = p256::ecdsa::Signature::from_slice(&bytes);
            assert_eq!(signature.is_ok(), theirs.is_ok());
            let (Ok(signature), Ok(theirs)) = (signature, theirs) else {
                continue;
            };
            let valid = verifier.verify_prehash(&digest, &theirs).is_ok();
            assert_eq!(public.verify(&digest, &signature).is_ok(), valid);
            assert_eq!(prepared.verify(&digest, &signature).is_ok(), valid);
        }
    }
}

#[test]
fn generated_keys_are_the_entropy_modulo_the_order() {
    use num_bigint::BigUint;
    for seed in 0..50u8 {
        let mut entropy = [0; 48];
        entropy[..32].copy_from_slice(&hash(&[seed]));
        entropy[32..].copy_from_slice(&hash(&[seed, 1])[..16]);
        let expected = BigUint::from_bytes_be(&entropy) % BigUint::from_bytes_be(&ORDER);
        let key = ours::SecretKey::generate(&entropy);
        assert_eq!(BigUint::from_bytes_be(&*key.to_bytes()), expected);
    }
    // Entropy that is 0, or a multiple of the order, still gives a key.
    let mut multiple = [0; 48];
    multiple[16..].copy_from_slice(&ORDER);
    for entropy in [[0; 48], multiple] {
        assert_eq!(ours::SecretKey::generate(&entropy).to_bytes()[31], 1);
    }
}

#[test]
fn secrets_are_not_printed() {
    let key = ours::SecretKey::generate(&[7; 48]);
    assert_eq!(
        format!("{key:?} {:?}", key.diffie_hellman(&key.public_key())),
        "SecretKey(..) SharedSecret(..)"
    );
    assert_eq!(
        format!("{:?}", x25519::SecretKey::from_bytes([7; 32])),
        "SecretKey(..)"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn p256_random(key: [u8; 32], digest: [u8; 32], peer: u8) {
        check_p256(&key, &digest, peer);
    }

    #[test]
    fn x25519_random(key: [u8; 32], point: [u8; 32]) {
        check_x25519(key, point);
    }

    /// Whatever bytes come: the same answer as RustCrypto's, and never a panic.
    #[test]
    fn points_are_accepted_alike(tag in 0u8..=6, x: [u8; 32], y: [u8; 32], length in 0usize..=66) {
        let bytes = [&[tag][..], &x, &y, &[0]].concat();
        for bytes in [&bytes[..length], &bytes[..33], &bytes[..65]] {
            let theirs = p256::PublicKey::from_sec1_bytes(bytes).ok().filter(|_| !matches!(bytes[0], 0 | 5 | 6));
            let own = ours::PublicKey::from_sec1_bytes(bytes).ok();
            prop_assert_eq!(
                own.map(|key| key.to_sec1_bytes().to_vec()),
                theirs.map(|key| key.to_sec1_point(false).as_bytes().to_vec())
            );
        }
    }

    /// A secret shared is the same on both sides.
    #[test]
    fn key_exchanges_agree(a: [u8; 48], b: [u8; 48], c: [u8; 32], d: [u8; 32]) {
        let [a, b] = [a, b].map(|entropy| ours::SecretKey::generate(&entropy));
        let secrets = [a.diffie_hellman(&b.public_key()), b.diffie_hellman(&a.public_key())];
        prop_assert_eq!(secrets[0].as_bytes(), secrets[1].as_bytes());
        let [c, d] = [c, d].map(x25519::SecretKey::from_bytes);
        let secrets = [c.diffie_hellman(&d.public_key()), d.diffie_hellman(&c.public_key())];
        prop_assert_eq!(secrets[0].as_ref().unwrap().as_bytes(), secrets[1].as_ref().unwrap().as_bytes());
    }
}
