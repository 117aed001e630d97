//! Recovery from a radio that fails: when the board is reset, and how long it waits between two such resets.

use core::fmt;

/// Seconds without a frame, joined and with link up, after which the radio counts as failed; also the seconds with frames after
/// which it counts as working.
const HOUR: u32 = 3600;
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
