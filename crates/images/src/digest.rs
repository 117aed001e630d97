//! Content digests: `sha256:` and 64 hexadecimal digits (OCI image specification, "Digests").

use alloc::string::String;
use sha2::{Digest as _, Sha256};

/// The prefix of the one algorithm that content is verified with.
const ALGORITHM: &str = "sha256:";
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Parses `sha256:` and 64 lower-case hexadecimal digits. Returns `None` for anything else, other algorithms included.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(ALGORITHM)?.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = DIGITS.iter().position(|known| known == digit)?;
                *byte = *byte << 4 | value as u8;
            }
        }
        Some(Self(digest))
    }

    /// Computes the digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// Appends the digest as text: `sha256:` and 64 digits.
    pub fn write(&self, out: &mut String) {
        out.push_str(ALGORITHM);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(DIGITS[usize::from(nibble)]));
            }
        }
    }
}

/// Computes a digest of content that arrives in pieces.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Returns the digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn digest_is_parsed_as_it_is_written() {
        let digest = Digest::of(b"hello");
        let mut text = String::new();
        digest.write(&mut text);
        assert_eq!(
            text,
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(Digest::parse(&text), Some(digest));
        let mut pieces = Digester::default();
        pieces.update(b"he");
        pieces.update(b"llo");
        assert_eq!(pieces.finish(), digest);
    }

    #[test]
    fn digest_is_refused_when_it_is_not_sha256_in_lower_case() {
        let digits = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for text in [
            format!("sha512:{digits}"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{digits}0"),
            format!("sha256:{}", &digits[1..]),
            String::from("sha256:"),
            String::from(digits),
            format!("sha256:{}é", &digits[..62]),
        ] {
            assert_eq!(Digest::parse(&text), None, "{text}");
        }
    }
}
