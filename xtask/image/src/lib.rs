//! Makes what a user flashes.
//!
//! An image is a picture of a board's flash: the bootloader, an empty boot log, one application in slot A and the radio's
//! firmware. It is built by [`build`], put together by [`Image`], and written as a UF2 to drag onto the board or as an
//! ELF with the application's symbols for a debugger. A firmware file
//! (`.pfw`) has the application as linked for either slot. Settings and a board's identity are never part of it, so that a
//! new image costs a board neither, and no secret can be in one.

pub mod boot_log;
pub mod build;
pub mod cargo;
mod image;
pub mod patch;
pub mod radio;

pub use image::{Image, read_key};

use std::path::Path;

/// The folder of the whole project.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies two folders below the project's")
}
