//! ARMv6-M as gdb knows it: its M profile, with both stack pointers, so that it can walk through exceptions.

use gdbstub::arch::{Arch, Registers};

use crate::cpu::DebugRegisters;

/// The architecture of the cores.
pub enum Armv6M {}

impl Arch for Armv6M {
    type Usize = u32;
    type Registers = CoreRegisters;
    type RegId = ();
    /// The length of the instruction: what a breakpoint stands on is not written over.
    type BreakpointKind = usize;

    fn target_description_xml() -> Option<&'static str> {
        Some(include_str!("target.xml"))
    }
}

/// The registers of a core, in the order of `target.xml`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CoreRegisters(pub(crate) DebugRegisters);

impl Registers for CoreRegisters {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.0[15]
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0
            .iter()
            .flat_map(|register| register.to_le_bytes())
            .for_each(|byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let (words, rest) = bytes.as_chunks::<4>();
        if words.len() != self.0.len() || !rest.is_empty() {
            return Err(());
        }
        for (register, word) in self.0.iter_mut().zip(words) {
            *register = u32::from_le_bytes(*word);
        }
        Ok(())
    }
}
