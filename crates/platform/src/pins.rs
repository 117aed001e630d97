//! Pins and the LED.

use core::ops::RangeInclusive;

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

/// Frequencies in hertz that PWM runs at on every board.
pub const PWM_HERTZ: RangeInclusive<u32> = 8..=100_000;

/// The output of the PWM block that a pin can be led to, on the boards and where they are simulated: RP2040 datasheet 4.5.2,
/// RP2350 datasheet 12.5.2.
///
/// A slice has one frequency for both of its outputs. An output leads to two pins, 16 apart, and has one duty for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PwmOutput {
    /// The slice, 0 to 7.
    pub slice: u8,
    /// Whether it is the second output of the slice.
    pub second: bool,
}

impl PwmOutput {
    /// The output of `pin`.
    pub const fn of(pin: u8) -> Self {
        Self {
            slice: pin >> 1 & 7,
            second: pin & 1 == 1,
        }
    }
}

/// The pins that are the user's, and the analogue inputs.
pub trait Pins {
    /// The pins that may be configured.
    fn pins(&self) -> PinSet;

    /// Makes `pin` do `mode`, at once.
    ///
    /// The caller has checked that it is one of [`Pins::pins`], that a frequency is within [`PWM_HERTZ`], and that all pins
    /// together go with each other ([`PwmOutput`]); pins that share a slice are set one after another.
    fn set_pin(&self, pin: u8, mode: PinMode);

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
