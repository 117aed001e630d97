//! What a debugger sees of a core and may change.

use super::{Core, Sleep};

/// Registers of a core for a debugger: R0 to R12, SP, LR, PC, xPSR, MSP, PSP, PRIMASK, CONTROL.
pub(crate) type DebugRegisters = [u32; 21];

impl Core {
    /// All registers.
    pub(crate) fn debug_registers(&self) -> DebugRegisters {
        let mut registers = [0; 21];
        registers[..15].copy_from_slice(&self.r[..15]);
        registers[15] = self.pc;
        registers[16] = self.xpsr();
        registers[17] = self.msp();
        registers[18] = self.psp();
        registers[19] = u32::from(self.primask);
        registers[20] = self.control();
        registers
    }

    /// Sets the registers that differ from what they are. SP is also MSP or PSP, so the others must not undo it.
    pub(crate) fn set_debug_registers(&mut self, registers: &DebugRegisters) {
        let before = self.debug_registers();
        for (number, (&value, old)) in registers.iter().zip(before).enumerate() {
            if value == old {
                continue;
            }
            match number {
                13 => self.r[13] = value & !3,
                0..15 => self.r[number] = value,
                15 => self.pc = value & !1,
                16 => {
                    self.set_flags(value);
                    self.ipsr = value & 0x3f;
                }
                17 => self.set_msp(value),
                18 => self.set_psp(value),
                19 => self.primask = value & 1 != 0,
                _ => {
                    self.use_process_stack(value & 2 != 0 && self.ipsr == 0);
                    self.unprivileged = value & 1 != 0;
                }
            }
        }
    }

    /// What it does, in a word or two.
    pub(crate) fn activity(&self) -> &'static str {
        match self.sleep {
            Sleep::Awake => "runs",
            Sleep::Event => "sleeps (WFE)",
            Sleep::Interrupt => "sleeps (WFI)",
            Sleep::Reset => "held in reset",
            Sleep::Lockup => "locked up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_debugger_changed_is_set() {
        let mut core = Core::new(0);
        core.start(0x2000_1000, 0x100);
        core.set_psp(0x2000_2000);
        let mut registers = core.debug_registers();
        assert_eq!((registers[13], registers[17]), (0x2000_1000, 0x2000_1000));
        registers[13] = 0x2000_0ff0;
        core.set_debug_registers(&registers);
        assert_eq!((core.msp(), core.psp()), (0x2000_0ff0, 0x2000_2000));
        let mut registers = core.debug_registers();
        registers[20] = 2;
        registers[16] |= 1 << 30;
        core.set_debug_registers(&registers);
        assert_eq!(core.debug_registers()[13], 0x2000_2000);
        assert_eq!(core.xpsr() >> 28, 0b0100);
    }
}
