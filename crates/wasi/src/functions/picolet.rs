//! The functions of the `picolet` module.

use super::{Signature, find};

functions! {
    /// A function of the `picolet` module.
    Abi = "abi"(""),
    AdcRead = "adc_read"("ii"),
    CellGet = "cell_get"("ii"),
    ConfigGet = "config_get"("iiiii"),
    FileChmod = "file_chmod"("iii"),
    FileMode = "file_mode"("iii"),
    GpioMode = "gpio_mode"("ii"),
    GpioPwm = "gpio_pwm"("iii"),
    GpioRead = "gpio_read"("ii"),
    GpioWatch = "gpio_watch"("iii"),
    GpioWrite = "gpio_write"("ii"),
    I2cTransfer = "i2c_transfer"("iiiiii"),
    Ids = "ids"("i"),
    Led = "led"("ii"),
    Signal = "signal"("i"),
    SignalWatch = "signal_watch"("i"),
    Temperature = "temperature"("i"),
}

impl Function {
    /// Its type.
    #[must_use]
    pub fn signature(self) -> Signature {
        let (name, parameters) = self.row();
        Signature {
            name,
            parameters,
            returns: true,
        }
    }

    /// Whether a module that imports it wants signals instead of being stopped at once.
    #[must_use]
    pub const fn takes_signals(self) -> bool {
        matches!(self, Self::Signal | Self::SignalWatch)
    }
}
