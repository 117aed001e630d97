//! Keys and signatures as bytes: SEC 1 points, DER.
//!
//! All decoding is strict: one encoding a value, nothing after it. It is bounded by the few lengths that a P-256 value can
//! have and never panics. Decoding secret keys is constant time in the key's value, not in the structure around it.

use super::ecdsa::Signature;
use super::field::Element;
use super::key::{PublicKey, SecretKey};
use super::point::{Affine, curve_polynomial};
use super::scalar::Scalar;
use crate::arch::P256_PRIME;
use crate::ct;
use crate::words;
use core::fmt;

/// Bytes that are not what they should encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The structure is not the expected one: a tag, a length, or bytes left over.
    Malformed,
    /// A key of another algorithm or curve.
    NotP256,
    /// The point is not on the curve, or a coordinate is not below p.
    InvalidPoint,
    /// An integer that must be in 1..n is not.
    OutOfRange,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Malformed => {
                "not the expected DER or SEC 1 structure: give the value alone, strictly encoded"
            }
            DecodeError::NotP256 => "not a key of the curve P-256 (prime256v1, 1.2.840.10045.3.1.7)",
            DecodeError::InvalidPoint => "the public key is not a point of the curve P-256",
            DecodeError::OutOfRange => "an integer is 0 or not below the order of the curve P-256",
        })
    }
}

impl core::error::Error for DecodeError {}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// `[0]` and `[1]` of ECPrivateKey: the curve, the public key (RFC 5915, section 3).
const PARAMETERS: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;
/// id-ecPublicKey (1.2.840.10045.2.1) and prime256v1, both with tag and length (RFC 5480, section 2.1.1).
const ALGORITHM: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What is left of a DER encoding.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next element, which must have this tag. Lengths up to 255: nothing here is longer.
    fn element(&mut self, tag: u8) -> Result<&'a [u8], DecodeError> {
        let (length, rest) = match *self.0 {
            [t, 0x81, length, ref rest @ ..] if t == tag && length >= 0x80 => (length, rest),
            [t, length, ref rest @ ..] if t == tag && length < 0x80 => (length, rest),
            _ => return Err(DecodeError::Malformed),
        };
        let (contents, rest) = rest
            .split_at_checked(length.into())
            .ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(contents)
    }

    fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.0.first() == Some(&tag) {
            self.element(tag).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A positive integer in 1..n.
    fn scalar(&mut self) -> Result<Scalar, DecodeError> {
        let contents = self.element(INTEGER)?;
        let magnitude = match *contents {
            // A leading zero is there just if the next byte would look like a sign.
            [0, next, ..] if next >= 0x80 => &contents[1..],
            [0] => return Err(DecodeError::OutOfRange),
            [first, ..] if first != 0 && first < 0x80 => contents,
            _ => return Err(DecodeError::Malformed),
        };
        let mut bytes = [0; 32];
        let start = bytes
            .len()
            .checked_sub(magnitude.len())
            .ok_or(DecodeError::OutOfRange)?;
        bytes[start..].copy_from_slice(magnitude);
        Scalar::from_nonzero_integer(&words::from_be_bytes(&bytes)).ok_or(DecodeError::OutOfRange)
    }

    fn version(&mut self, version: u8) -> Result<(), DecodeError> {
        if self.element(INTEGER)? == [version] {
            Ok(())
        } else {
            Err(DecodeError::Malformed)
        }
    }

    fn algorithm(&mut self) -> Result<(), DecodeError> {
        let contents = self.element(SEQUENCE)?;
        let parts = contents.split_at_checked(ALGORITHM.len());
        if parts == Some((&ALGORITHM, &CURVE)) {
            Ok(())
        } else {
            Err(DecodeError::NotP256)
        }
    }

    /// A bit string of whole bytes.
    fn bits(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.element(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Malformed)
        }
    }
}

/// The contents of the one element that the bytes are.
fn only_element(bytes: &[u8], tag: u8) -> Result<Reader<'_>, DecodeError> {
    let mut reader = Reader(bytes);
    let contents = reader.element(tag)?;
    reader.end()?;
    Ok(Reader(contents))
}

impl PublicKey {
    /// Length of [`PublicKey::to_sec1_bytes`].
    pub const SEC1_LENGTH: usize = 65;
    /// Length of [`PublicKey::to_spki_der`].
    pub const SPKI_LENGTH: usize = 91;

    /// Reads a point as SEC 1 encodes it (section 2.3.4): `04 ‖ x ‖ y`, or compressed `02 ‖ x` and `03 ‖ x`. Variable time.
    ///
    /// # Errors
    /// If the length or the first byte is another, or the point is not on the curve. The point at infinity (`00`) is no key.
    pub fn from_sec1_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (tag, coordinates) = bytes.split_first().ok_or(DecodeError::Malformed)?;
        match (tag, coordinates.as_chunks::<32>()) {
            (4, ([x, y], [])) => {
                PublicKey::from_coordinates(&words::from_be_bytes(x), &words::from_be_bytes(y))
            }
            (2 | 3, ([x], [])) => decompress(x, tag & 1),
            _ => return Err(DecodeError::Malformed),
        }
        .ok_or(DecodeError::InvalidPoint)
    }

    /// `04 ‖ x ‖ y` (SEC 1, section 2.3.3): what TLS and X.509 carry.
    pub fn to_sec1_bytes(&self) -> [u8; Self::SEC1_LENGTH] {
        let mut bytes = [4; Self::SEC1_LENGTH];
        bytes[1..33].copy_from_slice(&words::to_be_bytes(&self.point.x.to_integer()));
        bytes[33..].copy_from_slice(&words::to_be_bytes(&self.point.y.to_integer()));
        bytes
    }

    /// `02 ‖ x` or `03 ‖ x`, the first byte telling whether y is odd.
    pub fn to_sec1_compressed_bytes(&self) -> [u8; 33] {
        let mut bytes = [2; 33];
        bytes[0] |= (self.point.y.to_integer()[0] & 1) as u8;
        bytes[1..].copy_from_slice(&words::to_be_bytes(&self.point.x.to_integer()));
        bytes
    }

    /// Reads a DER SubjectPublicKeyInfo (RFC 5480, section 2) with a P-256 key. Variable time.
    ///
    /// # Errors
    /// If it is no such structure, of another algorithm or curve, or the point is not on the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = only_element(der, SEQUENCE)?;
        reader.algorithm()?;
        let point = reader.bits()?;
        reader.end()?;
        PublicKey::from_sec1_bytes(point)
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn to_spki_der(&self) -> [u8; Self::SPKI_LENGTH] {
        let mut writer = Writer::<{ Self::SPKI_LENGTH }>::new();
        writer.put(&[SEQUENCE, 89, SEQUENCE, 19]);
        writer.put(&ALGORITHM);
        writer.put(&CURVE);
        writer.put(&[BIT_STRING, 66, 0]);
        writer.put(&self.to_sec1_bytes());
        writer.bytes
    }
}

/// The point with this abscissa whose ordinate is odd or even.
fn decompress(x: &[u8; 32], odd: u8) -> Option<PublicKey> {
    let x = words::from_be_bytes(x);
    if words::less_than(&x, &P256_PRIME) == 0 {
        return None;
    }
    let x = Element::from_integer(&x);
    let y = curve_polynomial(&x).square_root_candidate();
    let wrong_sign = (y.to_integer()[0] & 1) ^ u32::from(odd);
    let point = Affine {
        x,
        y: y.negate_if(ct::mask(wrong_sign)),
    };
    (point.is_on_curve() == 1).then_some(PublicKey { point })
}

impl SecretKey {
    /// Length of [`SecretKey::to_pkcs8_der`].
    pub const PKCS8_LENGTH: usize = 138;

    /// Reads a DER PKCS #8 PrivateKeyInfo (RFC 5958, RFC 5915). A public key in it is not needed and not looked at.
    ///
    /// # Errors
    /// If it is no such structure, of another algorithm or curve, or the key is out of range.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = only_element(der, SEQUENCE)?;
        reader.version(0)?;
        reader.algorithm()?;
        let key = reader.element(OCTET_STRING)?;
        // Attributes may follow, which say nothing about the key.
        reader.optional(PARAMETERS)?;
        reader.end()?;
        ec_private_key(key)
    }

    /// Reads a DER ECPrivateKey that names its curve (RFC 5915), what "EC PRIVATE KEY" in a PEM file holds.
    ///
    /// # Errors
    /// As [`SecretKey::from_pkcs8_der`], and if the curve is not named.
    pub fn from_sec1_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = only_element(der, SEQUENCE)?;
        reader.version(1)?;
        reader.element(OCTET_STRING)?;
        if reader.optional(PARAMETERS)? != Some(&CURVE) {
            return Err(DecodeError::NotP256);
        }
        ec_private_key(der)
    }

    /// The DER PKCS #8 PrivateKeyInfo, with the public key as OpenSSL and Go write it.
    pub fn to_pkcs8_der(&self) -> zeroize::Zeroizing<[u8; Self::PKCS8_LENGTH]> {
        let mut writer = ct::secret(Writer::<{ Self::PKCS8_LENGTH }>::new());
        writer.put(&[SEQUENCE, 0x81, 0x87, INTEGER, 1, 0, SEQUENCE, 19]);
        writer.put(&ALGORITHM);
        writer.put(&CURVE);
        writer.put(&[OCTET_STRING, 109, SEQUENCE, 107, INTEGER, 1, 1, OCTET_STRING, 32]);
        writer.put(&*self.to_bytes());
        writer.put(&[PUBLIC_KEY, 68, BIT_STRING, 66, 0]);
        writer.put(&self.public_key().to_sec1_bytes());
        ct::secret(writer.bytes)
    }
}

/// An ECPrivateKey whose curve, if it is named, must be P-256.
fn ec_private_key(der: &[u8]) -> Result<SecretKey, DecodeError> {
    let mut reader = only_element(der, SEQUENCE)?;
    reader.version(1)?;
    let scalar = reader
        .element(OCTET_STRING)?
        .try_into()
        .map_err(|_| DecodeError::Malformed)?;
    if reader.optional(PARAMETERS)?.is_some_and(|curve| curve != CURVE) {
        return Err(DecodeError::NotP256);
    }
    reader.optional(PUBLIC_KEY)?;
    reader.end()?;
    SecretKey::from_bytes(scalar).map_err(|_| DecodeError::OutOfRange)
}

/// A signature in DER: at most 72 bytes.
#[derive(Clone, Copy)]
pub struct DerSignature {
    writer: Writer<72>,
}

impl DerSignature {
    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.writer.bytes[..self.writer.length]
    }
}

impl fmt::Debug for DerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DerSignature({:02x?})", self.as_bytes())
    }
}

impl Signature {
    /// Reads a DER ECDSA-Sig-Value (RFC 3279, section 2.2.3): what TLS and X.509 carry. Variable time.
    ///
    /// # Errors
    /// If it is no such structure, not the shortest encoding, or an integer is not in 1..n.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = only_element(der, SEQUENCE)?;
        let signature = Signature {
            r: reader.scalar()?,
            s: reader.scalar()?,
        };
        reader.end()?;
        Ok(signature)
    }

    /// The DER ECDSA-Sig-Value.
    pub fn to_der(&self) -> DerSignature {
        let mut writer = Writer::new();
        writer.put(&[SEQUENCE, 0]);
        for scalar in [&self.r, &self.s] {
            let bytes = words::to_be_bytes(&scalar.0);
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(31);
            let magnitude = &bytes[start..];
            let sign = usize::from(magnitude[0] >> 7);
            writer.put(&[INTEGER, (magnitude.len() + sign) as u8]);
            writer.put(&[0][..sign]);
            writer.put(magnitude);
        }
        writer.bytes[1] = writer.length as u8 - 2;
        DerSignature { writer }
    }

    /// Reads `r ‖ s`, 32 bytes each (IEEE P1363).
    ///
    /// # Errors
    /// If an integer is not in 1..n.
    pub fn from_bytes(bytes: &[u8; 64]) -> Result<Self, DecodeError> {
        let read = |bytes: &[u8; 32]| Scalar::from_nonzero_integer(&words::from_be_bytes(bytes));
        let ([r, s], _) = bytes.as_chunks() else {
            return Err(DecodeError::Malformed);
        };
        Ok(Signature {
            r: read(r).ok_or(DecodeError::OutOfRange)?,
            s: read(s).ok_or(DecodeError::OutOfRange)?,
        })
    }

    /// `r ‖ s`, 32 bytes each.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&words::to_be_bytes(&self.r.0));
        bytes[32..].copy_from_slice(&words::to_be_bytes(&self.s.0));
        bytes
    }
}

/// Bytes put one after the other; what is put has been counted to fit.
#[derive(Clone, Copy)]
struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    fn new() -> Self {
        Writer {
            bytes: [0; N],
            length: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl<const N: usize> zeroize::Zeroize for Writer<N> {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}
