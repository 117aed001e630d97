//! The ADC: four pins and a temperature sensor (RP2040 datasheet, section 4.9).

use std::collections::VecDeque;

use super::Write;

const FIFO_DEPTH: usize = 4;
/// Cycles of clk_adc for one conversion.
const CONVERSION_CYCLES: u64 = 96;
/// The reference of a Pico, in volts.
const REFERENCE: f32 = 3.3;

/// The converter.
#[derive(Debug, Clone)]
pub(crate) struct Adc {
    /// Volts on GPIO26 to 29.
    inputs: [f32; 4],
    /// Degrees Celsius of the chip.
    temperature: f32,
    control: u32,
    result: u32,
    fifo_control: u32,
    fifo: VecDeque<u16>,
    divider: u32,
    enabled: bool,
    forced: bool,
    /// When the conversion that runs ends.
    done_at: Option<u64>,
    /// When free running starts the next one.
    next_start: u64,
    /// Cycles of clk_sys for one of clk_adc, in 1/65536.
    ratio: u64,
}

mod control {
    pub(super) const ENABLE: u32 = 1;
    pub(super) const SENSOR: u32 = 1 << 1;
    pub(super) const START_ONCE: u32 = 1 << 2;
    pub(super) const START_MANY: u32 = 1 << 3;
}

impl Adc {
    pub(crate) fn new() -> Self {
        Self {
            inputs: [0.0; 4],
            temperature: 27.0,
            control: 0,
            result: 0,
            fifo_control: 0,
            fifo: VecDeque::with_capacity(FIFO_DEPTH),
            divider: 0,
            enabled: false,
            forced: false,
            done_at: None,
            next_start: 0,
            ratio: 0,
        }
    }

    /// What a reset leaves: what is applied from outside.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            inputs: self.inputs,
            temperature: self.temperature,
            ratio: self.ratio,
            ..Self::new()
        };
    }

    pub(crate) fn set_clocks(&mut self, sys_hz: u64, adc_hz: u64) {
        self.ratio = (sys_hz << 16).checked_div(adc_hz).unwrap_or(0);
    }

    /// Applies a voltage to channel 0 to 3.
    pub(crate) fn set_input(&mut self, channel: usize, volts: f32) {
        self.inputs[channel & 3] = volts;
    }

    pub(crate) fn set_temperature(&mut self, celsius: f32) {
        self.temperature = celsius;
    }

    /// What a channel converts to. The sensor's line is that of section 4.9.5.
    fn sample(&self) -> u16 {
        let channel = (self.control >> 12 & 7) as usize;
        let volts = match channel {
            0..=3 => self.inputs[channel],
            4 if self.control & control::SENSOR != 0 => 0.706 - (self.temperature - 27.0) * 0.001_721,
            _ => 0.0,
        };
        (volts / REFERENCE * 4096.0).clamp(0.0, 4095.0) as u16
    }

    fn start(&mut self, now: u64) {
        if self.control & control::ENABLE != 0 && self.ratio != 0 && self.done_at.is_none() {
            self.done_at = Some(now + ((CONVERSION_CYCLES * self.ratio) >> 16));
            // DIV paces free running: the interval in cycles of clk_adc, plus one
            let interval = (u64::from(self.divider) + 256).max(CONVERSION_CYCLES << 8);
            self.next_start = now + ((interval * self.ratio) >> 24);
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        match self.done_at {
            Some(at) => at,
            None if self.control & (control::START_MANY | control::ENABLE) == 9 && self.ratio != 0 => {
                self.next_start
            }
            None => u64::MAX,
        }
    }

    pub(crate) fn advance(&mut self, now: u64) {
        while self.next_event() <= now {
            let Some(at) = self.done_at.take() else {
                let start = self.next_start;
                self.start(start);
                continue;
            };
            self.result = u32::from(self.sample());
            if self.fifo_control & 1 != 0 {
                if self.fifo.len() < FIFO_DEPTH {
                    let shift = if self.fifo_control & 2 != 0 { 4 } else { 0 };
                    self.fifo.push_back((self.result >> shift) as u16);
                } else {
                    self.fifo_control |= 1 << 11;
                }
            }
            self.control &= !control::START_ONCE;
            // round robin: the next channel of the mask
            let mask = self.control >> 16 & 31;
            if mask != 0 {
                let channel = self.control >> 12 & 7;
                let next = (1..=5)
                    .map(|step| (channel + step) % 5)
                    .find(|next| mask >> next & 1 != 0);
                self.control = self.control & !(7 << 12) | next.unwrap_or(channel) << 12;
            }
            if self.control & control::START_MANY != 0 && self.next_start <= at {
                self.start(at);
            }
        }
    }

    fn raised(&self) -> bool {
        let threshold = (self.fifo_control >> 24 & 15) as usize;
        self.fifo.len() >= threshold && threshold > 0
    }

    pub(crate) fn interrupt(&self) -> bool {
        self.forced || self.enabled && self.raised()
    }

    /// DREQ: enough is in the FIFO.
    pub(crate) fn has_data(&self) -> bool {
        self.fifo_control & 1 << 3 != 0 && self.raised()
    }

    pub(crate) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        Some(match offset {
            0x00 => {
                let ready = self.done_at.is_none() && self.control & control::ENABLE != 0;
                self.control | u32::from(ready) << 8
            }
            0x04 => self.result,
            0x08 => {
                self.fifo_control & 0x0f00_0c0f
                    | u32::from(self.fifo.is_empty()) << 8
                    | u32::from(self.fifo.len() >= FIFO_DEPTH) << 9
                    | (self.fifo.len() as u32) << 16
            }
            0x0c => match self.fifo.pop_front() {
                Some(sample) => u32::from(sample),
                None => {
                    self.fifo_control |= 1 << 10;
                    0
                }
            },
            0x10 => self.divider,
            0x14 => u32::from(self.raised()),
            0x18 => u32::from(self.enabled),
            0x1c => u32::from(self.forced),
            0x20 => u32::from(self.interrupt()),
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        self.advance(now);
        match offset {
            0x00 => {
                self.control = write.onto(self.control) & 0x1f_700f;
                if self.control & control::ENABLE == 0 {
                    self.done_at = None;
                } else if self.control & (control::START_ONCE | control::START_MANY) != 0 {
                    self.start(now);
                }
            }
            0x08 => {
                let sticky = self.fifo_control & 0xc00 & !write.bits();
                self.fifo_control = write.onto(self.fifo_control) & 0x0f00_000f | sticky;
            }
            0x10 => self.divider = write.onto(self.divider) & 0xff_ffff,
            0x18 => self.enabled = write.onto(self.enabled.into()) & 1 != 0,
            0x1c => self.forced = write.onto(self.forced.into()) & 1 != 0,
            0x04 | 0x0c | 0x14 | 0x20 => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adc() -> Adc {
        let mut adc = Adc::new();
        adc.set_clocks(125_000_000, 48_000_000);
        adc
    }

    #[test]
    fn a_conversion_takes_two_microseconds() {
        let mut adc = adc();
        adc.set_input(2, 1.65);
        adc.write(0, Write::plain(2 << 12 | 1), 0);
        assert_eq!(adc.read(0, 0).unwrap() & 1 << 8, 1 << 8);
        adc.write(0, Write::plain(2 << 12 | 5), 0);
        assert_eq!(adc.read(0, 248).unwrap() & 1 << 8, 0);
        assert_eq!(adc.read(0, 250).unwrap() & 1 << 8, 1 << 8);
        assert_eq!(adc.read(4, 250), Some(2048));
    }

    #[test]
    fn the_sensor_follows_its_line() {
        let mut adc = adc();
        let raw = |adc: &mut Adc, celsius: f32, at: u64| {
            adc.set_temperature(celsius);
            adc.write(0, Write::plain(4 << 12 | 7), at);
            adc.read(4, at + 250).unwrap()
        };
        assert_eq!(raw(&mut adc, 27.0, 0), 876);
        assert_eq!(raw(&mut adc, 37.0, 1000), 854);
    }

    #[test]
    fn round_robin_fills_the_fifo() {
        let mut adc = adc();
        for channel in 0..4 {
            adc.set_input(channel, channel as f32 * 0.3);
        }
        adc.write(0x18, Write::plain(1), 0);
        adc.write(8, Write::plain(3 << 24 | 1), 0);
        adc.write(0, Write::plain(0b111 << 16 | 9), 0);
        adc.advance(2 * 250);
        assert!(!adc.interrupt());
        adc.advance(3 * 250);
        assert!(adc.interrupt());
        assert_eq!([0; 3].map(|_| adc.read(0xc, 750).unwrap()), [0, 372, 744]);
    }
}
