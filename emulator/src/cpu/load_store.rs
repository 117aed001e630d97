//! Loads and stores that do not go to RAM, which the loop does itself: flash, the single-cycle I/O port, the system control
//! space, and whatever else the bus leads to.

use super::{Core, Fault};
use crate::chip::{Chip, replicate};

impl Core {
    /// A load that is not from RAM, or not aligned, at `self.cycles`.
    #[inline(never)]
    pub(super) fn load_slow(&mut self, chip: &mut Chip, address: u32, size: u32) -> Result<u32, Fault> {
        if address & (size - 1) != 0 {
            return Err(Fault::Unaligned { address });
        }
        let word = match address >> 28 {
            1 if address < 0x1400_0000 => chip.read_flash(address & !3, &mut self.cycles),
            0xd => {
                // the single-cycle I/O port
                self.cycles -= 1;
                let value = chip.read_sio(self.id, address & !3, self.cycles);
                if chip.attention {
                    self.limit = 0;
                }
                value?
            }
            0xe => self.read_system(chip, address & !3, self.cycles)?,
            _ => {
                let value = chip.read(self.id, address & !3, &mut self.cycles);
                if chip.attention {
                    self.limit = 0;
                }
                value?
            }
        };
        Ok(match size {
            4 => word,
            2 => word >> (8 * (address & 2)) & 0xffff,
            _ => word >> (8 * (address & 3)) & 0xff,
        })
    }

    /// A store that is not to RAM, or not aligned, at `self.cycles`.
    #[inline(never)]
    pub(super) fn store_slow(
        &mut self,
        chip: &mut Chip,
        address: u32,
        size: u32,
        value: u32,
    ) -> Result<(), Fault> {
        if address & (size - 1) != 0 {
            return Err(Fault::Unaligned { address });
        }
        match address >> 28 {
            0xd => {
                self.cycles -= 1;
                chip.write_sio(self.id, address & !3, replicate(value, size), self.cycles)?;
            }
            0xe => {
                self.limit = 0;
                return self.write_system(chip, address & !3, value, self.cycles);
            }
            _ => chip.write(self.id, address, size, value, &mut self.cycles)?,
        }
        if chip.attention {
            self.limit = 0;
        }
        Ok(())
    }
}
