//! The signature block and the keys that are trusted.

use crate::header::{HEADER, Header, IMAGE_OFFSET};
use crate::refusal::Refusal;
use crate::values::KeyId;
use picolet_ec::p256::{PublicKey, SecretKey, Signature};
use sha2::{Digest, Sha256};

/// A key that firmware may be signed with.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    id: KeyId,
    key: PublicKey,
}

impl TrustedKey {
    /// Trusts a key.
    pub fn new(key: PublicKey) -> Self {
        Self {
            id: KeyId::of(&key),
            key,
        }
    }

    /// The ID of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// What the signature block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureBlock {
    /// Nothing: the file is not signed.
    Blank,
    /// A signature.
    Signed {
        /// The key that it is said to be by.
        key: KeyId,
        /// r, then s, big-endian.
        signature: [u8; 64],
    },
}

impl SignatureBlock {
    /// Signs a header.
    pub fn sign(header: &[u8; HEADER], key: &SecretKey) -> Self {
        Self::Signed {
            key: KeyId::of(&key.public_key()),
            signature: key.sign(&Sha256::digest(header).into()).to_bytes(),
        }
    }

    /// The bytes in the file.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0xff; HEADER];
        if let Self::Signed { key, signature } = self {
            bytes[..8].copy_from_slice(&key.0);
            bytes[8..72].copy_from_slice(signature);
        }
        bytes
    }

    fn parse(bytes: &[u8; HEADER]) -> Result<Self, Refusal> {
        let (used, rest) = bytes.split_at(72);
        if rest.iter().any(|byte| *byte != 0xff) {
            return Err(Refusal::Damaged);
        }
        if used.iter().all(|byte| *byte == 0xff) {
            return Ok(Self::Blank);
        }
        let (mut key, mut signature) = (KeyId([0; 8]), [0; 64]);
        key.0.copy_from_slice(&used[..8]);
        signature.copy_from_slice(&used[8..]);
        Ok(Self::Signed { key, signature })
    }
}

/// Header and signature block: the first 512 bytes of a file and of a slot.
#[derive(Clone, Copy, Debug)]
pub struct SignedHeader {
    /// The header. It is not verified.
    pub header: Header,
    /// The signature block.
    pub signature: SignatureBlock,
    digest: [u8; 32],
}

impl SignedHeader {
    /// Reads header and signature block. Verifies nothing.
    ///
    /// # Errors
    /// They are not of a firmware file, of another format, or damaged.
    pub fn parse(bytes: &[u8; IMAGE_OFFSET]) -> Result<Self, Refusal> {
        let ([header, block], []) = bytes.as_chunks::<HEADER>() else {
            return Err(Refusal::Damaged);
        };
        Ok(Self {
            header: Header::parse(header)?,
            signature: SignatureBlock::parse(block)?,
            digest: Sha256::digest(header).into(),
        })
    }

    /// Verifies the signature by one of `keys`, and returns which.
    ///
    /// # Errors
    /// It is not signed, not by one of the keys, or the signature is wrong.
    pub fn verify(&self, keys: &[TrustedKey]) -> Result<KeyId, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::NoTrustedKey);
        }
        let SignatureBlock::Signed { key: id, signature } = self.signature else {
            return Err(Refusal::NotSigned);
        };
        let key = keys
            .iter()
            .find(|key| key.id == id)
            .ok_or(Refusal::UnknownKey(id))?;
        Signature::from_bytes(&signature)
            .ok()
            .and_then(|signature| key.key.verify(&self.digest, &signature).ok())
            .ok_or(Refusal::WrongSignature(id))?;
        Ok(id)
    }
}
