//! Which machine this is, and how it is restarted.

use crate::Firmware;
use core::fmt;
use core::future::Future;

/// What does not change while the device is up. The names are those of Kubernetes' `NodeSystemInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine<'a> {
    /// The board: `pico-w`, `pico-2-w` or `linux`.
    pub board: &'a str,
    /// The microcontroller (`rp2040`, `rp2350`), or the host's architecture.
    pub mcu: &'a str,
    /// Tells this machine from every other; the same after a restart and after new firmware.
    pub machine_id: &'a str,
    /// The same for the hardware.
    pub system_uuid: &'a str,
    /// New at every boot.
    pub boot_id: &'a str,
    /// What stands in for a kernel, with its version.
    pub kernel_version: &'a str,
    /// What stands in for an operating system's image.
    pub os_image: &'a str,
    /// Cores that work for the node.
    pub cores: u32,
    /// Clock of a core in kHz.
    pub cpu_khz: u32,
    /// Memory of the whole machine in bytes, as capacity.
    pub memory_bytes: u64,
    /// Of that, what pods can really have.
    pub pod_memory_bytes: u64,
    /// Storage for modules in bytes, as capacity.
    pub storage_bytes: u64,
}

/// Why the device started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Power came on, or the process was started.
    PowerOn,
    /// It was asked to.
    Software,
    /// The watchdog bit.
    Watchdog,
    /// The program panicked or faulted.
    Panic,
    /// The radio failed.
    Radio,
}

impl ResetReason {
    /// The word for it in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PowerOn => "power-on",
            Self::Software => "software",
            Self::Watchdog => "watchdog",
            Self::Panic => "panic",
            Self::Radio => "radio",
        }
    }
}

/// Identity of the machine, and its restart.
pub trait System {
    /// Which machine this is.
    fn machine(&self) -> Machine<'_>;

    /// Why it started.
    fn reset_reason(&self) -> ResetReason;

    /// How the run before ended, and where, when it ended by a panic or a fault: words for the log and for an Event.
    fn last_crash(&self) -> Option<&dyn fmt::Display> {
        None
    }

    /// Microseconds of processor time that the node has used since it started.
    fn cpu_micros(&self) -> u64;

    /// Bytes of the storage for modules that are in use.
    fn storage_used_bytes(&self) -> u64;

    /// The firmware, and its slots. `None` where no bootloader starts the node, as on Linux.
    fn firmware(&self) -> Option<&dyn Firmware> {
        None
    }

    /// Restarts the device. On Linux the node alone starts over, with a new boot id; the process goes on.
    ///
    /// Firmware on trial appends [`State::request_restart`](picolet_boot::State::request_restart) to the boot log first,
    /// so that the trial is repeated and not reverted.
    fn reboot(&self) -> impl Future<Output = ()>;
}
