//! The real-time clock (RP2040 datasheet, section 4.8).

use super::Write;

/// A date and a time of day.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Calendar {
    year: u32,
    month: u32,
    day: u32,
    weekday: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Calendar {
    fn from_setup(setup0: u32, setup1: u32) -> Self {
        Self {
            year: setup0 >> 12 & 0xfff,
            month: setup0 >> 8 & 15,
            day: setup0 & 31,
            weekday: setup1 >> 24 & 7,
            hour: setup1 >> 16 & 31,
            minute: setup1 >> 8 & 63,
            second: setup1 & 63,
        }
    }

    fn days_in_month(&self, no_leap_year: bool) -> u32 {
        match self.month {
            // the hardware takes every fourth year for a leap year, and lets firmware say otherwise
            2 if self.year.is_multiple_of(4) && !no_leap_year => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn tick(&mut self, no_leap_year: bool) {
        self.second += 1;
        if self.second < 60 {
            return;
        }
        self.second = 0;
        self.minute += 1;
        if self.minute < 60 {
            return;
        }
        self.minute = 0;
        self.hour += 1;
        if self.hour < 24 {
            return;
        }
        self.hour = 0;
        self.weekday = (self.weekday + 1) % 7;
        self.day += 1;
        if self.day <= self.days_in_month(no_leap_year) {
            return;
        }
        self.day = 1;
        self.month += 1;
        if self.month <= 12 {
            return;
        }
        self.month = 1;
        self.year = (self.year + 1) & 0xfff;
    }

    fn date(&self) -> u32 {
        self.year << 12 | self.month << 8 | self.day
    }

    fn time(&self) -> u32 {
        self.weekday << 24 | self.hour << 16 | self.minute << 8 | self.second
    }
}

/// The clock.
#[derive(Debug, Clone)]
pub(crate) struct Rtc {
    divider: u32,
    setup: [u32; 2],
    control: u32,
    alarm: [u32; 2],
    calendar: Calendar,
    latched_date: u32,
    enabled: bool,
    forced: bool,
    raised: bool,
    /// The cycle of the next second.
    next_second: u64,
    sys_hz: u64,
    rtc_hz: u64,
}

impl Rtc {
    pub(crate) fn new() -> Self {
        Self {
            divider: 0,
            setup: [0; 2],
            control: 0,
            alarm: [0; 2],
            calendar: Calendar::default(),
            latched_date: 0,
            enabled: false,
            forced: false,
            raised: false,
            next_second: u64::MAX,
            sys_hz: 1,
            rtc_hz: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self {
            sys_hz: self.sys_hz,
            rtc_hz: self.rtc_hz,
            ..Self::new()
        };
    }

    pub(crate) fn set_clocks(&mut self, now: u64, sys_hz: u64, rtc_hz: u64) {
        self.advance(now);
        (self.sys_hz, self.rtc_hz) = (sys_hz, rtc_hz);
        if self.control & 1 != 0 {
            self.next_second = now + self.second();
        }
    }

    /// Cycles of clk_sys for what CLKDIV_M1 makes a second.
    fn second(&self) -> u64 {
        if self.rtc_hz == 0 {
            return u64::MAX / 4;
        }
        (u128::from(self.divider + 1) * u128::from(self.sys_hz) / u128::from(self.rtc_hz)) as u64
    }

    /// Only an alarm makes a second an event.
    pub(crate) fn next_event(&self) -> u64 {
        if self.control & 1 != 0 && self.alarm[0] >> 28 & 1 != 0 {
            self.next_second
        } else {
            u64::MAX
        }
    }

    pub(crate) fn advance(&mut self, now: u64) {
        while self.control & 1 != 0 && self.next_second <= now {
            self.calendar.tick(self.control >> 8 & 1 != 0);
            self.next_second += self.second().max(1);
            self.match_alarm();
        }
    }

    fn match_alarm(&mut self) {
        let [date, time] = self.alarm;
        let wanted = Calendar::from_setup(date, time);
        let now = self.calendar;
        let pairs = [
            (date >> 24 & 1, wanted.day, now.day),
            (date >> 25 & 1, wanted.month, now.month),
            (date >> 26 & 1, wanted.year, now.year),
            (time >> 28 & 1, wanted.second, now.second),
            (time >> 29 & 1, wanted.minute, now.minute),
            (time >> 30 & 1, wanted.hour, now.hour),
            (time >> 31 & 1, wanted.weekday, now.weekday),
        ];
        let any = pairs.iter().any(|pair| pair.0 != 0);
        let all = pairs
            .iter()
            .all(|&(enabled, wanted, now)| enabled == 0 || wanted == now);
        self.raised = date >> 28 & 1 != 0 && any && all;
    }

    pub(crate) fn interrupt(&self) -> bool {
        self.forced || self.enabled && self.raised
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        Some(match offset {
            0x00 => self.divider,
            0x04 | 0x08 => self.setup[(offset as usize - 4) / 4],
            0x0c => self.control & 0x101 | (self.control & 1) << 1,
            // MATCH_ACTIVE follows MATCH_ENA
            0x10 => self.alarm[0] | (self.alarm[0] >> 28 & 1) << 29,
            0x14 => self.alarm[1],
            0x18 => self.latched_date,
            0x1c => {
                self.latched_date = self.calendar.date();
                self.calendar.time()
            }
            0x20 => u32::from(self.raised),
            0x24 => u32::from(self.enabled),
            0x28 => u32::from(self.forced),
            0x2c => u32::from(self.interrupt()),
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00 => self.divider = write.onto(self.divider) & 0xffff,
            0x04 | 0x08 => {
                let setup = &mut self.setup[(offset as usize - 4) / 4];
                *setup = write.onto(*setup);
            }
            0x0c => {
                let control = write.onto(self.control & 0x101);
                let was_enabled = self.control & 1 != 0;
                self.control = control & 0x101;
                if control & 1 << 4 != 0 {
                    self.calendar = Calendar::from_setup(self.setup[0], self.setup[1]);
                }
                if self.control & 1 != 0 && !was_enabled {
                    self.next_second = now + self.second();
                }
            }
            0x10 | 0x14 => {
                let alarm = &mut self.alarm[(offset as usize - 0x10) / 4];
                *alarm = write.onto(*alarm) & if offset == 0x10 { 0x17ff_ffff } else { u32::MAX };
                self.match_alarm();
            }
            0x24 => self.enabled = write.onto(self.enabled.into()) & 1 != 0,
            0x28 => self.forced = write.onto(self.forced.into()) & 1 != 0,
            0x18 | 0x1c | 0x20 | 0x2c => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 MHz of clk_sys, a second each 1000 cycles.
    fn rtc(date: u32, time: u32) -> Rtc {
        let mut rtc = Rtc::new();
        rtc.set_clocks(0, 1000, 1000);
        for (offset, value) in [(0x00, 999), (0x04, date), (0x08, time), (0x0c, 0x11)] {
            assert!(rtc.write(offset, Write::plain(value), 0));
        }
        rtc
    }

    #[test]
    fn carries_into_the_next_year() {
        let mut rtc = rtc(2023 << 12 | 12 << 8 | 31, 23 << 16 | 59 << 8 | 58);
        assert_eq!(rtc.read(0x1c, 1999), Some(23 << 16 | 59 << 8 | 59));
        assert_eq!(rtc.read(0x1c, 2000), Some(1 << 24));
        assert_eq!(rtc.read(0x18, 2000), Some(2024 << 12 | 1 << 8 | 1));
    }

    #[test]
    fn knows_leap_years_as_the_hardware_does() {
        for (year, control, day) in [
            (2024, 0x11, 29),
            (2023, 0x11, 1),
            (2100, 0x111, 1),
            (2100, 0x11, 29),
        ] {
            let mut rtc = rtc(year << 12 | 2 << 8 | 28, 23 << 16 | 59 << 8 | 59);
            rtc.write(0x0c, Write::plain(control), 0);
            rtc.read(0x1c, 1000);
            assert_eq!(rtc.read(0x18, 1000).unwrap() & 31, day, "{year}");
        }
    }

    #[test]
    fn an_alarm_interrupts_in_its_second() {
        let mut rtc = rtc(2024 << 12 | 1 << 8 | 1, 0);
        rtc.write(0x24, Write::plain(1), 0);
        rtc.write(0x14, Write::plain(1 << 28 | 3), 0);
        rtc.write(0x10, Write::plain(1 << 28), 0);
        rtc.advance(2999);
        assert!(!rtc.interrupt());
        rtc.advance(3000);
        assert!(rtc.interrupt());
        rtc.advance(4000);
        assert!(!rtc.interrupt());
    }
}
