//! Interprets functions in place: it reads the module's bytes as they are, and the side table for what these do not say.
//!
//! The stack of a store holds frames and nothing of it lies on the native stack, so that a program can stop at any call of the host
//! and wherever fuel is counted, and go on later. A frame is
//!
//! | slots | |
//! |---|---|
//! | parameters and locals | those of 64 bits take two slots, the low word first |
//! | [`SAVED_SLOTS`] | of the caller: function plus 1 (0: the host), offset of the next instruction, place in the side table, frame |
//! | operands | at most as many as the validator counted, so that room is checked once, at the call |
//!
//! Fuel is counted where a loop or a recursion must pass: at taken branches and at calls. A branch backwards costs a unit and one for
//! each 16 bytes that it goes back over, a call a unit and one for each 16 bytes of the function; bulk instructions pay by the KiB
//! and stop in between. So a unit stands for a bounded time. What was used beyond the given fuel is a debt that the next slice pays.

mod bulk;
mod control;
mod float;
mod memory;
mod numeric;
mod rare;
mod run_loop;
mod table;

use crate::instance::{Global, Instance, Table};
use crate::memory::arena::Frames;
use crate::memory::{Budget, Fault, Memory};
use crate::side_table::SAVED_SLOTS;
use crate::trap::TrapKind;

/// Why the interpreter stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The function that the host called returned.
    Finished,
    /// A function of the host is called: [`Machine::host`].
    Host,
    Fuel,
    Trap(TrapKind),
    OutOfMemory,
    /// A function of another instance runs now.
    Switch,
}

impl From<TrapKind> for Exit {
    fn from(kind: TrapKind) -> Self {
        Self::Trap(kind)
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfBounds => Self::Trap(TrapKind::MemoryOutOfBounds),
            Fault::OutOfMemory => Self::OutOfMemory,
        }
    }
}

const CORRUPT: Exit = Exit::Trap(TrapKind::Corrupt);

/// Where execution is. Offsets and places fit in 32 bits; on a microcontroller `usize` is as wide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    /// Offset of the next instruction.
    pub(crate) pc: usize,
    /// Place in the side table.
    pub(crate) branch: usize,
    /// First free slot.
    pub(crate) sp: usize,
    /// First slot of the frame.
    pub(crate) fp: usize,
    /// Address of the function.
    pub(crate) function: u32,
    /// Offset behind the function.
    end: usize,
    /// Slots of its locals and results.
    locals: u32,
    results: u32,
    /// Table of its locals; 0: all take one slot.
    local_table: usize,
    /// List of its wide operations; 0: none.
    wide_list: usize,
}

impl Registers {
    /// Before the first function is entered: the caller is the host.
    pub(crate) fn of_host() -> Self {
        Self {
            function: u32::MAX,
            ..Self::default()
        }
    }

    pub(crate) fn is_of_host(&self) -> bool {
        self.function == u32::MAX
    }
}

/// All that a program touches while it runs.
pub(crate) struct Machine<'a> {
    pub(crate) at: Registers,
    pub(crate) fuel: i32,
    /// Address of the function of the host that is called.
    pub(crate) host: u32,
    pub(crate) code: &'a [u8],
    pub(crate) side_table: &'a [u32],
    pub(crate) stack: &'a mut [u32],
    pub(crate) memory: &'a mut Memory,
    pub(crate) frames: &'a mut Frames,
    pub(crate) budget: &'a mut Budget,
    pub(crate) globals: &'a mut [Global],
    pub(crate) tables: &'a mut [Table],
    pub(crate) instances: &'a [Instance],
    pub(crate) instance: &'a Instance,
    pub(crate) table_limit: u32,
}
