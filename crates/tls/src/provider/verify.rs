//! Verifying what peers and certificate authorities signed: ECDSA on P-256 and P-384, RSA of 2048 to 4096 bits.

use super::rsa::{self, HashKind};
use crate::arithmetic;
use crate::ecdsa::EcdsaSignature;
use crate::x509::public_key;
use der::Decode;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::Digest;

/// What is accepted in certificates (`all`) and in handshakes (`mapping`; PKCS#1 v1.5 is for certificates only there).
pub(crate) static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        &TRUSTED_P256,
        &P256_SHA384,
        &P384_SHA384,
        &P384_SHA256,
        &RSA_PKCS1_SHA256,
        &RSA_PKCS1_SHA384,
        &RSA_PKCS1_SHA512,
        &RSA_PSS_SHA256,
        &RSA_PSS_SHA384,
        &RSA_PSS_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[&TRUSTED_P256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[&P384_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[&RSA_PSS_SHA256]),
        (SignatureScheme::RSA_PSS_SHA384, &[&RSA_PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA512, &[&RSA_PSS_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[&RSA_PKCS1_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[&RSA_PKCS1_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[&RSA_PKCS1_SHA512]),
    ],
};

/// What a client may sign its handshake with. Its certificate is not verified yet, so no signature counts for
/// [`prepared`](super::prepared).
pub(crate) static CLIENT_ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[&EcdsaP256Sha256 { trusted: false }],
        ),
        (SignatureScheme::RSA_PSS_SHA256, &[&RSA_PSS_SHA256]),
        (SignatureScheme::RSA_PSS_SHA384, &[&RSA_PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA512, &[&RSA_PSS_SHA512]),
    ],
};

/// Counts a signature that was made with the key of a certificate, once that is trusted.
pub(crate) fn count_signature(certificate: &[u8]) {
    // An uncompressed point is the end of the key's DER (RFC 5480, section 2.2).
    if let Some(point) = public_key(certificate).and_then(<[u8]>::last_chunk::<65>) {
        arithmetic::p256_count(point);
    }
}

pub(super) static TRUSTED_P256: EcdsaP256Sha256 = EcdsaP256Sha256 { trusted: true };

/// ECDSA on P-256 with SHA-256 (FIPS 186-5).
#[derive(Debug)]
pub(super) struct EcdsaP256Sha256 {
    /// Whether the keys are trusted, so that valid signatures count.
    trusted: bool,
}

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }

    fn verify_signature(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let signature = EcdsaSignature::from_der(signature)
            .ok()
            .and_then(|signature| signature.to_bytes())
            .ok_or(InvalidSignature)?;
        let digest = sha2::Sha256::digest(message).into();
        if !arithmetic::p256_verify(public, &digest, &signature) {
            return Err(InvalidSignature);
        }
        if self.trusted {
            arithmetic::p256_count(public);
        }
        Ok(())
    }
}

/// ECDSA as public registries' chains have it besides: on P-384, and with SHA-384. Their keys are not prepared.
#[derive(Debug)]
pub(super) struct Ecdsa {
    key: AlgorithmIdentifier,
    hash: HashKind,
    signature: AlgorithmIdentifier,
}

/// On P-256 with SHA-384, of which the leftmost 256 bits count (FIPS 186-5, section 6.4.2).
pub(super) static P256_SHA384: Ecdsa = Ecdsa {
    key: alg_id::ECDSA_P256,
    hash: HashKind::Sha384,
    signature: alg_id::ECDSA_SHA384,
};
pub(super) static P384_SHA384: Ecdsa = Ecdsa {
    key: alg_id::ECDSA_P384,
    hash: HashKind::Sha384,
    signature: alg_id::ECDSA_SHA384,
};
pub(super) static P384_SHA256: Ecdsa = Ecdsa {
    key: alg_id::ECDSA_P384,
    hash: HashKind::Sha256,
    signature: alg_id::ECDSA_SHA256,
};

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let verify = || {
            let signature = EcdsaSignature::from_der(signature).ok()?;
            let (digest, length) = self.hash.digest(&[message]);
            let digest = digest.get(..length)?;
            Some(if self.key == alg_id::ECDSA_P384 {
                arithmetic::p384_verify(public, digest, &signature.to_bytes()?)
            } else {
                arithmetic::p256_verify(public, digest.first_chunk()?, &signature.to_bytes()?)
            })
        };
        verify().filter(|valid| *valid).map(drop).ok_or(InvalidSignature)
    }
}

/// RSA with one hash and one padding (RFC 8017).
#[derive(Debug)]
pub(super) struct Rsa {
    hash: HashKind,
    padding: Padding,
    signature: AlgorithmIdentifier,
}

/// How the digest is wrapped.
#[derive(Debug)]
enum Padding {
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
    /// RSASSA-PSS, its mask and its salt by the same hash (the only form that X.509 and TLS 1.3 use).
    Pss,
}

impl SignatureVerificationAlgorithm for Rsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match self.padding {
            Padding::Pkcs1 => rsa::verify_pkcs1(public, self.hash, message, signature),
            Padding::Pss => rsa::verify_pss(public, self.hash, message, signature),
        }
        .then_some(())
        .ok_or(InvalidSignature)
    }
}

macro_rules! rsa {
    ($name:ident, $hash:ident, $padding:ident) => {
        pub(super) static $name: Rsa = Rsa {
            hash: HashKind::$hash,
            padding: Padding::$padding,
            signature: alg_id::$name,
        };
    };
}
rsa!(RSA_PKCS1_SHA256, Sha256, Pkcs1);
rsa!(RSA_PKCS1_SHA384, Sha384, Pkcs1);
rsa!(RSA_PKCS1_SHA512, Sha512, Pkcs1);
rsa!(RSA_PSS_SHA256, Sha256, Pss);
rsa!(RSA_PSS_SHA384, Sha384, Pss);
rsa!(RSA_PSS_SHA512, Sha512, Pss);
