//! Failures of the radio: what a CYW43439 on silicon may do and its datasheet does not promise.
//!
//! Each begins at a moment of emulated time, so two runs with the same failures are the same.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::Time;
use crate::net::duration;

/// How the radio fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// The firmware hangs: the bus works, but no control message is answered and no frame passes. A firmware that is
    /// started while this lasts never becomes ready.
    Mute,
    /// Control messages are neither obeyed nor answered. Frames pass.
    NoAnswer,
    /// The radio stays joined and answers control messages, but no frame reaches the host.
    Deaf,
    /// Neither the status word nor the interrupt shows a packet that waits for the host.
    NoInterrupt,
    /// The status word is all ones.
    StatusHigh,
    /// The firmware never has room for another packet of the host.
    NoCredit,
    /// The chip drives its data line high, whatever the host does.
    BusHigh,
    /// The chip drives its data line low, whatever the host does.
    BusLow,
}

impl FailureMode {
    /// Every mode and its name on the command line.
    pub(super) const NAMES: [(&'static str, Self); 8] = [
        ("mute", Self::Mute),
        ("no-answer", Self::NoAnswer),
        ("deaf", Self::Deaf),
        ("no-interrupt", Self::NoInterrupt),
        ("status-high", Self::StatusHigh),
        ("no-credit", Self::NoCredit),
        ("bus-high", Self::BusHigh),
        ("bus-low", Self::BusLow),
    ];
}

/// One failure of the radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// How the radio fails.
    pub mode: FailureMode,
    /// When the failure begins.
    pub from: Time,
    /// How many times the radio must lose power (WL_REG_ON low) until it works again; `None`: it never does.
    pub power_cycles: Option<u32>,
}

/// A failure that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureError(String);

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not MODE:TIME or MODE:TIME:POWER_CYCLES, such as mute:10s:1; modes:",
            self.0
        )?;
        for (name, _) in FailureMode::NAMES {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

impl Error for FailureError {}

impl FromStr for Failure {
    type Err = FailureError;

    /// Parses `mute:10s` (for ever) or `mute:10s:1` (until the radio has lost power once).
    fn from_str(text: &str) -> Result<Self, FailureError> {
        let wrong = || FailureError(text.to_owned());
        let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (from, power_cycles) = match rest.split_once(':') {
            Some((from, count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                (from, Some(count.ok_or_else(wrong)?))
            }
            None => (rest, None),
        };
        let mode = FailureMode::NAMES.iter().find(|(known, _)| *known == name);
        let (_, mode) = mode.ok_or_else(wrong)?;
        Ok(Self {
            mode: *mode,
            from: Time::ZERO + duration(from).ok_or_else(wrong)?,
            power_cycles,
        })
    }
}

/// The failures of one radio, those to come included.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(Vec<Failure>);

impl Failures {
    pub(super) fn new(failures: &[Failure]) -> Self {
        Self(failures.to_vec())
    }

    pub(super) fn add(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the radio fails like this at `now`.
    pub(super) fn has(&self, mode: FailureMode, now: Time) -> bool {
        self.0
            .iter()
            .any(|failure| failure.mode == mode && failure.from <= now)
    }

    /// The level at which the data line is stuck.
    pub(super) fn stuck(&self, now: Time) -> Option<bool> {
        let levels = [(FailureMode::BusHigh, true), (FailureMode::BusLow, false)];
        let level = levels.into_iter().find(|(mode, _)| self.has(*mode, now));
        level.map(|(_, level)| level)
    }

    /// Whether the firmware does nothing at all at `now`.
    pub(super) fn is_hung(&self, now: Time) -> bool {
        self.has(FailureMode::Mute, now) || self.stuck(now).is_some()
    }

    /// When the next failure begins.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        let later = self
            .0
            .iter()
            .map(|failure| failure.from)
            .filter(|from| *from > now);
        later.min()
    }

    /// The radio loses power, which ends some failures.
    pub(super) fn power_off(&mut self, now: Time) {
        self.0.retain_mut(|failure| match &mut failure.power_cycles {
            Some(left) if failure.from <= now => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            _ => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_parsed() {
        let failure = |mode, millis, power_cycles| {
            Ok(Failure {
                mode,
                from: Time::from_millis(millis),
                power_cycles,
            })
        };
        assert_eq!("mute:10s".parse(), failure(FailureMode::Mute, 10_000, None));
        assert_eq!("deaf:1.5s".parse(), failure(FailureMode::Deaf, 1500, None));
        assert_eq!(
            "bus-high:5ms:2".parse(),
            failure(FailureMode::BusHigh, 5, Some(2))
        );
        for text in [
            "",
            "mute",
            "mute:",
            "mute:ten",
            "mute:1s:0",
            "mute:1s:1:1",
            "blind:1s",
        ] {
            let error = text.parse::<Failure>().expect_err(text).to_string();
            assert!(
                error.ends_with(
                    "modes: mute no-answer deaf no-interrupt status-high no-credit bus-high bus-low"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn failure_ends_when_the_radio_has_lost_power_often_enough() {
        let mut failures = Failures::new(&["mute:2s:2".parse().expect("a failure")]);
        let (before, after) = (Time::from_millis(1999), Time::from_millis(2000));
        assert!(!failures.is_hung(before));
        assert_eq!(failures.next(before), Some(after));
        failures.power_off(before);
        failures.power_off(after);
        assert!(failures.is_hung(after), "one power cycle of two");
        failures.power_off(after);
        assert!(!failures.is_hung(after));
        assert_eq!(failures.next(after), None);
    }
}
