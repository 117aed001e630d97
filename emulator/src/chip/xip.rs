//! Execute in place: the cache between the bus and the flash, and the SSI that talks to it (RP2040 datasheet,
//! sections 2.6.3 and 4.10).
//!
//! The cache keeps tags only: what it would hold is what the flash holds, as long as the firmware flushes it after it
//! wrote. Firmware that forgets to is not caught.

use super::Write;
use super::flash::Flash;

/// Sets of two ways, lines of eight bytes: 16 KiB.
const SETS: usize = 1024;
/// Cycles from the last bit of a line to the processor going on. An estimate: no figure is published.
const FILL_OVERHEAD: u64 = 4;

/// The cache.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    /// Line numbers, the more recently used way first.
    tags: Box<[[u32; 2]; SETS]>,
    control: u32,
    accesses: u64,
    /// Misses since power-on.
    pub misses: u64,
    /// What the two had come to when the counters of accesses and of hits were last cleared.
    accesses_cleared: u64,
    hits_cleared: u64,
    /// Cycles that a miss costs, from how the SSI is set up.
    miss_cycles: u64,
    /// The cache's memory, when it is switched off and used as SRAM.
    pub sram: Box<[u8; 0x4000]>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            tags: Box::new([[u32::MAX; 2]; SETS]),
            control: 3,
            accesses: 0,
            misses: 0,
            accesses_cleared: 0,
            hits_cleared: 0,
            miss_cycles: 0,
            sram: vec![0; 0x4000].try_into().expect("the size asked for"),
        }
    }

    /// Reset leaves what is counted for the emulator's user.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            misses: self.misses,
            accesses: self.misses,
            accesses_cleared: self.misses,
            ..Self::new()
        };
    }

    /// An access to a line through the caching alias: how many cycles it takes more than a hit.
    #[inline(always)]
    pub(crate) fn access(&mut self, line: u32) -> u64 {
        self.accesses += 1;
        let set = &mut self.tags[line as usize % SETS];
        if set[0] == line {
            return 0;
        }
        if set[1] == line {
            set.swap(0, 1);
            return 0;
        }
        self.miss(line)
    }

    #[inline(never)]
    fn miss(&mut self, line: u32) -> u64 {
        if self.control & 1 != 0 {
            let set = &mut self.tags[line as usize % SETS];
            *set = [line, set[0]];
        }
        self.misses += 1;
        self.miss_cycles
    }

    /// An access through another alias: bit 24 of the address does not allocate, bit 25 does not look.
    pub(crate) fn access_alias(&mut self, address: u32) -> u64 {
        let line = (address & 0xff_ffff) >> 3;
        let set = &mut self.tags[line as usize % SETS];
        let hit = address & 1 << 25 == 0 && set.contains(&line);
        self.accesses += 1;
        if hit {
            return 0;
        }
        if address & 1 << 24 == 0 && self.control & 1 != 0 && !set.contains(&line) {
            *set = [line, set[0]];
        }
        self.misses += 1;
        self.miss_cycles
    }

    /// The counter of accesses: it stays at its highest value.
    fn accesses(&self) -> u32 {
        u32::try_from(self.accesses - self.accesses_cleared).unwrap_or(u32::MAX)
    }

    /// The counter of hits.
    fn hits(&self) -> u32 {
        u32::try_from(self.accesses - self.misses - self.hits_cleared).unwrap_or(u32::MAX)
    }

    pub(crate) fn flush(&mut self) {
        self.tags.fill([u32::MAX; 2]);
    }

    /// Whether the cache's memory can be used as SRAM at 0x15000000.
    pub(crate) fn is_sram(&self) -> bool {
        self.control & 1 == 0
    }

    pub(crate) fn set_miss_cycles(&mut self, cycles: u64) {
        self.miss_cycles = cycles + FILL_OVERHEAD;
    }

    /// XIP_CTRL (section 2.6.3.6). `None` for what is not modelled.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.control,
            // FLUSH reads as zero once it is done: it is done at once
            0x04 => 0,
            // STAT: the FIFO of the streaming interface is empty, the flush is done
            0x08 => 3,
            0x0c => self.hits(),
            0x10 => self.accesses(),
            // the streaming interface, idle
            0x14 | 0x18 => 0,
            _ => return None,
        })
    }

    /// Writes a register of XIP_CTRL. `false` for what is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00 => self.control = write.onto(self.control) & 0xb,
            0x04 => self.flush(),
            0x0c => self.hits_cleared = self.accesses - self.misses,
            0x10 => self.accesses_cleared = self.accesses,
            0x14 => {}
            // a stream of no words is a stream that is stopped
            0x18 => return write.bits() == 0,
            _ => return false,
        }
        true
    }
}

/// The synchronous serial interface to the flash.
#[derive(Debug, Clone)]
pub(crate) struct Ssi {
    control0: u32,
    control1: u32,
    enabled: bool,
    slave_enable: u32,
    divider: u32,
    sample_delay: u32,
    spi_control: u32,
    drive_edge: u32,
    /// Words that the firmware put into the transmit FIFO and that are not sent yet.
    transmit: Vec<u32>,
    receive: std::collections::VecDeque<u32>,
    /// Chip select as IO_QSPI overrides it.
    forced_low: Option<bool>,
}

/// CTRLR0.TMOD.
#[derive(PartialEq, Eq)]
enum Transfer {
    Both,
    TransmitOnly,
    ReceiveOnly,
    EepromRead,
}

impl Ssi {
    pub(crate) fn new() -> Self {
        Self {
            control0: 0,
            control1: 0,
            enabled: false,
            slave_enable: 0,
            divider: 0,
            sample_delay: 0,
            spi_control: 0x0300_0000,
            drive_edge: 0,
            transmit: Vec::with_capacity(16),
            receive: std::collections::VecDeque::with_capacity(16),
            forced_low: None,
        }
    }

    fn transfer_mode(&self) -> Transfer {
        match self.control0 >> 8 & 3 {
            0 => Transfer::Both,
            1 => Transfer::TransmitOnly,
            2 => Transfer::ReceiveOnly,
            _ => Transfer::EepromRead,
        }
    }

    /// Whether the flash can be read through its window.
    pub(crate) fn is_mapped(&self) -> bool {
        self.enabled && self.transfer_mode() == Transfer::EepromRead && self.forced_low.is_none()
    }

    /// Cycles of clk_sys to read a cache line, from command, address, mode and dummy bits (section 4.10.6).
    pub(crate) fn line_cycles(&self) -> u64 {
        let lanes = match self.control0 >> 21 & 3 {
            0 => 1,
            1 => 2,
            _ => 4_u32,
        };
        let instruction = [0, 4, 8, 16][(self.spi_control >> 8 & 3) as usize];
        let address = (self.spi_control >> 2 & 15) * 4;
        let wait = self.spi_control >> 11 & 31;
        let kind = self.spi_control & 3;
        let (instruction, address) = match (lanes, kind) {
            // standard SPI: command and address are pushed as frames of one lane
            (1, _) => (8, 24),
            (_, 0) => (instruction, address),
            (_, 1) => (instruction, address / lanes),
            _ => (instruction / lanes, address / lanes),
        };
        let clocks = instruction + address + wait + 64 / lanes;
        u64::from(clocks) * u64::from(self.divider.max(2))
    }

    /// As the boot ROM leaves it for commands: eight bits, both directions, one lane.
    pub(crate) fn set_up_for_commands(&mut self) {
        *self = Self {
            control0: 7 << 16,
            enabled: true,
            slave_enable: 1,
            divider: 6,
            forced_low: self.forced_low,
            ..Self::new()
        };
    }

    /// As the boot ROM leaves it for slow reads with command 03h.
    pub(crate) fn set_up_for_reads(&mut self) {
        *self = Self {
            control0: 31 << 16 | 3 << 8,
            enabled: true,
            slave_enable: 1,
            divider: 6,
            spi_control: 0x0300_0000 | 2 << 8 | 6 << 2,
            ..Self::new()
        };
    }

    /// IO_QSPI drives chip select by itself (`Some(low)`), or leaves it to the SSI.
    pub(crate) fn force_select(&mut self, forced_low: Option<bool>, flash: &mut Flash, nanos: u64) {
        if forced_low == self.forced_low {
            return;
        }
        self.run(flash, nanos);
        let was_low = self.forced_low == Some(true);
        self.forced_low = forced_low;
        match (was_low, forced_low == Some(true)) {
            (false, true) => flash.select(),
            (true, false) => flash.deselect(nanos),
            _ => {}
        }
    }

    /// Sends what waits in the transmit FIFO. With chip select left to the SSI that is one command: it is low for as
    /// long as the FIFO is not empty, and firmware fills it faster than the wire empties it.
    fn run(&mut self, flash: &mut Flash, nanos: u64) {
        if self.transmit.is_empty() || !self.enabled {
            return;
        }
        let words = std::mem::take(&mut self.transmit);
        let quad = self.control0 >> 21 & 3 != 0;
        match self.transfer_mode() {
            // the dummy read that puts the flash into continuous read mode: its answer is of no interest
            Transfer::EepromRead if quad => {
                for _ in 0..=self.control1 & 0xffff {
                    self.receive.push_back(0);
                }
            }
            mode => {
                let own_select = self.forced_low.is_none();
                if own_select {
                    flash.select();
                }
                for word in &words {
                    let answer = flash.transfer(*word as u8, nanos);
                    if mode == Transfer::Both {
                        self.receive.push_back(u32::from(answer));
                    }
                }
                if mode == Transfer::EepromRead {
                    for _ in 0..=self.control1 & 0xffff {
                        let answer = flash.transfer(0, nanos);
                        self.receive.push_back(u32::from(answer));
                    }
                }
                if own_select {
                    flash.deselect(nanos);
                }
            }
        }
        self.transmit = words;
        self.transmit.clear();
    }

    /// Reads a register (section 4.10.13). `None` for what is not modelled.
    pub(crate) fn read(&mut self, offset: u32, flash: &mut Flash, nanos: u64) -> Option<u32> {
        Some(match offset {
            0x00 => self.control0,
            0x04 => self.control1,
            0x08 => u32::from(self.enabled),
            0x10 => self.slave_enable,
            0x14 => self.divider,
            0x18 | 0x1c | 0x2c | 0x30 | 0x34 | 0x38 | 0x3c | 0x40 | 0x44 | 0x48 | 0x4c => 0,
            0x20 => 0,
            0x24 => {
                self.run(flash, nanos);
                self.receive.len() as u32
            }
            // SR: transmit FIFO empty and not full, receive FIFO not empty
            0x28 => {
                self.run(flash, nanos);
                6 | u32::from(!self.receive.is_empty()) << 3
            }
            0x58 => 0x5153_5049,
            0x5c => 0x3430_312a,
            0x60..=0xec => {
                self.run(flash, nanos);
                self.receive.pop_front().unwrap_or(0)
            }
            0xf0 => self.sample_delay,
            0xf4 => self.spi_control,
            0xf8 => self.drive_edge,
            _ => return None,
        })
    }

    /// Writes a register. `false` for what is not modelled.
    pub(crate) fn write(&mut self, offset: u32, value: u32, flash: &mut Flash, nanos: u64) -> bool {
        match offset {
            0x00 => self.control0 = value,
            0x04 => self.control1 = value,
            0x08 => {
                self.run(flash, nanos);
                self.enabled = value & 1 != 0;
                if !self.enabled {
                    self.receive.clear();
                    self.transmit.clear();
                }
            }
            0x10 => self.slave_enable = value,
            0x14 => self.divider = value & 0xffff,
            // interrupt thresholds and masks: nothing of the chip uses them
            0x18 | 0x1c | 0x2c => {}
            0x60..=0xec => {
                if self.enabled {
                    self.transmit.push(value);
                    if self.forced_low == Some(true) || self.transmit.len() >= 16 {
                        self.run(flash, nanos);
                    }
                }
            }
            0xf0 => self.sample_delay = value,
            0xf4 => self.spi_control = value,
            0xf8 => self.drive_edge = value,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_two_lines_of_a_set() {
        let mut cache = Cache::new();
        cache.set_miss_cycles(56);
        let cost = [0, 1024, 0, 2048, 1024, 0].map(|line| cache.access(line));
        assert_eq!(cost, [60, 60, 0, 60, 60, 60], "least recently used goes");
        assert_eq!((cache.accesses(), cache.hits(), cache.misses), (6, 1, 5));
    }

    #[test]
    fn a_line_costs_what_the_second_stage_set_up() {
        let mut ssi = Ssi::new();
        let mut flash = Flash::new(0x1000, [0; 8]);
        // as for a W25Q080: quad, continuous read, 32 bits of address and mode, 4 dummy clocks, divided by two
        for (offset, value) in [
            (0x14, 2),
            (0x00, 2 << 21 | 31 << 16 | 3 << 8),
            (0xf4, 0xa0 << 24 | 4 << 11 | 8 << 2 | 2),
        ] {
            assert!(ssi.write(offset, value, &mut flash, 0));
        }
        assert_eq!(ssi.line_cycles(), (8 + 4 + 16) * 2);
        assert!(!ssi.is_mapped());
        ssi.write(0x08, 1, &mut flash, 0);
        assert!(ssi.is_mapped());
    }

    #[test]
    fn what_is_in_the_fifo_is_one_command() {
        let mut ssi = Ssi::new();
        let mut flash = Flash::new(0x1000, [0; 8]);
        ssi.set_up_for_commands();
        for byte in [0x9f, 0, 0, 0] {
            ssi.write(0x60, byte, &mut flash, 0);
        }
        assert_eq!(ssi.read(0x24, &mut flash, 0), Some(4));
        let id: Vec<_> = (0..4).map(|_| ssi.read(0x60, &mut flash, 0).unwrap()).collect();
        assert_eq!(id, [0xff, 0xef, 0x40, 0x15]);
    }
}
