//! The traits that a board implements, and nothing else.
//!
//! The node agent knows no chip, socket or operating system: all that it asks of one is here. The same agent runs on
//! a Pico W, on a Pico 2 W and as a Linux process, alone or a thousand times in one process, so an implementation
//! holds no globals and every method takes `&self`: what changes lives in cells, since a node runs on one thread.
//!
//! This crate never contains logic that decides anything about Kubernetes, and never an implementation for real
//! hardware: those are in `boards/` and in `host/`.
#![no_std]

extern crate alloc;

mod clock;
mod duration;
mod endpoints;
mod entropy;
mod firmware;
mod i2c;
mod identities;
mod log;
mod memory;
mod network;
mod pins;
mod records;
mod sensors;
mod system;
mod transport;

pub use clock::{Clock, TimeKeeper, TimeSource, UnixMicros};
pub use duration::Duration;
pub use endpoints::{Addresses, DialError, Dialler, Endpoint, Endpoints};
pub use entropy::Entropy;
pub use firmware::{Firmware, FirmwareSlots, SlotError};
pub use i2c::{I2c, I2cError, LONGEST_TRANSFER};
pub use identities::{Identities, IdentityError, Lifetime, Purpose};
pub use log::{Level, Log, LogCursor, LogExtent, LogNext};
pub use memory::{HeapFigures, Memory};
pub use network::{AcceptError, Accepted, Credential, Dialled, Network, NetworkFigures, Subject, Undated};
pub use pins::{Led, LedMode, PWM_HERTZ, PinMode, PinReading, PinSet, Pins, PwmOutput};
pub use records::{LONGEST_RECORD, Record, RecordError, Records, TimeFloor};
pub use sensors::Sensors;
pub use system::{Machine, ResetReason, System};
pub use transport::{Server, Transport};

/// All that a node agent needs of the machine it runs on, under one name.
pub trait Platform: Clock + Entropy + Log + Memory + Pins + Led + Sensors + System + Records {}

impl<T: Clock + Entropy + Log + Memory + Pins + Led + Sensors + System + Records> Platform for T {}
