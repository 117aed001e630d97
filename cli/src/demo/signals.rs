//! What pins and the LED do, in the words and pictures of somebody who looks at them.
//!
//! It knows levels and times, and nothing of the board that they are from.

use picolet_emulator::Time;
use std::fmt;
use std::time::Duration;

/// How wide a picture is, in characters.
const WIDTH: usize = 24;

/// What a pin does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    Low,
    High,
    /// High for a share of a period.
    Pulses {
        /// From 0 to 1.
        duty: f64,
        hertz: f64,
    },
}

impl Level {
    /// What a pin did in a time: its level at the beginning, and each change of any pin.
    pub(super) fn of(pin: u32, from: (Time, u32), changes: &[(Time, u32)], until: Time) -> Self {
        let level = |levels: u32| levels >> pin & 1 != 0;
        let (mut since, mut high) = (from.0, level(from.1));
        let (mut lit, mut rises) = (Duration::ZERO, Vec::new());
        for (at, levels) in changes {
            if level(*levels) == high {
                continue;
            }
            if high {
                lit += at.since(since);
            } else {
                rises.push(*at);
            }
            (since, high) = (*at, !high);
        }
        match rises.as_slice() {
            [first, .., last] => {
                // Whole periods only, from the first rise to the last.
                let whole = last.since(*first).as_secs_f64();
                let of_it = Self::lit(pin, *first, changes, *last).as_secs_f64();
                Self::Pulses {
                    duty: of_it / whole,
                    hertz: (rises.len() - 1) as f64 / whole,
                }
            }
            _ if high => {
                lit += until.since(since);
                Self::High
            }
            _ => Self::Low,
        }
    }

    /// How long a pin was high between two of its rises.
    fn lit(pin: u32, first: Time, changes: &[(Time, u32)], last: Time) -> Duration {
        let (mut lit, mut since) = (Duration::ZERO, None);
        for (at, levels) in changes.iter().filter(|(at, _)| (first..=last).contains(at)) {
            match (levels >> pin & 1 != 0, since) {
                (true, None) => since = Some(*at),
                (false, Some(rise)) => {
                    lit += at.since(rise);
                    since = None;
                }
                _ => {}
            }
        }
        lit
    }

    /// Whether somebody who looks would call it the same.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pulses { duty, hertz }, Self::Pulses { duty: d, hertz: h }) => {
                (duty - d).abs() < 0.002 && (hertz / h - 1.0).abs() < 0.01
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Low => write!(f, "{}  low", "▁".repeat(WIDTH)),
            Self::High => write!(f, "{}  high", "▔".repeat(WIDTH)),
            Self::Pulses { duty, hertz } => {
                const PERIOD: usize = 8;
                let high = (1..PERIOD)
                    .min_by(|a, b| {
                        let off = |n: usize| (n as f64 / PERIOD as f64 - duty).abs();
                        off(*a).total_cmp(&off(*b))
                    })
                    .unwrap_or(1);
                let period = "▔".repeat(high) + &"▁".repeat(PERIOD - high);
                let picture = period.repeat(WIDTH / PERIOD);
                write!(
                    f,
                    "{picture}  high {:.1} % of the time, {hertz:.0} Hz",
                    duty * 100.0
                )
            }
        }
    }
}

/// What the LED does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    Off,
    On,
    /// On and off again, every so often.
    Blinks(Duration),
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "{}  off", "○".repeat(WIDTH)),
            Self::On => write!(f, "{}  on", "●".repeat(WIDTH)),
            Self::Blinks(period) => {
                let picture = "●●●○○○".repeat(WIDTH / 6);
                write!(f, "{picture}  blinks every {} ms", period.as_millis())
            }
        }
    }
}

/// Tells from the LED's state, moment by moment, what it does.
#[derive(Debug)]
pub(super) struct Blinking {
    lit: bool,
    since: Time,
    /// How long the last states lasted, the latest last.
    lasted: [Duration; 4],
    said: Light,
}

impl Blinking {
    /// Whatever lasts so long does not blink.
    const STEADY: Duration = Duration::from_millis(1500);
    /// Two states that last as long as each other, for somebody who looks every hundredth of a second.
    const ALIKE: Duration = Duration::from_millis(25);

    /// An LED that is dark.
    pub(super) fn new() -> Self {
        Self {
            lit: false,
            since: Time::ZERO,
            lasted: [Duration::ZERO; 4],
            said: Light::Off,
        }
    }

    /// Takes in how the LED is. Returns what it does if that is something else than before.
    pub(super) fn look(&mut self, lit: bool, now: Time) -> Option<Light> {
        let lasted = now.since(self.since);
        let mut does = self.said;
        if lit != self.lit {
            self.lasted.rotate_left(1);
            self.lasted[3] = lasted;
            (self.lit, self.since) = (lit, now);
            let [a, b, c, d] = self.lasted;
            let alike = |a: Duration, b: Duration| a.abs_diff(b) <= Self::ALIKE && !a.is_zero();
            if alike(a, c) && alike(b, d) {
                let period =
                    Duration::from_millis(10 * ((a + b + c + d).as_millis() as u64 / 2).div_ceil(10));
                let same =
                    matches!(self.said, Light::Blinks(said) if said.abs_diff(period) <= 2 * Self::ALIKE);
                does = if same { self.said } else { Light::Blinks(period) };
            } else if lasted > Self::STEADY {
                does = if lit { Light::On } else { Light::Off };
            }
        } else if lasted > Self::STEADY && !matches!(self.said, Light::Blinks(period) if lasted < 2 * period)
        {
            does = if lit { Light::On } else { Light::Off };
        }
        let new = does != self.said;
        self.said = does;
        new.then_some(does)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_nanos(micros * 1000)
    }

    #[test]
    fn pulses_are_measured_and_steady_levels_are_no_pulses() {
        // Pin 3 is high for a quarter of each millisecond; pin 2 changes meanwhile, once.
        let mut changes = Vec::new();
        for millisecond in 0..20 {
            let other = if millisecond < 7 { 0 } else { 1 << 2 };
            changes.push((at(millisecond * 1000), other | 1 << 3));
            changes.push((at(millisecond * 1000 + 250), other));
        }
        let level = |pin| Level::of(pin, (at(0), 0), &changes, at(20_000));
        let Level::Pulses { duty, hertz } = level(3) else {
            panic!("{:?}", level(3));
        };
        assert!(
            (duty - 0.25).abs() < 1e-9 && (hertz - 1000.0).abs() < 1e-6,
            "{duty} {hertz}"
        );
        assert_eq!((level(2), level(5)), (Level::High, Level::Low));
        assert!(!level(3).looks_like(&Level::High));
        assert!(level(3).to_string().starts_with("▔▔▁▁▁▁▁▁▔▔"));
    }

    #[test]
    fn an_led_is_said_to_do_what_it_does_and_only_once() {
        let mut led = Blinking::new();
        let mut said = Vec::new();
        for hundredth in 0..1000_u64 {
            let lit = match hundredth {
                0..200 => false,
                200..500 => true,
                500..800 => (hundredth - 500) / 25 % 2 == 1,
                _ => false,
            };
            said.extend(led.look(lit, at(hundredth * 10_000)));
        }
        let blinks = Light::Blinks(Duration::from_millis(500));
        assert_eq!(said, [Light::On, Light::Off, blinks, Light::Off]);
    }
}
