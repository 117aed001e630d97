//! The cryptography that rustls is given, over picolet-ec and RustCrypto.
//!
//! Public-key arithmetic is behind [`crate::arithmetic`] alone.

pub(crate) mod aead;
mod exchange;
mod hash;
mod rsa;
pub(crate) mod sign;
mod verify;
#[cfg(test)]
mod wycheproof;

use alloc::vec;
use rustls::crypto::{
    CipherSuiteCommon, CryptoProvider, GetRandomFailed, SecureRandom, tls13::HkdfUsingHmac,
};
use rustls::{CipherSuite, SupportedCipherSuite, Tls13CipherSuite};

pub use rsa::BITS as RSA_BITS;
pub(crate) use verify::{ALGORITHMS, CLIENT_ALGORITHMS, count_signature};

/// What this crate's connections are made with.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&CHACHA20_POLY1305_SHA256),
            SupportedCipherSuite::Tls13(&AES_128_GCM_SHA256),
        ],
        kx_groups: vec![&exchange::X25519, &exchange::P256],
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &Installed,
        key_provider: &sign::Keys,
    }
}

static CHACHA20_POLY1305_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &hash::Sha256,
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&hash::HmacSha256),
    aead_alg: &aead::CHACHA20_POLY1305,
    quic: None,
};

static AES_128_GCM_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &hash::Sha256,
        confidentiality_limit: aead::AES_GCM_RECORDS,
    },
    hkdf_provider: &HkdfUsingHmac(&hash::HmacSha256),
    aead_alg: &aead::AES_128_GCM,
    quic: None,
};

/// The randomness of [`crate::install_random`].
#[derive(Debug)]
struct Installed;

impl SecureRandom for Installed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        crate::random::fill(bytes).map_err(|_| GetRandomFailed)
    }
}
