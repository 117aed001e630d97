//! Recovery from a radio that fails: when the board is reset, and how long it waits between two such resets.

use core::fmt;

/// Seconds without a frame, joined and with link up, after which the radio counts as failed; also the seconds with frames after
/// which it counts as working.
const HOUR: u32 = 3600;
/// Seconds without a failure after which a radio that did not answer counts as answering again.
const ANSWERING: u64 = 60;
/// Seconds before the second reset in a row. Each later one waits twice as long, at most an hour.
const FIRST_DELAY: u32 = 60;

/// How the radio failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RadioFailure {
    /// It could not be brought up.
    NotStarted,
    /// It did not answer a control call in time.
    NotAnswering,
    /// It was joined with link up, and no frame arrived for an hour.
    NoFrames,
}

impl fmt::Display for RadioFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "radio did not start",
            Self::NotAnswering => "radio stopped answering",
            Self::NoFrames => "radio received no frame for an hour",
        })
    }
}

/// The number of resets in a row for a failed radio, in memory that is not cleared at a reset. Any content is valid; one that
/// was not written by [`RadioResets::add`] counts as zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RadioResets {
    count: u32,
    check: u32,
}

impl RadioResets {
    const CHECK: u32 = u32::from_le_bytes(*b"wifi");
    /// From this count on the delay is an hour.
    const MAX: u32 = 7;

    fn count(&self) -> u32 {
        if self.check == self.count ^ Self::CHECK {
            self.count.min(Self::MAX)
        } else {
            0
        }
    }

    /// Seconds to wait before the next reset: 0, 60, 120, 240, … 3600.
    pub fn delay(&self) -> u32 {
        match self.count() {
            0 => 0,
            count => (FIRST_DELAY << (count - 1)).min(HOUR),
        }
    }

    /// Counts a reset.
    pub fn add(&mut self) {
        self.count = self.count() + 1;
        self.check = self.count ^ Self::CHECK;
    }

    /// Counts from zero again.
    pub fn clear(&mut self) {
        (self.count, self.check) = (0, 0);
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
    /// No frame arrived for an hour and the delay.
    Failed,
}

/// Observes whether frames arrive while the radio is joined with link up.
#[derive(Debug, Default)]
pub struct Reception {
    /// Seconds without a frame.
    silent: u32,
    /// Seconds with frames.
    received: u32,
}

impl Reception {
    /// Records whether a frame arrived in the last `seconds`. `delay` is what [`RadioResets::delay`] asks for, in seconds.
    pub fn record(&mut self, frames: bool, seconds: u32, delay: u32) -> Health {
        if frames {
            self.silent = 0;
            self.received = self.received.saturating_add(seconds);
        } else {
            self.silent = self.silent.saturating_add(seconds);
        }
        if self.silent >= HOUR + delay {
            Health::Failed
        } else if self.received >= HOUR {
            Health::Working
        } else {
            Health::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_an_hour_until_cleared() {
        // What memory holds after power-on.
        let mut resets = RadioResets {
            count: 0xa5a5_a5a5,
            check: 0x1234_5678,
        };
        for delay in [0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600] {
            assert_eq!(resets.delay(), delay);
            resets.add();
        }
        resets.clear();
        assert_eq!(resets.delay(), 0);
    }

    #[test]
    fn count_is_zero_when_any_bit_is_flipped() {
        for bit in 0..64 {
            let mut resets = RadioResets { count: 0, check: 0 };
            resets.add();
            match bit {
                0..32 => resets.count ^= 1 << bit,
                _ => resets.check ^= 1 << (bit - 32),
            }
            assert_eq!(resets.delay(), 0, "bit {bit}");
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
    fn radio_fails_when_no_frame_arrives_for_an_hour_and_the_delay() {
        for delay in [0, 60, 3600] {
            let mut reception = Reception::default();
            for _ in 1..(3600 + delay) / 10 {
                assert_eq!(reception.record(false, 10, delay), Health::Unknown);
            }
            assert_eq!(reception.record(false, 10, delay), Health::Failed);
        }
    }

    #[test]
    fn radio_works_when_frames_arrived_for_an_hour() {
        let mut reception = Reception::default();
        for second in (10..3600).step_by(10) {
            assert_eq!(reception.record(true, 10, 0), Health::Unknown, "{second} s");
            assert_ne!(
                reception.record(false, 3590, 0),
                Health::Failed,
                "one frame is enough"
            );
        }
        assert_eq!(reception.record(true, 10, 0), Health::Working);
    }
}
