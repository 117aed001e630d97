//! The same operations by RustCrypto's `p256` and by `x25519-dalek`, to compare.

use crate::{operations, part};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

fn signing_key(bytes: &[u8; 32]) -> SigningKey {
    match SigningKey::from_slice(bytes) {
        Ok(key) => key,
        Err(_) => panic!(),
    }
}

operations! {
    fn rustcrypto_p256_public_key(input: [32], output: [65]) {
        let key = signing_key(input);
        output.copy_from_slice(key.verifying_key().to_sec1_point(false).as_bytes());
    }
    fn rustcrypto_p256_sign(input: [64], output: [64]) {
        let signature: Result<Signature, _> = signing_key(part(input, 0)).sign_prehash(part(input, 1));
        if let Ok(signature) = signature {
            output.copy_from_slice(&signature.to_bytes());
        }
    }
    fn rustcrypto_p256_verify(input: [161], output: [1]) {
        let valid = VerifyingKey::from_sec1_bytes(&input[96..]).is_ok_and(|key| {
            Signature::from_slice(&input[32..96])
                .is_ok_and(|signature| key.verify_prehash(part(input, 0), &signature).is_ok())
        });
        output[0] = u8::from(valid);
    }
    fn rustcrypto_p256_diffie_hellman(input: [97], output: [33]) {
        let secret = p256::SecretKey::from_slice(part(input, 0));
        let peer = p256::PublicKey::from_sec1_bytes(&input[32..]);
        if let (Ok(secret), Ok(peer)) = (secret, peer) {
            let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());
            output[..32].copy_from_slice(shared.raw_secret_bytes());
            output[32] = 1;
        }
    }
    fn rustcrypto_x25519_public_key(input: [32], output: [32]) {
        *output = x25519_dalek::x25519(*input, x25519_dalek::X25519_BASEPOINT_BYTES);
    }
    fn rustcrypto_x25519_diffie_hellman(input: [64], output: [32]) {
        *output = x25519_dalek::x25519(*part(input, 0), *part(input, 1));
    }
}
