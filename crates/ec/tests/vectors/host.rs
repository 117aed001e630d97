//! The crate itself, as this machine runs it.

use super::Operations;
use picolet_ec::{p256, x25519};

/// The operations on this machine.
pub(crate) struct Host {
    prepared: p256::PreparedKey,
}

impl Operations for Host {
    fn public_key(&mut self, key: &[u8; 32]) -> Option<[u8; 65]> {
        Some(
            p256::SecretKey::from_bytes(key)
                .ok()?
                .public_key()
                .to_sec1_bytes(),
        )
    }

    fn sign(&mut self, key: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
        p256::SecretKey::from_bytes(key).unwrap().sign(digest).to_bytes()
    }

    fn read_signature(&mut self, der: &[u8]) -> Option<[u8; 64]> {
        let signature = p256::Signature::from_der(der).ok()?;
        assert_eq!(signature.to_der().as_bytes(), der, "there is one encoding");
        Some(signature.to_bytes())
    }

    fn read_spki(&mut self, der: &[u8]) -> Option<[u8; 65]> {
        let key = p256::PublicKey::from_spki_der(der).ok()?;
        if der.len() == p256::PublicKey::SPKI_LENGTH {
            assert_eq!(key.to_spki_der(), der);
        }
        Some(key.to_sec1_bytes())
    }

    fn verify(&mut self, point: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let key = p256::PublicKey::from_sec1_bytes(point);
        let signature = p256::Signature::from_bytes(signature);
        key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify(digest, &signature).is_ok()))
    }

    fn prepare(&mut self, point: &[u8]) -> bool {
        p256::PublicKey::from_sec1_bytes(point)
            .map(|key| self.prepared.prepare(&key))
            .is_ok()
    }

    fn verify_prepared(&mut self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        p256::Signature::from_bytes(signature)
            .is_ok_and(|signature| self.prepared.verify(digest, &signature).is_ok())
    }

    fn diffie_hellman(&mut self, key: &[u8; 32], point: &[u8]) -> Option<[u8; 32]> {
        let peer = p256::PublicKey::from_sec1_bytes(point).ok()?;
        Some(
            *p256::SecretKey::from_bytes(key)
                .ok()?
                .diffie_hellman(&peer)
                .as_bytes(),
        )
    }

    fn x25519_public_key(&mut self, key: &[u8; 32]) -> [u8; 32] {
        *x25519::SecretKey::from_bytes(*key).public_key().as_bytes()
    }

    fn x25519(&mut self, key: &[u8; 32], point: &[u8; 32]) -> Option<[u8; 32]> {
        let peer = x25519::PublicKey::from_bytes(*point);
        x25519::SecretKey::from_bytes(*key)
            .diffie_hellman(&peer)
            .ok()
            .map(|secret| *secret.as_bytes())
    }
}

/// With no key prepared yet.
pub(crate) const HOST: Host = Host {
    prepared: p256::PreparedKey::EMPTY,
};
