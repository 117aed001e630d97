//! The two ciphers of records, once for rustls (the handshake) and for our own record layer (all that follows).

use alloc::boxed::Box;
use chacha20poly1305::KeyInit;
use chacha20poly1305::aead::AeadInOut;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

/// Bytes that sealing adds behind the text.
pub(crate) const TAG: usize = 16;

/// Records that one AES-GCM key may protect (RFC 8446, section 5.5: 2^24.5 full ones).
pub(crate) const AES_GCM_RECORDS: u64 = 1 << 24;

/// One direction's cipher with its key.
pub(crate) enum Cipher {
    /// RFC 8439.
    ChaCha20Poly1305(chacha20poly1305::ChaCha20Poly1305),
    /// NIST SP 800-38D. Boxed: the expanded key is a few hundred bytes.
    Aes128Gcm(Box<aes_gcm::Aes128Gcm>),
}

/// A record that does not authenticate, or a length that no cipher takes.
#[derive(Debug)]
pub(crate) struct Unauthentic;

impl Cipher {
    /// The cipher and the initialization vector of what rustls agreed on, or `None` for a suite that we do not offer.
    pub(crate) fn from_secrets(secrets: ConnectionTrafficSecrets) -> Option<(Self, Iv)> {
        match secrets {
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Some((Self::chacha(&key)?, iv)),
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => Some((Self::aes(&key)?, iv)),
            _ => None,
        }
    }

    fn chacha(key: &AeadKey) -> Option<Self> {
        Some(Self::ChaCha20Poly1305(
            chacha20poly1305::ChaCha20Poly1305::new_from_slice(key.as_ref()).ok()?,
        ))
    }

    fn aes(key: &AeadKey) -> Option<Self> {
        Some(Self::Aes128Gcm(Box::new(
            aes_gcm::Aes128Gcm::new_from_slice(key.as_ref()).ok()?,
        )))
    }

    /// Encrypts `text` where it lies and returns its tag.
    pub(crate) fn seal(
        &self,
        nonce: Nonce,
        header: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG], Unauthentic> {
        match self {
            Self::ChaCha20Poly1305(cipher) => cipher
                .encrypt_inout_detached(&nonce.0.into(), header, text.into())
                .map(Into::into),
            Self::Aes128Gcm(cipher) => cipher
                .encrypt_inout_detached(&nonce.0.into(), header, text.into())
                .map(Into::into),
        }
        .map_err(|_| Unauthentic)
    }

    /// Decrypts what `sealed` holds before its tag where it lies, and returns that part.
    pub(crate) fn open<'a>(
        &self,
        nonce: Nonce,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(Unauthentic)?;
        match self {
            Self::ChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached(&nonce.0.into(), header, (&mut *text).into(), &(*tag).into())
            }
            Self::Aes128Gcm(cipher) => {
                cipher.decrypt_inout_detached(&nonce.0.into(), header, (&mut *text).into(), &(*tag).into())
            }
        }
        .map_err(|_| Unauthentic)?;
        Ok(text)
    }
}

/// A cipher as rustls uses it while shaking hands.
struct Direction {
    /// `None` is a key of the wrong length, which rustls never hands out: every record fails then.
    cipher: Option<Cipher>,
    iv: Iv,
}

impl MessageEncrypter for Direction {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let tag = self
            .cipher
            .as_ref()
            .ok_or(Unauthentic)
            .and_then(|cipher| {
                cipher.seal(
                    Nonce::new(&self.iv, sequence),
                    &make_tls13_aad(length),
                    payload.as_mut(),
                )
            })
            .map_err(|Unauthentic| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + 1 + TAG
    }
}

impl MessageDecrypter for Direction {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let header = make_tls13_aad(message.payload.len());
        let length = self
            .cipher
            .as_ref()
            .ok_or(Unauthentic)
            .and_then(|cipher| cipher.open(Nonce::new(&self.iv, sequence), &header, &mut message.payload))
            .map_err(|Unauthentic| Error::DecryptError)?
            .len();
        message.payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}

/// A cipher for rustls.
pub(super) struct Algorithm {
    key_length: usize,
    cipher: fn(&AeadKey) -> Option<Cipher>,
    secrets: fn(AeadKey, Iv) -> ConnectionTrafficSecrets,
}

pub(super) static CHACHA20_POLY1305: Algorithm = Algorithm {
    key_length: 32,
    cipher: Cipher::chacha,
    secrets: |key, iv| ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
};

pub(super) static AES_128_GCM: Algorithm = Algorithm {
    key_length: 16,
    cipher: Cipher::aes,
    secrets: |key, iv| ConnectionTrafficSecrets::Aes128Gcm { key, iv },
};

impl Algorithm {
    fn direction(&self, key: &AeadKey, iv: Iv) -> Box<Direction> {
        Box::new(Direction {
            cipher: (self.cipher)(key),
            iv,
        })
    }
}

impl Tls13AeadAlgorithm for Algorithm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.direction(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.direction(&key, iv)
    }

    fn key_len(&self) -> usize {
        self.key_length
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok((self.secrets)(key, iv))
    }
}
