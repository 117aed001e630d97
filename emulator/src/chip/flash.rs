//! The serial flash on a Pico's QSPI bus: a Winbond W25Q16JV (its datasheet, revision H, sections 7 and 8).

/// The pages that a program command writes within.
const PAGE: u32 = 256;
/// The smallest piece that can be erased.
pub(crate) const SECTOR: u32 = 4096;

/// What operations take, in nanoseconds (W25Q16JV datasheet, section 9.6).
#[derive(Debug, Clone, Copy)]
struct Times {
    page_program: u64,
    sector_erase: u64,
    block_32k_erase: u64,
    block_64k_erase: u64,
    status_write: u64,
}

const TYPICAL: Times = Times {
    page_program: 400_000,
    sector_erase: 45_000_000,
    block_32k_erase: 120_000_000,
    block_64k_erase: 150_000_000,
    status_write: 10_000_000,
};

/// What an old or cold chip may need.
const LONGEST: Times = Times {
    page_program: 3_000_000,
    sector_erase: 400_000_000,
    block_32k_erase: 1_600_000_000,
    block_64k_erase: 2_000_000_000,
    status_write: 15_000_000,
};

/// Manufacturer Winbond, W25Q..JV, 16 Mbit.
const JEDEC_ID: [u8; 3] = [0xef, 0x40, 0x15];

/// What a command does to the memory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Up to a page was programmed.
    Program { offset: u32, length: u32 },
    /// This much was erased.
    Erase { offset: u32, length: u32 },
}

/// Power goes away during an operation: the first `done` of its bytes happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Counted from 1, over all programs and erases since power-on.
    pub operation: u64,
    /// The part of the operation that still happens, in 1/256.
    pub fraction: u8,
}

/// RUN is pulled low during an operation. The flash chip has power, and goes on without the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunPress {
    /// Counted as for a [`Cut`].
    pub operation: u64,
    /// How much of the operation has passed then, in 1/256.
    pub fraction: u8,
}

/// The flash chip.
#[derive(Debug, Clone)]
pub(crate) struct Flash {
    contents: Box<[u8]>,
    /// How often each sector was erased.
    wear: Box<[u32]>,
    status: [u8; 3],
    write_enabled: bool,
    /// In nanoseconds since power-on.
    busy_until: u64,
    /// The command that is coming in while chip select is low, how many bytes of it came, and its address.
    opcode: u8,
    position: usize,
    address: u32,
    /// What follows the address of a command that writes.
    page: Vec<u8>,
    /// Programs and erases since power-on.
    pub operations: u64,
    pub programs: u64,
    pub erases: u64,
    /// The operation to lose power in.
    pub cut: Option<Cut>,
    /// Power was lost: the board is to be switched off.
    pub power_lost: bool,
    /// The operation to pull RUN low in.
    pub run_press: Option<RunPress>,
    /// RUN was pulled low: the nanoseconds that the operation takes still, after the reset.
    pub run_pressed: Option<u64>,
    /// What changed since somebody last looked.
    pub changed: Option<Operation>,
    unique_id: [u8; 8],
    times: Times,
}

impl Flash {
    /// An erased chip of `size` bytes, a power of two.
    pub(crate) fn new(size: u32, unique_id: [u8; 8]) -> Self {
        Self {
            contents: vec![0xff; size as usize].into_boxed_slice(),
            wear: vec![0; (size / SECTOR) as usize].into_boxed_slice(),
            // QE is set by the factory's test of a Pico, and stays
            status: [0, 2, 0x60],
            write_enabled: false,
            busy_until: 0,
            opcode: 0,
            position: 0,
            address: 0,
            page: Vec::with_capacity(PAGE as usize),
            operations: 0,
            programs: 0,
            erases: 0,
            cut: None,
            power_lost: false,
            run_press: None,
            run_pressed: None,
            changed: None,
            unique_id,
            times: TYPICAL,
        }
    }

    /// Whether operations take as long as the datasheet allows, or the usual time.
    pub(crate) fn set_slow(&mut self, slow: bool) {
        self.times = if slow { LONGEST } else { TYPICAL };
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.contents
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.contents
    }

    pub(crate) fn size(&self) -> u32 {
        self.contents.len() as u32
    }

    pub(crate) fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// The word at an aligned offset; the chip ignores address bits above its size.
    #[inline(always)]
    pub(crate) fn word(&self, offset: u32) -> u32 {
        let words = self.contents.as_chunks::<4>().0;
        words
            .get((offset & (self.size() - 1)) as usize >> 2)
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Whether an erase or a program runs at this moment.
    pub(crate) fn is_busy(&self, nanos: u64) -> bool {
        nanos < self.busy_until
    }

    /// Loses power and gets it back: what it was doing has ended, and what it was told is forgotten.
    pub(crate) fn power_cycle(&mut self) {
        self.write_enabled = false;
        self.busy_until = 0;
        self.run_pressed = None;
        self.position = 0;
    }

    /// Counts an operation and answers how much of it happens before power goes.
    fn begin(&mut self, length: u32) -> u32 {
        self.operations += 1;
        match self.cut {
            Some(cut) if cut.operation == self.operations => {
                self.power_lost = true;
                (u64::from(length) * u64::from(cut.fraction) / 256) as u32
            }
            _ if self.power_lost => 0,
            _ => length,
        }
    }

    /// Whether nothing more is told to the flash before a reset.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.power_lost || self.run_pressed.is_some()
    }

    /// How much of an operation of so many nanoseconds the processor waits for: all of it, or until RUN is pulled low.
    fn waited(&mut self, nanos: u64) -> u64 {
        match self.run_press {
            Some(press) if press.operation == self.operations => {
                let waited = nanos * u64::from(press.fraction) / 256;
                self.run_press = None;
                self.run_pressed = Some(nanos - waited);
                waited
            }
            _ => nanos,
        }
    }

    /// The processor is reset by RUN: the operation goes on by itself.
    pub(crate) fn go_on(&mut self, now: u64) {
        if let Some(nanos) = self.run_pressed.take() {
            self.busy_until = now + nanos;
        }
    }

    /// Nanoseconds for which it is busy still.
    pub(crate) fn busy_for(&self, now: u64) -> u64 {
        self.busy_until.saturating_sub(now)
    }

    /// Erases `length` bytes, a sector or a block, and answers how many nanoseconds that takes.
    pub(crate) fn erase(&mut self, offset: u32, length: u32) -> u64 {
        let offset = offset & (self.size() - 1) & !(length - 1);
        let done = self.begin(length);
        self.contents[offset as usize..(offset + done) as usize].fill(0xff);
        if done > 0 {
            for sector in offset / SECTOR..(offset + length) / SECTOR {
                self.wear[sector as usize] += 1;
            }
        }
        self.erases += 1;
        self.changed = Some(Operation::Erase { offset, length });
        let nanos = match length {
            SECTOR => self.times.sector_erase,
            0x8000 => self.times.block_32k_erase,
            _ => self.times.block_64k_erase,
        };
        self.waited(nanos)
    }

    /// Programs at most a page, wrapping within it, and answers how many nanoseconds that takes. Bits only go from
    /// one to zero.
    pub(crate) fn program(&mut self, offset: u32, data: &[u8]) -> u64 {
        let offset = offset & (self.size() - 1);
        let page = offset & !(PAGE - 1);
        let done = self.begin(data.len() as u32) as usize;
        for (i, byte) in data.iter().take(done).enumerate() {
            self.contents[(page + (offset + i as u32) % PAGE) as usize] &= byte;
        }
        self.programs += 1;
        self.changed = Some(Operation::Program {
            offset: page,
            length: PAGE,
        });
        self.waited(self.times.page_program)
    }

    /// Chip select goes low: a command starts.
    pub(crate) fn select(&mut self) {
        self.position = 0;
        self.page.clear();
    }

    /// One byte in, one byte out, while chip select is low (W25Q16JV datasheet, section 8.1).
    pub(crate) fn transfer(&mut self, byte: u8, nanos: u64) -> u8 {
        let position = self.position;
        self.position += 1;
        if position == 0 {
            self.opcode = byte;
            self.address = 0;
            return 0xff;
        }
        if (1..=3).contains(&position) {
            self.address = self.address << 8 | u32::from(byte);
        }
        let busy = self.is_busy(nanos);
        match self.opcode {
            0x05 => self.status[0] | u8::from(self.write_enabled) << 1 | u8::from(busy),
            0x35 => self.status[1],
            0x15 => self.status[2],
            0x01 | 0x31 | 0x11 => {
                self.page.push(byte);
                0xff
            }
            _ if busy => 0xff,
            0x9f => *JEDEC_ID.get(position - 1).unwrap_or(&0),
            0x4b if position >= 5 => self.unique_id[(position - 5) % 8],
            0x90 if position >= 4 => [JEDEC_ID[0], 0x14][position % 2],
            0xab if position >= 4 => 0x14,
            0x03 if position >= 4 => self.contents[self.wrap(position - 4)],
            0x0b if position >= 5 => self.contents[self.wrap(position - 5)],
            0x02 if position >= 4 => {
                // more than a page wraps: the last 256 bytes count
                if self.page.len() == PAGE as usize {
                    self.page.remove(0);
                    self.address = self.address & !(PAGE - 1) | ((self.address + 1) % PAGE);
                }
                self.page.push(byte);
                0xff
            }
            _ => 0xff,
        }
    }

    fn wrap(&self, position: usize) -> usize {
        (self.address as usize + position) & (self.contents.len() - 1)
    }

    /// Chip select goes high: commands that write begin now.
    pub(crate) fn deselect(&mut self, nanos: u64) {
        if self.position == 0 || self.is_busy(nanos) {
            return;
        }
        let enabled = self.write_enabled;
        let complete = self.position == 4;
        let duration = match self.opcode {
            0x06 => {
                self.write_enabled = true;
                0
            }
            0x04 => {
                self.write_enabled = false;
                0
            }
            0x20 if enabled && complete => self.erase(self.address, SECTOR),
            0x52 if enabled && complete => self.erase(self.address, 0x8000),
            0xd8 if enabled && complete => self.erase(self.address, 0x1_0000),
            0x02 if enabled && !self.page.is_empty() => {
                let page = std::mem::take(&mut self.page);
                let duration = self.program(self.address, &page);
                self.page = page;
                duration
            }
            0x01 | 0x31 | 0x11 if enabled && !self.page.is_empty() => {
                let first = match self.opcode {
                    0x01 => 0,
                    0x31 => 1,
                    _ => 2,
                };
                for (register, value) in self.status[first..].iter_mut().zip(&self.page) {
                    *register = *value & !3 | if first == 0 { 0 } else { *value & 3 };
                }
                if first == 0 && self.page.len() > 1 {
                    self.status[1] = self.page[1];
                }
                self.times.status_write
            }
            _ => 0,
        };
        if duration > 0 {
            self.busy_until = nanos + duration;
            self.write_enabled = false;
        }
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(flash: &mut Flash, nanos: u64, bytes: &[u8]) -> Vec<u8> {
        flash.select();
        let answer = bytes.iter().map(|&byte| flash.transfer(byte, nanos)).collect();
        flash.deselect(nanos);
        answer
    }

    fn flash() -> Flash {
        Flash::new(0x20_0000, *b"picolet!")
    }

    #[test]
    fn says_who_it_is() {
        let mut flash = flash();
        assert_eq!(send(&mut flash, 0, &[0x9f, 0, 0, 0])[1..], [0xef, 0x40, 0x15]);
        assert_eq!(
            send(&mut flash, 0, &[0x4b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])[5..],
            *b"picolet!"
        );
    }

    #[test]
    fn programs_only_after_write_enable_and_only_to_zero() {
        let mut flash = flash();
        send(&mut flash, 0, &[0x02, 0, 1, 0, 0x0f]);
        assert_eq!(flash.bytes()[0x100], 0xff);
        send(&mut flash, 0, &[0x06]);
        assert_eq!(send(&mut flash, 0, &[0x05, 0])[1], 2);
        send(&mut flash, 0, &[0x02, 0, 1, 0, 0x0f]);
        assert_eq!(flash.bytes()[0x100], 0x0f);
        assert_eq!(send(&mut flash, 399_999, &[0x05, 0])[1], 1, "busy");
        assert_eq!(
            send(&mut flash, 400_000, &[0x05, 0])[1],
            0,
            "done, and write enable gone"
        );
        send(&mut flash, 400_000, &[0x06]);
        send(&mut flash, 400_000, &[0x02, 0, 1, 0, 0xf1]);
        assert_eq!(flash.bytes()[0x100], 0x01);
        assert_eq!((flash.programs, flash.erases), (2, 0));
    }

    #[test]
    fn a_page_wraps() {
        let mut flash = flash();
        send(&mut flash, 0, &[0x06]);
        send(&mut flash, 0, &[0x02, 0, 0, 0xfe, 1, 2, 3, 4]);
        assert_eq!(flash.bytes()[0xfe..0x100], [1, 2]);
        assert_eq!(flash.bytes()[..2], [3, 4]);
        let mut long = vec![0x02, 0, 2, 0];
        long.extend((0..300_u32).map(|i| i as u8));
        send(&mut flash, 1_000_000, &[0x06]);
        send(&mut flash, 1_000_000, &long);
        assert_eq!(
            flash.bytes()[0x200..0x230],
            (0..=255).map(|i: u8| i).collect::<Vec<_>>()[..0x30]
        );
    }

    #[test]
    fn erases_sectors_and_counts_wear() {
        let mut flash = flash();
        flash.bytes_mut().fill(0);
        send(&mut flash, 0, &[0x06]);
        send(&mut flash, 0, &[0x20, 0, 0x12, 0x34]);
        assert!(flash.bytes()[0x1000..0x2000].iter().all(|&byte| byte == 0xff));
        assert_eq!((flash.bytes()[0xfff], flash.bytes()[0x2000]), (0, 0));
        assert_eq!(flash.wear()[1], 1);
        assert_eq!(flash.busy_until, 45_000_000);
    }

    #[test]
    fn power_goes_in_the_middle_of_an_operation() {
        let mut flash = flash();
        flash.bytes_mut().fill(0);
        flash.cut = Some(Cut {
            operation: 1,
            fraction: 128,
        });
        flash.erase(0, SECTOR);
        assert!(flash.power_lost);
        assert_eq!((flash.bytes()[2047], flash.bytes()[2048]), (0xff, 0));
        flash.program(0, &[1]);
        assert_eq!(flash.bytes()[0], 0xff, "nothing happens without power");

        send(&mut flash, 0, &[0x06]);
        flash.busy_until = 45_000_000;
        flash.power_cycle();
        assert_eq!(
            send(&mut flash, 0, &[0x05, 0])[1],
            0,
            "it does nothing, and may not write"
        );
    }
}
