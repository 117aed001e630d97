//! Pins, as embedded-hal has them.

use embedded_hal::digital::{self, InputPin, OutputPin, StatefulOutputPin};
use embedded_hal::pwm::{self, SetDutyCycle};

use crate::error::Error;
use crate::{raw, wasi};

/// Modes of `gpio_mode`.
const OFF: i32 = 0;
const INPUT: i32 = 1;
const OUTPUT: i32 = 4;

fn set_mode(pin: u8, mode: i32) -> Result<(), Error> {
    // SAFETY: no memory is passed.
    Error::check(unsafe { raw::gpio_mode(pin.into(), mode) })
}

fn level(pin: u8) -> Result<bool, Error> {
    let mut level = 0;
    // SAFETY: the result is this function's.
    Error::check(unsafe { raw::gpio_read(pin.into(), &raw mut level) })?;
    Ok(level != 0)
}

/// A pin that the module drives. It is released when it is dropped.
#[derive(Debug)]
pub struct Output {
    pin: u8,
}

impl Output {
    /// Drives a pin, low at first unless it was driven already.
    ///
    /// # Errors
    /// `NOT_PERMITTED`, `BUSY`, `NO_DEVICE`.
    pub fn new(pin: u8) -> Result<Self, Error> {
        set_mode(pin, OUTPUT)?;
        Ok(Self { pin })
    }

    fn write(&mut self, level: i32) -> Result<(), Error> {
        // SAFETY: no memory is passed.
        Error::check(unsafe { raw::gpio_write(self.pin.into(), level) })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = set_mode(self.pin, OFF);
    }
}

impl digital::ErrorType for Output {
    type Error = Error;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), Error> {
        self.write(0)
    }

    fn set_high(&mut self) -> Result<(), Error> {
        self.write(1)
    }
}

impl StatefulOutputPin for Output {
    fn is_set_high(&mut self) -> Result<bool, Error> {
        level(self.pin)
    }

    fn is_set_low(&mut self) -> Result<bool, Error> {
        Ok(!level(self.pin)?)
    }
}

/// A pin that the module reads.
#[derive(Debug)]
pub struct Input {
    pin: u8,
}

impl Input {
    /// Makes a pin an input.
    ///
    /// # Errors
    /// `NOT_PERMITTED`, `BUSY`, `NO_DEVICE`.
    pub fn new(pin: u8) -> Result<Self, Error> {
        set_mode(pin, INPUT)?;
        Ok(Self { pin })
    }

    /// Starts to note edges.
    ///
    /// # Errors
    /// `NOT_SUPPORTED`, or too many pins are watched.
    pub fn watch(&self, edges: Edges) -> Result<Watch, Error> {
        let mut descriptor = 0;
        // SAFETY: the result is this function's.
        let errno = unsafe { raw::gpio_watch(self.pin.into(), edges as i32, &raw mut descriptor) };
        Error::check(errno)?;
        Ok(Watch { descriptor })
    }
}

impl digital::ErrorType for Input {
    type Error = Error;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, Error> {
        level(self.pin)
    }

    fn is_low(&mut self) -> Result<bool, Error> {
        Ok(!level(self.pin)?)
    }
}

/// Which edges are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// From low to high.
    Rising = 1,
    /// From high to low.
    Falling = 2,
    /// Both.
    Both = 3,
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Monotonic time in nanoseconds.
    pub time: u64,
    /// The pin.
    pub pin: u8,
    /// Its level after the edge.
    pub high: bool,
}

/// Edges of a pin, in their order.
#[derive(Debug)]
pub struct Watch {
    descriptor: u32,
}

impl Watch {
    /// Waits for the next edge.
    ///
    /// # Errors
    /// `IO`.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        let mut bytes = [0; 16];
        if wasi::read(self.descriptor, &mut bytes)? < bytes.len() {
            return Err(Error::IO);
        }
        let [time @ .., pin, _, _, _, high, _, _, _] = bytes;
        Ok(Event {
            time: u64::from_le_bytes(time),
            pin,
            high: high != 0,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        wasi::close(self.descriptor);
    }
}

/// A pin with pulse-width modulation.
#[derive(Debug)]
pub struct Pwm {
    pin: u8,
    hertz: u32,
}

impl Pwm {
    /// Makes a pin a PWM output of that frequency in hertz, with a duty of zero.
    ///
    /// # Errors
    /// `BUSY` also if the slice of the pin runs at another frequency; `INVALID` for a frequency that no board has.
    pub fn new(pin: u8, hertz: u32) -> Result<Self, Error> {
        let mut pwm = Self { pin, hertz };
        pwm.set_duty_cycle(0)?;
        Ok(pwm)
    }
}

impl pwm::ErrorType for Pwm {
    type Error = Error;
}

impl SetDutyCycle for Pwm {
    fn max_duty_cycle(&self) -> u16 {
        u16::MAX
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Error> {
        // SAFETY: no memory is passed.
        Error::check(unsafe { raw::gpio_pwm(self.pin.into(), duty.into(), self.hertz as i32) })
    }
}

impl Drop for Pwm {
    fn drop(&mut self) {
        let _ = set_mode(self.pin, OFF);
    }
}
