//! The DMA controller (RP2040 datasheet, section 2.5): twelve channels, pacing, chaining, rings, the sniffer.
//!
//! One transfer a cycle, of the channels that are ready in turn, those of high priority first. The few cycles that a
//! transfer spends in the controller's pipeline are not modelled.

use super::Write;

pub(crate) const CHANNELS: usize = 12;

/// TREQ_SEL for a channel that is not paced.
const UNPACED: u32 = 0x3f;

mod control {
    pub(super) const ENABLED: u32 = 1;
    pub(super) const HIGH_PRIORITY: u32 = 1 << 1;
    pub(super) const INCREMENT_READ: u32 = 1 << 4;
    pub(super) const INCREMENT_WRITE: u32 = 1 << 5;
    pub(super) const RING_WRITE: u32 = 1 << 10;
    pub(super) const QUIET: u32 = 1 << 21;
    pub(super) const SWAP: u32 = 1 << 22;
    pub(super) const SNIFF: u32 = 1 << 23;
    pub(super) const BUSY: u32 = 1 << 24;
    pub(super) const WRITE_ERROR: u32 = 1 << 29;
    pub(super) const READ_ERROR: u32 = 1 << 30;
}

/// One channel.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    read: u32,
    write: u32,
    /// Transfers left.
    count: u32,
    reload: u32,
    control: u32,
    busy: bool,
}

/// One transfer that is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub channel: usize,
    pub read: u32,
    pub write: u32,
    /// 1, 2 or 4 bytes.
    pub size: u32,
    /// The DREQ that paced it.
    pub request: u32,
    swap: bool,
}

impl Transfer {
    /// The value as it is written: its bytes swapped if the channel says so.
    pub(crate) fn swapped(&self, value: u32) -> u32 {
        match (self.swap, self.size) {
            (true, 2) => u32::from((value as u16).swap_bytes()),
            (true, 4) => value.swap_bytes(),
            _ => value,
        }
    }
}

/// The controller.
#[derive(Debug, Clone)]
pub(crate) struct Dma {
    channels: [Channel; CHANNELS],
    /// One bit for each busy channel.
    busy: u32,
    raw: u32,
    enabled: [u32; 2],
    forced: [u32; 2],
    timers: [u32; 4],
    /// For each pacing timer the cycle of its next request.
    timer_due: [u64; 4],
    sniff_control: u32,
    sniff_data: u32,
    /// The channel that had the last turn.
    last: usize,
    /// The first cycle in which there can be another transfer.
    free_at: u64,
}

impl Dma {
    pub(crate) fn new() -> Self {
        let mut channels = [Channel::default(); CHANNELS];
        for (i, channel) in channels.iter_mut().enumerate() {
            channel.control = (i as u32) << 11;
        }
        Self {
            channels,
            busy: 0,
            raw: 0,
            enabled: [0; 2],
            forced: [0; 2],
            timers: [0; 4],
            timer_due: [0; 4],
            sniff_control: 0,
            sniff_data: 0,
            last: 0,
            free_at: 0,
        }
    }

    /// The DREQs that busy channels wait for, one bit each.
    pub(crate) fn wanted(&self) -> u64 {
        let mut wanted = 0;
        let mut busy = self.busy;
        while busy != 0 {
            wanted |= 1 << (self.channels[busy.trailing_zeros() as usize].control >> 15 & 0x3f);
            busy &= busy - 1;
        }
        wanted
    }

    /// The cycle of the next transfer, if any channel is ready. `requests` answers whether a DREQ is up.
    #[inline(always)]
    pub(crate) fn next_event(&self, now: u64, requests: impl Fn(u32) -> bool) -> u64 {
        if self.busy == 0 {
            return u64::MAX;
        }
        let mut next = u64::MAX;
        let mut busy = self.busy;
        while busy != 0 {
            let channel = &self.channels[busy.trailing_zeros() as usize];
            busy &= busy - 1;
            match channel.control >> 15 & 0x3f {
                UNPACED => return self.free_at.max(now),
                timer @ 0x3b..=0x3e => next = next.min(self.timer_due[timer as usize - 0x3b].max(now)),
                request if requests(request) => return self.free_at.max(now),
                _ => {}
            }
        }
        next.max(self.free_at)
    }

    /// The transfer of this cycle.
    pub(crate) fn take(&mut self, now: u64, requests: impl Fn(u32) -> bool) -> Option<Transfer> {
        let ready = |channel: &Channel| {
            channel.busy
                && match channel.control >> 15 & 0x3f {
                    UNPACED => true,
                    timer @ 0x3b..=0x3e => self.timer_due[timer as usize - 0x3b] <= now,
                    request => requests(request),
                }
        };
        let mut chosen = None;
        for step in 1..=CHANNELS {
            let i = (self.last + step) % CHANNELS;
            let channel = &self.channels[i];
            if ready(channel) {
                if channel.control & control::HIGH_PRIORITY != 0 {
                    chosen = Some(i);
                    break;
                }
                chosen = chosen.or(Some(i));
            }
        }
        let i = chosen?;
        self.last = i;
        self.free_at = now + 1;
        let channel = &self.channels[i];
        if let timer @ 0x3b..=0x3e = channel.control >> 15 & 0x3f {
            let timer = timer as usize - 0x3b;
            self.timer_due[timer] = now + self.timer_period(timer);
        }
        Some(Transfer {
            channel: i,
            read: channel.read,
            write: channel.write,
            size: 1 << (channel.control >> 2 & 3).min(2),
            request: channel.control >> 15 & 0x3f,
            swap: channel.control & control::SWAP != 0,
        })
    }

    /// Cycles between two requests of a pacing timer: Y/X, rounded up.
    fn timer_period(&self, timer: usize) -> u64 {
        let (x, y) = (self.timers[timer] >> 16, self.timers[timer] & 0xffff);
        if x == 0 {
            u64::MAX / 4
        } else {
            u64::from(y.div_ceil(x).max(1))
        }
    }

    /// A transfer is done: addresses, count, sniffer, chain. Answers the channel that it triggers.
    pub(crate) fn done(&mut self, transfer: Transfer, value: u32, failed: Option<bool>) {
        let i = transfer.channel;
        if self.channels[i].control & control::SNIFF != 0
            && self.sniff_control & 1 != 0
            && self.sniff_control >> 1 & 15 == i as u32
        {
            self.sniff(value, transfer.size);
        }
        let channel = &mut self.channels[i];
        if let Some(write) = failed {
            channel.control |= if write {
                control::WRITE_ERROR
            } else {
                control::READ_ERROR
            };
            channel.busy = false;
            self.busy &= !(1 << i);
            self.raw |= 1 << i;
            return;
        }
        let ring = channel.control >> 6 & 15;
        let advance = |address: u32, on: bool, wraps: bool| {
            if !on {
                return address;
            }
            let next = address.wrapping_add(transfer.size);
            if ring == 0 || !wraps {
                return next;
            }
            let mask = (1 << ring) - 1;
            address & !mask | next & mask
        };
        let ring_write = channel.control & control::RING_WRITE != 0;
        channel.read = advance(
            channel.read,
            channel.control & control::INCREMENT_READ != 0,
            !ring_write,
        );
        channel.write = advance(
            channel.write,
            channel.control & control::INCREMENT_WRITE != 0,
            ring_write,
        );
        channel.count = channel.count.saturating_sub(1);
        if channel.count == 0 {
            channel.busy = false;
            self.busy &= !(1 << i);
            if channel.control & control::QUIET == 0 {
                self.raw |= 1 << i;
            }
            let chain = (channel.control >> 11 & 15) as usize;
            if chain != i && chain < CHANNELS {
                self.trigger(chain);
            }
        }
    }

    fn trigger(&mut self, i: usize) {
        let channel = &mut self.channels[i];
        if channel.control & control::ENABLED == 0 || channel.busy {
            return;
        }
        channel.count = channel.reload;
        if channel.count == 0 {
            // nothing to do is done at once
            if channel.control & control::QUIET == 0 {
                self.raw |= 1 << i;
            }
            return;
        }
        channel.busy = true;
        self.busy |= 1 << i;
    }

    /// The sniffer (section 2.5.5.2).
    fn sniff(&mut self, value: u32, size: u32) {
        let bytes = value.to_le_bytes();
        let mut bytes = bytes[..size as usize].to_vec();
        if self.sniff_control & 1 << 9 != 0 {
            bytes.reverse();
        }
        let mode = self.sniff_control >> 5 & 15;
        match mode {
            0 | 1 => {
                for byte in bytes {
                    let byte = if mode == 1 { byte.reverse_bits() } else { byte };
                    self.sniff_data ^= u32::from(byte) << 24;
                    for _ in 0..8 {
                        let carry = self.sniff_data >> 31;
                        self.sniff_data = (self.sniff_data << 1) ^ (carry * 0x04c1_1db7);
                    }
                }
            }
            2 | 3 => {
                let mut crc = self.sniff_data & 0xffff;
                for byte in bytes {
                    let byte = if mode == 3 { byte.reverse_bits() } else { byte };
                    crc ^= u32::from(byte) << 8;
                    for _ in 0..8 {
                        crc = (crc << 1) ^ ((crc >> 15 & 1) * 0x1_1021);
                    }
                }
                self.sniff_data = crc & 0xffff;
            }
            0xe => {
                let mask = u32::MAX >> (32 - 8 * size);
                self.sniff_data ^= (value & mask).count_ones() & 1;
            }
            0xf => {
                let mask = u32::MAX >> (32 - 8 * size);
                self.sniff_data = self.sniff_data.wrapping_add(value & mask);
            }
            _ => {}
        }
    }

    fn sniffed(&self) -> u32 {
        let data = if self.sniff_control & 1 << 10 != 0 {
            self.sniff_data.reverse_bits()
        } else {
            self.sniff_data
        };
        if self.sniff_control & 1 << 11 != 0 {
            !data
        } else {
            data
        }
    }

    /// DMA_IRQ_0 or 1.
    pub(crate) fn interrupt(&self, line: usize) -> bool {
        (self.raw & self.enabled[line] | self.forced[line]) != 0
    }

    /// Whether a transfer can come at any time.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy != 0
    }

    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x000..=0x2ff => {
                let channel = &self.channels[offset as usize / 0x40];
                match offset & 0x3c {
                    0x00 | 0x14 | 0x28 | 0x3c => channel.read,
                    0x04 | 0x18 | 0x2c | 0x34 => channel.write,
                    0x08 | 0x1c | 0x24 | 0x38 => channel.count,
                    _ => {
                        let errors = channel.control & (control::READ_ERROR | control::WRITE_ERROR);
                        let busy = if channel.busy { control::BUSY } else { 0 };
                        channel.control | busy | u32::from(errors != 0) << 31
                    }
                }
            }
            0x400 => self.raw,
            0x404 | 0x414 => self.enabled[usize::from(offset == 0x414)],
            0x408 | 0x418 => self.forced[usize::from(offset == 0x418)],
            0x40c | 0x41c => {
                let line = usize::from(offset == 0x41c);
                self.raw & self.enabled[line] | self.forced[line]
            }
            0x420..=0x42c => self.timers[(offset as usize - 0x420) / 4],
            0x430 => 0,
            0x434 => self.sniff_control,
            0x438 => self.sniffed(),
            0x440 | 0x444 => 0,
            0x448 => CHANNELS as u32,
            0x800..=0xaff if offset & 0x3c == 0 => 0,
            0x800..=0xaff if offset & 0x3c == 4 => self.channels[(offset as usize - 0x800) / 0x40].reload,
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        match offset {
            0x000..=0x2ff => {
                let i = offset as usize / 0x40;
                let channel = &mut self.channels[i];
                let written = match offset & 0x3c {
                    0x00 | 0x14 | 0x28 | 0x3c => {
                        channel.read = write.onto(channel.read);
                        channel.read
                    }
                    0x04 | 0x18 | 0x2c | 0x34 => {
                        channel.write = write.onto(channel.write);
                        channel.write
                    }
                    0x08 | 0x1c | 0x24 | 0x38 => {
                        channel.reload = write.onto(channel.reload);
                        channel.reload
                    }
                    _ => {
                        let value = write.onto(channel.control);
                        let errors = control::READ_ERROR | control::WRITE_ERROR;
                        // the two error flags are cleared by writing ones
                        channel.control = value & 0xff_ffff | channel.control & errors & !write.bits();
                        value
                    }
                };
                // the last of each four triggers; a zero there is a null trigger (section 2.5.2.3)
                if offset & 0xc == 0xc {
                    if written != 0 {
                        self.free_at = self.free_at.max(now + 1);
                        self.trigger(i);
                    } else if self.channels[i].control & control::QUIET != 0 {
                        self.raw |= 1 << i;
                    }
                }
            }
            0x400 | 0x40c | 0x41c => self.raw &= !write.bits(),
            0x404 | 0x414 => {
                let enabled = &mut self.enabled[usize::from(offset == 0x414)];
                *enabled = write.onto(*enabled) & 0xffff;
            }
            0x408 | 0x418 => {
                let forced = &mut self.forced[usize::from(offset == 0x418)];
                *forced = write.onto(*forced) & 0xffff;
            }
            0x420..=0x42c => {
                let timer = (offset as usize - 0x420) / 4;
                self.timers[timer] = write.onto(self.timers[timer]);
                self.timer_due[timer] = now + self.timer_period(timer);
            }
            0x430 => {
                self.free_at = self.free_at.max(now + 1);
                for i in 0..CHANNELS {
                    if write.bits() >> i & 1 != 0 {
                        self.trigger(i);
                    }
                }
            }
            0x434 => self.sniff_control = write.onto(self.sniff_control) & 0xfff,
            0x438 => self.sniff_data = write.onto(self.sniff_data),
            0x444 => {
                for i in 0..CHANNELS {
                    if write.bits() >> i & 1 != 0 {
                        self.channels[i].busy = false;
                        self.busy &= !(1 << i);
                    }
                }
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the controller over a memory of bytes until it is idle; answers the cycles.
    fn run(dma: &mut Dma, memory: &mut [u8]) -> u64 {
        let mut now = 0;
        loop {
            let at = dma.next_event(now, |_| false);
            if at == u64::MAX {
                return now;
            }
            now = at;
            let transfer = dma.take(now, |_| false).unwrap();
            let (from, to, size) = (
                transfer.read as usize,
                transfer.write as usize,
                transfer.size as usize,
            );
            let mut bytes = [0; 4];
            bytes[..size].copy_from_slice(&memory[from..from + size]);
            let value = transfer.swapped(u32::from_le_bytes(bytes));
            memory[to..to + size].copy_from_slice(&value.to_le_bytes()[..size]);
            dma.done(transfer, value, None);
        }
    }

    fn start(dma: &mut Dma, channel: u32, read: u32, write: u32, count: u32, control: u32) {
        let base = channel * 0x40;
        for (offset, value) in [(0, read), (4, write), (8, count), (0x0c, control)] {
            assert!(dma.write(base + offset, Write::plain(value), 0));
        }
    }

    #[test]
    fn copies_a_word_a_cycle_and_interrupts() {
        let mut dma = Dma::new();
        let mut memory: Vec<u8> = (0..64).collect();
        dma.write(0x404, Write::plain(1), 0);
        start(&mut dma, 0, 0, 32, 8, 1 | 2 << 2 | 3 << 4 | UNPACED << 15);
        assert_eq!(run(&mut dma, &mut memory), 8);
        assert_eq!(memory[32..], memory[..32]);
        assert!(dma.interrupt(0) && !dma.interrupt(1));
        dma.write(0x40c, Write::plain(1), 0);
        assert!(!dma.interrupt(0));
    }

    #[test]
    fn chains_rings_and_swaps() {
        let mut dma = Dma::new();
        let mut memory: Vec<u8> = (0..64).collect();
        // channel 1 fills 16 bytes from a ring of 4; channel 2 copies halfwords swapped
        start(&mut dma, 2, 0, 48, 2, 0);
        dma.write(
            0x90,
            Write::plain(1 | 1 << 2 | 3 << 4 | 2 << 11 | UNPACED << 15 | 1 << 22),
            0,
        );
        start(
            &mut dma,
            1,
            4,
            16,
            16,
            1 | 3 << 4 | 2 << 6 | 2 << 11 | UNPACED << 15,
        );
        run(&mut dma, &mut memory);
        assert_eq!(memory[16..24], [4, 5, 6, 7, 4, 5, 6, 7]);
        assert_eq!(memory[48..52], [1, 0, 3, 2]);
        assert_eq!(dma.read(0x400), Some(6));
    }

    #[test]
    fn the_sniffer_makes_a_crc32_and_a_sum() {
        let mut dma = Dma::new();
        let mut memory = vec![0; 64];
        memory[..9].copy_from_slice(b"123456789");
        // CRC-32 as Ethernet has it: bit-reversed data, result reversed and inverted
        dma.write(0x434, Write::plain(1 | 1 << 5 | 1 << 10 | 1 << 11), 0);
        dma.write(0x438, Write::plain(u32::MAX), 0);
        start(&mut dma, 0, 0, 32, 9, 1 | 3 << 4 | UNPACED << 15 | 1 << 23);
        run(&mut dma, &mut memory);
        assert_eq!(dma.read(0x438), Some(0xcbf4_3926));
        dma.write(0x434, Write::plain(1 | 0xf << 5), 0);
        dma.write(0x438, Write::plain(0), 0);
        start(&mut dma, 0, 0, 32, 9, 1 | 3 << 4 | UNPACED << 15 | 1 << 23);
        run(&mut dma, &mut memory);
        assert_eq!(dma.read(0x438), Some(477));
        dma.write(0x434, Write::plain(1 | 2 << 5), 0);
        dma.write(0x438, Write::plain(0xffff), 0);
        start(&mut dma, 0, 0, 32, 9, 1 | 3 << 4 | UNPACED << 15 | 1 << 23);
        run(&mut dma, &mut memory);
        assert_eq!(dma.read(0x438), Some(0x29b1), "CRC-16-CCITT");
    }

    #[test]
    fn a_request_or_a_timer_paces() {
        let mut dma = Dma::new();
        start(&mut dma, 0, 0, 32, 2, 1 | 3 << 4 | 20 << 15);
        assert_eq!(dma.next_event(5, |_| false), u64::MAX);
        assert_eq!(dma.next_event(5, |request| request == 20), 5);
        let mut dma = Dma::new();
        dma.write(0x420, Write::plain(1 << 16 | 100), 0);
        start(&mut dma, 0, 0, 32, 2, 1 | 3 << 4 | 0x3b << 15);
        let mut memory = vec![0; 64];
        assert_eq!(run(&mut dma, &mut memory), 200);
    }
}
