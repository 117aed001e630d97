//! A signature, a key and a digest of any bytes: the same answer as `p256`'s, from a key as it comes and from a prepared one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use picolet_ec::p256 as ours;

fuzz_target!(|input: ([u8; 32], [u8; 64], [u8; 32], bool)| {
    let (seed, mut signature, digest, valid) = input;
    let Ok(secret) = ours::SecretKey::from_bytes(&seed) else {
        return;
    };
    let key = secret.public_key();
    if valid {
        // A valid signature, with what the fuzzer chose as its difference from it.
        for (byte, difference) in signature.iter_mut().zip(secret.sign(&digest).to_bytes()) {
            *byte ^= difference;
        }
    }
    let theirs =
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&key.to_sec1_bytes()).expect("a key of ours is one");
    let expected = p256::ecdsa::Signature::from_slice(&signature)
        .is_ok_and(|signature| theirs.verify_prehash(&digest, &signature).is_ok());
    let signature = ours::Signature::from_bytes(&signature);
    let own = signature.is_ok_and(|signature| key.verify(&digest, &signature).is_ok());
    let mut prepared = Box::new(ours::PreparedKey::EMPTY);
    prepared.prepare(&key);
    let own_prepared = signature.is_ok_and(|signature| prepared.verify(&digest, &signature).is_ok());
    assert_eq!((own, own_prepared), (expected, expected));
});
