//! How long an operation takes on this machine, beside RustCrypto's `p256` and `x25519-dalek`.
//!
//! `cargo bench -p picolet-ec`. The figure is the best of several rounds, in which both take turns; what counts is the ratio.
#![allow(missing_docs, reason = "a program")]

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use picolet_ec::{p256 as ours, x25519};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 400;
const CALLS: u32 = 4; // few, so that a round fits between two others of the machine's tasks

/// Keeps the compiler from leaving out what makes the result.
fn consume<T>(result: T) {
    black_box(result);
}

fn time(operation: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..CALLS {
        operation();
    }
    start.elapsed() / CALLS
}

/// Prints a line: ours, RustCrypto's, and how many times faster ours is.
fn compare(what: &str, mut own: impl FnMut(), mut other: impl FnMut()) {
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time(&mut own));
        best[1] = best[1].min(time(&mut other));
    }
    let [own, other] = best.map(|time| time.as_nanos() as f64 / 1000.0);
    println!(
        "{what:34} {own:>10.1} µs      RustCrypto {other:>10.1} µs {:>6.2}",
        other / own
    );
}

fn main() {
    let (key, digest) = ([0x5a; 32], [0xc3; 32]);
    let own = ours::SecretKey::from_bytes(&key).expect("in range");
    let own_public = own.public_key();
    let own_signature = own.sign(&digest);
    let mut prepared = Box::new(ours::PreparedKey::EMPTY);
    prepared.prepare(&own_public);
    let other = p256::ecdsa::SigningKey::from_slice(&key).expect("in range");
    let other_public = *other.verifying_key();
    let other_signature: p256::ecdsa::Signature = other.sign_prehash(&digest).expect("signs");
    let other_secret = p256::SecretKey::from_slice(&key).expect("in range");
    let other_peer = p256::PublicKey::from(&other_public);

    compare(
        "P-256 key generation",
        || consume(black_box(&own).public_key()),
        || consume(black_box(&other_secret).public_key()),
    );
    compare(
        "P-256 sign, RFC 6979",
        || consume(black_box(&own).sign(&digest)),
        || {
            consume(PrehashSigner::<p256::ecdsa::Signature>::sign_prehash(
                black_box(&other),
                &digest,
            ))
        },
    );
    let verify_other = || consume(black_box(&other_public).verify_prehash(&digest, &other_signature));
    compare(
        "P-256 verify",
        || consume(black_box(&own_public).verify(&digest, &own_signature)),
        verify_other,
    );
    compare(
        "P-256 verify, prepared key",
        || consume(black_box(&prepared).verify(&digest, &own_signature)),
        verify_other,
    );
    compare(
        "P-256 ECDH",
        || consume(black_box(&own).diffie_hellman(&own_public)),
        || {
            consume(p256::ecdh::diffie_hellman(
                other_secret.to_nonzero_scalar(),
                black_box(other_peer.as_affine()),
            ))
        },
    );
    let secret = x25519::SecretKey::from_bytes(key);
    let public = secret.public_key();
    compare(
        "X25519 key generation",
        || consume(black_box(&secret).public_key()),
        || {
            consume(x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(
                black_box(key),
            )))
        },
    );
    compare(
        "X25519 shared secret",
        || consume(black_box(&secret).diffie_hellman(&public)),
        || consume(x25519_dalek::x25519(black_box(key), *public.as_bytes())),
    );
}
