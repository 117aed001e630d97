//! No secret reaches an address: for each operation on secrets, the hash of all addresses that it fetches, loads and stores is
//! the same for 64 secrets and more, edge ones among them. And what it leaves on the stack is nothing of them.
//!
//! A branch, a table index or an early exit that depends on a secret makes two hashes differ; two planted leaks show that.
#![allow(missing_docs, reason = "tests")]

use picolet_ec_trace::{Image, Machine, Measured};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// P-256's group order, the most significant byte first.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The generator of P-256, as any public key.
const POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f,
    0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
    0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];

fn random(seed: u32) -> [u8; 32] {
    Sha256::digest(seed.to_be_bytes()).into()
}

fn small(value: u8) -> [u8; 32] {
    let mut number = [0; 32];
    number[31] = value;
    number
}

/// n less a small number.
fn below_order(by: u8) -> [u8; 32] {
    let mut number = ORDER;
    number[31] -= by;
    number
}

/// Secret keys of P-256: 1, 2, n − 1, n − 2 (where the window's last addition is a doubling), single bits, long runs of
/// zeros and ones, and random ones.
fn secrets() -> Vec<[u8; 32]> {
    let mut secrets = vec![
        small(1),
        small(2),
        small(3),
        small(16),
        below_order(1),
        below_order(2),
        below_order(3),
    ];
    secrets.extend((0..255).step_by(17).map(|bit| {
        let mut number = [0; 32];
        number[31 - bit / 8] = 1 << (bit % 8);
        number
    }));
    let mut ones = [0xff; 32];
    ones[0] = 0x7f;
    secrets.push(ones);
    ones[16..].fill(0);
    secrets.push(ones);
    let mut low_ones = [0; 32];
    low_ones[16..].fill(0xff);
    secrets.push(low_ones);
    secrets.extend((0..48).map(random));
    assert!(secrets.len() >= 64);
    secrets
}

/// Secrets of X25519: those, and all zeros and all ones, which are keys there.
fn x25519_secrets() -> Vec<[u8; 32]> {
    let mut secrets = secrets();
    secrets.extend([[0; 32], [0xff; 32]]);
    secrets
}

/// Runs an operation for all secrets and returns how often each trace was seen.
fn traces<'a>(
    machine: &mut Machine,
    name: &str,
    inputs: impl IntoIterator<Item = &'a Vec<u8>>,
) -> BTreeMap<u64, usize> {
    let mut traces = BTreeMap::new();
    for input in inputs {
        let Measured { trace, .. } = machine.call(name, input, 1).unwrap();
        *traces.entry(trace).or_default() += 1;
    }
    traces
}

/// An input for each secret, with what else the operation takes.
fn inputs(secrets: &[[u8; 32]], before: &[u8], after: &[u8]) -> Vec<Vec<u8>> {
    secrets
        .iter()
        .map(|secret| [before, secret, after].concat())
        .collect()
}

#[test]
fn no_operation_tells_its_secret() {
    let image = Image::build(&[]).unwrap();
    let mut machine = image.machine();
    let (p256, x25519) = (secrets(), x25519_secrets());
    let fixed = random(1000);
    // X25519's peers: a usual one, and one of small order, where the result is public.
    let mut peer = [0; 32];
    peer[0] = 9;
    for (name, inputs) in [
        ("p256_public_key", inputs(&p256, &[], &[])),
        ("p256_generate", inputs(&x25519, &[], &[7; 16])),
        ("p256_sign", inputs(&p256, &[], &fixed)),
        // The digest decides the nonce, so this is over as many nonces.
        ("p256_sign", inputs(&x25519, &fixed, &[])),
        ("p256_sign_hedged", inputs(&x25519, &[fixed, fixed].concat(), &[])),
        ("p256_diffie_hellman", inputs(&p256, &[], &POINT)),
        ("x25519_public_key", inputs(&x25519, &[], &[])),
        ("x25519_diffie_hellman", inputs(&x25519, &[], &peer)),
        ("x25519_diffie_hellman", inputs(&x25519, &[], &[0; 32])),
    ] {
        let traces = traces(&mut machine, name, &inputs);
        assert_eq!(
            traces.len(),
            1,
            "{name} takes different paths for different secrets: {traces:x?}"
        );
        println!("{name}: {} secrets, one trace", inputs.len());
    }
}

/// A branch and a table index.
#[test]
fn a_planted_leak_is_found() {
    let image = Image::build(&["leak"]).unwrap();
    let mut machine = image.machine();
    let inputs = inputs(&secrets(), &[], &[]);
    for name in ["leaking_public_key", "leaking_lookup"] {
        let traces = traces(&mut machine, name, &inputs);
        assert!(traces.len() > 1, "{name} leaks, and the trace does not tell");
    }
    // And verification, which is of public values, does differ: the comparison compares something.
    let mut verify = Vec::new();
    for key in [random(1), random(2)] {
        let digest = random(3);
        let point = machine.call("p256_public_key", &key, 65).unwrap().output;
        let signature = machine
            .call("p256_sign", &[key, digest].concat(), 64)
            .unwrap()
            .output;
        verify.push([&digest[..], &signature, &point].concat());
    }
    assert_eq!(traces(&mut machine, "p256_verify", &verify).len(), 2);
}

/// After an operation, no four bytes of its secret lie anywhere on the stack below its caller, in either byte order: neither the
/// secret key nor, after a key exchange, the shared secret. Nor is there much else: what is not 0 there are the caller's and the
/// wipe's own saved registers and the public values.
#[test]
fn no_operation_leaves_its_secret_on_the_stack() {
    let image = Image::build(&[]).unwrap();
    let mut machine = image.machine();
    let (key, other) = (random(1), random(2));
    for (name, input, output) in [
        ("p256_public_key_alone", key.to_vec(), 64),
        ("p256_sign", [key, other].concat(), 64),
        ("p256_sign_hedged", [key, other, other].concat(), 64),
        ("p256_diffie_hellman", [&key[..], &POINT].concat(), 32),
        ("x25519_public_key", key.to_vec(), 32),
        ("x25519_diffie_hellman", [key, other].concat(), 32),
    ] {
        let measured = machine.call(name, &input, output).unwrap();
        let mut secrets = vec![key.to_vec()];
        if name.ends_with("diffie_hellman") {
            secrets.push(measured.output);
        }
        for mut secret in secrets {
            for order in ["as it is", "reversed"] {
                for part in secret.windows(4) {
                    let found = measured.left_on_stack.windows(4).any(|left| left == part);
                    assert!(!found, "{name} leaves {part:02x?} of its secret, {order}");
                }
                secret.reverse();
            }
        }
        let left = measured
            .left_on_stack
            .iter()
            .filter(|byte| ![0, Measured::PAINT].contains(byte))
            .count();
        println!(
            "{name}: {} bytes of stack, {left} of them not 0 afterwards",
            measured.stack
        );
        assert!(left < 512, "{name} leaves {left} bytes");
    }
}
