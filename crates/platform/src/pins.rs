//! Pins and the LED.

use core::fmt;

/// A set of pins by number, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinSet(pub u64);

impl PinSet {
    /// Whether `pin` is in the set.
    pub const fn contains(self, pin: u8) -> bool {
        pin < 64 && self.0 >> pin & 1 == 1
    }

    /// The set of all pins from `first` to `last`, both included.
    pub const fn range(first: u8, last: u8) -> Self {
        let mut set = 0;
        let mut pin = first;
        while pin <= last && pin < 64 {
            set |= 1 << pin;
            pin += 1;
        }
        Self(set)
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The pins in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |pin| self.contains(*pin))
    }
}

/// What a pin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinMode {
    /// High impedance: nothing drives it.
    #[default]
    Unset,
    /// Driven low.
    Low,
    /// Driven high.
    High,
    /// Pulse-width modulation: `duty` of 255, at `hertz`.
    Pwm {
        /// 0 is always low, 255 always high.
        duty: u8,
        /// Frequency in hertz.
        hertz: u32,
    },
}

/// A pin as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinReading {
    /// What it was told to do.
    pub mode: PinMode,
    /// The level that is on it.
    pub high: bool,
}

/// Why a pin was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError {
    /// The board has no such pin, or keeps it for itself.
    NoSuchPin,
    /// The pin can't do that: a frequency out of the generator's reach, or a second frequency on a shared slice.
    Unsupported,
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchPin => "the board has no such pin for its user",
            Self::Unsupported => "the pin cannot do that",
        })
    }
}

impl core::error::Error for PinError {}

/// The pins that are the user's, and the analogue inputs.
pub trait Pins {
    /// The pins that may be configured.
    fn pins(&self) -> PinSet;

    /// Makes `pin` do `mode`, at once.
    ///
    /// # Errors
    /// Nothing changed when it fails.
    fn set_pin(&self, pin: u8, mode: PinMode) -> Result<(), PinError>;

    /// Reads `pin`, or `None` where there is no such pin.
    fn read_pin(&self, pin: u8) -> Option<PinReading>;

    /// Reads analogue input `channel` in millivolts, or `None` where there is no such input.
    fn read_adc(&self, channel: u8) -> Option<u16>;
}

/// What the LED shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LedMode {
    /// Dark.
    #[default]
    Off,
    /// Lit.
    On,
    /// On for half of `period_ms`, off for the other half.
    Blink {
        /// Milliseconds of a whole period.
        period_ms: u16,
    },
}

/// The one LED of the board.
pub trait Led {
    /// Makes it show `mode` from now on.
    fn set_led(&self, mode: LedMode);
}
