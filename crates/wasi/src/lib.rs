//! WASI preview 1 and the `picolet` host module, without an engine.
//!
//! An engine resolves imports with [`Function::find`] and [`picolet::Function::find`], and hands each call to [`Wasi::call`] or
//! [`Wasi::call_picolet`] with its arguments as 32-bit slots. Guest memory is reached through [`GuestMemory`] only, never as a slice,
//! so that an engine may page it. A call that has to wait returns [`Outcome::Suspend`] and leaves nothing on the native stack: the
//! event loop calls [`Wasi::resume`] once what it waits for may have happened.
//!
//! What the instance may see is what it was given: one directory as its root ([`files`]), its arguments and environment, and the
//! traits of [`Host`]. No call panics, whatever the guest passes, and each does a bounded amount of work.
//!
//! Numbers and layouts are those of `wasi_snapshot_preview1.witx`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod calls;
mod context;
mod descriptors;
mod device;
#[cfg(feature = "engine")]
pub mod engine;
mod errno;
pub mod files;
mod functions;
mod host;
mod memory;
mod outcome;
pub mod picolet;
mod strings;

pub use context::Wasi;
pub use descriptors::{Limits, Stream};
pub use errno::Errno;
pub use functions::Signature;
pub use functions::preview1::{Function, MODULE};
pub use host::{Absent, Clock, Host, Input, Output, Readiness, Shutdown, Signals, Sockets};
pub use memory::{GuestMemory, MemoryError};
pub use outcome::{Interest, Outcome, Wait};
pub use strings::Strings;
