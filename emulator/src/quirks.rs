//! What a board and its surroundings do that an ideal one does not: oscillator, flash, RUN pin, USB host and radio.

use crate::chip::Oscillator;
use crate::net::duration;
use crate::radio::{Failure, Quirks};
use crate::time::Time;
use core::fmt;
use core::str::FromStr;
use std::time::Duration;

/// A change on the USB host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsbChange {
    /// The cable is plugged in or out. The board keeps its power.
    Attached(bool),
    /// The host suspends the bus, or resumes it.
    Suspended(bool),
}

/// A USB host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsbHost {
    /// It sends back what it reads of the console, as Linux does until a program has set the terminal up.
    pub echo: bool,
    /// Its changes, in the order of their times.
    pub changes: Vec<(Time, UsbChange)>,
}

/// Everything about a board that is drawn from one seed.
#[derive(Debug, Clone)]
pub struct BoardQuirks {
    /// The radio and its access points, for [`crate::radio::Config`].
    pub radio: Quirks,
    /// Failures of the radio.
    pub failures: Vec<Failure>,
    /// The ring oscillator.
    pub oscillator: Oscillator,
    /// Programs and erases take as long as the datasheet allows.
    pub slow_flash: bool,
    /// RUN is pulled low in this operation of the flash, when so much of 256 of its time has passed.
    pub run_press: Option<(u64, u8)>,
    /// The USB host.
    pub usb: UsbHost,
}

impl BoardQuirks {
    /// Draws them from `seed`. The radio's are those of [`Quirks::fuzzed`]; whatever happens has begun after three minutes.
    #[must_use]
    pub fn fuzzed(seed: u64) -> Self {
        let (radio, failures) = Quirks::fuzzed(seed);
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        let mut below = |limit: u64| crate::radio::random(&mut state) % limit;
        let oscillator = Oscillator {
            hz: 1.8e6 + below(10_200_000) as f64,
            duty: 0.4 + below(200) as f64 / 1000.0,
            jitter: 0.000_5 + below(1500) as f64 / 1e6,
            ripple: below(50) as f64 / 10_000.0,
            ripple_hz: 1000.0 + below(500_000) as f64,
            stuck: false,
        };
        let mut changes = Vec::new();
        let mut at = 0;
        for _ in 0..below(4) {
            at += below(45_000);
            let change = |on| match at % 2 {
                0 => UsbChange::Attached(on),
                _ => UsbChange::Suspended(!on),
            };
            let (begin, end) = (change(false), change(true));
            changes.push((Time::from_millis(at), begin));
            at += 1 + below(10_000);
            changes.push((Time::from_millis(at), end));
        }
        Self {
            radio,
            failures,
            oscillator,
            slow_flash: below(2) == 0,
            run_press: (below(3) == 0).then(|| (1 + below(40), below(256) as u8)),
            usb: UsbHost {
                echo: below(3) == 0,
                changes,
            },
        }
    }
}

/// A text does not describe an oscillator or a USB host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardQuirksError {
    part: String,
    known: &'static str,
}

impl fmt::Display for BoardQuirksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not one of {}", self.part, self.known)
    }
}

impl core::error::Error for BoardQuirksError {}

impl FromStr for Oscillator {
    type Err = BoardQuirksError;

    /// Parses parts with commas between them, such as `hz=6500000,duty=0.5`; the others are those of [`Oscillator::default`].
    fn from_str(text: &str) -> Result<Self, BoardQuirksError> {
        let mut oscillator = Self::default();
        for part in text.split(',') {
            let wrong = || BoardQuirksError {
                part: part.to_owned(),
                known: "hz=N, duty=PART, jitter=PART, ripple=PART, ripple-hz=N, stuck",
            };
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || {
                value
                    .parse::<f64>()
                    .ok()
                    .filter(|value| value.is_finite() && *value >= 0.0)
            };
            match name {
                "hz" => oscillator.hz = number().filter(|hz| *hz >= 1.0).ok_or_else(wrong)?,
                "duty" => oscillator.duty = number().filter(|duty| *duty <= 1.0).ok_or_else(wrong)?,
                "jitter" => oscillator.jitter = number().ok_or_else(wrong)?,
                "ripple" => oscillator.ripple = number().filter(|part| *part < 1.0).ok_or_else(wrong)?,
                "ripple-hz" => oscillator.ripple_hz = number().ok_or_else(wrong)?,
                "stuck" if value.is_empty() => oscillator.stuck = true,
                _ => return Err(wrong()),
            }
        }
        Ok(oscillator)
    }
}

impl FromStr for UsbHost {
    type Err = BoardQuirksError;

    /// Parses parts with commas between them, such as `echo,unplug=10s-12s,suspend=20s-30s`.
    fn from_str(text: &str) -> Result<Self, BoardQuirksError> {
        let mut host = Self::default();
        for part in text.split(',') {
            let wrong = || BoardQuirksError {
                part: part.to_owned(),
                known: "echo, unplug=FROM-TO, suspend=FROM-TO (times such as 10s)",
            };
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let span = || -> Option<(Duration, Duration)> {
                let (from, to) = value.split_once('-')?;
                Some((duration(from)?, duration(to)?)).filter(|(from, to)| from < to)
            };
            match name {
                "echo" if value.is_empty() => host.echo = true,
                "unplug" | "suspend" => {
                    let (from, to) = span().ok_or_else(wrong)?;
                    let change = |begins: bool| match name {
                        "unplug" => UsbChange::Attached(!begins),
                        _ => UsbChange::Suspended(begins),
                    };
                    host.changes.push((Time::ZERO + from, change(true)));
                    host.changes.push((Time::ZERO + to, change(false)));
                }
                _ => return Err(wrong()),
            }
        }
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oscillator_is_read_from_its_parts() {
        let oscillator: Oscillator = "hz=2000000,duty=0.4,stuck".parse().expect("an oscillator");
        assert_eq!(
            (oscillator.hz, oscillator.duty, oscillator.stuck),
            (2e6, 0.4, true)
        );
        for wrong in ["", "hz", "hz=0", "hz=nan", "duty=2", "stuck=1", "speed=3"] {
            assert!(wrong.parse::<Oscillator>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn usb_host_is_read_from_its_parts() {
        let host: UsbHost = "echo,unplug=10s-12s".parse().expect("a host");
        let expected = [
            (Time::from_millis(10_000), UsbChange::Attached(false)),
            (Time::from_millis(12_000), UsbChange::Attached(true)),
        ];
        assert!(host.echo);
        assert_eq!(host.changes, expected);
        for wrong in [
            "",
            "echo=1",
            "unplug",
            "unplug=10s",
            "unplug=2s-1s",
            "wiggle=1s-2s",
        ] {
            assert!(wrong.parse::<UsbHost>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn quirks_of_a_seed_are_the_same_each_time_and_those_of_another_differ() {
        let described = |seed| format!("{:?}", BoardQuirks::fuzzed(seed));
        assert_eq!(described(7), described(7));
        assert_ne!(described(7), described(8));
    }
}
