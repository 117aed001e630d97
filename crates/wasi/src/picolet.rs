//! The host module `picolet`: pins, LED, sensors, I2C, configuration, signals and file modes.
//!
//! All parameters are i32 and every function but `abi` returns a WASI errno, in the shape of embedded-hal, which the crate
//! `picolet-guest` implements over it. Who called is told by what it was given: a pin that is not the instance's is EPERM, one that a
//! ConfigMap drives is EBUSY, one that does not exist is ENODEV.
//!
//! A module that imports `signal` or `signal_watch` is asked to stop before it is stopped: [`Function::takes_signals`].

mod pins;
mod process;

use crate::context::{Call, Wasi};
pub use crate::functions::picolet::Function;
use crate::host::Host;
use crate::outcome::Result;

pub use crate::device::{Configuration, Device, Driven, Grant, PinEvent, PinEvents};
pub(crate) use pins::{EVENT, has_events, read_events, unwatch};
pub(crate) use process::{SIGNAL, read_signals};

/// The module that guests import the functions from.
pub const MODULE: &str = "picolet";

pub(crate) fn dispatch(wasi: &mut Wasi, function: Function, call: &mut Call<'_>) -> Result {
    let handler: fn(&mut Wasi, &mut Call<'_>) -> Result = match function {
        Function::Abi => process::abi,
        Function::AdcRead => pins::adc_read,
        Function::CellGet => process::cell_get,
        Function::ConfigGet => process::config_get,
        Function::FileChmod => process::file_chmod,
        Function::FileMode => process::file_mode,
        Function::GpioMode => pins::gpio_mode,
        Function::GpioPwm => pins::gpio_pwm,
        Function::GpioRead => pins::gpio_read,
        Function::GpioWatch => pins::gpio_watch,
        Function::GpioWrite => pins::gpio_write,
        Function::I2cTransfer => pins::i2c_transfer,
        Function::Ids => process::ids,
        Function::Led => pins::led,
        Function::Signal => process::signal,
        Function::SignalWatch => process::signal_watch,
        Function::Temperature => pins::temperature,
    };
    handler(wasi, call)
}

/// Ends what a call had started that will never be resumed.
pub(crate) fn abandon(function: Function, slots: &[u32], host: &Host<'_>) {
    if function == Function::I2cTransfer
        && let (Some(device), Some(bus)) = (host.device, slots.first())
    {
        device.i2c.abandon(*bus as u8);
    }
}
