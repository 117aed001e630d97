//! A link that is worse than the one behind it: loss, delay, jitter, reordering, duplicates, corruption, cuts, and
//! little bandwidth, all from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;
use std::time::Duration;

use super::Link;
use crate::Time;

/// Frames under way in one direction; more are lost.
const MOST_FRAMES: usize = 4096;

/// How bad a link is, in each direction. The default is perfect.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// The share of frames that is lost, 0 to 1.
    pub loss: f64,
    /// The share of frames that comes twice.
    pub duplicate: f64,
    /// The share of frames of which one bit is flipped.
    pub corrupt: f64,
    /// The share of frames that is overtaken by those after it.
    pub reorder: f64,
    /// How long each frame takes.
    pub delay: Duration,
    /// By how much more than that, at most and at random.
    pub jitter: Duration,
    /// Bits a second, if they are limited.
    pub bandwidth: Option<u64>,
    /// From when until when nothing passes.
    pub cuts: Vec<(Time, Time)>,
    /// Where the random numbers come from.
    pub seed: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            cuts: Vec::new(),
            seed: 1,
        }
    }
}

/// What is wrong with conditions in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionsError {
    /// Not `name=value`, or a name that does not exist.
    Name(String),
    /// The value of that name is none.
    Value(String, String),
}

impl std::fmt::Display for ConditionsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{name:?} is no condition of a network: loss=5%, delay=20ms, jitter=5ms, reorder=1%, duplicate=1%, \
                 corrupt=0.1%, bandwidth=2M, cut=10s-12s, seed=7"
            ),
            Self::Value(name, value) => write!(
                f,
                "{value:?} cannot be the {name} of a network: shares are 5% or 0.05, times 20ms or 2s, bandwidths 64k or \
                 2M bits a second, cuts 10s-12s"
            ),
        }
    }
}

impl std::error::Error for ConditionsError {}

fn share(value: &str) -> Option<f64> {
    let (number, unit) = value
        .strip_suffix('%')
        .map_or((value, 1.0), |number| (number, 100.0));
    number
        .parse::<f64>()
        .ok()
        .map(|number| number / unit)
        .filter(|share| (0.0..=1.0).contains(share))
}

/// Parses a number with its unit: `us`, `ms` or `s`.
pub(crate) fn duration(value: &str) -> Option<Duration> {
    let split = value.find(|c: char| c.is_ascii_alphabetic())?;
    let nanos = match &value[split..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let number = value[..split]
        .parse::<f64>()
        .ok()
        .filter(|number| (0.0..1e6).contains(number))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds checked above"
    )]
    Some(Duration::from_nanos((number * nanos) as u64))
}

fn bandwidth(value: &str) -> Option<u64> {
    let (number, unit) = match value.as_bytes().last()? {
        b'k' => (&value[..value.len() - 1], 1_000),
        b'M' => (&value[..value.len() - 1], 1_000_000),
        _ => (value, 1),
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|bits| *bits > 0)
}

impl FromStr for Conditions {
    type Err = ConditionsError;

    /// Reads `loss=5%,delay=20ms,jitter=5ms,bandwidth=2M,cut=10s-12s,seed=7`, each once but `cut`.
    fn from_str(text: &str) -> Result<Self, ConditionsError> {
        let mut conditions = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| ConditionsError::Name(part.to_owned()))?;
            let wrong = || ConditionsError::Value(name.to_owned(), value.to_owned());
            match name {
                "loss" => conditions.loss = share(value).ok_or_else(wrong)?,
                "duplicate" => conditions.duplicate = share(value).ok_or_else(wrong)?,
                "corrupt" => conditions.corrupt = share(value).ok_or_else(wrong)?,
                "reorder" => conditions.reorder = share(value).ok_or_else(wrong)?,
                "delay" => conditions.delay = duration(value).ok_or_else(wrong)?,
                "jitter" => conditions.jitter = duration(value).ok_or_else(wrong)?,
                "bandwidth" => conditions.bandwidth = Some(bandwidth(value).ok_or_else(wrong)?),
                "seed" => conditions.seed = value.parse().map_err(|_| wrong())?,
                "cut" => {
                    let (from, to) = value.split_once('-').ok_or_else(wrong)?;
                    let (from, to) = duration(from).zip(duration(to)).ok_or_else(wrong)?;
                    conditions.cuts.push((Time::ZERO + from, Time::ZERO + to));
                }
                name => return Err(ConditionsError::Name(name.to_owned())),
            }
        }
        Ok(conditions)
    }
}

impl Conditions {
    fn is_cut(&self, now: Time) -> bool {
        self.cuts.iter().any(|(from, to)| (*from..*to).contains(&now))
    }
}

/// A frame under way: when it arrives, in which order it was sent, and itself.
type Flight = Reverse<(Time, u64, Vec<u8>)>;

/// One direction.
#[derive(Debug, Clone, Default)]
struct Lane {
    frames: BinaryHeap<Flight>,
    sent: u64,
    busy_until: Time,
}

impl Lane {
    fn push(&mut self, mut frame: Vec<u8>, now: Time, conditions: &Conditions, random: &mut fastrand::Rng) {
        let mut chance = |share: f64| share > 0.0 && random.f64() < share;
        let (lost, twice, corrupt, late) = (
            chance(conditions.loss),
            chance(conditions.duplicate),
            chance(conditions.corrupt),
            chance(conditions.reorder),
        );
        if lost || conditions.is_cut(now) || self.frames.len() + 2 > MOST_FRAMES {
            return;
        }
        if corrupt && !frame.is_empty() {
            let bit = random.usize(..8 * frame.len());
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let mut at = now;
        if let Some(bandwidth) = conditions.bandwidth {
            let bits = 8 * u64::try_from(frame.len()).unwrap_or(0);
            self.busy_until = self.busy_until.max(now)
                + Duration::from_nanos(bits.saturating_mul(1_000_000_000) / bandwidth);
            at = self.busy_until;
        }
        at = at + conditions.delay;
        let jitter = u64::try_from(conditions.jitter.as_nanos()).unwrap_or(u64::MAX);
        if jitter > 0 {
            at = at + Duration::from_nanos(random.u64(..=jitter));
        }
        if late {
            // Long enough for others to pass.
            at = at + conditions.delay.max(Duration::from_millis(5));
        }
        for _ in 0..=u8::from(twice) {
            self.sent += 1;
            self.frames.push(Reverse((at, self.sent, frame.clone())));
        }
    }

    fn pop(&mut self, now: Time) -> Option<(Time, Vec<u8>)> {
        let Reverse((at, ..)) = self.frames.peek()?;
        if *at > now {
            return None;
        }
        self.frames.pop().map(|Reverse((at, _, frame))| (at, frame))
    }

    fn next(&self) -> Option<Time> {
        self.frames.peek().map(|Reverse((at, ..))| *at)
    }
}

/// A link under conditions.
pub struct Impaired {
    link: Box<dyn Link>,
    conditions: Conditions,
    random: fastrand::Rng,
    outward: Lane,
    inward: Lane,
}

impl std::fmt::Debug for Impaired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Impaired")
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

impl Impaired {
    /// `link` under `conditions`.
    #[must_use]
    pub fn new(link: Box<dyn Link>, conditions: Conditions) -> Self {
        let random = fastrand::Rng::with_seed(conditions.seed);
        Self {
            link,
            conditions,
            random,
            outward: Lane::default(),
            inward: Lane::default(),
        }
    }

    /// From now on it is under these conditions. What is under way arrives as it would have.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.random = fastrand::Rng::with_seed(conditions.seed);
        self.conditions = conditions;
    }

    /// Hands on what has arrived by `now` at the other end, and takes what the other end sends.
    fn advance(&mut self, now: Time) {
        while let Some((at, frame)) = self.outward.pop(now) {
            self.link.send(&frame, at);
        }
        while let Some(frame) = self.link.receive(now) {
            self.inward.push(frame, now, &self.conditions, &mut self.random);
        }
    }
}

impl Link for Impaired {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.advance(now);
        self.outward
            .push(frame.to_vec(), now, &self.conditions, &mut self.random);
        self.advance(now);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        self.advance(now);
        self.inward.pop(now).map(|(_, frame)| frame)
    }

    fn next_event(&self) -> Option<Time> {
        [self.link.next_event(), self.outward.next(), self.inward.next()]
            .into_iter()
            .flatten()
            .min()
    }

    fn wait_for_host(&mut self, limit: Duration) -> bool {
        self.link.wait_for_host(limit)
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        Some(Box::new(Self {
            link: self.link.duplicate()?,
            conditions: self.conditions.clone(),
            random: self.random.clone(),
            outward: self.outward.clone(),
            inward: self.inward.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A link that sends back what it is sent.
    #[derive(Default, Clone)]
    struct Mirror(VecDeque<Vec<u8>>);

    impl Link for Mirror {
        fn send(&mut self, frame: &[u8], _now: Time) {
            self.0.push_back(frame.to_vec());
        }
        fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
            self.0.pop_front()
        }
        fn next_event(&self) -> Option<Time> {
            None
        }
        fn duplicate(&self) -> Option<Box<dyn Link>> {
            Some(Box::new(self.clone()))
        }
    }

    /// Sends numbered frames a millisecond apart; returns what comes back, and when.
    fn run(conditions: &str, frames: u64) -> Vec<(Time, u64)> {
        let conditions = conditions.parse().expect("conditions");
        let mut link = Impaired::new(Box::<Mirror>::default(), conditions);
        let mut back = Vec::new();
        for millis in 0..frames + 1000 {
            let now = Time::from_millis(millis);
            if millis < frames {
                link.send(&millis.to_le_bytes(), now);
            }
            while let Some(frame) = link.receive(now) {
                back.push((now, u64::from_le_bytes(frame.try_into().expect("eight bytes"))));
            }
        }
        back
    }

    #[test]
    fn a_perfect_link_changes_nothing() {
        let expected: Vec<_> = (0..50).map(|n| (Time::from_millis(n), n)).collect();
        assert_eq!(run("", 50), expected);
    }

    #[test]
    fn frames_are_delayed_on_both_ways() {
        assert_eq!(run("delay=20ms", 1), [(Time::from_millis(40), 0)]);
        let jittered = run("delay=20ms,jitter=10ms", 200);
        assert_eq!(jittered.len(), 200);
        assert!(
            jittered
                .iter()
                .all(|(at, n)| (39..=61).contains(&(at.as_micros() / 1000 - n)))
        );
        assert!(!jittered.is_sorted_by_key(|(_, n)| *n));
    }

    #[test]
    fn a_share_of_them_is_lost_and_the_same_share_in_each_run() {
        let first = run("loss=5%,seed=3", 10_000);
        // 5 % on each way.
        assert!((8_850..9_200).contains(&first.len()), "{}", first.len());
        assert_eq!(first, run("loss=5%,seed=3", 10_000));
        assert_ne!(first, run("loss=5%,seed=4", 10_000));
        assert_eq!(run("loss=100%", 10), []);
    }

    #[test]
    fn some_come_twice_late_or_corrupt() {
        assert!((1_900..2_300).contains(&(run("duplicate=50%", 1_000).len())));
        let reordered = run("reorder=10%", 1_000);
        assert_eq!(reordered.len(), 1_000);
        assert!(!reordered.is_sorted_by_key(|(_, n)| *n));
        let corrupt = run("corrupt=10%", 1_000);
        let wrong = corrupt
            .iter()
            .enumerate()
            .filter(|(index, (_, n))| *index as u64 != *n)
            .count();
        assert!((120..260).contains(&wrong), "{wrong}");
    }

    #[test]
    fn bandwidth_spaces_them() {
        // 64 bits at 640 bit/s are 100 ms on each way.
        assert_eq!(
            run("bandwidth=640", 2),
            [(Time::from_millis(200), 0), (Time::from_millis(300), 1)]
        );
    }

    #[test]
    fn nothing_passes_a_cut() {
        let numbers: Vec<_> = run("cut=10ms-20ms,cut=30ms-1s", 50)
            .into_iter()
            .map(|(_, n)| n)
            .collect();
        assert_eq!(numbers, (0..10).chain(20..30).collect::<Vec<_>>());
    }

    #[test]
    fn words_that_are_wrong_are_named() {
        for (text, expected) in [
            ("los=5%", ConditionsError::Name("los".into())),
            ("loss", ConditionsError::Name("loss".into())),
            ("loss=101%", ConditionsError::Value("loss".into(), "101%".into())),
            ("delay=5", ConditionsError::Value("delay".into(), "5".into())),
            (
                "delay=nans",
                ConditionsError::Value("delay".into(), "nans".into()),
            ),
            (
                "bandwidth=0",
                ConditionsError::Value("bandwidth".into(), "0".into()),
            ),
            (
                "bandwidth=",
                ConditionsError::Value("bandwidth".into(), String::new()),
            ),
            ("cut=1s", ConditionsError::Value("cut".into(), "1s".into())),
        ] {
            assert_eq!(text.parse::<Conditions>(), Err(expected));
        }
    }
}
