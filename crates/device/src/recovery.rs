//! Recovery from a radio that fails: when the network is joined again, when the board is reset, and how long it waits between two such
//! resets.

use core::fmt;

/// Seconds with frames after which the radio counts as working.
const HOUR: u32 = 3600;
/// Seconds without a frame, joined and with link up, after which the network is joined again: at first, and after such a join.
const SILENCE: u32 = 300;
const SILENCE_AFTER_JOIN: u32 = 90;
/// Silences in a row after which the radio counts as failed.
const SILENCES: u8 = 3;
/// Joins in a row without an outcome after which the radio counts as failed.
const JOINS: u8 = 8;
/// Seconds without a failure after which a radio that did not answer counts as answering again.
const ANSWERING: u64 = 60;
/// Seconds before the second reset in a row. Each later one waits twice as long, up to the longest delay.
const FIRST_DELAY: u32 = 60;
const LONGEST_DELAY: u32 = 480;

/// How the radio failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RadioFailure {
    /// It could not be brought up.
    NotStarted,
    /// It did not answer a control call in time.
    NotAnswering,
    /// It was joined with link up, and no frame arrived, however often the network was joined again.
    NoFrames,
}

impl fmt::Display for RadioFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "radio did not start",
            Self::NotAnswering => "radio stopped answering",
            Self::NoFrames => "radio received no frame",
        })
    }
}

/// The number of resets in a row for a failed radio, in memory that is not cleared at a reset. Any content is valid; one that
/// was not written here counts as zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RadioResets {
    count: u32,
    slower: u32,
    check: u32,
}

impl RadioResets {
    const CHECK: u32 = u32::from_le_bytes(*b"wifi");
    /// From this count on the delay is the longest.
    const MAX: u32 = 4;
    /// The most steps by which the bus is slower.
    const SLOWEST: u32 = 2;

    fn sum(&self) -> u32 {
        self.count ^ self.slower.rotate_left(16) ^ Self::CHECK
    }

    fn checked(&self) -> Self {
        match self.check == self.sum() {
            true => *self,
            false => Self::default(),
        }
    }

    /// Seconds to wait before the next reset: 0, 60, 120, 240, 480, 480, …
    pub fn delay(&self) -> u32 {
        match self.checked().count.min(Self::MAX) {
            0 => 0,
            count => (FIRST_DELAY << (count - 1)).min(LONGEST_DELAY),
        }
    }

    /// Steps by which the radio's bus is to be slower than usual: one more after each start that failed.
    pub fn slower(&self) -> u32 {
        self.checked().slower.min(Self::SLOWEST)
    }

    /// Counts a reset.
    pub fn add(&mut self, failure: RadioFailure) {
        let slower = self.slower() + u32::from(failure == RadioFailure::NotStarted);
        self.set(self.checked().count.min(Self::MAX) + 1, slower);
    }

    /// Counts from zero again, since the radio works. Its bus stays as slow as it is.
    pub fn clear(&mut self) {
        self.set(0, self.slower());
    }

    /// Starts anew after power was lost.
    pub fn reset(&mut self) {
        self.set(0, 0);
    }

    fn set(&mut self, count: u32, slower: u32) {
        (self.count, self.slower) = (count, slower.min(Self::SLOWEST));
        self.check = self.sum();
    }
}

/// The reset of the board for a radio that does not answer control calls. Times are seconds of uptime.
///
/// A radio that answers some calls and not others is reset too: an answer alone ends nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendingReset {
    at: Option<u64>,
    /// The last failure.
    failed: u64,
}

impl PendingReset {
    /// No reset.
    pub const fn new() -> Self {
        Self { at: None, failed: 0 }
    }

    /// Records a call that was not answered. `delay` is what [`RadioResets::delay`] asks for. Returns whether it is the first one.
    pub fn fail(&mut self, now: u64, delay: u32) -> bool {
        self.failed = now;
        let first = self.at.is_none();
        self.at.get_or_insert(now + u64::from(delay));
        first
    }

    /// Records a call that was answered. Returns whether the reset is given up, since the radio answers again.
    pub fn answer(&mut self, now: u64) -> bool {
        let answering = now.saturating_sub(self.failed) >= ANSWERING;
        self.at.take_if(|_| answering).is_some()
    }

    /// Whether the board is to be reset, if the radio has just failed again.
    pub fn is_due(&self, now: u64) -> bool {
        self.at.is_some_and(|at| now >= at)
    }
}

/// What the frames that arrive say about the radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet.
    Unknown,
    /// Frames arrived in an hour's worth of observations.
    Working,
    /// No frame arrived for minutes: the network is to be joined again.
    Silent,
    /// No frame arrived in spite of that: the board is to be reset.
    Failed,
}

/// Observes whether frames arrive while the radio is joined with link up.
#[derive(Debug, Default)]
pub struct Reception {
    /// Seconds without a frame.
    silent: u32,
    /// Silences since the last frame.
    silences: u8,
    /// Seconds with frames.
    received: u32,
}

impl Reception {
    /// Records whether a frame arrived in the last `seconds`.
    pub fn record(&mut self, frames: bool, seconds: u32) -> Health {
        if frames {
            (self.silent, self.silences) = (0, 0);
            self.received = self.received.saturating_add(seconds);
        } else {
            self.silent = self.silent.saturating_add(seconds);
        }
        let limit = match self.silences {
            0 => SILENCE,
            _ => SILENCE_AFTER_JOIN,
        };
        if self.silent >= limit {
            (self.silent, self.silences) = (0, (self.silences + 1) % SILENCES);
            if self.silences == 0 {
                Health::Failed
            } else {
                Health::Silent
            }
        } else if self.received >= HOUR {
            Health::Working
        } else {
            Health::Unknown
        }
    }
}

/// Joins in a row of which the radio reported no outcome, or for which it refused a control message. An access point that is away, or
/// refuses the node, is an outcome.
#[derive(Debug, Default)]
pub struct Joins {
    without_outcome: u8,
}

impl Joins {
    /// Records a join. Returns whether the radio counts as failed.
    pub fn record(&mut self, outcome: bool) -> bool {
        self.without_outcome = match outcome {
            true => 0,
            false => self.without_outcome.saturating_add(1),
        };
        self.without_outcome >= JOINS
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn delay_doubles_up_to_eight_minutes_until_cleared() {
        // What memory holds after power-on.
        let mut resets = RadioResets {
            count: 0xa5a5_a5a5,
            slower: 0x5a5a_5a5a,
            check: 0x1234_5678,
        };
        for delay in [0, 60, 120, 240, 480, 480, 480] {
            assert_eq!(resets.delay(), delay);
            resets.add(RadioFailure::NotAnswering);
        }
        resets.clear();
        assert_eq!(resets.delay(), 0);
    }

    #[test]
    fn count_is_zero_when_any_bit_is_flipped() {
        for bit in 0..96 {
            let mut resets = RadioResets::default();
            resets.add(RadioFailure::NotStarted);
            match bit {
                0..32 => resets.count ^= 1 << bit,
                32..64 => resets.slower ^= 1 << (bit - 32),
                _ => resets.check ^= 1 << (bit - 64),
            }
            assert_eq!((resets.delay(), resets.slower()), (0, 0), "bit {bit}");
        }
    }

    #[test]
    fn reset_is_due_after_its_delay_when_the_radio_answers_in_between() {
        for delay in [0, 60, 3600] {
            let mut reset = PendingReset::new();
            for now in (100..).step_by(20) {
                assert_eq!(reset.fail(now, delay), now == 100);
                let due = now >= 100 + u64::from(delay);
                assert_eq!(reset.is_due(now), due, "at {now}, delay {delay}");
                if due {
                    break;
                }
                assert!(!reset.answer(now + 1) && !reset.answer(now + 19));
            }
        }
    }

    #[test]
    fn reset_is_given_up_when_the_radio_answers_for_a_minute() {
        let mut reset = PendingReset::new();
        assert!(!reset.answer(99), "nothing has failed");
        assert!(reset.fail(100, 240));
        assert!(!reset.answer(159));
        assert!(reset.answer(160));
        assert!(!reset.answer(161), "once");
        assert!(reset.fail(400, 240), "the delay begins anew");
        assert!(!reset.is_due(400));
    }

    #[test]
    fn network_is_joined_twice_again_before_a_silent_radio_fails() {
        let mut reception = Reception::default();
        let mut seen = std::vec::Vec::new();
        for second in (10..=480).step_by(10) {
            match reception.record(false, 10) {
                Health::Unknown => {}
                health => seen.push((second, health)),
            }
        }
        assert_eq!(
            seen,
            [
                (300, Health::Silent),
                (390, Health::Silent),
                (480, Health::Failed)
            ]
        );
    }

    #[test]
    fn radio_works_when_frames_arrived_for_an_hour() {
        let mut reception = Reception::default();
        for second in (10..3600).step_by(10) {
            assert_eq!(reception.record(true, 10), Health::Unknown, "{second} s");
            assert_eq!(
                reception.record(false, 290),
                Health::Unknown,
                "one frame is enough"
            );
        }
        assert_eq!(reception.record(true, 10), Health::Working);
    }

    #[test]
    fn silences_are_counted_from_the_last_frame() {
        let mut reception = Reception::default();
        for _ in 0..9 {
            assert_eq!(reception.record(false, 300), Health::Silent);
            assert_eq!(reception.record(false, 90), Health::Silent);
            assert_eq!(reception.record(true, 10), Health::Unknown);
        }
    }

    #[test]
    fn radio_fails_when_eight_joins_in_a_row_have_no_outcome() {
        let mut joins = Joins::default();
        for _ in 0..9 {
            assert!((1..8).all(|_| !joins.record(false)));
            assert!(!joins.record(true));
        }
        assert!((1..8).all(|_| !joins.record(false)));
        assert!(joins.record(false) && joins.record(false));
    }

    #[test]
    fn bus_is_slower_after_each_start_that_failed_until_power_is_lost() {
        let mut resets = RadioResets::default();
        assert_eq!(resets.slower(), 0);
        for slower in [1, 2, 2] {
            resets.add(RadioFailure::NotStarted);
            assert_eq!(resets.slower(), slower);
        }
        resets.add(RadioFailure::NotAnswering);
        resets.clear();
        assert_eq!((resets.slower(), resets.delay()), (2, 0));
        resets.reset();
        assert_eq!(resets.slower(), 0);
    }
}
