//! Quirks of the radio and of access points: what happens now and then on silicon and what no datasheet promises. Failures that last
//! are in `failure.rs`.
//!
//! All of it is counted, or drawn from a seed, so two runs with the same quirks are the same.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::failure::{Failure, FailureMode};
use crate::Time;
use crate::net::duration;

/// Flipped bits on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitErrors {
    /// Of a billion bits, how many flip.
    pub per_billion: u32,
    /// Bits flip while the bus's clock has a period shorter than this.
    pub below: Duration,
    /// When bits begin to flip.
    pub from: Time,
}

/// The quirks of one radio and of the access points around it. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Seed of which bits flip.
    pub seed: u64,
    /// Control messages that are obeyed without an answer, by their number, counted from one since the board was made.
    pub lost_answers: Vec<u32>,
    /// Control messages that are refused, by their number.
    pub refused: Vec<u32>,
    /// Refuses WLC_DISASSOC while it is not associated.
    pub refuses_disassoc: bool,
    /// Reads of the test register that answer zero after each power-up.
    pub start_reads: u32,
    /// WL_REG_ON that is low for a shorter time resets nothing.
    pub power_off: Duration,
    /// Bits flip on the bus.
    pub bit_errors: Option<BitErrors>,
    /// An access point that throws the station out is reported by DEAUTH_IND or DISASSOC_IND alone, without LINK.
    pub silent_deauth: bool,
    /// An access point that still knows the station, which lost power without leaving, refuses it with status 30 (IEEE 802.11 table
    /// 9-78, protected management frames) until this has passed since it first asked; zero: never.
    pub comeback: Duration,
    /// Handshakes in which the access point never sends its first message.
    pub handshake_timeouts: u32,
    /// How much longer a join takes.
    pub join_delay: Duration,
    /// Frames in either direction that are lost after each join.
    pub lost_frames: u32,
}

/// SplitMix64.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

impl Quirks {
    /// The quirks and failures of a radio drawn from `seed`, each of which occurs in about a quarter of the seeds. Failures begin within
    /// the first three minutes and end when the radio has lost power once or twice.
    #[must_use]
    pub fn fuzzed(seed: u64) -> (Self, Vec<Failure>) {
        let mut state = seed;
        let mut below = |limit: u64| random(&mut state) % limit;
        let mut quirks = Self {
            seed,
            ..Self::default()
        };
        let rare = 4;
        if below(rare) == 0 {
            quirks.lost_answers = vec![below(60) as u32 + 1, below(200) as u32 + 1];
        }
        if below(rare) == 0 {
            quirks.refused = vec![below(60) as u32 + 1, below(200) as u32 + 1];
        }
        quirks.refuses_disassoc = below(rare) == 0;
        if below(rare) == 0 {
            quirks.start_reads = below(100) as u32;
        }
        if below(2) == 0 {
            quirks.power_off = Duration::from_millis(below(150));
        }
        if below(rare) == 0 {
            quirks.bit_errors = Some(BitErrors {
                per_billion: 1 << below(18),
                below: Duration::from_nanos(35),
                from: Time::from_millis(below(2) * below(180_000)),
            });
        }
        quirks.silent_deauth = below(2) == 0;
        if below(rare) == 0 {
            quirks.comeback = Duration::from_millis(200 + below(2000));
        }
        if below(rare) == 0 {
            quirks.handshake_timeouts = below(4) as u32;
        }
        if below(rare) == 0 {
            quirks.join_delay = Duration::from_millis(2000 + below(4000));
        }
        if below(rare) == 0 {
            quirks.lost_frames = below(5) as u32;
        }
        let mut failures = Vec::new();
        for _ in 0..below(3) {
            failures.push(Failure {
                mode: FailureMode::NAMES[below(FailureMode::NAMES.len() as u64) as usize].1,
                from: Time::from_millis(below(180_000)),
                power_cycles: Some(below(2) as u32 + 1),
            });
        }
        (quirks, failures)
    }
}

/// Quirks that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuirksError(String);

impl fmt::Display for QuirksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a quirk of the radio, such as comeback=1s; quirks: seed=N lost-answer=N refused=N refuses-disassoc \
             start-reads=N power-off=TIME bit-errors=N[/PERIOD[/FROM]] silent-deauth comeback=TIME handshake-timeouts=N join-delay=TIME \
             lost-frames=N",
            self.0
        )
    }
}

impl Error for QuirksError {}

impl FromStr for Quirks {
    type Err = QuirksError;

    /// Parses quirks with commas between them, such as `comeback=1s,lost-answer=40,lost-answer=41,silent-deauth`.
    fn from_str(text: &str) -> Result<Self, QuirksError> {
        let mut quirks = Self::default();
        for part in text.split(',') {
            quirks.take(part).ok_or_else(|| QuirksError(part.to_owned()))?;
        }
        Ok(quirks)
    }
}

impl Quirks {
    fn take(&mut self, part: &str) -> Option<()> {
        let (name, value) = part
            .split_once('=')
            .map_or((part, None), |(name, value)| (name, Some(value)));
        let number = || value?.parse().ok();
        let time = || duration(value?);
        match (name, value) {
            ("seed", _) => self.seed = value?.parse().ok()?,
            ("lost-answer", _) => self.lost_answers.push(number()?),
            ("refused", _) => self.refused.push(number()?),
            ("refuses-disassoc", None) => self.refuses_disassoc = true,
            ("start-reads", _) => self.start_reads = number()?,
            ("power-off", _) => self.power_off = time()?,
            ("bit-errors", Some(value)) => {
                let mut parts = value.split('/');
                let per_billion = parts.next()?.parse().ok()?;
                let below = parts.next().map_or(Some(Duration::MAX), duration)?;
                let from = parts.next().map_or(Some(Duration::ZERO), duration)?;
                self.bit_errors = Some(BitErrors {
                    per_billion,
                    below,
                    from: Time::ZERO + from,
                });
            }
            ("silent-deauth", None) => self.silent_deauth = true,
            ("comeback", _) => self.comeback = time()?,
            ("handshake-timeouts", _) => self.handshake_timeouts = number()?,
            ("join-delay", _) => self.join_delay = time()?,
            ("lost-frames", _) => self.lost_frames = number()?,
            _ => return None,
        }
        Some(())
    }
}

/// Which bits flip on the bus.
#[derive(Debug, Clone, Default)]
pub(super) struct Noise {
    errors: Option<BitErrors>,
    state: u64,
    /// The last rising edge of the clock.
    rose: Option<Time>,
    /// Whether the bits of this transfer are too fast.
    fast: bool,
    /// Whether the bit that is shifted out is flipped.
    pub(super) flipped: bool,
}

impl Noise {
    pub(super) fn new(quirks: &Quirks) -> Self {
        Self {
            errors: quirks.bit_errors,
            state: quirks.seed,
            ..Self::default()
        }
    }

    /// Whether bits can flip at all.
    pub(super) fn is_on(&self) -> bool {
        self.errors.is_some()
    }

    /// An edge of the clock: whether the bit that it samples or shifts out flips.
    pub(super) fn edge(&mut self, rising: bool, now: Time) -> bool {
        let Some(errors) = self.errors else { return false };
        if rising {
            self.fast = self.rose.is_some_and(|rose| now.since(rose) < errors.below);
            self.rose = Some(now);
        }
        self.fast
            && now >= errors.from
            && random(&mut self.state) % 1_000_000_000 < u64::from(errors.per_billion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quirks_are_parsed() {
        let quirks: Quirks = "comeback=1s,lost-answer=4,lost-answer=9,silent-deauth,bit-errors=7/40us/3s"
            .parse()
            .expect("quirks");
        let expected = Quirks {
            comeback: Duration::from_secs(1),
            lost_answers: vec![4, 9],
            silent_deauth: true,
            bit_errors: Some(BitErrors {
                per_billion: 7,
                below: Duration::from_micros(40),
                from: Time::from_millis(3000),
            }),
            ..Quirks::default()
        };
        assert_eq!(quirks, expected);
        for text in [
            "",
            "comeback",
            "comeback=x",
            "silent-deauth=1",
            "lost-answer=-1",
            "polite",
        ] {
            let error = text.parse::<Quirks>().expect_err(text).to_string();
            assert!(error.contains("quirks: seed=N"), "{error}");
        }
    }

    #[test]
    fn bits_flip_as_often_as_asked_while_the_clock_is_fast() {
        let flips = |period: u64| {
            let mut noise = Noise::new(&"bit-errors=1000000/35us".parse().expect("quirks"));
            let edges =
                (0..1_000_000_u64).filter(|n| noise.edge(n % 2 == 0, Time::from_micros(n * period / 2)));
            edges.count()
        };
        assert!((800..1200).contains(&flips(32)), "{}", flips(32));
        assert_eq!(flips(40), 0);
    }

    #[test]
    fn fuzzed_quirks_differ_by_seed_and_repeat() {
        let all: Vec<_> = (0..100).map(Quirks::fuzzed).collect();
        assert!(
            all.iter()
                .enumerate()
                .all(|(seed, one)| *one == Quirks::fuzzed(seed as u64))
        );
        assert!(FailureMode::NAMES.iter().all(|(_, mode)| {
            all.iter()
                .any(|(_, failures)| failures.iter().any(|failure| failure.mode == *mode))
        }));
        assert!(all.iter().any(|(quirks, _)| quirks.bit_errors.is_some()));
    }
}
