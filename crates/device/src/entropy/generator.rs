//! HMAC_DRBG with SHA-256 (NIST SP 800-90A, revision 1, section 10.1.2).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// The state of the generator. It is wiped when it is dropped.
pub struct Generator {
    key: [u8; 32],
    value: [u8; 32],
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.key.zeroize();
        self.value.zeroize();
    }
}

impl Generator {
    /// A generator that starts with what these three say together (section 10.1.2.3).
    pub fn new(entropy: &[u8], nonce: &[u8], personalization: &[u8]) -> Self {
        let mut generator = Self {
            key: [0; 32],
            value: [1; 32],
        };
        generator.update(&[entropy, nonce, personalization]);
        generator
    }

    /// Adds fresh entropy (section 10.1.2.4).
    pub fn reseed(&mut self, entropy: &[u8]) {
        self.update(&[entropy]);
    }

    /// Fills `bytes`, at most 64 KiB (section 10.1.2.5). What was filled before cannot be computed from what is left.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(32) {
            self.value = self.hash(&[]);
            piece.copy_from_slice(&self.value[..piece.len()]);
        }
        self.update(&[]);
    }

    /// Section 10.1.2.2.
    fn update(&mut self, data: &[&[u8]]) {
        for separator in [0, 1] {
            let mut mac = self.mac();
            mac.update(&[separator]);
            for piece in data {
                mac.update(piece);
            }
            self.key = mac.finalize().into_bytes().into();
            self.value = self.hash(&[]);
            if data.iter().all(|piece| piece.is_empty()) {
                break;
            }
        }
    }

    /// HMAC of the value and more.
    fn hash(&self, more: &[u8]) -> [u8; 32] {
        let mut mac = self.mac();
        mac.update(more);
        mac.finalize().into_bytes().into()
    }

    fn mac(&self) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(&self.value);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;

    fn bytes(hex: &str) -> std::vec::Vec<u8> {
        (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// NIST's CAVP, `drbgvectors_no_reseed`, HMAC_DRBG, SHA-256, without personalization, COUNT = 0.
    #[test]
    fn is_as_nist_says() {
        let mut generator = Generator::new(
            &bytes("ca851911349384bffe89de1cbdc46e6831e44d34a4fb935ee285dd14b71a7488"),
            &bytes("659ba96c601dc69fc902940805ec0ca8"),
            &[],
        );
        let mut drawn = [0; 128];
        generator.fill(&mut drawn);
        generator.fill(&mut drawn);
        assert_eq!(
            drawn[..],
            bytes(
                "e528e9abf2dece54d47c7e75e5fe302149f817ea9fb4bee6f4199697d04d5b89\
                 d54fbb978a15b5c443c9ec21036d2460b6f73ebad0dc2aba6e624abf07745bc1\
                 07694bb7547bb0995f70de25d6b29e2d3011bb19d27676c07162c8b5ccde0668\
                 961df86803482cb37ed6d5c0bb8d50cf1f50d476aa0458bdaba806f48be9dcb8"
            )
        );
    }

    #[test]
    fn goes_another_way_with_fresh_entropy() {
        let mut generators = [0, 1].map(|_| Generator::new(b"entropy", b"", b""));
        generators[1].reseed(b"more");
        let mut drawn = [[0; 40]; 2];
        for (generator, drawn) in generators.iter_mut().zip(&mut drawn) {
            generator.fill(drawn);
        }
        assert_ne!(drawn[0], drawn[1]);
    }
}
