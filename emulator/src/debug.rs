//! What a debugger wants of a board.

use crate::cpu::Sleep;

/// What gdb wants the cores to do next.
#[derive(Debug, Default)]
pub(crate) struct Debug {
    /// The addresses that each core is to step through, empty for a single instruction.
    pub(crate) steps: [Option<(u32, u32)>; 2],
    pub(crate) continues: [bool; 2],
    /// A core without an action stands still.
    pub(crate) locked: bool,
    /// What a core that stands still was doing.
    pub(crate) frozen: [Option<Sleep>; 2],
    /// The BKPT that a core stopped at, and does not stop at again.
    pub(crate) at_breakpoint: Option<(usize, u32)>,
}
