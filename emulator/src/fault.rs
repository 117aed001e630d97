//! Faults: why a core cannot do an instruction.

use core::fmt;

/// What a core wants of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction.
    Run,
}

/// Why an instruction could not be done. Each leads to a HardFault, and to lockup where that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An undefined instruction.
    Undefined {
        /// One or two halfwords of it.
        instruction: u32,
    },
    /// A load or store whose address is not a multiple of its size.
    Unaligned {
        /// The address.
        address: u32,
    },
    /// A load or store where no memory or register is.
    Bus {
        /// The address.
        address: u32,
    },
    /// A jump to where no code can be run from.
    Fetch {
        /// The address.
        address: u32,
    },
    /// A jump to an even address, which asks for the ARM instruction set.
    NotThumb {
        /// The address.
        address: u32,
    },
    /// What the memory protection unit does not allow.
    Protected {
        /// The address.
        address: u32,
        /// What was to be done there.
        access: Access,
    },
    /// SVC at a priority that does not allow it.
    Svc,
    /// BKPT without a debugger.
    Breakpoint,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined { instruction } => write!(f, "undefined instruction {instruction:04x}"),
            Self::Unaligned { address } => write!(f, "unaligned access to {address:#010x}"),
            Self::Bus { address } => write!(f, "bus fault: nothing is at {address:#010x}"),
            Self::Fetch { address } => write!(f, "jump to {address:#010x}, where no code can run"),
            Self::NotThumb { address } => {
                write!(f, "jump to the even address {address:#010x}, which is not Thumb")
            }
            Self::Protected { address, access } => {
                let what = match access {
                    Access::Read => "reading",
                    Access::Write => "writing",
                    Access::Run => "running",
                };
                write!(
                    f,
                    "the memory protection unit does not allow {what} {address:#010x}"
                )
            }
            Self::Svc => write!(f, "SVC at a priority that does not allow it"),
            Self::Breakpoint => write!(f, "BKPT without a debugger"),
        }
    }
}
