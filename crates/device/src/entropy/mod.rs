//! Random numbers fit for keys, from a noise source that is not.
//!
//! A ring oscillator's bits are biased and follow one another (RP2040 datasheet, section 2.17.5: it "does not meet the
//! requirements of randomness for security systems"). So they are counted as a quarter of a bit each, tested all along
//! as NIST SP 800-90B wants it, and sixteen times as many are taken as would do if they were perfect. All go through a hash, together
//! with a seed of the run before, into the generator of NIST SP 800-90A that everything is drawn from.
//!
//! The seed of the run before is not counted: it is there for the day that the noise fails unnoticed.

mod generator;
mod health;

pub use generator::Generator;
pub use health::{Health, NoiseFailure};

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// A source of noise: one bit at a time, as raw as the hardware gives them.
pub trait Noise {
    /// The next bit. The caller takes as many as it needs, as fast as it can.
    fn bit(&mut self) -> bool;
}

/// Bits of noise that go into one seed of 384 bits: at a quarter of a bit each they carry 1,536.
pub const BITS_OF_A_SEED: usize = 6144;

/// Bytes that are kept in flash from one run to the next.
pub const CARRIED: usize = 32;

/// Requests between two seeds of fresh noise.
const REQUESTS_A_SEED: u32 = 1024;

/// A noise source with its tests, and the generator that it seeds.
pub struct Entropy<N> {
    noise: N,
    health: Health,
    generator: Generator,
    requests: u32,
}

impl<N: Noise> Entropy<N> {
    /// Tests the noise and seeds the generator.
    ///
    /// `carried` is what [`Entropy::carry`] gave in the run before, where there was one, and `unique` whatever tells
    /// this device from its kind: a serial number, the time. Neither needs to be secret.
    ///
    /// # Errors
    /// The noise is not random enough to make keys of. Nothing can be done but to start over.
    pub fn start(mut noise: N, carried: Option<&[u8; CARRIED]>, unique: &[u8]) -> Result<Self, NoiseFailure> {
        let mut health = Health::default();
        // SP 800-90B, section 4.3, requirement 4: at least 1,024 samples are tested and thrown away first.
        for _ in 0..health::START_UP {
            health.test(noise.bit())?;
        }
        let seed = seed(&mut noise, &mut health)?;
        let generator = Generator::new(&seed[..], carried.map_or(&[][..], |carried| &carried[..]), unique);
        Ok(Self {
            noise,
            health,
            generator,
            requests: 0,
        })
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// Fresh noise was due and is not random enough. `bytes` are left as they were.
    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoiseFailure> {
        if self.requests >= REQUESTS_A_SEED {
            self.reseed()?;
        }
        self.requests += 1;
        for piece in bytes.chunks_mut(generator::MOST) {
            self.generator.fill(piece);
        }
        Ok(())
    }

    /// Takes fresh noise now, as is done every 1,024 requests by itself.
    ///
    /// # Errors
    /// The noise is not random enough; the generator is as it was.
    pub fn reseed(&mut self) -> Result<(), NoiseFailure> {
        let seed = seed(&mut self.noise, &mut self.health)?;
        self.generator.reseed(&seed[..]);
        self.requests = 0;
        Ok(())
    }

    /// What the next run is to be given as `carried`. It tells nothing of what was or will be drawn in this one. To be
    /// stored before anything else is drawn, so that no two runs begin with the same.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn carry(&mut self) -> Result<[u8; CARRIED], NoiseFailure> {
        let mut carried = [0; CARRIED];
        self.fill(&mut carried)?;
        Ok(carried)
    }
}

/// Noise, tested and made into 384 bits by the derivation function of SP 800-90A, section 10.3.1.
fn seed<N: Noise>(noise: &mut N, health: &mut Health) -> Result<Zeroizing<[u8; 48]>, NoiseFailure> {
    let mut seed = Zeroizing::new([0; 48]);
    let mut hashes = [1, 2].map(|counter: u8| {
        let mut hash = Sha256::new();
        hash.update([counter]);
        hash.update(384_u32.to_be_bytes());
        hash
    });
    let mut block = [0; 32];
    for _ in 0..BITS_OF_A_SEED / (8 * block.len()) {
        for byte in &mut block {
            for _ in 0..8 {
                let bit = noise.bit();
                health.test(bit)?;
                *byte = *byte << 1 | u8::from(bit);
            }
        }
        for hash in &mut hashes {
            hash.update(block);
        }
    }
    block.zeroize();
    for (hash, place) in hashes.into_iter().zip(seed.chunks_mut(32)) {
        place.copy_from_slice(&hash.finalize()[..place.len()]);
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of a small generator (xorshift), made as bad as a test wants it.
    struct Made<F> {
        state: u64,
        spoil: F,
        drawn: usize,
    }

    impl<F: FnMut(bool, usize) -> bool> Noise for Made<F> {
        fn bit(&mut self) -> bool {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.drawn += 1;
            (self.spoil)(self.state >> 33 & 1 == 1, self.drawn)
        }
    }

    fn made<F: FnMut(bool, usize) -> bool>(state: u64, spoil: F) -> Made<F> {
        Made {
            state,
            spoil,
            drawn: 0,
        }
    }

    fn draw<F: FnMut(bool, usize) -> bool>(
        noise: Made<F>,
        carried: Option<[u8; 32]>,
        unique: &[u8],
    ) -> [u8; 32] {
        let mut bytes = [0; 32];
        let mut entropy = Entropy::start(noise, carried.as_ref(), unique).expect("the noise is good");
        entropy.fill(&mut bytes).expect("the noise is good");
        bytes
    }

    #[test]
    fn everything_that_goes_in_counts() {
        let drawn = [
            draw(made(1, |bit, _| bit), None, b"a"),
            draw(made(2, |bit, _| bit), None, b"a"),
            draw(made(1, |bit, _| bit), None, b"b"),
            draw(made(1, |bit, _| bit), Some([0; 32]), b"a"),
            draw(made(1, |bit, _| bit), Some([1; 32]), b"a"),
            // a single bit of the noise
            draw(made(1, |bit, n| bit ^ (n == 5000)), None, b"a"),
        ];
        for (n, one) in drawn.iter().enumerate() {
            assert!(!drawn[..n].contains(one), "{n}");
        }
        assert_eq!(
            drawn[0],
            draw(made(1, |bit, _| bit), None, b"a"),
            "and nothing else does"
        );
    }

    #[test]
    fn noise_that_is_stuck_is_found_before_anything_is_drawn() {
        let failure = |noise: Made<fn(bool, usize) -> bool>| Entropy::start(noise, None, b"").err();
        assert_eq!(failure(made(1, |_, _| true)), Some(NoiseFailure::Repeats));
        assert_eq!(failure(made(1, |_, _| false)), Some(NoiseFailure::Repeats));
        // It turns bad only while the seed is gathered.
        assert_eq!(
            failure(made(1, |bit, n| bit || n > 3000)),
            Some(NoiseFailure::Repeats)
        );
        // Too many ones, with a zero now and then.
        assert_eq!(
            failure(made(1, |bit, n| bit || n % 16 != 0)),
            Some(NoiseFailure::Biased)
        );
    }

    #[test]
    fn biased_noise_is_still_good_enough() {
        // Three ones in four bits: 0.41 bit of entropy each, more than is counted.
        let mut previous = false;
        let noise = made(3, move |bit, _| {
            let one = bit || previous;
            previous = bit;
            one
        });
        assert!(Entropy::start(noise, None, b"").is_ok());
    }

    #[test]
    fn fresh_noise_is_taken_every_so_often_and_its_failure_told() {
        let good = health::START_UP + BITS_OF_A_SEED;
        let noise = made(1, move |bit, n| bit || n > good);
        let mut entropy = Entropy::start(noise, None, b"").expect("good at first");
        let mut bytes = [0; 8];
        for _ in 0..REQUESTS_A_SEED {
            entropy.fill(&mut bytes).expect("no fresh noise is due");
        }
        bytes = [0; 8];
        assert_eq!(entropy.fill(&mut bytes), Err(NoiseFailure::Repeats));
        assert_eq!(bytes, [0; 8]);
    }

    #[test]
    fn what_is_carried_is_not_what_is_drawn() {
        let mut entropy = Entropy::start(made(1, |bit, _| bit), None, b"").expect("good");
        let carried = entropy.carry().expect("good");
        let mut next = [0; 32];
        entropy.fill(&mut next).expect("good");
        assert_ne!(carried, next);
    }

    #[test]
    fn long_requests_are_filled_to_the_end() {
        extern crate std;
        let mut entropy = Entropy::start(made(1, |bit, _| bit), None, b"").expect("good");
        let mut bytes = std::vec![0; 3 * generator::MOST + 5];
        entropy.fill(&mut bytes).expect("good");
        let zeros = bytes.iter().filter(|byte| **byte == 0).count();
        assert!(zeros < bytes.len() / 128, "{zeros}");
        assert!(bytes[bytes.len() - 5..].iter().any(|byte| *byte != 0));
    }
}
