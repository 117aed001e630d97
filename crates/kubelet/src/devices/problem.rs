//! What is wrong with an entry of a ConfigMap, in words for the person who wrote it.

use core::fmt;

/// The longest entry that could be right, and room to show what is wrong.
pub(super) const ENTRY_BYTES: usize = 48;

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no `=`.
    NoEquals,
    /// The memory cell is not 0 to 1023.
    Address,
    /// The value is no byte.
    Byte,
    /// The board has no such pin for its user.
    Pin,
    /// The pin's mode is none that there is.
    PinMode,
    /// The PWM frequency is out of reach.
    Frequency,
    /// The LED's mode is none that there is.
    Led,
    /// The same cell or pin twice in one ConfigMap.
    Twice,
    /// A value that is not UTF-8, which Kubernetes keeps apart from `data`.
    Binary,
}

/// An entry that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The key of the ConfigMap.
    pub key: &'static str,
    /// The entry, cut to what fits.
    pub entry: heapless::String<ENTRY_BYTES>,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = match self.problem {
            Problem::NoEquals => "write it as WHAT=VALUE, entries separated by commas",
            Problem::Address => "a memory cell is a number from 0 to 1023, decimal or 0x hexadecimal",
            Problem::Byte => "a cell's value is a byte from 0 to 255, decimal or 0x hexadecimal",
            Problem::Pin => "this board has no such pin for its user; GET /pico/gpio lists those it has",
            Problem::PinMode => "a pin is low, high, pwm:DUTY or pwm:DUTY@HERTZ with a duty from 0 to 255",
            Problem::Frequency => "PWM runs at 8 to 100000 hertz",
            Problem::Led => "the LED is on, off or blink:MILLISECONDS with a period from 20 to 60000",
            Problem::Twice => "it is given twice; leave one of them",
            Problem::Binary => {
                "a file that is not UTF-8 text (UTF-16?); save it as UTF-8 and create the ConfigMap anew"
            }
        };
        write!(f, "{}: entry \"{}\": {remedy}", self.key, self.entry)
    }
}
