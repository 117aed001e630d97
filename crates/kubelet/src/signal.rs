//! How the tasks of a node wake each other.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;

/// Wakes the one task that waits for it.
pub(crate) type Signal = embassy_sync::signal::Signal<NoopRawMutex, ()>;
