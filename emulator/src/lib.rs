//! A Pico W that runs on a desk without one: RP2040 and CYW43439, booting the very image that a user flashes.
//!
//! One module per block of the chip, each naming the section of the RP2040 datasheet whose rules it implements. What
//! is not modelled stops the machine and says which register the firmware touched and from where: an emulator that
//! guesses is worse than none.
//!
//! This crate knows nothing of Kubernetes, and never anything of the firmware that it runs: no address, symbol or
//! string of an image is special to it.

mod board;
mod boot;
mod chip;
mod code;
mod cpu;
mod debug;
mod fault;
pub mod gdb;
mod machine;
pub mod net;
mod observe;
mod quirks;
pub mod radio;
mod surroundings;
mod time;
mod vcd;

pub use board::{Board, Config, Figures, PowerCut, Snapshot, SnapshotError};
pub use boot::image::Symbol;
pub use boot::{Image, ImageError};
pub use chip::{Oscillator, WatchdogReset, blocks};
pub use fault::{Access, Fault};
pub use machine::Stop;
pub use observe::Profile;
pub use quirks::{BoardQuirks, BoardQuirksError, UsbChange, UsbHost};
pub use time::Time;
pub use vcd::Vcd;
