//! Small blocks: subsystem resets (RP2040 datasheet, section 2.14), power-on state machine (2.13), SYSINFO (2.20),
//! SYSCFG (2.21), TBMAN (2.22), the voltage regulator (2.10), bus priorities and counters (2.1.5).

use super::Write;

/// RESETS and PSM.
#[derive(Debug, Clone)]
pub(crate) struct Resets {
    held: u32,
    watchdog_select: u32,
    forced_on: u32,
    forced_off: u32,
    psm_watchdog_select: u32,
}

const ALL_BLOCKS: u32 = 0x01ff_ffff;
/// All stages of the power-on state machine.
const ALL_STAGES: u32 = 0x1_ffff;

impl Resets {
    pub(crate) fn new() -> Self {
        Self {
            held: ALL_BLOCKS,
            watchdog_select: 0,
            forced_on: 0,
            forced_off: 0,
            psm_watchdog_select: 0,
        }
    }

    /// The boot ROM takes the pins of the flash and the timer out of reset: the real one leaves it so (`tests/boot_rom.rs`).
    pub(crate) fn release_for_second_stage(&mut self) {
        self.held &= !(1 << 6 | 1 << 9 | 1 << 21);
    }

    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.held,
            0x04 => self.watchdog_select,
            // a block that is released is out of reset at once
            0x08 => !self.held & ALL_BLOCKS,
            _ => return None,
        })
    }

    /// Whether the block of this register is held in reset. Nobody documents what an access then does; on silicon, reads
    /// were seen to give zero and writes to be lost. SYSINFO and TBMAN hold constants, which have nothing to reset.
    pub(crate) fn holds(&self, address: u32) -> bool {
        let block = match address & 0xfff0_0000 {
            0x4000_0000 => match address >> 14 & 0x3f {
                0x01 => 18,
                0x05 => 5,
                0x06 => 6,
                0x07 => 8,
                0x08 => 9,
                0x0a => 12,
                0x0b => 13,
                0x0c => 1,
                0x0d => 22,
                0x0e => 23,
                0x0f => 16,
                0x10 => 17,
                0x11 => 3,
                0x12 => 4,
                0x13 => 0,
                0x14 => 14,
                0x15 => 21,
                0x17 => 15,
                _ => return false,
            },
            0x5000_0000 => 2,
            0x5010_0000 => 24,
            0x5020_0000 => 10,
            0x5030_0000 => 11,
            _ => return false,
        };
        self.held >> block & 1 != 0
    }

    /// Writes a register and answers which blocks are held in reset; `None` for what is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write) -> Option<u32> {
        match offset {
            0x00 => {
                let before = self.held;
                self.held = write.onto(self.held) & ALL_BLOCKS;
                Some(self.held & !before)
            }
            0x04 => {
                self.watchdog_select = write.onto(self.watchdog_select) & ALL_BLOCKS;
                Some(0)
            }
            0x08 => Some(0),
            _ => None,
        }
    }

    pub(crate) fn read_psm(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.forced_on,
            0x04 => self.forced_off,
            0x08 => self.psm_watchdog_select,
            0x0c => ALL_STAGES & !self.forced_off,
            _ => return None,
        })
    }

    pub(crate) fn write_psm(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00 => self.forced_on = write.onto(self.forced_on) & ALL_STAGES,
            0x04 => {
                self.forced_off = write.onto(self.forced_off) & ALL_STAGES;
                // only SIO and processor 1 can be switched off without taking the writer along
                return self.forced_off & !(1 << 14 | 1 << 16) == 0;
            }
            0x08 => self.psm_watchdog_select = write.onto(self.psm_watchdog_select) & ALL_STAGES,
            0x0c => {}
            _ => return false,
        }
        true
    }

    /// Whether the SIO is held in reset by the power-on state machine.
    pub(crate) fn holds_sio(&self) -> bool {
        self.forced_off >> 14 & 1 != 0
    }

    /// Whether the second core is held in reset by the power-on state machine.
    pub(crate) fn holds_core_1(&self) -> bool {
        self.forced_off >> 16 & 1 != 0
    }
}

/// The blocks that are hardly more than a few registers.
#[derive(Debug, Clone)]
pub(crate) struct System {
    syscfg: [u32; 7],
    regulator: u32,
    brown_out: u32,
    bus_priority: u32,
    counter_select: [u32; 4],
}

impl System {
    pub(crate) fn new() -> Self {
        Self {
            syscfg: [0; 7],
            regulator: 0xb1,
            brown_out: 0x91,
            bus_priority: 0,
            counter_select: [0x1f; 4],
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self {
            regulator: self.regulator,
            brown_out: self.brown_out,
            ..Self::new()
        };
    }

    pub(crate) fn read_sysinfo(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            // CHIP_ID: RP2040 B2
            0x00 => 0x2000_2927,
            // PLATFORM: ASIC
            0x04 => 2,
            0x40 => 0xe0c9_12e8,
            _ => return None,
        })
    }

    pub(crate) fn read_syscfg(&self, offset: u32) -> Option<u32> {
        match offset {
            0x00..=0x18 => self.syscfg.get(offset as usize / 4).copied(),
            _ => None,
        }
    }

    /// NMI masks and powered-down memories are not modelled.
    pub(crate) fn write_syscfg(&mut self, offset: u32, write: Write) -> bool {
        let Some(register) = self.syscfg.get_mut(offset as usize / 4) else {
            return false;
        };
        *register = write.onto(*register);
        match offset {
            0x00 | 0x04 | 0x18 => *register == 0,
            _ => true,
        }
    }

    pub(crate) fn read_regulator(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            // ROK: in regulation at once
            0x00 => self.regulator | 1 << 12,
            0x04 => self.brown_out,
            // CHIP_RESET: the last reset of the chip was by power-on
            0x08 => 1 << 8,
            _ => return None,
        })
    }

    pub(crate) fn write_regulator(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00 => self.regulator = write.onto(self.regulator) & 0xf3,
            0x04 => self.brown_out = write.onto(self.brown_out) & 0xf1,
            0x08 => {}
            _ => return false,
        }
        true
    }

    /// TBMAN: this is the ASIC, as far as the firmware can tell.
    pub(crate) fn read_testbench(&self, offset: u32) -> Option<u32> {
        (offset == 0).then_some(1)
    }

    /// BUSCTRL. Contention is not modelled: priorities change nothing and the counters stay at zero.
    pub(crate) fn read_bus_control(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.bus_priority,
            0x04 => 1,
            0x08 | 0x10 | 0x18 | 0x20 => 0,
            0x0c | 0x14 | 0x1c | 0x24 => self.counter_select[(offset as usize - 0xc) / 8],
            _ => return None,
        })
    }

    pub(crate) fn write_bus_control(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00 => self.bus_priority = write.onto(self.bus_priority) & 0x1111,
            0x08 | 0x10 | 0x18 | 0x20 => {}
            0x0c | 0x14 | 0x1c | 0x24 => {
                let select = &mut self.counter_select[(offset as usize - 0xc) / 8];
                *select = write.onto(*select) & 0x1f;
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::chip::Chip;

    const RESETS: u32 = 0x4000_c000;
    const CLEAR: u32 = 0x3000;
    const SET: u32 = 0x2000;

    fn read(chip: &mut Chip, address: u32) -> u32 {
        chip.read(0, address, &mut 0).expect("a register")
    }

    fn write(chip: &mut Chip, address: u32, value: u32) {
        chip.write(0, address, 4, value, &mut 0).expect("a register");
    }

    #[test]
    fn a_block_in_reset_reads_as_zero_and_forgets_what_is_written() {
        // a register of each block that keeps what is written to it: bit in RESETS, address, value
        for (bit, address, value) in [
            (1, 0x4003_0000, 0x1001),
            (2, 0x5000_0000, 0x2000_0040),
            // all that it keeps is there before it is written: its mask of interrupts
            (3, 0x4004_4030, 0),
            (5, 0x4001_4004, 5),
            (8, 0x4001_c004, 0x52),
            (10, 0x5020_00cc, 0x1000),
            (14, 0x4005_0010, 99),
            (16, 0x4003_c010, 4),
            (21, 0x4005_4010, 77),
            (22, 0x4003_4024, 9),
            (24, 0x5010_0000, 0x1234),
        ] {
            let mut chip = Chip::new(0x1000, [0; 8], 1);
            write(&mut chip, address, value);
            assert_eq!(read(&mut chip, address), 0, "{address:#x} in reset");
            write(&mut chip, RESETS + CLEAR, 1 << bit);
            assert_eq!(read(&mut chip, RESETS + 8) >> bit & 1, 1);
            if value != 0 {
                assert_ne!(
                    read(&mut chip, address),
                    value,
                    "{address:#x} was written in reset"
                );
                write(&mut chip, address, value);
                assert_eq!(read(&mut chip, address), value, "{address:#x}");
            } else {
                assert_ne!(read(&mut chip, address), 0, "{address:#x}");
            }
            write(&mut chip, RESETS + SET, 1 << bit);
            assert_eq!(read(&mut chip, address), 0, "{address:#x} in reset again");
            assert!(chip.trap.is_none());
        }
    }
}
