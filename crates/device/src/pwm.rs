//! How a slice of the PWM block counts for a frequency.

/// The slowest that a slice counts, in sixteenths of a cycle of the system clock: its divider has 8 bits before the point and 4
/// behind it (RP2040 datasheet 4.5.2, RP2350 datasheet 12.5.2).
const SLOWEST: u32 = 0xfff;
/// What a slice counts to at most.
const MOST: u32 = 1 << 16;

/// How a slice counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Sixteenths of a system clock's cycle for one count.
    pub divider: u32,
    /// Counts of a period, or of half a period where it counts both ways.
    pub counts: u32,
    /// Counts up and down again (phase-correct), which takes twice as long.
    pub both_ways: bool,
}

impl Counting {
    /// The finest steps that `hertz` allows with a system clock of `clock` hertz. What is out of reach becomes the nearest
    /// that is not.
    pub fn new(clock: u32, hertz: u32) -> Self {
        let period = clock.saturating_mul(16) / hertz.max(1);
        let both_ways = period / MOST >= SLOWEST;
        let period = if both_ways { period / 2 } else { period };
        let divider = period.div_ceil(MOST).clamp(16, SLOWEST);
        Self {
            divider,
            counts: (period / divider).clamp(255, MOST),
            both_ways,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_platform::PWM_HERTZ;

    #[test]
    fn both_boards_reach_every_frequency() {
        for clock in [125_000_000, 150_000_000] {
            for hertz in PWM_HERTZ {
                let counting = Counting::new(clock, hertz);
                let Counting {
                    divider,
                    counts,
                    both_ways,
                } = counting;
                assert!(
                    (16..=0xfff).contains(&divider) && (255..=65_536).contains(&counts),
                    "{counting:?}"
                );
                let period = f64::from(divider) * f64::from(counts) * if both_ways { 2.0 } else { 1.0 };
                let reached = f64::from(clock) * 16.0 / period;
                assert!(
                    (reached / f64::from(hertz) - 1.0).abs() < 0.001,
                    "{hertz} at {clock}: {reached}"
                );
            }
        }
    }
}
