//! What the module needs of a machine and of the node.

use picolet_platform::{I2c, Led, PinSet, Pins, Sensors};

use crate::errno::Errno;

/// The device that an instance runs on.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// Pins and analogue inputs.
    pub pins: &'a dyn Pins,
    /// The LED.
    pub led: &'a dyn Led,
    /// Sensors on the die.
    pub sensors: &'a dyn Sensors,
    /// I2C buses.
    pub i2c: &'a dyn I2c,
    /// Edges on pins.
    pub events: &'a dyn PinEvents,
    /// Memory cells and the keys of `pico-config`.
    pub configuration: &'a dyn Configuration,
    /// What the instance may use.
    pub grant: Grant,
}

/// What was given to an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Pins, those of I2C buses included.
    pub pins: PinSet,
    /// The LED.
    pub led: bool,
    /// Analogue inputs, a bit for each channel.
    pub adc: u8,
}

/// What is in use by a ConfigMap at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Driven {
    /// Pins.
    pub pins: PinSet,
    /// The LED.
    pub led: bool,
}

/// An edge that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinEvent {
    /// Monotonic time in nanoseconds.
    pub time: u64,
    /// The pin.
    pub pin: u8,
    /// Its level after the edge.
    pub high: bool,
}

/// Watches of pins, by the numbers that the implementor gives them.
pub trait PinEvents {
    /// Starts to note edges of a pin. Of more than fit, the oldest are dropped.
    ///
    /// # Errors
    /// `TooManyDescriptors` if no more can be watched, `NotSupported`.
    fn watch(&self, pin: u8, rising: bool, falling: bool) -> Result<u8, Errno>;

    /// Whether an event is there.
    fn has_event(&self, watch: u8) -> bool;

    /// Takes the oldest event.
    fn next_event(&self, watch: u8) -> Option<PinEvent>;

    /// Ends a watch.
    fn unwatch(&self, watch: u8);
}

/// Configuration of the device, from its ConfigMaps.
pub trait Configuration {
    /// What ConfigMaps drive at the moment.
    fn driven(&self) -> Driven;

    /// The value of a memory cell, or `None` where there is none.
    fn cell(&self, index: u32) -> Option<u32>;

    /// Copies the value of `key` from `offset` on into `bytes` and returns the length of the whole value, or `None` where there is no such key.
    fn value(&self, key: &str, offset: u32, bytes: &mut [u8]) -> Option<u32>;
}
