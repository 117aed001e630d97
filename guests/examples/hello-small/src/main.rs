//! The same without the standard library.
#![no_std]
#![no_main]

use picolet_guest::{Error, print, start};

fn hello() -> Result<(), Error> {
    print("Hello, world!\n");
    Ok(())
}

start!(hello);
