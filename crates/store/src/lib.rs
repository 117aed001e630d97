//! What is in a board's flash, and how it gets there.
//!
//! [`layout`] is the map: the one place that says where the bootloader, both firmware slots, the radio's firmware,
//! the settings, the device's records and the modules are. Two of these regions have their format here: [`settings`],
//! which only people write, and the records of [`device`], which only the device writes. Neither ever touches the other,
//! and new firmware touches none of them.
//!
//! Everything here survives a power cut: what is being replaced is there in its old form until the new one is whole.
//! Nothing here knows a flash chip, Wi-Fi, TLS or Kubernetes: values are checked for their form and handed on.
#![no_std]

#[cfg(feature = "flash")]
extern crate alloc;

#[cfg(feature = "flash")]
pub mod device;
pub mod layout;
#[cfg(feature = "flash")]
pub mod serial;
#[cfg(feature = "flash")]
pub mod settings;
pub mod uf2;
