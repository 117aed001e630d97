//! The PL022 serial ports (RP2040 datasheet, section 4.4), far enough for a loop-back: nothing is wired to their pins.

use std::collections::VecDeque;

use super::Write;

const FIFO_DEPTH: usize = 8;

/// One port.
#[derive(Debug, Clone)]
pub(crate) struct Spi {
    control: [u32; 2],
    prescale: u32,
    mask: u32,
    raw: u32,
    dma: u32,
    transmit: VecDeque<u16>,
    receive: VecDeque<u16>,
    /// The frame on the wire and when it ends.
    shifting: Option<(u16, u64)>,
    timeout_at: u64,
    /// Cycles of clk_sys for one of clk_peri, in 1/65536.
    ratio: u64,
}

mod interrupt {
    pub(super) const OVERRUN: u32 = 1;
    pub(super) const TIMEOUT: u32 = 2;
    pub(super) const RECEIVE: u32 = 4;
    pub(super) const TRANSMIT: u32 = 8;
}

impl Spi {
    pub(crate) fn new() -> Self {
        Self {
            control: [0; 2],
            prescale: 0,
            mask: 0,
            raw: 0,
            dma: 0,
            transmit: VecDeque::with_capacity(FIFO_DEPTH),
            receive: VecDeque::with_capacity(FIFO_DEPTH),
            shifting: None,
            timeout_at: u64::MAX,
            ratio: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self {
            ratio: self.ratio,
            ..Self::new()
        };
    }

    pub(crate) fn set_clocks(&mut self, sys_hz: u64, peripheral_hz: u64) {
        self.ratio = (sys_hz << 16).checked_div(peripheral_hz).unwrap_or(0);
    }

    fn bit_cycles(&self) -> u64 {
        let divider = u64::from(self.prescale.max(2)) * (u64::from(self.control[0] >> 8 & 0xff) + 1);
        ((divider * self.ratio) >> 16).max(1)
    }

    fn start(&mut self, now: u64) {
        if self.shifting.is_none()
            && self.control[1] & 2 != 0
            && self.ratio != 0
            && let Some(frame) = self.transmit.pop_front()
        {
            let bits = u64::from(self.control[0] & 15) + 1;
            self.shifting = Some((frame, now + bits * self.bit_cycles()));
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.shifting
            .map_or(u64::MAX, |(_, until)| until)
            .min(self.timeout_at)
    }

    pub(crate) fn advance(&mut self, now: u64) {
        while let Some((frame, until)) = self.shifting
            && until <= now
        {
            self.shifting = None;
            let mask = u16::MAX >> (15 - (self.control[0] & 15));
            // nothing drives the input but the loop-back
            let received = if self.control[1] & 1 != 0 { frame & mask } else { 0 };
            if self.receive.len() < FIFO_DEPTH {
                self.receive.push_back(received);
            } else {
                self.raw |= interrupt::OVERRUN;
            }
            self.timeout_at = until + 32 * self.bit_cycles();
            self.start(until);
        }
        if self.timeout_at <= now {
            self.timeout_at = u64::MAX;
            if !self.receive.is_empty() {
                self.raw |= interrupt::TIMEOUT;
            }
        }
    }

    fn status(&self) -> u32 {
        let half = FIFO_DEPTH / 2;
        self.raw
            | if self.receive.len() >= half {
                interrupt::RECEIVE
            } else {
                0
            }
            | if self.transmit.len() <= half {
                interrupt::TRANSMIT
            } else {
                0
            }
    }

    pub(crate) fn interrupt(&self) -> bool {
        self.status() & self.mask != 0
    }

    pub(crate) fn wants_data(&self) -> bool {
        self.dma & 2 != 0 && self.transmit.len() < FIFO_DEPTH
    }

    pub(crate) fn has_data(&self) -> bool {
        self.dma & 1 != 0 && !self.receive.is_empty()
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        Some(match offset {
            0x00 | 0x04 => self.control[offset as usize / 4],
            0x08 => u32::from(self.receive.pop_front().unwrap_or(0)),
            0x0c => {
                u32::from(self.transmit.is_empty())
                    | u32::from(self.transmit.len() < FIFO_DEPTH) << 1
                    | u32::from(!self.receive.is_empty()) << 2
                    | u32::from(self.receive.len() >= FIFO_DEPTH) << 3
                    | u32::from(self.shifting.is_some() || !self.transmit.is_empty()) << 4
            }
            0x10 => self.prescale,
            0x14 => self.mask,
            0x18 => self.status(),
            0x1c => self.status() & self.mask,
            0x24 => self.dma,
            0xfe0..=0xffc => [0x22, 0x10, 0x34, 0, 0x0d, 0xf0, 0x05, 0xb1][(offset as usize - 0xfe0) / 4],
            _ => return None,
        })
    }

    /// Writes a register. Acting as a slave is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00 => self.control[0] = write.onto(self.control[0]) & 0xffff,
            0x04 => {
                self.control[1] = write.onto(self.control[1]) & 15;
                self.start(now);
                return self.control[1] & 0b110 != 0b110;
            }
            0x08 => {
                if self.transmit.len() < FIFO_DEPTH {
                    self.transmit.push_back(write.bits() as u16);
                }
                self.start(now);
            }
            0x10 => self.prescale = write.onto(self.prescale) & 0xfe,
            0x14 => self.mask = write.onto(self.mask) & 15,
            0x20 => self.raw &= !write.bits(),
            0x24 => self.dma = write.onto(self.dma) & 3,
            0x0c | 0x18 | 0x1c => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_frames_back_at_their_speed() {
        let mut spi = Spi::new();
        spi.set_clocks(125_000_000, 125_000_000);
        // eight bits, divided by 2 * 5, loop-back
        for (offset, value) in [(0x00, 4 << 8 | 7), (0x10, 2), (0x04, 3)] {
            assert!(spi.write(offset, Write::plain(value), 0));
        }
        for byte in 1..=3 {
            spi.write(0x08, Write::plain(byte), 0);
        }
        assert_eq!(spi.next_event(), 80);
        spi.advance(240);
        assert_eq!(spi.read(0x0c, 240), Some(7));
        assert_eq!([0; 4].map(|_| spi.read(0x08, 240).unwrap()), [1, 2, 3, 0]);
    }
}
