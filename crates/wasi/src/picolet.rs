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
use crate::errno::Errno;
pub use crate::functions::picolet::Function;
use crate::host::Host;
use crate::outcome::Result;

pub use crate::device::{Configuration, Device, Driven, Grant, PinEvent, PinEvents};
pub(crate) use pins::{EVENT, has_events, read_events, unwatch};
pub(crate) use process::{SIGNAL, read_signals};

/// The module that guests import the functions from.
pub const MODULE: &str = "picolet";

/// The version of the module's interface.
pub const ABI: u32 = 1;

pub(crate) fn dispatch(wasi: &mut Wasi, function: Function, call: &mut Call<'_>) -> Result<u32> {
    match function {
        Function::Abi => return Ok(ABI),
        Function::FileChmod => process::file_chmod(wasi, call),
        Function::FileMode => process::file_mode(wasi, call),
        Function::Ids => process::ids(wasi, call),
        Function::Signal => process::signal(call),
        Function::SignalWatch => process::signal_watch(wasi, call),
        _ => {
            let device = call.host.device.ok_or(Errno::NoDevice)?;
            match function {
                Function::AdcRead => pins::adc_read(device, call),
                Function::CellGet => process::cell_get(device, call),
                Function::ConfigGet => process::config_get(device, call),
                Function::GpioMode => pins::gpio_mode(device, call),
                Function::GpioPwm => pins::gpio_pwm(device, call),
                Function::GpioRead => pins::gpio_read(device, call),
                Function::GpioWatch => pins::gpio_watch(wasi, device, call),
                Function::GpioWrite => pins::gpio_write(device, call),
                Function::I2cTransfer => pins::i2c_transfer(device, call),
                Function::Led => pins::led(device, call),
                _ => pins::temperature(device, call),
            }
        }
    }?;
    Ok(0)
}

/// Ends what a call had started that will never be resumed.
pub(crate) fn abandon(function: Function, slots: &[u32], host: &Host<'_>) {
    if function == Function::I2cTransfer
        && let (Some(device), Some(bus)) = (host.device, slots.first())
    {
        device.i2c.abandon(*bus as u8);
    }
}
