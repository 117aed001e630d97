//! Clock generators, oscillators and PLLs (RP2040 datasheet, sections 2.15 to 2.18).
//!
//! The emulator counts cycles of clk_sys. This block says how long one of them is, and all that runs from another
//! clock asks it for the ratio.

use super::Write;
use super::ring::{Oscillator, Ring};

/// The crystal of a Pico.
const CRYSTAL_HZ: u64 = 12_000_000;
/// CTRL and DIV of a clock generator.
#[derive(Debug, Clone, Copy, Default)]
struct Generator {
    control: u32,
    divider: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pll {
    control: u32,
    power: u32,
    feedback: u32,
    post: u32,
}

impl Pll {
    const RESET: Self = Self {
        control: 1,
        power: 0x2d,
        feedback: 0,
        post: 0x7_7000,
    };

    fn is_running(&self) -> bool {
        self.power & 0x21 == 0 && self.feedback != 0
    }

    fn hz(&self) -> u64 {
        if self.control & 1 << 8 != 0 {
            return CRYSTAL_HZ;
        }
        if !self.is_running() || self.power & 8 != 0 {
            return 0;
        }
        let vco = CRYSTAL_HZ / u64::from(self.control & 0x3f).max(1) * u64::from(self.feedback);
        vco / u64::from(self.post >> 16 & 7).max(1) / u64::from(self.post >> 12 & 7).max(1)
    }
}

/// Which clock, as CLOCKS numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Clock {
    Reference = 4,
    System = 5,
    Peripheral = 6,
    #[allow(dead_code, reason = "the USB device is not clocked by it in the model")]
    Usb = 7,
    Adc = 8,
    Rtc = 9,
}

/// Clocks, oscillators, PLLs.
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    generators: [Generator; 10],
    enables: [u32; 4],
    resus: u32,
    counter: [u32; 6],
    counted_khz: u64,
    interrupts_enabled: u32,
    crystal_control: u32,
    crystal_startup: u32,
    ring: Ring,
    plls: [Pll; 2],
}

impl Clocks {
    /// As power-on leaves it: everything runs from the ring oscillator. `seed` feeds its noise.
    pub(crate) fn new(oscillator: Oscillator, seed: u64) -> Self {
        Self::with_ring(Ring::new(oscillator, seed))
    }

    /// What a reset leaves.
    pub(crate) fn reset(&mut self, seed: u64) {
        *self = Self::with_ring(self.ring.after_reset(seed));
    }

    fn with_ring(ring: Ring) -> Self {
        let mut generators = [Generator {
            control: 0,
            divider: 0x100,
        }; 10];
        // clk_peri has no divider
        generators[Clock::Peripheral as usize].divider = 0x100;
        Self {
            generators,
            enables: [u32::MAX, 0x7fff, u32::MAX, 0x7fff],
            resus: 0xff,
            counter: [0, 0, 0x1ff_ffff, 1, 8, 0],
            counted_khz: 0,
            interrupts_enabled: 0,
            crystal_control: 0,
            crystal_startup: 0xc4,
            ring,
            plls: [Pll::RESET; 2],
        }
    }

    fn crystal_hz(&self) -> u64 {
        if self.crystal_control >> 12 & 0xfff == 0xfab {
            CRYSTAL_HZ
        } else {
            0
        }
    }

    fn ring_hz(&self) -> u64 {
        self.ring.hz() as u64
    }

    fn divided(hz: u64, divider: u32) -> u64 {
        let divider = if divider >> 8 == 0 {
            1 << 24 | u64::from(divider)
        } else {
            u64::from(divider)
        };
        hz * 256 / divider
    }

    /// The frequency of a clock in Hz, 0 if it stands still (section 2.15.1, figure 28).
    pub(crate) fn hz(&self, clock: Clock) -> u64 {
        let Generator { control, divider } = self.generators[clock as usize];
        let auxiliary = control >> 5 & 7;
        let [sys_pll, usb_pll] = [self.plls[0].hz(), self.plls[1].hz()];
        match clock {
            Clock::Reference => {
                let source = match control & 3 {
                    0 => self.ring_hz(),
                    1 if auxiliary == 0 => usb_pll,
                    1 => 0,
                    _ => self.crystal_hz(),
                };
                source / u64::from(divider >> 8 & 3).max(1)
            }
            Clock::System => {
                let source = match (control & 1, auxiliary) {
                    (0, _) => self.hz(Clock::Reference),
                    (_, 0) => sys_pll,
                    (_, 1) => usb_pll,
                    (_, 2) => self.ring_hz(),
                    (_, 3) => self.crystal_hz(),
                    _ => 0,
                };
                Self::divided(source, divider)
            }
            Clock::Peripheral => match (control >> 11 & 1, auxiliary) {
                (0, _) => 0,
                (_, 0) => self.hz(Clock::System),
                (_, 1) => sys_pll,
                (_, 2) => usb_pll,
                (_, 3) => self.ring_hz(),
                (_, 4) => self.crystal_hz(),
                _ => 0,
            },
            Clock::Usb | Clock::Adc | Clock::Rtc => {
                let source = match (control >> 11 & 1, auxiliary) {
                    (0, _) => 0,
                    (_, 0) => usb_pll,
                    (_, 1) => sys_pll,
                    (_, 2) => self.ring_hz(),
                    (_, 3) => self.crystal_hz(),
                    _ => 0,
                };
                Self::divided(source, divider)
            }
        }
    }

    /// Reads a register of CLOCKS.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00..=0x74 => {
                let which = (offset / 12) as usize;
                let generator = self.generators[which];
                match offset % 12 {
                    0 => generator.control,
                    4 => generator.divider,
                    _ => match which {
                        4 => 1 << (generator.control & 3),
                        5 => 1 << (generator.control & 1),
                        _ => 1,
                    },
                }
            }
            0x78 => self.resus,
            0x7c => 0,
            0x80..=0x94 => self.counter[(offset as usize - 0x80) / 4],
            // FC0_STATUS: running is done at once
            0x98 => 1 << 4 | 1,
            // FC0_RESULT: kHz with five bits of fraction
            0x9c => (self.counted_khz << 5) as u32,
            0xa0..=0xac => self.enables[(offset as usize - 0xa0) / 4],
            0xb0 | 0xb4 => self.enables[(offset as usize - 0xb0) / 4],
            0xb8 | 0xc4 => 0,
            0xbc => self.interrupts_enabled,
            _ => return None,
        })
    }

    /// Writes a register of CLOCKS.
    pub(crate) fn write(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00..=0x74 => {
                let generator = &mut self.generators[(offset / 12) as usize];
                match offset % 12 {
                    0 => generator.control = write.onto(generator.control),
                    4 => generator.divider = write.onto(generator.divider),
                    _ => {}
                }
            }
            0x78 => self.resus = write.onto(self.resus),
            0x80..=0x94 => {
                let register = (offset as usize - 0x80) / 4;
                self.counter[register] = write.onto(self.counter[register]);
                if offset == 0x94 {
                    self.counted_khz = self.source_hz(self.counter[5]) / 1000;
                }
            }
            0xa0..=0xac => {
                let register = (offset as usize - 0xa0) / 4;
                self.enables[register] = write.onto(self.enables[register]);
            }
            0xbc => self.interrupts_enabled = write.onto(self.interrupts_enabled),
            _ => return false,
        }
        true
    }

    /// The sources of the frequency counter (FC0_SRC).
    fn source_hz(&self, source: u32) -> u64 {
        match source {
            1 => self.plls[0].hz(),
            2 => self.plls[1].hz(),
            3 | 4 => self.ring_hz(),
            5 => self.crystal_hz(),
            8 => self.hz(Clock::Reference),
            9 => self.hz(Clock::System),
            10 => self.hz(Clock::Peripheral),
            11 => self.hz(Clock::Usb),
            12 => self.hz(Clock::Adc),
            13 => self.hz(Clock::Rtc),
            _ => 0,
        }
    }

    /// XOSC (section 2.16.7).
    pub(crate) fn read_crystal(&self, offset: u32) -> Option<u32> {
        let enabled = u32::from(self.crystal_hz() != 0);
        Some(match offset {
            0x00 => self.crystal_control,
            // stable as soon as it is enabled: the start-up delay is not waited for
            0x04 => enabled << 31 | enabled << 12,
            0x08 => 0x7761_6b65,
            0x0c => self.crystal_startup,
            0x1c => 0,
            _ => return None,
        })
    }

    /// Writes a register of XOSC. Dormant mode is not modelled.
    pub(crate) fn write_crystal(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00 => self.crystal_control = write.onto(self.crystal_control),
            0x0c => self.crystal_startup = write.onto(self.crystal_startup),
            0x04 | 0x1c => {}
            _ => return false,
        }
        true
    }

    /// ROSC.
    pub(crate) fn read_ring(&mut self, offset: u32, nanos: u64) -> Option<u32> {
        self.ring.read(offset, nanos)
    }

    /// Writes a register of ROSC.
    pub(crate) fn write_ring(&mut self, offset: u32, write: Write, nanos: u64) -> bool {
        self.ring.write(offset, write, nanos)
    }

    pub(crate) fn set_oscillator(&mut self, oscillator: Oscillator) {
        self.ring.set_oscillator(oscillator);
    }

    /// Bits of min-entropy in all reads of RANDOMBIT.
    pub(crate) fn min_entropy(&self) -> f64 {
        self.ring.min_entropy()
    }

    /// PLL_SYS (0) or PLL_USB (1) (section 2.18.5).
    pub(crate) fn read_pll(&self, which: usize, offset: u32) -> Option<u32> {
        let pll = &self.plls[which];
        Some(match offset {
            0x00 => pll.control | u32::from(pll.is_running()) << 31,
            0x04 => pll.power,
            0x08 => pll.feedback,
            0x0c => pll.post,
            _ => return None,
        })
    }

    /// Writes a register of a PLL.
    pub(crate) fn write_pll(&mut self, which: usize, offset: u32, write: Write) -> bool {
        let pll = &mut self.plls[which];
        match offset {
            0x00 => pll.control = write.onto(pll.control) & 0x13f,
            0x04 => pll.power = write.onto(pll.power),
            0x08 => pll.feedback = write.onto(pll.feedback) & 0xfff,
            0x0c => pll.post = write.onto(pll.post),
            _ => return false,
        }
        true
    }

    /// A PLL is held in reset.
    pub(crate) fn reset_pll(&mut self, which: usize) {
        self.plls[which] = Pll::RESET;
    }
}

/// How cycles of clk_sys and emulated time correspond: since the last change of clk_sys, linearly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    anchor_cycle: u64,
    anchor_nanos: u64,
    hz: u64,
}

const NANOS: u128 = 1_000_000_000;

impl Timeline {
    pub(crate) fn new(hz: u64) -> Self {
        Self {
            anchor_cycle: 0,
            anchor_nanos: 0,
            hz: hz.max(1),
        }
    }

    pub(crate) fn hz(&self) -> u64 {
        self.hz
    }

    /// Emulated nanoseconds at a cycle.
    pub(crate) fn nanos(&self, cycle: u64) -> u64 {
        let cycles = cycle.saturating_sub(self.anchor_cycle);
        let nanos = u128::from(cycles) * NANOS / u128::from(self.hz);
        // A cycle that never comes has no moment: it must not wrap around into the past.
        self.anchor_nanos
            .saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first cycle that is not before that many nanoseconds.
    pub(crate) fn cycle(&self, nanos: u64) -> u64 {
        let nanos = nanos.saturating_sub(self.anchor_nanos);
        let cycles = (u128::from(nanos) * u128::from(self.hz)).div_ceil(NANOS);
        self.anchor_cycle
            .saturating_add(u64::try_from(cycles).unwrap_or(u64::MAX))
    }

    /// clk_sys changes at this cycle.
    pub(crate) fn set_hz(&mut self, cycle: u64, hz: u64) {
        if hz != 0 && hz != self.hz {
            *self = Self {
                anchor_cycle: cycle,
                anchor_nanos: self.nanos(cycle),
                hz,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_set_up_gives_125_megahertz() {
        let mut clocks = Clocks::new(Oscillator::default(), 0);
        assert_eq!(clocks.hz(Clock::System), 6_500_000);
        clocks.write_crystal(0, Write::plain(0xfab_aa0));
        clocks.write(0x30, Write::plain(2));
        assert_eq!(clocks.hz(Clock::Reference), 12_000_000);
        assert_eq!(clocks.read(0x38), Some(4));
        for (offset, value) in [(8, 125), (4, 0), (0xc, 6 << 16 | 2 << 12)] {
            clocks.write_pll(0, offset, Write::plain(value));
        }
        assert_eq!(clocks.read_pll(0, 0).unwrap() >> 31, 1);
        clocks.write(0x3c, Write::plain(1));
        assert_eq!(clocks.hz(Clock::System), 125_000_000);
        clocks.write(0x40, Write::plain(0x280));
        assert_eq!(clocks.hz(Clock::System), 50_000_000);
        clocks.write(0x48, Write::plain(1 << 11));
        assert_eq!(clocks.hz(Clock::Peripheral), 50_000_000);
    }

    #[test]
    fn time_goes_on_over_a_change_of_clock() {
        let mut timeline = Timeline::new(6_500_000);
        assert_eq!(timeline.nanos(6_500_000), 1_000_000_000);
        timeline.set_hz(6_500_000, 125_000_000);
        assert_eq!(timeline.nanos(6_500_000 + 125), 1_000_001_000);
        assert_eq!(timeline.cycle(1_000_001_000), 6_500_125);
        assert_eq!(timeline.cycle(1_000_001_001), 6_500_126);
    }
}
