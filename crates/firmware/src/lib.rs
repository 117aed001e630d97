//! Firmware files (`.pfw`): header, signature, and whether a board takes one.
//!
//! The byte format and the order of all checks are in `docs/firmware-format.md`. A board reads a file with [`Reader`], which hands out
//! nothing before header and signature are checked, and verifies a slot in flash with [`SlotCheck`] before it asks for a trial.
//!
//! This crate never reads or writes flash, files or the network, and never holds more than the first 512 bytes of a file. Only
//! [`assemble`], for the computer that makes a file, allocates one. No input makes it panic.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod header;
mod policy;
mod reader;
mod refusal;
mod signature;
mod values;

pub use header::{HEADER, Header, IMAGE_OFFSET, PAGE, Variant};
pub use policy::{Board, Policy, SlotSpace};
pub use reader::{Piece, Reader, SlotCheck, assemble, check_file};
pub use refusal::{Code, Refusal};
pub use signature::{SignatureBlock, SignedHeader, TrustedKey};
pub use values::{Formats, KeyId, Text};
