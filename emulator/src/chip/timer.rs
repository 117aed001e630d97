//! The microsecond timer (RP2040 datasheet, section 4.6) and the watchdog with the tick that drives both (4.7).

use super::Write;

/// What the tick generator makes of clk_ref, seen from clk_sys.
#[derive(Debug, Clone, Copy)]
struct Tick {
    anchor_cycle: u64,
    /// Ticks until the anchor.
    anchor_count: u64,
    /// Ticks a second, 0 while it stands still.
    hz: u64,
    sys_hz: u64,
}

impl Tick {
    fn count(&self, cycle: u64) -> u64 {
        let cycles = cycle.saturating_sub(self.anchor_cycle);
        if self.hz == 0 {
            self.anchor_count
        } else if self.sys_hz.is_multiple_of(self.hz) {
            self.anchor_count + cycles / (self.sys_hz / self.hz)
        } else {
            self.anchor_count + (u128::from(cycles) * u128::from(self.hz) / u128::from(self.sys_hz)) as u64
        }
    }

    /// The cycle at which `count` is reached.
    fn cycle(&self, count: u64) -> u64 {
        if self.hz == 0 {
            return u64::MAX;
        }
        let ticks = u128::from(count.saturating_sub(self.anchor_count));
        let cycles = (ticks * u128::from(self.sys_hz)).div_ceil(u128::from(self.hz));
        self.anchor_cycle
            .saturating_add(u64::try_from(cycles).unwrap_or(u64::MAX))
    }

    fn set(&mut self, cycle: u64, hz: u64, sys_hz: u64) {
        *self = Self {
            anchor_count: self.count(cycle),
            anchor_cycle: cycle,
            hz,
            sys_hz: sys_hz.max(1),
        };
    }
}

/// Timer and watchdog.
#[derive(Debug, Clone)]
pub(crate) struct Timer {
    tick: Tick,
    /// The timer's count is the ticks plus this.
    offset: u64,
    paused_at: Option<u64>,
    latched_high: u32,
    written_low: u32,
    alarms: [u32; 4],
    /// The count at which an armed alarm fires.
    armed: [Option<u64>; 4],
    raw: u32,
    enabled: u32,
    forced: u32,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self {
            tick: Tick {
                anchor_cycle: 0,
                anchor_count: 0,
                hz: 0,
                sys_hz: 1,
            },
            offset: 0,
            paused_at: None,
            latched_high: 0,
            written_low: 0,
            alarms: [0; 4],
            armed: [None; 4],
            raw: 0,
            enabled: 0,
            forced: 0,
        }
    }

    /// The tick or clk_sys changes.
    pub(crate) fn set_tick(&mut self, cycle: u64, hz: u64, sys_hz: u64) {
        self.tick.set(cycle, hz, sys_hz);
    }

    /// The 64 bits of the timer.
    pub(crate) fn count(&self, cycle: u64) -> u64 {
        self.paused_at
            .unwrap_or_else(|| self.tick.count(cycle).wrapping_add(self.offset))
    }

    fn set_count(&mut self, cycle: u64, count: u64) {
        self.offset = count.wrapping_sub(self.tick.count(cycle));
        if self.paused_at.is_some() {
            self.paused_at = Some(count);
        }
        for alarm in 0..4 {
            if self.armed[alarm].is_some() {
                self.arm(alarm, cycle);
            }
        }
    }

    /// Arms an alarm: it fires when the low half of the count equals it.
    fn arm(&mut self, alarm: usize, cycle: u64) {
        let now = self.count(cycle);
        let ahead = self.alarms[alarm].wrapping_sub(now as u32);
        self.armed[alarm] = Some(now + u64::from(ahead));
    }

    /// The cycle of the next alarm.
    pub(crate) fn next_event(&self) -> u64 {
        if self.paused_at.is_some() {
            return u64::MAX;
        }
        let next = self.armed.iter().flatten().min();
        next.map_or(u64::MAX, |count| self.tick.cycle(count.wrapping_sub(self.offset)))
    }

    /// Fires the alarms that are due.
    pub(crate) fn advance(&mut self, cycle: u64) {
        let now = self.count(cycle);
        for alarm in 0..4 {
            if self.armed[alarm].is_some_and(|count| count <= now) {
                self.armed[alarm] = None;
                self.raw |= 1 << alarm;
            }
        }
    }

    /// TIMER_IRQ_0 to 3.
    pub(crate) fn interrupts(&self) -> u32 {
        (self.raw | self.forced) & self.enabled
    }

    pub(crate) fn read(&mut self, offset: u32, cycle: u64) -> Option<u32> {
        self.advance(cycle);
        let count = self.count(cycle);
        Some(match offset {
            0x08 => self.latched_high,
            0x0c => {
                self.latched_high = (count >> 32) as u32;
                count as u32
            }
            0x10..=0x1c => self.alarms[(offset as usize - 0x10) / 4],
            0x20 => (0..4)
                .map(|alarm| u32::from(self.armed[alarm].is_some()) << alarm)
                .sum(),
            0x24 => (count >> 32) as u32,
            0x28 => count as u32,
            // DBGPAUSE: no debugger in the chip pauses it
            0x2c => 7,
            0x30 => u32::from(self.paused_at.is_some()),
            0x34 => self.raw,
            0x38 => self.enabled,
            0x3c => self.forced,
            0x40 => self.interrupts(),
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, cycle: u64) -> bool {
        self.advance(cycle);
        match offset {
            0x00 => self.set_count(cycle, u64::from(write.bits()) << 32 | u64::from(self.written_low)),
            0x04 => self.written_low = write.bits(),
            0x10..=0x1c => {
                let alarm = (offset as usize - 0x10) / 4;
                self.alarms[alarm] = write.onto(self.alarms[alarm]);
                self.arm(alarm, cycle);
            }
            0x20 => {
                for alarm in 0..4 {
                    if write.bits() >> alarm & 1 != 0 {
                        self.armed[alarm] = None;
                    }
                }
            }
            0x2c => {}
            0x30 => {
                let pause = write.onto(u32::from(self.paused_at.is_some())) & 1 != 0;
                let count = self.count(cycle);
                if pause != self.paused_at.is_some() {
                    self.paused_at = pause.then_some(count);
                    if !pause {
                        self.offset = count.wrapping_sub(self.tick.count(cycle));
                    }
                }
            }
            0x34 => self.raw &= !write.bits(),
            0x38 => self.enabled = write.onto(self.enabled) & 15,
            0x3c => self.forced = write.onto(self.forced) & 15,
            _ => return false,
        }
        true
    }
}

/// Why the chip was reset, as the watchdog tells it (WATCHDOG.REASON).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchdogReset {
    /// It was not fed in time.
    Timeout = 1,
    /// The firmware asked for it.
    Forced = 2,
}

/// The watchdog. It survives the resets that it causes.
#[derive(Debug, Clone)]
pub(crate) struct Watchdog {
    control: u32,
    load: u32,
    reason: u32,
    pub scratch: [u32; 8],
    tick: u32,
    /// The cycle at which it bites.
    bites_at: u64,
    cycles_per_tick: u64,
    /// It bit.
    pub fired: Option<WatchdogReset>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self {
            control: 0x0700_0000,
            load: 0,
            reason: 0,
            scratch: [0; 8],
            tick: 0x200,
            bites_at: u64::MAX,
            cycles_per_tick: 1,
            fired: None,
        }
    }

    /// What a reset leaves: the scratch registers and the reason.
    pub(crate) fn reset(&mut self) {
        let reason = self.fired.map_or(0, |reason| reason as u32);
        *self = Self {
            scratch: self.scratch,
            reason,
            ..Self::new()
        };
    }

    /// How many cycles of clk_ref make a tick; `None` if there are no ticks.
    pub(crate) fn tick_divider(&self) -> Option<u64> {
        (self.tick & 0x200 != 0 && self.tick & 0x1ff != 0).then_some(u64::from(self.tick & 0x1ff))
    }

    pub(crate) fn set_cycles_per_tick(&mut self, cycles: u64, now: u64) {
        let remaining = self.remaining(now);
        self.cycles_per_tick = cycles.max(1);
        if self.bites_at != u64::MAX {
            self.bites_at = now + remaining * self.cycles_per_tick / 2;
        }
    }

    /// What the counter holds. It goes down by two with each tick (erratum RP2040-E1).
    fn remaining(&self, now: u64) -> u64 {
        if self.bites_at == u64::MAX {
            u64::from(self.load)
        } else {
            self.bites_at.saturating_sub(now) * 2 / self.cycles_per_tick
        }
    }

    fn restart(&mut self, now: u64) {
        self.bites_at = if self.control & 1 << 30 != 0 {
            // even a counter of zero waits for a tick
            now + (u64::from(self.load) * self.cycles_per_tick / 2).max(self.cycles_per_tick)
        } else {
            u64::MAX
        };
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.bites_at
    }

    pub(crate) fn advance(&mut self, now: u64) {
        if now >= self.bites_at {
            self.bites_at = u64::MAX;
            self.fired = Some(WatchdogReset::Timeout);
        }
    }

    pub(crate) fn read(&self, offset: u32, now: u64) -> Option<u32> {
        Some(match offset {
            0x00 => self.control | self.remaining(now) as u32 & 0xff_ffff,
            0x08 => self.reason,
            0x0c..=0x28 => self.scratch[(offset as usize - 0xc) / 4],
            // running, with its counter somewhere
            0x2c => self.tick | (self.tick & 0x200) << 1,
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        match offset {
            0x00 => {
                let before = self.control;
                let control = write.onto(self.control);
                self.control = control & 0x4700_0000;
                if control >> 31 != 0 {
                    self.fired = Some(WatchdogReset::Forced);
                }
                if (before ^ self.control) & 1 << 30 != 0 {
                    self.restart(now);
                }
            }
            0x04 => {
                self.load = write.bits() & 0xff_ffff;
                self.restart(now);
            }
            0x0c..=0x28 => {
                let scratch = &mut self.scratch[(offset as usize - 0xc) / 4];
                *scratch = write.onto(*scratch);
            }
            0x2c => self.tick = write.onto(self.tick) & 0x3ff,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_fire_on_the_low_half_of_the_count() {
        let mut timer = Timer::new();
        timer.set_tick(0, 1_000_000, 125_000_000);
        timer.write(0x38, Write::plain(15), 0);
        timer.write(0x10, Write::plain(10), 125 * 3);
        assert_eq!(timer.next_event(), 1250);
        timer.advance(1249);
        assert_eq!(timer.interrupts(), 0);
        timer.advance(1250);
        assert_eq!(timer.interrupts(), 1);
        // an alarm in the past waits for the wrap
        timer.write(0x14, Write::plain(5), 1250);
        assert_eq!(timer.next_event(), ((1 << 32) + 5) * 125);
        assert_eq!(timer.read(0x20, 1250), Some(2));
    }

    #[test]
    fn reading_the_low_half_latches_the_high_one() {
        let mut timer = Timer::new();
        timer.set_tick(0, 1_000_000, 1_000_000);
        timer.write(0x04, Write::plain(u32::MAX), 0);
        timer.write(0x00, Write::plain(1), 0);
        assert_eq!(timer.read(0x0c, 0), Some(u32::MAX));
        assert_eq!(timer.read(0x08, 1), Some(1));
        assert_eq!(timer.read(0x24, 1), Some(2));
    }

    #[test]
    fn the_tick_survives_a_change_of_the_system_clock() {
        let mut timer = Timer::new();
        timer.set_tick(0, 1_000_000, 12_000_000);
        timer.set_tick(12_000, 1_000_000, 133_000_000);
        assert_eq!(timer.count(12_000), 1000);
        assert_eq!(timer.count(12_000 + 133 * 5), 1005);
    }

    #[test]
    fn the_watchdog_counts_twice_as_fast() {
        let mut watchdog = Watchdog::new();
        watchdog.set_cycles_per_tick(125, 0);
        watchdog.write(0x04, Write::plain(2000), 0);
        watchdog.write(0x00, Write::plain(1 << 30), 0);
        assert_eq!(watchdog.next_event(), 125_000, "2000 half microseconds");
        watchdog.write(0x04, Write::plain(2000), 100_000);
        watchdog.advance(224_999);
        assert_eq!(watchdog.fired, None);
        watchdog.advance(225_000);
        assert_eq!(watchdog.fired, Some(WatchdogReset::Timeout));
        watchdog.scratch[3] = 7;
        watchdog.reset();
        assert_eq!((watchdog.read(8, 0), watchdog.scratch[3]), (Some(1), 7));
    }
}
