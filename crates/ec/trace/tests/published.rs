//! The published vectors, on the simulated processor: the same set as on the host, and the same results.
//!
//! Wycheproof's take minutes: `cargo test --release -p picolet-ec-trace -- --ignored`.
#![allow(missing_docs, reason = "tests")]

#[path = "../../tests/vectors/mod.rs"]
mod vectors;

use picolet_ec_trace::{Image, Machine};
use vectors::Operations;

struct Target(Machine);

impl Target {
    fn call<const N: usize>(&mut self, name: &str, input: &[&[u8]]) -> [u8; N] {
        self.0
            .call(name, &input.concat(), N)
            .unwrap()
            .output
            .try_into()
            .unwrap()
    }

    /// What a function gives for some DER; zeros are a refusal. One byte tells the length, and nothing longer is a key.
    fn read<const N: usize>(&mut self, name: &str, der: &[u8]) -> Option<[u8; N]> {
        let output = self.call(name, &[&[u8::try_from(der.len()).ok()?], der]);
        (output != [0; N]).then_some(output)
    }
}

impl Operations for Target {
    fn public_key(&mut self, key: &[u8; 32]) -> Option<[u8; 65]> {
        Some(self.call("p256_public_key", &[key]))
    }

    fn sign(&mut self, key: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
        self.call("p256_sign", &[key, digest])
    }

    fn read_signature(&mut self, der: &[u8]) -> Option<[u8; 64]> {
        let signature: [u8; 64] = self.read("p256_read_signature", der)?;
        let written: [u8; 73] = self.call("p256_write_signature", &[&signature]);
        assert_eq!(&written[1..][..written[0].into()], der);
        Some(signature)
    }

    fn read_spki(&mut self, der: &[u8]) -> Option<[u8; 65]> {
        self.read("p256_read_spki", der)
    }

    fn verify(&mut self, point: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.call("p256_verify", &[digest, signature, point]) == [1]
    }

    fn prepare(&mut self, point: &[u8]) -> bool {
        self.call("p256_prepare", &[point]) == [1]
    }

    fn verify_prepared(&mut self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.call("p256_verify_prepared", &[digest, signature]) == [1]
    }

    fn diffie_hellman(&mut self, key: &[u8; 32], point: &[u8]) -> Option<[u8; 32]> {
        let point: [u8; 65] = match point.len() {
            65 => point.try_into().unwrap(),
            33 => Some(self.call("p256_decompress", &[point])).filter(|point| *point != [0; 65])?,
            _ => return None, // the operation takes points of these lengths alone
        };
        let output: [u8; 33] = self.call("p256_diffie_hellman", &[key, &point]);
        (output[32] == 1).then(|| *output.first_chunk().unwrap())
    }

    fn x25519_public_key(&mut self, key: &[u8; 32]) -> [u8; 32] {
        self.call("x25519_public_key", &[key])
    }

    fn x25519(&mut self, key: &[u8; 32], point: &[u8; 32]) -> Option<[u8; 32]> {
        Some(self.call("x25519_diffie_hellman", &[key, point])).filter(|secret| *secret != [0; 32])
    }
}

fn on_target<R>(run: impl FnOnce(&mut Target) -> R) -> R {
    let image = Image::build(&[]).unwrap();
    run(&mut Target(image.machine()))
}

#[test]
#[ignore = "a minute: cargo test --release -p picolet-ec-trace -- --ignored"]
fn wycheproof_ecdsa() {
    let (count, valid) = on_target(vectors::wycheproof_ecdsa);
    println!("{count} vectors, {valid} of them valid");
    assert!(count > 1000 && valid > 300);
}

#[test]
#[ignore = "half a minute: cargo test --release -p picolet-ec-trace -- --ignored"]
fn wycheproof_ecdh() {
    let count = on_target(vectors::wycheproof_ecdh);
    println!("{count} vectors");
    assert!(count > 800);
}

#[test]
#[ignore = "half a minute: cargo test --release -p picolet-ec-trace -- --ignored"]
fn wycheproof_x25519() {
    let count = on_target(vectors::wycheproof_x25519);
    println!("{count} vectors");
    assert!(count > 500);
}

#[test]
fn nist() {
    assert_eq!(on_target(vectors::nist), 202);
}

#[test]
fn rfcs() {
    on_target(vectors::rfcs);
}
