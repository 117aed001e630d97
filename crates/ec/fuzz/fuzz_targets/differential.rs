//! Every operation on any key, against `p256` and `x25519-dalek`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use picolet_ec::{p256 as ours, x25519};

fuzz_target!(|input: ([u8; 32], [u8; 32], [u8; 32])| {
    let (a, b, digest) = input;
    let secret = x25519::SecretKey::from_bytes(a).diffie_hellman(&x25519::PublicKey::from_bytes(b));
    let secret = secret.map_or([0; 32], |secret| *secret.as_bytes());
    assert_eq!(secret, x25519_dalek::x25519(a, b));
    let base = x25519_dalek::X25519_BASEPOINT_BYTES;
    assert_eq!(
        *x25519::SecretKey::from_bytes(a).public_key().as_bytes(),
        x25519_dalek::x25519(a, base)
    );

    let [theirs, their_peer] = [a, b].map(|bytes| p256::SecretKey::from_slice(&bytes));
    let [own, peer] = [a, b].map(|bytes| ours::SecretKey::from_bytes(&bytes));
    assert_eq!((own.is_ok(), peer.is_ok()), (theirs.is_ok(), their_peer.is_ok()));
    let (Ok(own), Ok(peer), Ok(theirs), Ok(their_peer)) = (own, peer, theirs, their_peer) else {
        return;
    };
    let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(&theirs)
        .sign_prehash(&digest)
        .expect("it signs");
    assert_eq!(own.sign(&digest).to_bytes()[..], signature.to_bytes()[..]);
    let shared = p256::ecdh::diffie_hellman(theirs.to_nonzero_scalar(), their_peer.public_key().as_affine());
    assert_eq!(
        own.diffie_hellman(&peer.public_key()).as_bytes()[..],
        shared.raw_secret_bytes()[..]
    );
});
