//! Kubernetes on the wire, sans-IO: the few types that a node sends and reads, the requests that carry them, lists and
//! watches.
//!
//! It is written for a device with 264 KB of memory. What comes in is decoded as a stream: a type says by a table
//! ([`json::Shape`]) which of its fields it keeps, and everything else is read past, whatever its size. What goes out is
//! written straight into the buffer that is sent. There is no tree of values anywhere.
//!
//! This crate never does I/O, never waits, never decides: it knows what a Lease looks like and not when to renew it.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
pub mod certificate;
pub mod config_map;
mod duration;
pub mod envelope;
pub mod event;
pub mod json;
pub mod lease;
pub mod metadata;
pub mod node;
pub mod pod;
mod quantity;
pub mod request;
pub mod review;
pub mod selector;
pub mod status;
mod text;
mod time;
pub mod version;

pub use address::Address;
pub use duration::human_duration;
pub use quantity::{Quantity, QuantityError};
pub use text::{Collector, integer};
pub use time::{MicroTime, Time, Timestamp};
