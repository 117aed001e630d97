//! The LED, analogue inputs, the temperature.

use crate::error::Error;
use crate::raw;

/// What the LED shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// On for half of the period in milliseconds, off for the other half.
    Blink(u16),
}

/// Sets the LED.
///
/// # Errors
/// `NOT_PERMITTED`, `BUSY`, `INVALID` for a period of zero.
pub fn set_led(led: Led) -> Result<(), Error> {
    let (mode, period) = match led {
        Led::Off => (0, 0),
        Led::On => (1, 0),
        Led::Blink(period) => (2, period),
    };
    // SAFETY: no memory is passed.
    Error::check(unsafe { raw::led(mode, period.into()) })
}

/// Reads an analogue input in millivolts.
///
/// # Errors
/// `NOT_PERMITTED`, `NO_DEVICE`.
pub fn millivolts(channel: u8) -> Result<u32, Error> {
    let mut millivolts = 0;
    // SAFETY: the result is this function's.
    Error::check(unsafe { raw::adc_read(channel.into(), &raw mut millivolts) })?;
    Ok(millivolts)
}

/// Reads the temperature of the chip in thousandths of a degree Celsius.
///
/// # Errors
/// `NO_DEVICE`.
pub fn temperature() -> Result<i32, Error> {
    let mut millicelsius = 0;
    // SAFETY: the result is this function's.
    Error::check(unsafe { raw::temperature(&raw mut millicelsius) })?;
    Ok(millicelsius)
}
