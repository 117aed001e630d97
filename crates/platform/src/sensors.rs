//! What the device can measure about itself.

/// Sensors on the die.
pub trait Sensors {
    /// Temperature in thousandths of a degree Celsius, or `None` where there is no sensor.
    fn temperature_millicelsius(&self) -> Option<i32>;
}
