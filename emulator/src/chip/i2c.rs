//! The DW_apb_i2c ports as masters (RP2040 datasheet, section 4.3), far enough for a loop-back.
//!
//! Devices on a bus are memories of 256 bytes, as many sensors and all small EEPROMs look, and LM75 thermometers. A line can be
//! held low, by which no transfer ends. Acting as a slave is not modelled.

use std::collections::VecDeque;

use super::Write;

const FIFO_DEPTH: usize = 16;

mod interrupt {
    pub(super) const RX_UNDER: u32 = 1;
    pub(super) const RX_OVER: u32 = 1 << 1;
    pub(super) const RX_FULL: u32 = 1 << 2;
    pub(super) const TX_OVER: u32 = 1 << 3;
    pub(super) const TX_EMPTY: u32 = 1 << 4;
    pub(super) const TX_ABORT: u32 = 1 << 6;
    pub(super) const ACTIVITY: u32 = 1 << 8;
    pub(super) const STOP: u32 = 1 << 9;
    pub(super) const START: u32 = 1 << 10;
}

/// A device on the bus.
#[derive(Debug, Clone)]
struct Device {
    address: u32,
    kind: Kind,
    pointer: u8,
    /// Bytes written since the device was addressed. The first is the pointer.
    written: u32,
    /// Bytes read since the device was addressed.
    read: u32,
}

#[derive(Debug, Clone)]
enum Kind {
    /// 256 bytes; the pointer advances with each byte.
    Memory(Box<[u8; 256]>),
    /// Its registers: temperature, configuration, hysteresis and overtemperature limit (NXP LM75A data sheet, section 7.4).
    Lm75([u16; 4]),
}

impl Device {
    fn addressed(&mut self) {
        (self.written, self.read) = (0, 0);
    }

    fn write(&mut self, byte: u8) {
        let first = self.written == 0;
        self.written += 1;
        match &mut self.kind {
            _ if first => self.pointer = byte,
            Kind::Memory(bytes) => {
                bytes[usize::from(self.pointer)] = byte;
                self.pointer = self.pointer.wrapping_add(1);
            }
            Kind::Lm75(registers) => match (self.pointer & 3, self.written) {
                (1, 2) => registers[1] = u16::from(byte) << 8,
                (register @ (2 | 3), at @ (2 | 3)) => {
                    let register = &mut registers[usize::from(register)];
                    let shift = 8 * (3 - at);
                    *register = *register & !(0xff << shift) | u16::from(byte) << shift;
                }
                _ => {}
            },
        }
    }

    fn read(&mut self) -> u8 {
        let second = self.read & 1 != 0;
        self.read = self.read.wrapping_add(1);
        match &self.kind {
            Kind::Memory(bytes) => {
                let byte = bytes[usize::from(self.pointer)];
                self.pointer = self.pointer.wrapping_add(1);
                byte
            }
            Kind::Lm75(registers) => {
                let register = registers[usize::from(self.pointer & 3)].to_be_bytes();
                // The configuration has one byte.
                register[usize::from(second && self.pointer & 3 != 1)]
            }
        }
    }
}

/// One port.
#[derive(Debug, Clone)]
pub(crate) struct I2c {
    devices: Vec<Device>,
    /// A line is held low: no command ends.
    held: bool,
    control: u32,
    target: u32,
    own: u32,
    /// SCL counts, hold and setup times, spike filters, thresholds: by offset / 4.
    plain: [u32; 64],
    mask: u32,
    raw: u32,
    abort_source: u32,
    enabled: bool,
    dma: u32,
    commands: VecDeque<u32>,
    receive: VecDeque<u8>,
    /// Between START and STOP, and whether it reads.
    transaction: Option<bool>,
    /// When the command at the head of the queue is done.
    done_at: u64,
}

impl I2c {
    pub(crate) fn new() -> Self {
        let mut plain = [0; 64];
        for (offset, value) in [
            (0x14, 0x28),
            (0x18, 0x2f),
            (0x1c, 6),
            (0x20, 0xd),
            (0x7c, 1),
            (0x94, 0x64),
            (0xa0, 7),
        ] {
            plain[offset / 4] = value;
        }
        Self {
            devices: Vec::new(),
            held: false,
            control: 0x65,
            target: 0x55,
            own: 0x55,
            plain,
            mask: 0x8ff,
            raw: 0,
            abort_source: 0,
            enabled: false,
            dma: 0,
            commands: VecDeque::with_capacity(FIFO_DEPTH),
            receive: VecDeque::with_capacity(FIFO_DEPTH),
            transaction: None,
            done_at: u64::MAX,
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self {
            devices: std::mem::take(&mut self.devices),
            held: self.held,
            ..Self::new()
        };
    }

    fn attach(&mut self, address: u8, kind: Kind) {
        let address = address.into();
        self.devices.retain(|device| device.address != address);
        self.devices.push(Device {
            address,
            kind,
            pointer: 0,
            written: 0,
            read: 0,
        });
    }

    /// Puts a memory of 256 bytes on the bus.
    pub(crate) fn attach_memory(&mut self, address: u8, bytes: [u8; 256]) {
        self.attach(address, Kind::Memory(Box::new(bytes)));
    }

    /// Puts an LM75 on the bus, or changes the temperature of the one that is there.
    pub(crate) fn attach_lm75(&mut self, address: u8, celsius: f64) {
        // Eighths of a degree in the upper 11 bits.
        let eighths = (celsius * 8.0).round().clamp(-1024.0, 1023.0) as i16;
        let temperature = (eighths << 5).cast_unsigned();
        let found = self
            .devices
            .iter_mut()
            .find(|device| device.address == u32::from(address));
        match found.map(|device| &mut device.kind) {
            Some(Kind::Lm75(registers)) => registers[0] = temperature,
            _ => self.attach(address, Kind::Lm75([temperature, 0, 75 << 8, 80 << 8])),
        }
    }

    /// Holds the clock line low, or releases it.
    pub(crate) fn hold(&mut self, held: bool, now: u64) {
        self.held = held;
        if held {
            self.done_at = u64::MAX;
        } else {
            self.start(now);
        }
    }

    /// Cycles of nine bits, from the counts of the speed that is selected.
    fn byte_cycles(&self) -> u64 {
        let (high, low) = if self.control >> 1 & 3 == 1 {
            (0x14, 0x18)
        } else {
            (0x1c, 0x20)
        };
        9 * (u64::from(self.plain[high / 4]) + u64::from(self.plain[low / 4])).max(8)
    }

    fn start(&mut self, now: u64) {
        if self.enabled
            && !self.held
            && self.done_at == u64::MAX
            && self.abort_source == 0
            && !self.commands.is_empty()
        {
            let begins = self.transaction.is_none() || self.commands[0] >> 10 & 1 != 0;
            self.done_at = now + self.byte_cycles() * if begins { 2 } else { 1 };
            self.raw |= interrupt::ACTIVITY;
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.done_at
    }

    pub(crate) fn advance(&mut self, now: u64) {
        while self.done_at <= now {
            let at = self.done_at;
            self.done_at = u64::MAX;
            let Some(command) = self.commands.pop_front() else {
                return;
            };
            self.run(command);
            self.start(at);
        }
    }

    /// One command of IC_DATA_CMD: data, read, stop, restart.
    fn run(&mut self, command: u32) {
        let read = command >> 8 & 1 != 0;
        if self.transaction != Some(read) || command >> 10 & 1 != 0 {
            self.transaction = Some(read);
            self.raw |= interrupt::START;
            let target = self.target & 0x3ff;
            match self.devices.iter_mut().find(|device| device.address == target) {
                Some(device) => device.addressed(),
                // nobody acknowledges the address: what is queued is thrown away
                None => {
                    self.abort_source = 1 | (self.commands.len() as u32) << 23;
                    self.raw |= interrupt::TX_ABORT | interrupt::STOP;
                    self.commands.clear();
                    self.transaction = None;
                    return;
                }
            }
        }
        let target = self.target & 0x3ff;
        if let Some(device) = self.devices.iter_mut().find(|device| device.address == target) {
            if !read {
                device.write(command as u8);
            } else {
                let byte = device.read();
                if self.receive.len() < FIFO_DEPTH {
                    self.receive.push_back(byte);
                } else {
                    self.raw |= interrupt::RX_OVER;
                }
            }
        }
        if command >> 9 & 1 != 0 {
            self.transaction = None;
            self.raw |= interrupt::STOP;
        }
    }

    fn status(&self) -> u32 {
        let mut status = self.raw;
        if self.receive.len() > self.plain[0x38 / 4] as usize {
            status |= interrupt::RX_FULL;
        }
        if self.enabled && self.commands.len() <= self.plain[0x3c / 4] as usize {
            status |= interrupt::TX_EMPTY;
        }
        status
    }

    pub(crate) fn interrupt(&self) -> bool {
        self.status() & self.mask != 0
    }

    pub(crate) fn wants_data(&self) -> bool {
        self.dma & 2 != 0 && self.commands.len() <= self.plain[0x8c / 4] as usize
    }

    pub(crate) fn has_data(&self) -> bool {
        self.dma & 1 != 0 && self.receive.len() > self.plain[0x90 / 4] as usize
    }

    fn clear(&mut self, bits: u32) -> u32 {
        let set = self.raw & bits != 0;
        self.raw &= !bits;
        u32::from(set)
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        Some(match offset {
            0x00 => self.control,
            0x04 => self.target,
            0x08 => self.own,
            0x10 => match self.receive.pop_front() {
                Some(byte) => u32::from(byte),
                None => {
                    self.raw |= interrupt::RX_UNDER;
                    0
                }
            },
            0x2c => self.status() & self.mask,
            0x30 => self.mask,
            0x34 => self.status(),
            0x40 => {
                self.abort_source = 0;
                self.clear(u32::MAX)
            }
            0x44 => self.clear(interrupt::RX_UNDER),
            0x48 => self.clear(interrupt::RX_OVER),
            0x4c => self.clear(interrupt::TX_OVER),
            0x54 => {
                self.abort_source = 0;
                self.clear(interrupt::TX_ABORT)
            }
            0x5c => self.clear(interrupt::ACTIVITY),
            0x60 => self.clear(interrupt::STOP),
            0x64 => self.clear(interrupt::START),
            0x50 | 0x58 | 0x68 | 0xa8 => 0,
            0x6c => u32::from(self.enabled),
            0x70 => {
                let active = u32::from(self.done_at != u64::MAX || self.transaction.is_some());
                active
                    | u32::from(self.commands.len() < FIFO_DEPTH) << 1
                    | u32::from(self.commands.is_empty()) << 2
                    | u32::from(!self.receive.is_empty()) << 3
                    | u32::from(self.receive.len() >= FIFO_DEPTH) << 4
                    | active << 5
            }
            0x74 => self.commands.len() as u32,
            0x78 => self.receive.len() as u32,
            0x80 => self.abort_source,
            0x88 => self.dma,
            0x9c => u32::from(self.enabled),
            0xf4 => 0,
            0xf8 => 0x3230_312a,
            0xfc => 0x4457_0140,
            0x14..=0x20 | 0x38 | 0x3c | 0x7c | 0x84 | 0x8c | 0x90 | 0x94 | 0x98 | 0xa0 => {
                self.plain[offset as usize / 4]
            }
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00 => self.control = write.onto(self.control) & 0x3ff,
            0x04 => self.target = write.onto(self.target) & 0xfff,
            0x08 => self.own = write.onto(self.own) & 0x3ff,
            0x10 => {
                if self.commands.len() < FIFO_DEPTH {
                    self.commands.push_back(write.bits() & 0x7ff);
                } else {
                    self.raw |= interrupt::TX_OVER;
                }
                self.start(now);
            }
            0x30 => self.mask = write.onto(self.mask) & 0x1fff,
            0x6c => {
                let enable = write.onto(self.enabled.into());
                if enable & 2 != 0 {
                    self.commands.clear();
                    self.transaction = None;
                    self.raw |= interrupt::TX_ABORT;
                    self.abort_source |= 1 << 16;
                }
                self.enabled = enable & 1 != 0;
                if !self.enabled {
                    self.commands.clear();
                    self.receive.clear();
                    self.transaction = None;
                    self.done_at = u64::MAX;
                    self.raw = 0;
                }
                // IC_CON: master, and not slave
                return !self.enabled || self.control & 0x41 == 0x41;
            }
            0x88 => self.dma = write.onto(self.dma) & 3,
            0x14..=0x20 | 0x38 | 0x3c | 0x7c | 0x84 | 0x8c | 0x90 | 0x94 | 0x98 | 0xa0 => {
                let plain = &mut self.plain[offset as usize / 4];
                *plain = write.onto(*plain) & 0xffff;
            }
            0x2c | 0x34 | 0x40..=0x68 | 0x70..=0x78 | 0x80 | 0x9c => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(i2c: &mut I2c, commands: &[u32]) {
        for &command in commands {
            i2c.write(0x10, Write::plain(command), 0);
        }
        i2c.advance(1_000_000);
    }

    #[test]
    fn writes_and_reads_a_memory() {
        let mut i2c = I2c::new();
        i2c.attach_memory(0x50, [0; 256]);
        i2c.write(0x04, Write::plain(0x50), 0);
        i2c.write(0x6c, Write::plain(1), 0);
        send(&mut i2c, &[0x10, 0xaa, 0x200 | 0xbb]);
        send(&mut i2c, &[0x10, 0x500, 0x300]);
        assert_eq!([0; 2].map(|_| i2c.read(0x10, 1_000_000).unwrap()), [0xaa, 0xbb]);
    }

    #[test]
    fn lm75_reads_its_temperature_and_keeps_its_limits() {
        let mut i2c = I2c::new();
        i2c.attach_memory(0x50, [0; 256]);
        i2c.attach_lm75(0x48, -25.125);
        i2c.write(0x04, Write::plain(0x48), 0);
        i2c.write(0x6c, Write::plain(1), 0);
        let mut register = |number: u32| {
            send(&mut i2c, &[number, 0x500, 0x300]);
            [0; 2].map(|_| i2c.read(0x10, 1_000_000).unwrap())
        };
        assert_eq!(register(0), [0xe6, 0xe0]);
        assert_eq!(register(3), [80, 0]);
        send(&mut i2c, &[3, 0x12, 0x234]);
        send(&mut i2c, &[3, 0x500, 0x300]);
        assert_eq!([0; 2].map(|_| i2c.read(0x10, 1_000_000).unwrap()), [0x12, 0x34]);
        i2c.attach_lm75(0x48, 21.5);
        send(&mut i2c, &[0, 0x500, 0x300]);
        assert_eq!([0; 2].map(|_| i2c.read(0x10, 1_000_000).unwrap()), [0x15, 0x80]);
    }

    #[test]
    fn transfer_does_not_end_while_the_clock_is_held() {
        let mut i2c = I2c::new();
        i2c.attach_memory(0x50, [0; 256]);
        i2c.write(0x04, Write::plain(0x50), 0);
        i2c.write(0x6c, Write::plain(1), 0);
        i2c.hold(true, 0);
        send(&mut i2c, &[0x10, 0x202]);
        assert_eq!((i2c.next_event(), i2c.read(0x74, 1_000_000)), (u64::MAX, Some(2)));
        i2c.hold(false, 1_000_000);
        i2c.advance(2_000_000);
        assert_eq!(i2c.read(0x74, 2_000_000), Some(0));
    }

    #[test]
    fn nobody_at_an_address_is_an_abort() {
        let mut i2c = I2c::new();
        i2c.write(0x04, Write::plain(0x51), 0);
        i2c.write(0x6c, Write::plain(1), 0);
        send(&mut i2c, &[1, 0x202]);
        assert_eq!(i2c.read(0x80, 1_000_000).unwrap() & 1, 1);
        assert!(i2c.interrupt());
        i2c.read(0x54, 1_000_000);
        assert_eq!(i2c.read(0x80, 1_000_000), Some(0));
    }
}
