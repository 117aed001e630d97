//! The continuous tests of a noise source (NIST SP 800-90B, section 4.4).

use core::fmt;

/// Samples that test a source at its start. They count for nothing.
pub(super) const START_UP: u32 = 1024;

/// Equal samples in a row at which the repetition count test fails: section 4.4.1, 1 + ⌈30 / H⌉. H is a quarter of a bit: the cutoffs
/// for the 1/64 bit that is counted are 1,921 and more than the window has, and would find a broken source late or never. A source
/// without phase information is far better than a quarter of a bit, since samples are dithered over many periods.
const REPEATS: u16 = 121;

/// Section 4.4.2: the window for a source of single bits.
const WINDOW: u16 = 1024;

/// With the same entropy and probability, so many samples of a window that are equal to its first: 1 + CRITBINOM(1024, 2^-0.25,
/// 1 - 2^-30).
const EQUAL: u16 = 928;

/// What is wrong with a noise source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseFailure {
    /// The same bit came again and again (repetition count test).
    Repeats,
    /// One of both came far too often (adaptive proportion test).
    Biased,
}

impl fmt::Display for NoiseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeats => "noise source failed: it repeats one value",
            Self::Biased => "noise source failed: one value is far too frequent",
        })
    }
}

impl core::error::Error for NoiseFailure {}

/// Both tests, over all samples from the first on.
#[derive(Clone, Debug, Default)]
pub struct Health {
    last: bool,
    repeated: u16,
    reference: bool,
    seen: u16,
    equal: u16,
}

impl Health {
    /// Looks at one sample.
    ///
    /// # Errors
    /// The source is broken. The tests begin anew with the next sample.
    pub fn test(&mut self, sample: bool) -> Result<(), NoiseFailure> {
        self.repeated = if sample == self.last { self.repeated + 1 } else { 1 };
        self.last = sample;
        if self.seen == 0 {
            (self.reference, self.equal) = (sample, 0);
        }
        self.equal += u16::from(sample == self.reference);
        self.seen = (self.seen + 1) % WINDOW;
        let failure = if self.repeated >= REPEATS {
            NoiseFailure::Repeats
        } else if self.equal >= EQUAL {
            NoiseFailure::Biased
        } else {
            return Ok(());
        };
        *self = Self::default();
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_at_the_cutoffs_and_not_before() {
        let mut health = Health::default();
        health.test(true).expect("a first sample");
        for _ in 0..REPEATS - 1 {
            health.test(false).expect("fewer than the cutoff");
        }
        assert_eq!(health.test(false), Err(NoiseFailure::Repeats));

        let mut health = Health::default();
        let mut equal = 0;
        for n in 0..WINDOW {
            // Every twelfth is different: 939 of 1,024 are equal.
            let sample = n % 12 != 11;
            equal += u16::from(sample);
            let result = health.test(sample);
            assert_eq!(result.is_err(), equal >= EQUAL, "{n}");
            if result.is_err() {
                assert_eq!(result, Err(NoiseFailure::Biased));
                return;
            }
        }
        panic!("{equal} of {WINDOW} were equal");
    }

    #[test]
    fn a_window_ends() {
        let mut health = Health::default();
        for n in 0..20 * u32::from(WINDOW) {
            // 896 of 1,024, in each window
            assert_eq!(health.test(n % 8 != 7), Ok(()), "{n}");
        }
    }
}
