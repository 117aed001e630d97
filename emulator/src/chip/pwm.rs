//! Pulse-width modulation: eight slices of two channels (RP2040 datasheet, section 4.5).
//!
//! A slice that runs by itself has an event wherever an output changes and where it wraps; between them its counter is
//! worked out from the time.

use super::Write;

const SLICES: usize = 8;

/// One slice.
#[derive(Debug, Clone, Copy)]
struct Slice {
    control: u32,
    divider: u32,
    compare: u32,
    top: u32,
    /// Compare and top as they are in force: they are taken over at the wrap.
    active_compare: u32,
    active_top: u32,
    /// How far in its period it was at `anchor`.
    phase: u64,
    /// In 1/16 cycles of clk_sys.
    anchor: u64,
    /// Events of the B pin that the divider has swallowed, in 1/16.
    swallowed: u32,
}

mod control {
    pub(super) const ENABLE: u32 = 1;
    pub(super) const PHASE_CORRECT: u32 = 2;
    pub(super) const INVERT_A: u32 = 4;
    pub(super) const INVERT_B: u32 = 8;
    pub(super) const RETARD: u32 = 1 << 6;
    pub(super) const ADVANCE: u32 = 1 << 7;
}

impl Slice {
    const RESET: Self = Self {
        control: 0,
        divider: 0x10,
        compare: 0,
        top: 0xffff,
        active_compare: 0,
        active_top: 0xffff,
        phase: 0,
        anchor: 0,
        swallowed: 0,
    };

    /// 0: runs by itself; 1: while B is high; 2, 3: counts rising, falling edges of B.
    fn mode(&self) -> u32 {
        self.control >> 4 & 3
    }

    fn runs(&self) -> bool {
        self.control & control::ENABLE != 0 && self.mode() == 0
    }

    /// 1/16 cycles for one count.
    fn step(&self) -> u64 {
        match self.divider & 0xfff {
            divider if divider >> 4 == 0 => 256 << 4 | u64::from(divider),
            divider => u64::from(divider),
        }
    }

    fn period(&self) -> u64 {
        let top = u64::from(self.active_top) + 1;
        if self.control & control::PHASE_CORRECT != 0 {
            2 * top
        } else {
            top
        }
    }

    fn phase_at(&self, now: u64) -> u64 {
        if self.runs() {
            self.phase + ((now << 4).saturating_sub(self.anchor)) / self.step()
        } else {
            self.phase
        }
    }

    fn count(&self, phase: u64) -> u32 {
        let top = u64::from(self.active_top);
        (if phase > top {
            (2 * top + 1).saturating_sub(phase)
        } else {
            phase
        }) as u32
    }

    /// Makes the phase at `now` the anchor; answers whether it wrapped.
    fn settle(&mut self, now: u64) -> bool {
        if !self.runs() {
            self.anchor = now << 4;
            return false;
        }
        let steps = ((now << 4).saturating_sub(self.anchor)) / self.step();
        self.anchor += steps * self.step();
        self.phase += steps;
        let mut wrapped = false;
        while self.phase >= self.period() {
            self.phase -= self.period();
            self.active_compare = self.compare;
            self.active_top = self.top;
            wrapped = true;
        }
        wrapped
    }

    /// The phases at which an output changes or the slice wraps.
    fn next_event(&self) -> u64 {
        if !self.runs() {
            return u64::MAX;
        }
        let period = self.period();
        let mut next = period;
        for compare in [self.active_compare & 0xffff, self.active_compare >> 16] {
            let compare = u64::from(compare);
            for edge in [compare, period.wrapping_sub(compare)] {
                if edge > self.phase && edge < next {
                    next = edge;
                }
            }
        }
        (self.anchor + (next - self.phase) * self.step()).div_ceil(16)
    }

    /// The levels of A and B.
    fn levels(&self) -> u32 {
        let count = self.count(self.phase);
        let a = (count < self.active_compare & 0xffff) ^ (self.control & control::INVERT_A != 0);
        let b = (count < self.active_compare >> 16) ^ (self.control & control::INVERT_B != 0);
        u32::from(a) | u32::from(b) << 1
    }

    /// Counts by hand: an edge of B, or PH_ADV.
    fn count_once(&mut self) -> bool {
        self.phase += 1;
        if self.phase >= self.period() {
            self.phase = 0;
            self.active_compare = self.compare;
            self.active_top = self.top;
            return true;
        }
        false
    }
}

/// The block.
#[derive(Debug, Clone)]
pub(crate) struct Pwm {
    slices: [Slice; SLICES],
    raw: u32,
    enabled: u32,
    forced: u32,
    /// Wraps that DMA has not seen.
    requests: u32,
}

impl Pwm {
    pub(crate) fn new() -> Self {
        Self {
            slices: [Slice::RESET; SLICES],
            raw: 0,
            enabled: 0,
            forced: 0,
            requests: 0,
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.slices
            .iter()
            .map(Slice::next_event)
            .min()
            .unwrap_or(u64::MAX)
    }

    pub(crate) fn advance(&mut self, now: u64) {
        for (i, slice) in self.slices.iter_mut().enumerate() {
            if slice.settle(now) {
                self.raw |= 1 << i;
                self.requests |= 1 << i;
            }
        }
    }

    /// The levels that pins get, pin by pin: channel A of slice 0, B of slice 0, A of slice 1, and from 16 on again.
    pub(crate) fn levels(&self) -> u32 {
        let mut levels = 0;
        for (i, slice) in self.slices.iter().enumerate() {
            levels |= slice.levels() << (2 * i);
        }
        levels | levels << 16
    }

    /// Pins have changed: slices that count edges of their B pin do.
    pub(crate) fn pins_changed(&mut self, before: u32, after: u32, now: u64) {
        for i in 0..SLICES {
            let slice = &mut self.slices[i];
            if slice.control & control::ENABLE == 0 || slice.mode() < 2 {
                continue;
            }
            let pin = |levels: u32| (levels | levels >> 16) >> (2 * i + 1) & 1;
            let edge = match slice.mode() {
                2 => pin(before) == 0 && pin(after) == 1,
                _ => pin(before) == 1 && pin(after) == 0,
            };
            if !edge {
                continue;
            }
            slice.swallowed += 16;
            if u64::from(slice.swallowed) >= slice.step() {
                slice.swallowed -= slice.step() as u32;
                slice.anchor = now << 4;
                if slice.count_once() {
                    self.raw |= 1 << i;
                    self.requests |= 1 << i;
                }
            }
        }
    }

    pub(crate) fn interrupt(&self) -> bool {
        (self.raw & self.enabled | self.forced) != 0
    }

    /// DREQ of a slice: it has wrapped.
    pub(crate) fn request(&self, slice: usize) -> bool {
        self.requests >> slice & 1 != 0
    }

    /// DMA has served a slice's request.
    pub(crate) fn acknowledge(&mut self, slice: usize) {
        self.requests &= !(1 << slice);
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        Some(match offset {
            0x00..=0x9c => {
                let slice = &self.slices[offset as usize / 0x14];
                match offset % 0x14 {
                    0x00 => slice.control,
                    0x04 => slice.divider,
                    0x08 => slice.count(slice.phase_at(now) % slice.period()),
                    0x0c => slice.compare,
                    _ => slice.top,
                }
            }
            0xa0 => (0..SLICES).map(|i| (self.slices[i].control & 1) << i).sum(),
            0xa4 => {
                self.advance(now);
                self.raw
            }
            0xa8 => self.enabled,
            0xac => self.forced,
            0xb0 => {
                self.advance(now);
                self.raw & self.enabled | self.forced
            }
            _ => return None,
        })
    }

    /// Writes a register. A slice that runs only while B is high is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00..=0x9c => {
                let slice = &mut self.slices[offset as usize / 0x14];
                match offset % 0x14 {
                    0x00 => {
                        let value = write.onto(slice.control);
                        slice.control = value & 0x3f;
                        if value & control::ADVANCE != 0 {
                            slice.count_once();
                        }
                        if value & control::RETARD != 0 {
                            slice.phase = slice.phase.saturating_sub(1);
                        }
                        slice.anchor = now << 4;
                        return slice.control & control::ENABLE == 0 || slice.mode() != 1;
                    }
                    0x04 => {
                        slice.divider = write.onto(slice.divider) & 0xfff;
                        slice.anchor = now << 4;
                    }
                    0x08 => {
                        slice.phase = u64::from(write.onto(slice.count(slice.phase)) & 0xffff);
                        slice.anchor = now << 4;
                    }
                    0x0c => slice.compare = write.onto(slice.compare),
                    _ => slice.top = write.onto(slice.top) & 0xffff,
                }
                // a slice that stands still has no wrap to wait for
                if slice.control & control::ENABLE == 0 {
                    slice.active_compare = slice.compare;
                    slice.active_top = slice.top;
                }
            }
            0xa0 => {
                let enabled: u32 = (0..SLICES).map(|i| (self.slices[i].control & 1) << i).sum();
                let enabled = write.onto(enabled);
                for (i, slice) in self.slices.iter_mut().enumerate() {
                    slice.control = slice.control & !1 | enabled >> i & 1;
                    slice.anchor = now << 4;
                }
            }
            0xa4 => self.raw &= !write.bits(),
            0xa8 => self.enabled = write.onto(self.enabled) & 0xff,
            0xac => self.forced = write.onto(self.forced) & 0xff,
            0xb0 => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cycles at which the outputs of slice 0 change, and to what.
    fn waveform(pwm: &mut Pwm, until: u64) -> Vec<(u64, u32)> {
        let mut changes = vec![(0, pwm.levels() & 3)];
        while let at @ ..=u64::MAX = pwm.next_event()
            && at <= until
        {
            pwm.advance(at);
            let levels = pwm.levels() & 3;
            if changes.last().is_some_and(|last| last.1 != levels) {
                changes.push((at, levels));
            }
        }
        changes
    }

    fn slice(control: u32, divider: u32, top: u32, a: u32, b: u32) -> Pwm {
        let mut pwm = Pwm::new();
        for (offset, value) in [(0x04, divider), (0x10, top), (0x0c, b << 16 | a), (0x00, control)] {
            assert!(pwm.write(offset, Write::plain(value), 0));
        }
        pwm
    }

    #[test]
    fn trailing_edges_fall_at_the_compare_values() {
        let mut pwm = slice(1, 0x10, 9, 3, 7);
        assert_eq!(waveform(&mut pwm, 14), [(0, 3), (3, 2), (7, 0), (10, 3), (13, 2)]);
        assert_eq!(pwm.read(0xa4, 14), Some(1));
    }

    #[test]
    fn the_divider_has_four_bits_of_fraction() {
        let mut pwm = slice(1, 0x18, 9, 2, 0);
        assert_eq!(
            waveform(&mut pwm, 30),
            [(0, 1), (3, 0), (15, 1), (18, 0), (30, 1)]
        );
    }

    #[test]
    fn phase_correct_is_symmetric_and_twice_as_long() {
        let mut pwm = slice(3, 0x10, 4, 2, 0);
        assert_eq!(waveform(&mut pwm, 12), [(0, 1), (2, 0), (8, 1), (12, 0)]);
    }

    #[test]
    fn compare_is_taken_over_at_the_wrap() {
        let mut pwm = slice(1, 0x10, 9, 5, 0);
        pwm.write(0x0c, Write::plain(8), 2);
        assert_eq!(waveform(&mut pwm, 19), [(0, 1), (5, 0), (10, 1), (18, 0)]);
    }

    #[test]
    fn counts_edges_of_its_b_pin() {
        let mut pwm = slice(1 | 2 << 4, 0x10, 0xffff, 0, 0);
        for _ in 0..5 {
            pwm.pins_changed(0, 2, 0);
            pwm.pins_changed(2, 0, 0);
        }
        assert_eq!(pwm.read(0x08, 100), Some(5));
    }
}
