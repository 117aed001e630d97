//! The bus: memories by their address, the SIO, transfers of the DMA controller, and whatever else an address leads to.

use super::gpio::Function;
use super::memory::RAM_BASE;
use super::schedule::Source;
use super::{Chip, FLASH_BASE, Trap, flash, memory, sio};
use crate::code;
use crate::fault::Fault;

impl Chip {
    /// An instruction halfword, for decoding.
    pub(crate) fn fetch(&self, memory: usize, address: u32) -> u16 {
        let (bytes, offset): (&[u8], u32) = match memory {
            code::ROM => (&self.rom, address),
            code::RAM => (self.ram.bytes(), address - RAM_BASE),
            _ => (self.flash.bytes(), address - FLASH_BASE),
        };
        let offset = offset as usize;
        bytes
            .get(offset..offset + 2)
            .map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// An instruction is fetched from a new cache line: how many cycles that takes.
    #[inline(always)]
    pub(crate) fn fetch_line(&mut self, address: u32) -> u64 {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        self.cache.access((address & 0xff_ffff) >> 3)
    }

    #[cold]
    #[inline(never)]
    fn read_unmapped(&mut self, address: u32) {
        self.trap.get_or_insert(Trap::FlashNotMapped { address });
        self.attention = true;
    }

    /// A word of flash through the alias that caches, and how many cycles that takes more than a hit.
    #[inline(always)]
    pub(crate) fn read_cached(&mut self, address: u32) -> (u32, u64) {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        let wait = self.cache.access((address & 0xff_ffff) >> 3);
        (self.flash.word(address & 0xff_ffff), wait)
    }

    /// A word of flash through one of its four aliases.
    #[inline(always)]
    pub(crate) fn read_flash(&mut self, address: u32, cycles: &mut u64) -> u32 {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        *cycles += if address < 0x1100_0000 {
            self.cache.access((address & 0xff_ffff) >> 3)
        } else {
            self.cache.access_alias(address)
        };
        self.flash.word(address & 0xff_ffff)
    }

    /// A word of memory for the exception model, the boot ROM and debuggers.
    pub(crate) fn load_word(&mut self, address: u32, cycles: &mut u64) -> Option<u32> {
        if address & 3 != 0 {
            return None;
        }
        self.ram.load32(address).or_else(|| match address >> 28 {
            0 => self
                .rom
                .as_chunks::<4>()
                .0
                .get(address as usize / 4)
                .map(|bytes| u32::from_le_bytes(*bytes)),
            1 if address < 0x1400_0000 => Some(self.read_flash(address, cycles)),
            2 => memory::unstripe(address).and_then(|address| self.ram.load32(address)),
            _ => None,
        })
    }

    /// Stores a word of RAM.
    pub(crate) fn store_word(&mut self, address: u32, value: u32) -> Option<()> {
        let offset = self.ram.store32(address, value)?;
        self.code.ram_written(offset);
        Some(())
    }

    /// A byte of memory without any effect, for debuggers and tools.
    pub(crate) fn peek(&self, address: u32) -> Option<u8> {
        match address >> 28 {
            0 => self.rom.get(address as usize).copied(),
            1 if address < 0x1400_0000 => self
                .flash
                .bytes()
                .get((address & (self.flash.size() - 1) & 0xff_ffff) as usize)
                .copied(),
            2 => {
                let address = memory::unstripe(address).unwrap_or(address);
                self.ram
                    .bytes()
                    .get(address.wrapping_sub(RAM_BASE) as usize)
                    .copied()
            }
            _ => None,
        }
    }

    /// Writes a byte of memory without any effect of the firmware's; flash as if it had been programmed at the factory.
    pub(crate) fn poke(&mut self, address: u32, value: u8) -> Option<()> {
        match address >> 28 {
            1 if address < 0x1400_0000 => {
                let offset = address & 0xff_ffff & (self.flash.size() - 1);
                self.flash.bytes_mut()[offset as usize] = value;
                self.code.forget(code::FLASH, offset & !1, 2);
                Some(())
            }
            2 => {
                let offset = self
                    .ram
                    .store8(memory::unstripe(address).unwrap_or(address), value.into())?;
                self.code.ram_written(offset);
                Some(())
            }
            _ => None,
        }
    }

    /// Takes note of what happened to the flash.
    pub(crate) fn flash_changed(&mut self) {
        if let Some(
            flash::Operation::Erase { offset, length } | flash::Operation::Program { offset, length },
        ) = self.flash.changed.take()
        {
            self.code.forget(code::FLASH, offset, length);
        }
        if self.flash.is_interrupted() {
            self.attention = true;
        }
    }

    pub(crate) fn update_flash_mapped(&mut self) {
        self.flash_mapped = self.ssi.is_mapped();
        let cycles = self.ssi.line_cycles();
        self.cache.set_miss_cycles(cycles);
    }

    /// Reads a register of the SIO.
    pub(crate) fn read_sio(&mut self, core: usize, address: u32, cycles: u64) -> Result<u32, Fault> {
        let offset = address & 0xfff_ffff;
        let (gpio, high) = match offset {
            0x004 => {
                self.sync(cycles);
                (self.gpio.inputs(), 0)
            }
            0x008 => (0, self.qspi.levels()),
            _ => (0, 0),
        };
        // the mailbox raises interrupts
        if matches!(offset, 0x058) {
            self.interrupts_dirty = true;
            self.attention = true;
        }
        match self.sio.read(core, offset, gpio, high, cycles) {
            Some(value) => {
                if self.register_trace.is_some() {
                    self.trace_register(core, address, value, false, cycles);
                }
                Ok(value)
            }
            None if offset < 0x180 => {
                self.not_modelled(address, None);
                Ok(0)
            }
            None => Err(Fault::Bus { address }),
        }
    }

    /// Writes a register of the SIO.
    pub(crate) fn write_sio(
        &mut self,
        core: usize,
        address: u32,
        value: u32,
        cycles: u64,
    ) -> Result<(), Fault> {
        let offset = address & 0xfff_ffff;
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, true, cycles);
        }
        match self.sio.write(core, offset, value, cycles) {
            sio::Effect::None => {}
            sio::Effect::Pins => {
                let now = self.sync(cycles);
                let before = self.gpio.levels;
                if self.gpio.drive(Function::Sio, self.sio.out, self.sio.enable) {
                    self.pins_moved(before, now);
                    self.attention |= self.interrupts_dirty;
                }
            }
            sio::Effect::Mailbox => {
                self.interrupts_dirty = true;
                self.attention = true;
            }
            sio::Effect::Unknown if offset < 0x180 => self.not_modelled(address, Some(value)),
            sio::Effect::Unknown => return Err(Fault::Bus { address }),
        }
        Ok(())
    }

    /// Reads anything that is neither RAM, flash, SIO nor a core's own.
    pub(crate) fn read(&mut self, core: usize, address: u32, cycles: &mut u64) -> Result<u32, Fault> {
        if let Some(word) = match address >> 28 {
            0 => self
                .rom
                .as_chunks::<4>()
                .0
                .get(address as usize / 4)
                .map(|bytes| u32::from_le_bytes(*bytes)),
            2 => memory::unstripe(address).and_then(|address| self.ram.load32(address)),
            _ => None,
        } {
            return Ok(word);
        }
        let at = *cycles;
        let value = self
            .read_register(core, address, cycles)
            .ok_or(Fault::Bus { address })?;
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, false, at);
        }
        Ok(value)
    }

    /// Writes anything that is neither aligned RAM, SIO nor a core's own.
    pub(crate) fn write(
        &mut self,
        core: usize,
        address: u32,
        size: u32,
        value: u32,
        cycles: &mut u64,
    ) -> Result<(), Fault> {
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, true, *cycles);
        }
        self.write_anywhere(address, size, value, cycles)
            .ok_or(Fault::Bus { address })
    }

    fn write_anywhere(&mut self, address: u32, size: u32, value: u32, cycles: &mut u64) -> Option<()> {
        match address >> 20 {
            // a write to the window of the flash removes its line from the cache: what it holds is always right
            0x100..0x140 => return Some(()),
            0x150 if address < 0x1500_4000 && self.cache.is_sram() => {
                let offset = (address & 0x3fff) as usize;
                let size = size as usize;
                self.cache.sram[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
                return Some(());
            }
            0x210..0x214 => {
                let address = memory::unstripe(address)?;
                let offset = match size {
                    1 => self.ram.store8(address, value),
                    2 => self.ram.store16(address, value),
                    _ => self.ram.store32(address, value),
                }?;
                self.code.ram_written(offset);
                return Some(());
            }
            // USB's memory can be written in pieces, unlike any register
            0x501 if address & 0xf_f000 == 0 && !self.resets.holds(address) => {
                self.usb.write_memory(address & 0xfff, size, value);
                let now = self.sync(*cycles);
                self.usb.memory_written(now);
                self.refresh(Source::Usb);
                self.update_next_due();
                self.interrupts_dirty = true;
                return Some(());
            }
            _ => {}
        }
        self.write_register(address, replicate(value, size), cycles)
    }

    /// One transfer of the DMA controller.
    pub(super) fn transfer(&mut self, at: u64) {
        let up = self.requests_up();
        let Some(transfer) = self.dma.take(at, |request| up >> request & 1 != 0) else {
            return;
        };
        // the registers that it touches bring everything up to date, which must not start the next transfer within
        self.dma_moves = true;
        self.refresh(Source::Dma);
        self.update_next_due();
        if let Some(slice) = transfer.request.checked_sub(24).filter(|slice| *slice < 8) {
            self.pwm.acknowledge(slice as usize);
        }
        let mut cycles = at;
        let read = self.dma_read(transfer.read, transfer.size, &mut cycles);
        let (value, failed) = match read {
            None => (0, Some(false)),
            Some(value) => {
                let value = transfer.swapped(value);
                let written = self.dma_write(transfer.write, transfer.size, value, &mut cycles);
                (value, if written.is_none() { Some(true) } else { None })
            }
        };
        self.dma_moves = false;
        self.dma.done(transfer, value, failed);
    }

    fn dma_read(&mut self, address: u32, size: u32, cycles: &mut u64) -> Option<u32> {
        let address = address & !(size - 1);
        if let Some(word) = self.ram.load32(address & !3) {
            return Some(word >> (8 * (address & 3)));
        }
        let word = match address >> 28 {
            1 if address < 0x1400_0000 => self.read_flash(address & !3, cycles),
            0xd | 0xe => return None,
            _ => self.read_register(0, address & !3, cycles)?,
        };
        Some(word >> (8 * (address & 3)))
    }

    fn dma_write(&mut self, address: u32, size: u32, value: u32, cycles: &mut u64) -> Option<()> {
        let address = address & !(size - 1);
        let stored = match size {
            1 => self.ram.store8(address, value),
            2 => self.ram.store16(address, value),
            _ => self.ram.store32(address, value),
        };
        if let Some(offset) = stored {
            self.code.ram_written(offset);
            return Some(());
        }
        match address >> 28 {
            0xd | 0xe => None,
            _ => self.write_anywhere(address, size, value, cycles),
        }
    }
}

/// What a narrow store puts on the bus: the same in every lane (RP2040 datasheet, section 2.1.4).
pub(crate) const fn replicate(value: u32, size: u32) -> u32 {
    match size {
        4 => value,
        2 => (value & 0xffff) * 0x0001_0001,
        _ => (value & 0xff) * 0x0101_0101,
    }
}
