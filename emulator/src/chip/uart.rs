//! The PL011 UARTs (RP2040 datasheet, section 4.2).
//!
//! Bytes leave and arrive at the speed that the divisors give; the wire itself is not drawn on the pins.

use std::collections::VecDeque;

use super::Write;

const FIFO_DEPTH: usize = 32;

mod interrupt {
    pub(super) const RECEIVE: u32 = 1 << 4;
    pub(super) const TRANSMIT: u32 = 1 << 5;
    pub(super) const RECEIVE_TIMEOUT: u32 = 1 << 6;
    pub(super) const BREAK: u32 = 1 << 9;
    pub(super) const OVERRUN: u32 = 1 << 10;
}

/// One UART.
#[derive(Debug, Clone)]
pub(crate) struct Uart {
    transmit: VecDeque<u8>,
    /// The byte on the wire, and when its stop bit ends.
    sending: Option<(u8, u64)>,
    receive: VecDeque<u16>,
    /// Bytes that the host typed and that are not on the wire yet.
    input: VecDeque<u8>,
    /// When the byte from the host that is on the wire ends.
    receiving_until: u64,
    /// When silence on the wire becomes an interrupt.
    timeout_at: u64,
    /// Bytes that were sent, for the host.
    pub output: Vec<u8>,
    integer_divisor: u32,
    fractional_divisor: u32,
    /// The divisors act when the line control register is written.
    latched_divisor: u64,
    line_control: u32,
    control: u32,
    levels: u32,
    mask: u32,
    raw: u32,
    dma: u32,
    /// Cycles of clk_sys for one of clk_peri, in 1/65536.
    peripheral_ratio: u64,
}

impl Uart {
    pub(crate) fn new() -> Self {
        Self {
            transmit: VecDeque::with_capacity(FIFO_DEPTH),
            sending: None,
            receive: VecDeque::with_capacity(FIFO_DEPTH),
            input: VecDeque::new(),
            receiving_until: 0,
            timeout_at: u64::MAX,
            output: Vec::new(),
            integer_divisor: 0,
            fractional_divisor: 0,
            latched_divisor: 0,
            line_control: 0,
            control: 0x300,
            levels: 0x12,
            mask: 0,
            raw: 0,
            dma: 0,
            peripheral_ratio: 0,
        }
    }

    /// What a reset leaves: the host's side.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            input: std::mem::take(&mut self.input),
            output: std::mem::take(&mut self.output),
            peripheral_ratio: self.peripheral_ratio,
            ..Self::new()
        };
    }

    pub(crate) fn set_clocks(&mut self, sys_hz: u64, peripheral_hz: u64) {
        self.peripheral_ratio = (sys_hz << 16).checked_div(peripheral_hz).unwrap_or(0);
    }

    fn depth(&self) -> usize {
        if self.line_control & 1 << 4 != 0 {
            FIFO_DEPTH
        } else {
            1
        }
    }

    /// Cycles of clk_sys for one frame; `None` if nothing moves.
    fn frame_cycles(&self) -> Option<u64> {
        let bits = 1 // start
            + u64::from(self.line_control >> 5 & 3) + 5
            + u64::from(self.line_control >> 1 & 1) // parity
            + 1 + u64::from(self.line_control >> 3 & 1); // stop
        // a bit is 16 times the divisor, which has six bits of fraction
        let peripheral = bits * 16 * self.latched_divisor;
        let cycles = (u128::from(peripheral) * u128::from(self.peripheral_ratio)) >> (6 + 16);
        (cycles > 0).then_some(cycles as u64)
    }

    /// The host types.
    pub(crate) fn feed(&mut self, bytes: &[u8], now: u64) {
        if self.input.is_empty() && self.receiving_until < now {
            self.receiving_until = now + self.frame_cycles().unwrap_or(1);
        }
        self.input.extend(bytes);
    }

    fn is_enabled(&self, direction: u32) -> bool {
        self.control & 1 != 0 && self.control & direction != 0
    }

    fn start(&mut self, now: u64) {
        if self.sending.is_none()
            && self.is_enabled(1 << 8)
            && let Some(cycles) = self.frame_cycles()
            && let Some(byte) = self.transmit.pop_front()
        {
            self.sending = Some((byte, now + cycles));
            let threshold = [4, 8, 16, 24, 28][(self.levels as usize & 7).min(4)];
            if self.transmit.len() <= if self.depth() == 1 { 0 } else { threshold } {
                self.raw |= interrupt::TRANSMIT;
            }
        }
    }

    fn arrive(&mut self, byte: u8, now: u64) {
        if self.receive.len() >= self.depth() {
            self.raw |= interrupt::OVERRUN;
            if let Some(last) = self.receive.back_mut() {
                *last |= 1 << 11;
            }
            return;
        }
        self.receive.push_back(u16::from(byte));
        let threshold = [4, 8, 16, 24, 28][(self.levels as usize >> 3 & 7).min(4)];
        if self.receive.len() >= if self.depth() == 1 { 1 } else { threshold } {
            self.raw |= interrupt::RECEIVE;
        }
        // 32 bit periods of silence
        self.timeout_at = now + self.frame_cycles().unwrap_or(0) * 32 / 10;
    }

    pub(crate) fn next_event(&self) -> u64 {
        let sent = self.sending.map_or(u64::MAX, |(_, until)| until);
        let arrives = if self.input.is_empty() || !self.is_enabled(1 << 9) {
            u64::MAX
        } else {
            self.receiving_until
        };
        sent.min(arrives).min(self.timeout_at)
    }

    /// Moves the bytes that are due.
    pub(crate) fn advance(&mut self, now: u64) {
        while let Some((byte, until)) = self.sending
            && until <= now
        {
            self.sending = None;
            if self.control & 1 << 7 != 0 {
                self.arrive(byte, until);
            } else {
                self.output.push(byte);
            }
            self.start(until);
        }
        while self.is_enabled(1 << 9)
            && self.receiving_until <= now
            && let Some(byte) = self.input.pop_front()
        {
            self.arrive(byte, self.receiving_until);
            self.receiving_until += self.frame_cycles().unwrap_or(1);
        }
        if self.timeout_at <= now {
            self.timeout_at = u64::MAX;
            if !self.receive.is_empty() {
                self.raw |= interrupt::RECEIVE_TIMEOUT;
            }
        }
    }

    pub(crate) fn interrupt(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// DREQ of transmission: there is room, and the firmware wants DMA.
    pub(crate) fn wants_data(&self) -> bool {
        self.dma & 2 != 0 && self.transmit.len() < self.depth()
    }

    /// DREQ of reception.
    pub(crate) fn has_data(&self) -> bool {
        self.dma & 1 != 0 && !self.receive.is_empty()
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        Some(match offset {
            0x00 => {
                let data = self.receive.pop_front().unwrap_or(0);
                let threshold = [4, 8, 16, 24, 28][(self.levels as usize >> 3 & 7).min(4)];
                if self.receive.len() < if self.depth() == 1 { 1 } else { threshold } {
                    self.raw &= !interrupt::RECEIVE;
                }
                if self.receive.is_empty() {
                    self.raw &= !interrupt::RECEIVE_TIMEOUT;
                }
                u32::from(data)
            }
            0x04 => 0,
            0x18 => {
                let (transmit, receive) = (self.transmit.len(), self.receive.len());
                u32::from(self.sending.is_some() || transmit > 0) << 3
                    | u32::from(receive == 0) << 4
                    | u32::from(transmit >= self.depth()) << 5
                    | u32::from(receive >= self.depth()) << 6
                    | u32::from(transmit == 0) << 7
            }
            0x20 => 0,
            0x24 => self.integer_divisor,
            0x28 => self.fractional_divisor,
            0x2c => self.line_control,
            0x30 => self.control,
            0x34 => self.levels,
            0x38 => self.mask,
            0x3c => self.raw,
            0x40 => self.raw & self.mask,
            0x48 => self.dma,
            0xfe0..=0xffc => [0x11, 0x10, 0x34, 0, 0x0d, 0xf0, 0x05, 0xb1][(offset as usize - 0xfe0) / 4],
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00 => {
                if self.transmit.len() < self.depth() {
                    self.transmit.push_back(write.bits() as u8);
                }
                if self.transmit.len() > [4, 8, 16, 24, 28][(self.levels as usize & 7).min(4)] {
                    self.raw &= !interrupt::TRANSMIT;
                }
                self.start(now);
            }
            0x04 => self.raw &= !interrupt::OVERRUN,
            0x24 => self.integer_divisor = write.onto(self.integer_divisor) & 0xffff,
            0x28 => self.fractional_divisor = write.onto(self.fractional_divisor) & 0x3f,
            0x2c => {
                let before = self.line_control;
                self.line_control = write.onto(before) & 0xff;
                self.latched_divisor = u64::from(self.integer_divisor << 6 | self.fractional_divisor);
                if before & 1 == 0 && self.line_control & 1 != 0 && self.control & 1 << 7 != 0 {
                    // a break, looped back
                    self.receive.push_back(0x700);
                    self.raw |= interrupt::BREAK;
                }
            }
            0x30 => {
                self.control = write.onto(self.control) & 0xff87;
                if self.receiving_until < now {
                    self.receiving_until = now + self.frame_cycles().unwrap_or(1);
                }
                self.start(now);
            }
            0x34 => self.levels = write.onto(self.levels) & 0x3f,
            0x38 => self.mask = write.onto(self.mask) & 0x7ff,
            0x44 => self.raw &= !write.bits(),
            0x48 => self.dma = write.onto(self.dma) & 7,
            0x20 => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 115200 baud from 125 MHz, eight bits, FIFOs on.
    fn uart() -> Uart {
        let mut uart = Uart::new();
        uart.set_clocks(125_000_000, 125_000_000);
        for (offset, value) in [(0x24, 67), (0x28, 52), (0x2c, 0x70), (0x30, 0x301)] {
            assert!(uart.write(offset, Write::plain(value), 0));
        }
        uart
    }

    #[test]
    fn a_byte_takes_ten_bit_times() {
        let mut uart = uart();
        uart.write(0, Write::plain(0x41), 0);
        uart.write(0, Write::plain(0x42), 0);
        assert_eq!(uart.next_event(), 10_850, "86.8 us");
        uart.advance(10_849);
        assert!(uart.output.is_empty());
        uart.advance(21_700);
        assert_eq!(uart.output, b"AB");
        assert_eq!(uart.read(0x18, 21_700), Some(0x90));
    }

    #[test]
    fn the_transmit_fifo_is_32_deep() {
        let mut uart = uart();
        for byte in 0..40 {
            uart.write(0, Write::plain(byte), 0);
        }
        assert_eq!(uart.read(0x18, 0).unwrap() & 0x20, 0x20, "full");
        uart.advance(1_000_000);
        assert_eq!(uart.output.len(), 33, "32 in the FIFO and one on the wire");
    }

    #[test]
    fn input_interrupts_at_its_level_and_on_silence() {
        let mut uart = uart();
        uart.write(0x34, Write::plain(0), 0);
        uart.write(0x38, Write::plain(0x50), 0);
        uart.feed(b"abcd", 100);
        uart.advance(3 * 10_850 + 100);
        assert!(!uart.interrupt());
        uart.advance(4 * 10_850 + 100);
        assert_eq!(
            uart.read(0x40, 4 * 10_850 + 100),
            Some(0x10),
            "four of 32 bytes are the lowest level"
        );
        uart.read(0, 4 * 10_850 + 100);
        assert!(!uart.interrupt());
        uart.advance(8 * 10_850);
        assert_eq!(uart.read(0x40, 8 * 10_850), Some(0x40), "silence");
    }

    #[test]
    fn loops_back() {
        let mut uart = uart();
        uart.write(0x30, Write::plain(0x381), 0);
        uart.write(0, Write::plain(0x55), 0);
        assert_eq!(uart.read(0, 10_850), Some(0x55));
        assert!(uart.output.is_empty());
    }
}
