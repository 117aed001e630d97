//! The `picolet` host module for guests: embedded-hal 1.0 over pins and I2C, and the rest as functions.
//!
//! With `std`, use this crate beside the standard library. Without it, [`start!`] makes the entry point, [`print`] writes to the log and
//! [`Delay`] sleeps.
//!
//! Every function that fails returns an [`Error`]: a number of WASI. `NOT_PERMITTED` means that the pod was not given the pin, `BUSY` that a
//! ConfigMap drives it, `NO_DEVICE` that the board has no such thing.
#![no_std]

mod configuration;
mod error;
mod i2c;
mod pins;
mod raw;
mod sensors;
mod signal;
mod wasi;

pub use configuration::{cell, config};
pub use error::Error;
pub use i2c::I2c;
pub use pins::{Edges, Event, Input, Output, Pwm, Watch};
pub use sensors::{Led, millivolts, set_led, temperature};
pub use signal::{Signals, pending_signal};
pub use wasi::{Delay, exit, print};

/// The version of the host module that this crate is for.
pub const ABI: i32 = 1;

/// Whether the host has the version of the module that this crate is for.
#[must_use]
pub fn is_supported() -> bool {
    // SAFETY: no memory is passed.
    unsafe { raw::abi() == ABI }
}

/// Makes the entry point of a module without `std`: calls a function that returns `Result<(), Error>` and exits with 1 if it fails.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn _start() {
            let result: Result<(), $crate::Error> = $main();
            if result.is_err() {
                $crate::print("failed\n");
                $crate::exit(1);
            }
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            core::arch::wasm32::unreachable()
        }
    };
}
