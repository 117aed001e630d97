//! Evidence about `picolet-ec` on ARMv6-M: what it costs, and that its time tells nothing of a secret.
//!
//! [`Image`] is a program for thumbv6m with every operation as a function (`image/`). [`Machine`] loads it and calls those
//! functions one by one with inputs from the host, counting instructions and cycles by the Cortex-M0+'s table, measuring
//! the stack, and hashing every address that is fetched, loaded or stored. Two calls whose hashes agree went through the
//! same instructions and touched the same memory in the same order: on a core without data-dependent timing they take the
//! same time, with or without a cache.
//!
//! It simulates one core with memory that never waits, as the table assumes. It is no emulator of a chip: no interrupts, no
//! peripherals. `emulator/` is that.

mod image;
mod processor;

pub use image::{Image, Machine, Measured};
pub use processor::{Fault, Processor};
