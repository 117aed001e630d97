//! The published vectors, on the simulated processor: the same set as on the host with the same results, by digest.
#![allow(missing_docs, reason = "tests")]

#[path = "../../tests/vectors/mod.rs"]
mod vectors;

use picolet_ec_trace::{Image, Machine};
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use vectors::Operations;
use vectors::host::HOST;

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

/// Operations that hash what goes into them and what comes out.
struct Recorded<O> {
    operations: O,
    hash: Sha256,
}

impl<O: Operations> Recorded<O> {
    fn record<R: AsRef<[u8]>>(
        &mut self,
        name: &str,
        input: &[&[u8]],
        run: impl FnOnce(&mut O) -> Option<R>,
    ) -> Option<R> {
        let output = run(&mut self.operations);
        self.hash.update(name);
        for part in input {
            self.hash.update(part.len().to_be_bytes());
            self.hash.update(part);
        }
        self.hash.update([u8::from(output.is_some())]);
        self.hash.update(output.as_ref().map_or(&[][..], R::as_ref));
        output
    }

    fn record_truth(&mut self, name: &str, input: &[&[u8]], run: impl FnOnce(&mut O) -> bool) -> bool {
        self.record(name, input, |operations| run(operations).then_some([]))
            .is_some()
    }
}

impl<O: Operations> Operations for Recorded<O> {
    fn public_key(&mut self, key: &[u8; 32]) -> Option<[u8; 65]> {
        self.record("public_key", &[key], |operations| operations.public_key(key))
    }

    fn sign(&mut self, key: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
        self.record("sign", &[key, digest], |operations| {
            Some(operations.sign(key, digest))
        })
        .unwrap()
    }

    fn read_signature(&mut self, der: &[u8]) -> Option<[u8; 64]> {
        self.record("read_signature", &[der], |operations| {
            operations.read_signature(der)
        })
    }

    fn read_spki(&mut self, der: &[u8]) -> Option<[u8; 65]> {
        self.record("read_spki", &[der], |operations| operations.read_spki(der))
    }

    fn verify(&mut self, point: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.record_truth("verify", &[point, digest, signature], |operations| {
            operations.verify(point, digest, signature)
        })
    }

    fn prepare(&mut self, point: &[u8]) -> bool {
        self.record_truth("prepare", &[point], |operations| operations.prepare(point))
    }

    fn verify_prepared(&mut self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.record_truth("verify_prepared", &[digest, signature], |operations| {
            operations.verify_prepared(digest, signature)
        })
    }

    fn diffie_hellman(&mut self, key: &[u8; 32], point: &[u8]) -> Option<[u8; 32]> {
        self.record("diffie_hellman", &[key, point], |operations| {
            operations.diffie_hellman(key, point)
        })
    }

    fn x25519_public_key(&mut self, key: &[u8; 32]) -> [u8; 32] {
        self.record("x25519_public_key", &[key], |operations| {
            Some(operations.x25519_public_key(key))
        })
        .unwrap()
    }

    fn x25519(&mut self, key: &[u8; 32], point: &[u8; 32]) -> Option<[u8; 32]> {
        self.record("x25519", &[key, point], |operations| {
            operations.x25519(key, point)
        })
    }
}

/// Runs vectors on the host and on the target: the digest of all that went in and came out is the same.
fn on_both<R: Debug + PartialEq>(run: impl Fn(&mut dyn Operations) -> R) -> R {
    fn recorded<R>(operations: impl Operations, run: impl Fn(&mut dyn Operations) -> R) -> (R, String) {
        let mut recorded = Recorded {
            operations,
            hash: Sha256::new(),
        };
        let result = run(&mut recorded);
        let digest = recorded.hash.finalize();
        (result, digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
    let target = Target(Image::build(&[]).unwrap().machine());
    let (host, target) = (recorded(HOST, &run), recorded(target, &run));
    assert_eq!(host, target, "host and target differ");
    println!("{:?} on both, digest {}", host.0, host.1);
    host.0
}

#[test]
fn wycheproof_ecdsa() {
    let (count, valid) = on_both(vectors::wycheproof_ecdsa);
    assert!(count > 1000 && valid > 300);
}

#[test]
fn wycheproof_ecdh() {
    assert!(on_both(vectors::wycheproof_ecdh) > 800);
}

#[test]
fn wycheproof_x25519() {
    assert!(on_both(vectors::wycheproof_x25519) > 500);
}

#[test]
fn nist() {
    assert_eq!(on_both(vectors::nist), 202);
}

#[test]
fn rfcs() {
    on_both(vectors::rfcs);
}
