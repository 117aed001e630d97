//! The ring oscillator (RP2040 datasheet, section 2.17) and its RANDOMBIT: the level of the output at the moment of the read.
//!
//! The period has white noise, so that the phase spreads with the square root of time, and follows the supply. What an
//! observer who knew the phase at each read could not predict of the next one is added up: [`Ring::min_entropy`].

use super::Write;
use std::f64::consts::TAU;

/// What DIV must contain to be a divider.
const DIV_PASS: u32 = 0xaa0;
/// What FREQA and FREQB must contain in their upper half to set drive strengths.
const FREQUENCY_PASS: u32 = 0x9696;
/// Periods of the ring in one of the output, as reset leaves the divider.
const RESET_DIVIDER: f64 = 16.0;
/// Gain of frequency by each step of drive strength. A guess: the datasheet gives no figure.
const DRIVE_GAIN: f64 = 0.2;

/// The ring oscillator of one board. No two are the same, and each changes with supply and temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Oscillator {
    /// Frequency of the output as reset leaves it: eight stages, lowest drive, divided by 16. 1.8 to 12 MHz by the datasheet.
    pub hz: f64,
    /// Part of a period in which the output is high.
    pub duty: f64,
    /// Standard deviation of a period of the undivided ring, as a part of it, at 104 MHz. 0.0016 was measured in a ring
    /// of 103 MHz (thermal part; Haddad, Teglia, Bernard and Fischer, DATE 2014). Zero is an oscillator without noise.
    pub jitter: f64,
    /// Change of the frequency by the ripple of the supply, as a part of it.
    pub ripple: f64,
    /// Frequency of that ripple.
    pub ripple_hz: f64,
    /// Whether the output moves at all.
    pub stuck: bool,
}

/// Standard deviation of the phase of an oscillator with a jitter of 1, after a second, in seconds.
const SPREAD: f64 = 98.058e-6; // √(1 / 104 MHz)

impl Default for Oscillator {
    /// A bad one: less jitter than was measured elsewhere, a bias, and the ripple of a switching regulator.
    fn default() -> Self {
        Self {
            hz: 6_500_000.0,
            duty: 0.56,
            jitter: 0.001,
            ripple: 0.002,
            ripple_hz: 60_000.0,
            stuck: false,
        }
    }
}

/// Its registers, and how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    oscillator: Oscillator,
    control: u32,
    frequency: [u32; 2],
    divider: u32,
    phase_control: u32,
    count: u32,
    /// Periods of the output, less than one.
    phase: f64,
    nanos: u64,
    /// Its noise: SplitMix64, so that two runs see the same one, and those of two seeds never do.
    random: u64,
    min_entropy: f64,
}

impl Ring {
    /// As reset leaves it. `seed` feeds its noise.
    pub(super) fn new(oscillator: Oscillator, seed: u64) -> Self {
        let mut ring = Self {
            oscillator,
            control: 0xaa0,
            frequency: [0; 2],
            divider: DIV_PASS + 16,
            phase_control: 8,
            count: 0,
            phase: 0.0,
            nanos: 0,
            random: seed,
            min_entropy: 0.0,
        };
        ring.phase = ring.uniform();
        ring
    }

    /// As a reset leaves one that has run: its noise and what was counted go on.
    pub(super) fn after_reset(&self, seed: u64) -> Self {
        Self {
            nanos: self.nanos,
            min_entropy: self.min_entropy,
            ..Self::new(self.oscillator, seed)
        }
    }

    pub(super) fn set_oscillator(&mut self, oscillator: Oscillator) {
        self.oscillator = oscillator;
    }

    /// Bits of min-entropy in all reads of RANDOMBIT, given the phase at the read before.
    pub(super) fn min_entropy(&self) -> f64 {
        self.min_entropy
    }

    /// A number from 0 to 1, never 0.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64 + f64::MIN_POSITIVE
    }

    /// A normally distributed number (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Frequency of the output in Hz, 0 if it is switched off.
    pub(super) fn hz(&self) -> f64 {
        if self.control >> 12 & 0xfff == 0xd1e {
            return 0.0;
        }
        let divider = match self.divider.wrapping_sub(DIV_PASS) {
            0 => 32,
            divider @ 1..=31 => divider,
            _ => 1,
        };
        let stages = match self.control & 0xfff {
            0xfa5 => 6,
            0xfa7 => 4,
            0xfa6 => 2,
            _ => 8,
        };
        let delay: f64 = (0..stages)
            .map(|stage| {
                let register = self.frequency[stage / 4];
                let strength = match register >> 16 == FREQUENCY_PASS {
                    true => (register >> (stage % 4 * 4) & 7).count_ones(),
                    false => 0,
                };
                1.0 / (8.0 * (1.0 + DRIVE_GAIN * f64::from(strength)))
            })
            .sum();
        self.oscillator.hz / delay * RESET_DIVIDER / f64::from(divider)
    }

    /// Goes on to a moment. Returns the standard deviation of the phase then, in periods of the output, and its expected value.
    fn advance(&mut self, nanos: u64) -> (f64, f64) {
        let seconds = |nanos: u64| nanos as f64 * 1e-9;
        let span = seconds(nanos.saturating_sub(self.nanos));
        let Oscillator {
            jitter,
            ripple,
            ripple_hz,
            ..
        } = self.oscillator;
        let hz = self.hz();
        let mut expected = self.phase + hz * span;
        if ripple_hz > 0.0 {
            let angle = |nanos| (TAU * ripple_hz * seconds(nanos)).cos();
            expected += hz * ripple * (angle(self.nanos) - angle(nanos)) / (TAU * ripple_hz);
        }
        let deviation = hz * jitter * SPREAD * span.sqrt();
        self.phase = (expected + deviation * self.normal()).rem_euclid(1.0);
        self.nanos = nanos.max(self.nanos);
        (deviation, expected.rem_euclid(1.0))
    }

    /// RANDOMBIT.
    fn sample(&mut self, nanos: u64) -> u32 {
        if self.oscillator.stuck || self.hz() == 0.0 {
            return 1;
        }
        let (deviation, expected) = self.advance(nanos);
        let duty = self.oscillator.duty;
        let high: f64 = (-3..=3)
            .map(|period| {
                let rises = f64::from(period) - expected;
                below((rises + duty) / deviation) - below(rises / deviation)
            })
            .sum();
        // A spread over several periods leaves no more than the bias.
        let high = if deviation < 1.0 { high } else { duty };
        self.min_entropy -= high.max(1.0 - high).clamp(0.5, 1.0).log2();
        u32::from(self.phase < duty)
    }

    /// Reads a register (section 2.17.8).
    pub(super) fn read(&mut self, offset: u32, nanos: u64) -> Option<u32> {
        let enabled = u32::from(self.hz() != 0.0);
        Some(match offset {
            0x00 => self.control,
            0x04 | 0x08 => self.frequency[(offset as usize - 4) / 4],
            0x0c => 0x7761_6b65,
            0x10 => self.divider,
            0x14 => self.phase_control,
            0x18 => enabled << 31 | enabled << 12,
            0x1c => self.sample(nanos),
            0x20 => self.count,
            _ => return None,
        })
    }

    /// Writes a register. Dormant mode is not modelled.
    pub(super) fn write(&mut self, offset: u32, write: Write, nanos: u64) -> bool {
        self.advance(nanos);
        match offset {
            0x00 => self.control = write.onto(self.control),
            0x04 | 0x08 => {
                let register = &mut self.frequency[(offset as usize - 4) / 4];
                *register = write.onto(*register);
            }
            0x10 => self.divider = write.onto(self.divider),
            0x14 => self.phase_control = write.onto(self.phase_control),
            0x18 => {}
            0x20 => self.count = 0,
            _ => return false,
        }
        true
    }
}

/// Probability that a normally distributed number is below `x` (Abramowitz and Stegun, 7.1.26).
fn below(x: f64) -> f64 {
    if !x.is_finite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let polynomial = series.iter().fold(0.0, |sum, coefficient| sum * t + coefficient) * t;
    let error = 1.0 - polynomial * (-z * z).exp();
    0.5 * if x >= 0.0 { 1.0 + error } else { 1.0 - error }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples so many nanoseconds apart.
    fn samples(ring: &mut Ring, apart: u64, count: u64) -> Vec<u32> {
        let start = ring.nanos;
        (1..=count).map(|n| ring.sample(start + n * apart)).collect()
    }

    #[test]
    fn each_seed_has_a_noise_of_its_own() {
        let noise = |seed| samples(&mut Ring::new(Oscillator::default(), seed), 1_000_000_000, 64);
        let found: std::collections::BTreeSet<_> = (0..64).chain([u64::MAX]).map(noise).collect();
        assert_eq!(found.len(), 65);
        assert_eq!(noise(7), noise(7));
    }

    #[test]
    fn randombit_is_periodic_without_jitter() {
        let oscillator = Oscillator {
            hz: 6_250_000.0,
            jitter: 0.0,
            ripple: 0.0,
            ..Oscillator::default()
        };
        let mut ring = Ring::new(oscillator, 1);
        // Four and three quarter periods apart.
        let bits = samples(&mut ring, 760, 400);
        assert!(bits.chunks(4).all(|four| four == &bits[..4]), "{bits:?}");
        assert!(ring.min_entropy() < 1e-6, "{}", ring.min_entropy());
    }

    #[test]
    fn entropy_grows_with_the_time_between_samples_and_with_frequency() {
        let entropy = |divider: u32, apart: u64| {
            let mut ring = Ring::new(Oscillator::default(), 1);
            ring.write(0x10, Write::plain(DIV_PASS + divider), 0);
            samples(&mut ring, apart, 10_000);
            ring.min_entropy() / 10_000.0
        };
        let (fast, slow, divided) = (entropy(1, 760), entropy(1, 10_013), entropy(16, 10_013));
        println!(
            "bits a sample: {fast:.4} 0.76 µs apart, {slow:.4} 10 µs apart, {divided:.4} of them divided"
        );
        assert!(slow > 3.0 * fast, "{slow} {fast}");
        assert!(slow > 10.0 * divided, "{slow} {divided}");
        // Two edges a period, each unpredictable for 1.4 standard deviations.
        let expected = 2.8 * 104e6 * 0.001 * SPREAD * 1.0013e-5_f64.sqrt();
        assert!((0.8..1.25).contains(&(slow / expected)), "{slow} {expected}");
        // Far apart nothing but the bias is left.
        let far = entropy(1, 1_000_000_000);
        assert!((far + 0.56_f64.log2()).abs() < 0.02, "{far}");
    }

    #[test]
    fn registers_change_the_frequency() {
        let mut ring = Ring::new(Oscillator::default(), 1);
        assert_eq!(ring.hz() as u64, 6_500_000);
        ring.write(0x10, Write::plain(DIV_PASS + 1), 0);
        assert_eq!(ring.hz() as u64, 104_000_000);
        ring.write(0x00, Write::plain(0xfab_fa7), 0);
        assert_eq!(ring.hz() as u64, 208_000_000);
        ring.write(0x04, Write::plain(0x9696_7777), 0);
        assert!(ring.hz() > 300e6);
        ring.write(0x04, Write::plain(0x7777), 0);
        assert_eq!(
            ring.hz() as u64,
            208_000_000,
            "without the password all are lowest"
        );
        ring.write(0x00, Write::plain(0xd1e_000), 0);
        assert_eq!(ring.hz() as u64, 0);
        assert_eq!(ring.read(0x18, 0), Some(0));
    }
}
