//! Random numbers fit for keys, from a noise source that is not.
//!
//! A ring oscillator's bits are biased and follow one another (RP2040 datasheet, section 2.17.5: it "does not meet the
//! requirements of randomness for security systems"). Each counts as 1/64 bit of min-entropy, is tested as NIST SP 800-90B,
//! section 4.4, says, and is hashed into a seed for the generator of SP 800-90A. `docs/decisions/0004-entropy.md` has the estimate.
//!
//! Seeds that an earlier run left and other unpredictable inputs are hashed in too and count for nothing.

mod generator;
mod health;

pub use generator::Generator;
pub use health::{Health, NoiseFailure};

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// A source of noise, one bit at a time, as raw as the hardware gives them.
pub trait Noise {
    /// Returns the next bit, no sooner after the one before than the estimate of its entropy assumes.
    fn bit(&mut self) -> bool;

    /// Sets the source up in one of six ways, `attempt` from 0, which is the usual one.
    fn configure(&mut self, attempt: u8);
}

/// Samples that count as one bit of min-entropy.
pub const SAMPLES_PER_BIT: u32 = 64;

/// Bits of a seed: 256 for the generator's security strength and 128 for its nonce (SP 800-90A, section 8.6.7).
const SEED_BITS: u32 = 384;

/// Samples for a seed from noise alone: 64 bits more than come out make the output full-entropy (SP 800-90C).
pub const SEED_SAMPLES: u32 = (SEED_BITS + 64) * SAMPLES_PER_BIT;

/// Samples that a start waits for where an earlier run left a seed. The rest follows while the board runs.
pub const START_SAMPLES: u32 = 64 * SAMPLES_PER_BIT;

/// Bytes that are stored for the next run.
pub const CARRIED: usize = 32;

/// Ways to set the source up that one call tries.
pub const ATTEMPTS: u8 = 6;

/// Samples that are hashed at once, and taken between two looks at anything else.
pub const BATCH: u32 = 32;

/// A seed for the generator. It is wiped when it is dropped.
pub type Seed = Zeroizing<[u8; SEED_BITS as usize / 8]>;

/// Collects noise for a seed.
pub struct Gatherer<N> {
    noise: N,
    health: Health,
    hashes: [Sha256; 2],
    /// Tested samples since the source was last set up or a seed was made.
    samples: u32,
    attempt: u8,
}

impl<N: Noise> Gatherer<N> {
    /// A gatherer without a sample. The source is set up by [`Gatherer::gather_all`].
    pub fn new(noise: N) -> Self {
        Self {
            noise,
            health: Health::default(),
            hashes: hashes(),
            samples: 0,
            attempt: 0,
        }
    }

    /// Hashes in what counts for nothing.
    pub fn mix(&mut self, bytes: &[u8]) {
        for hash in &mut self.hashes {
            hash.update(bytes);
        }
    }

    /// Takes [`BATCH`] samples.
    ///
    /// # Errors
    /// A health test failed. The samples so far count for nothing, and the source is set up in the next way.
    pub fn gather(&mut self) -> Result<(), NoiseFailure> {
        let mut batch = 0_u32;
        for _ in 0..BATCH {
            let bit = self.noise.bit();
            batch = batch << 1 | u32::from(bit);
            if let Err(failure) = self.health.test(bit) {
                self.samples = 0;
                self.attempt = (self.attempt + 1) % ATTEMPTS;
                self.noise.configure(self.attempt);
                return Err(failure);
            }
        }
        let mut bytes = batch.to_be_bytes();
        self.mix(&bytes);
        bytes.zeroize();
        batch.zeroize();
        self.samples = self.samples.saturating_add(BATCH);
        Ok(())
    }

    /// Takes samples until there are `samples` behind those that test the source at its start (SP 800-90B, section 4.3, requirement 4),
    /// in each way to set it up until one is good. Calls `feed` between batches.
    ///
    /// # Errors
    /// Why the last way failed.
    pub fn gather_all(&mut self, samples: u32, mut feed: impl FnMut()) -> Result<(), NoiseFailure> {
        let mut failure = NoiseFailure::Repeats;
        self.noise.configure(self.attempt);
        for _ in 0..ATTEMPTS {
            loop {
                if self.samples >= health::START_UP + samples {
                    return Ok(());
                }
                feed();
                if let Err(error) = self.gather() {
                    failure = error;
                    break;
                }
            }
        }
        Err(failure)
    }

    /// Whether the next way to set the source up is the usual one: each was tried.
    pub fn is_round(&self) -> bool {
        self.attempt == 0
    }

    /// Whether there are enough samples for a seed from noise alone.
    pub fn is_complete(&self) -> bool {
        self.samples >= health::START_UP + SEED_SAMPLES
    }

    /// Makes a seed of all that went in, by the derivation function of SP 800-90A, section 10.3.1, and starts over.
    pub fn take(&mut self) -> Seed {
        let mut seed = Seed::new([0; _]);
        self.samples = 0;
        for (hash, place) in core::mem::replace(&mut self.hashes, hashes())
            .into_iter()
            .zip(seed.chunks_mut(32))
        {
            place.copy_from_slice(&hash.finalize()[..place.len()]);
        }
        seed
    }
}

/// The hashes of the derivation function, before its input.
fn hashes() -> [Sha256; 2] {
    [1, 2].map(|counter: u8| {
        let mut hash = Sha256::new();
        hash.update([counter]);
        hash.update(SEED_BITS.to_be_bytes());
        hash
    })
}

/// What [`start`] makes.
pub struct Started {
    /// Seeded.
    pub generator: Generator,
    /// To be stored for the next run before anything else is drawn, so that no two runs start with the same. It discloses nothing of
    /// what this run draws.
    pub next: [u8; CARRIED],
    /// Why the noise counts for nothing: then the seed rests on the run before, and `next` must be stored.
    pub failure: Option<NoiseFailure>,
}

/// Seeds the generator. `carried` is what the run before left, and `unique` whatever differs between devices: neither counts, except
/// that a seed that was once made from noise alone suffices while the noise fails. Calls `feed` between batches of samples.
///
/// # Errors
/// The noise failed in each way to set it up, and there is no earlier seed.
pub fn start<N: Noise>(
    gatherer: &mut Gatherer<N>,
    carried: Option<&[u8; CARRIED]>,
    unique: &[u8],
    feed: impl FnMut(),
) -> Result<Started, NoiseFailure> {
    let samples = carried.map_or(SEED_SAMPLES, |_| START_SAMPLES);
    let failure = gatherer.gather_all(samples, feed).err();
    if let (Some(failure), None) = (failure, carried) {
        return Err(failure);
    }
    let mut generator = Generator::new(
        &gatherer.take()[..],
        carried.map_or(&[][..], |carried| &carried[..]),
        unique,
    );
    let mut next = [0; CARRIED];
    generator.fill(&mut next);
    Ok(Started {
        generator,
        next,
        failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of a small generator (xorshift), made as bad as a test wants it: of each bit, its number and the attempt.
    struct Made<F> {
        state: u64,
        spoil: F,
        drawn: u32,
        attempt: u8,
    }

    impl<F: FnMut(bool, u32, u8) -> bool> Noise for Made<F> {
        fn bit(&mut self) -> bool {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.drawn += 1;
            (self.spoil)(self.state >> 33 & 1 == 1, self.drawn, self.attempt)
        }

        fn configure(&mut self, attempt: u8) {
            self.attempt = attempt;
        }
    }

    type Spoil = fn(bool, u32, u8) -> bool;

    fn gatherer<F: FnMut(bool, u32, u8) -> bool>(state: u64, spoil: F) -> Gatherer<Made<F>> {
        Gatherer::new(Made {
            state,
            spoil,
            drawn: 0,
            attempt: 0,
        })
    }

    fn draw<F: FnMut(bool, u32, u8) -> bool>(
        mut gatherer: Gatherer<Made<F>>,
        carried: Option<[u8; 32]>,
        unique: &[u8],
    ) -> [u8; 32] {
        let mut bytes = [0; 32];
        let started = start(&mut gatherer, carried.as_ref(), unique, || {});
        started.expect("the noise is good").generator.fill(&mut bytes);
        bytes
    }

    #[test]
    fn everything_that_goes_in_counts() {
        let mixed = |bytes: &[u8]| {
            let mut gatherer = gatherer(1, |bit, _, _| bit);
            gatherer.mix(bytes);
            draw(gatherer, None, b"a")
        };
        let drawn = [
            draw(gatherer(1, |bit, _, _| bit), None, b"a"),
            draw(gatherer(2, |bit, _, _| bit), None, b"a"),
            draw(gatherer(1, |bit, _, _| bit), None, b"b"),
            draw(gatherer(1, |bit, _, _| bit), Some([0; 32]), b"a"),
            draw(gatherer(1, |bit, _, _| bit), Some([1; 32]), b"a"),
            // a single bit of the noise
            draw(gatherer(1, |bit, n, _| bit ^ (n == 5000)), None, b"a"),
            mixed(b"memory"),
        ];
        for (n, one) in drawn.iter().enumerate() {
            assert!(!drawn[..n].contains(one), "{n}");
        }
        assert_eq!(
            drawn[0],
            draw(gatherer(1, |bit, _, _| bit), None, b"a"),
            "and nothing else does"
        );
    }

    #[test]
    fn start_fails_when_noise_is_bad_in_each_way() {
        let failure = |mut noise: Gatherer<Made<Spoil>>| start(&mut noise, None, b"", || {}).err();
        assert_eq!(failure(gatherer(1, |_, _, _| true)), Some(NoiseFailure::Repeats));
        assert_eq!(failure(gatherer(1, |_, _, _| false)), Some(NoiseFailure::Repeats));
        // It turns bad only while the seed is gathered.
        assert_eq!(
            failure(gatherer(1, |bit, n, _| bit || n > 3000)),
            Some(NoiseFailure::Repeats)
        );
        // Too many ones, with a zero now and then.
        assert_eq!(
            failure(gatherer(1, |bit, n, _| bit || n % 8 != 0)),
            Some(NoiseFailure::Biased)
        );
    }

    #[test]
    fn start_takes_all_samples_anew_when_only_another_way_is_good() {
        for good in 1..ATTEMPTS {
            let mut drawn = 0;
            let mut first = 0;
            let mut noise = gatherer(1, |bit, n, attempt| {
                drawn = n;
                if attempt == good && first == 0 {
                    first = n;
                }
                // Each bad way fails late.
                bit || attempt != good && n % 8192 > 4096
            });
            assert!(start(&mut noise, None, b"", || {}).is_ok(), "{good}");
            drop(noise);
            assert_eq!(drawn + 1 - first, health::START_UP + SEED_SAMPLES, "{good}");
        }
    }

    #[test]
    fn start_rests_on_the_seed_before_when_noise_fails() {
        let started = |carried: [u8; CARRIED]| {
            let mut noise = gatherer(1, |_, _, _| true);
            start(&mut noise, Some(&carried), b"", || {}).expect("there is a seed")
        };
        let (one, other) = (started([1; CARRIED]), started([2; CARRIED]));
        assert_eq!(one.failure, Some(NoiseFailure::Repeats));
        assert_ne!(one.next, other.next);
        assert_ne!(one.next, [1; CARRIED]);
    }

    #[test]
    fn gatherer_counts_from_zero_when_a_test_fails() {
        let fails_at = health::START_UP + SEED_SAMPLES - 8 * BATCH;
        let mut noise = gatherer(1, |bit, n, _| bit || (fails_at..fails_at + 2000).contains(&n));
        let mut failures = 0;
        let mut batches = 0;
        while !noise.is_complete() {
            failures += u32::from(noise.gather().is_err());
            batches += 1;
        }
        assert!(failures > 0);
        assert!(
            batches * BATCH > fails_at + health::START_UP + SEED_SAMPLES,
            "{batches}"
        );
        noise.take();
        assert!(!noise.is_complete());
    }

    #[test]
    fn biased_noise_is_still_good_enough() {
        // Three ones in four bits: 0.41 bit of entropy each, more than is counted.
        let mut previous = false;
        let mut noise = gatherer(3, move |bit, _, _| {
            let one = bit || previous;
            previous = bit;
            one
        });
        assert!(start(&mut noise, None, b"", || {}).is_ok());
    }

    #[test]
    fn what_is_carried_is_not_what_is_drawn() {
        let mut started = start(&mut gatherer(1, |bit, _, _| bit), None, b"", || {}).expect("good");
        let mut next = [0; 32];
        started.generator.fill(&mut next);
        assert_ne!(started.next, next);
    }
}
