//! The system control space: SysTick, NVIC and SCB (RP2040 datasheet, section 2.4.8).

use super::{Core, Fault};
use crate::chip::Chip;

/// SysTick (ARMv6-M ARM, section B3.3). Kept as the moment at which it next reaches zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct SysTick {
    enabled: bool,
    interrupt: bool,
    /// Counts the processor's clock; otherwise the microsecond tick of the watchdog.
    processor_clock: bool,
    counted_to_zero: bool,
    reload: u32,
    /// The value while it stands still.
    stopped_at: u32,
    /// The cycle at which it is next zero.
    zero_at: u64,
    /// Cycles for one count.
    cycles_per_count: u64,
}

impl SysTick {
    fn value(&self, now: u64) -> u32 {
        if !self.runs() {
            return self.stopped_at;
        }
        let left = (self.zero_at.saturating_sub(now) / self.cycles_per_count.max(1)) as u32;
        // the count that reloads shows zero
        if left == self.reload + 1 {
            0
        } else {
            left & 0xff_ffff
        }
    }

    fn start(&mut self, now: u64) {
        let count = match (self.stopped_at, self.reload) {
            (0, 0) => {
                self.zero_at = u64::MAX;
                return;
            }
            (0, reload) => reload + 1,
            (left, _) => left,
        };
        self.zero_at = now + u64::from(count) * self.cycles_per_count.max(1);
    }

    fn runs(&self) -> bool {
        self.enabled && self.zero_at != u64::MAX
    }
}

impl Core {
    /// The cycle at which SysTick will next want to interrupt.
    pub(crate) fn systick_event(&self) -> u64 {
        if self.systick.runs() && self.systick.interrupt {
            self.systick.zero_at
        } else {
            u64::MAX
        }
    }

    /// Brings SysTick up to `now`.
    pub(crate) fn advance_systick(&mut self, now: u64) {
        let timer = &mut self.systick;
        if !timer.runs() || now < timer.zero_at {
            return;
        }
        timer.counted_to_zero = true;
        self.exceptions.systick_pending |= timer.interrupt;
        let period = (u64::from(timer.reload) + 1) * timer.cycles_per_count.max(1);
        if timer.reload == 0 {
            timer.stopped_at = 0;
            timer.zero_at = u64::MAX;
        } else {
            timer.zero_at += ((now - timer.zero_at) / period + 1) * period;
        }
    }

    /// Reads a register of the private peripheral bus.
    pub(super) fn read_system(&mut self, chip: &mut Chip, address: u32, now: u64) -> Result<u32, Fault> {
        if self.is_unprivileged() {
            return Err(Fault::Bus { address });
        }
        self.advance_systick(now);
        let exceptions = &self.exceptions;
        Ok(match address {
            0xe000_e010 => {
                let timer = &mut self.systick;
                let flag = std::mem::take(&mut timer.counted_to_zero);
                u32::from(flag) << 16
                    | u32::from(timer.processor_clock) << 2
                    | u32::from(timer.interrupt) << 1
                    | u32::from(timer.enabled)
            }
            0xe000_e014 => self.systick.reload,
            0xe000_e018 => self.systick.value(now),
            // SYST_CALIB: no calibration value
            0xe000_e01c => 0,
            0xe000_e100 | 0xe000_e180 => exceptions.enabled,
            0xe000_e200 | 0xe000_e280 => exceptions.pending_interrupts(),
            0xe000_e400..=0xe000_e41c => {
                let first = (address & 0x1c) as usize;
                (0..4)
                    .map(|i| u32::from(exceptions.priorities[first + i]) << (8 * i + 6))
                    .sum()
            }
            // CPUID: Cortex-M0+ r0p1
            0xe000_ed00 => 0x410c_c601,
            0xe000_ed04 => {
                u32::from(exceptions.nmi_pending) << 31
                    | u32::from(exceptions.pendsv_pending) << 28
                    | u32::from(exceptions.systick_pending) << 26
                    | u32::from(exceptions.pending_interrupts() != 0) << 22
                    | exceptions.vector_pending() << 12
                    | self.ipsr
            }
            0xe000_ed08 => self.vtor,
            0xe000_ed0c => 0xfa05_0000,
            0xe000_ed10 => self.scr,
            // CCR: STKALIGN and UNALIGN_TRP
            0xe000_ed14 => 0x208,
            0xe000_ed1c => u32::from(exceptions.svcall_priority) << 30,
            0xe000_ed20 => {
                u32::from(exceptions.systick_priority) << 30 | u32::from(exceptions.pendsv_priority) << 22
            }
            0xe000_ed24 => u32::from(exceptions.svcall_pending) << 15,
            // DFSR and DHCSR: no debugger in the chip
            0xe000_ed30 | 0xe000_edf0 => 0,
            _ => {
                let protection = self.mpu.read(address);
                if protection.is_none() {
                    chip.not_modelled(address, None);
                }
                protection.unwrap_or(0)
            }
        })
    }

    /// Writes a register of the private peripheral bus.
    pub(super) fn write_system(
        &mut self,
        chip: &mut Chip,
        address: u32,
        value: u32,
        now: u64,
    ) -> Result<(), Fault> {
        if self.is_unprivileged() {
            return Err(Fault::Bus { address });
        }
        self.advance_systick(now);
        match address {
            0xe000_e010 => {
                let timer = &mut self.systick;
                timer.stopped_at = timer.value(now);
                timer.interrupt = value & 2 != 0;
                timer.processor_clock = value & 4 != 0;
                timer.cycles_per_count = if timer.processor_clock {
                    1
                } else {
                    chip.cycles_per_tick()
                };
                timer.enabled = value & 1 != 0;
                if timer.enabled {
                    timer.start(now);
                }
            }
            0xe000_e014 => self.systick.reload = value & 0xff_ffff,
            0xe000_e018 => {
                let timer = &mut self.systick;
                timer.counted_to_zero = false;
                timer.stopped_at = 0;
                if timer.enabled {
                    timer.start(now);
                }
            }
            0xe000_e100 => self.exceptions.enabled |= value,
            0xe000_e180 => self.exceptions.enabled &= !value,
            0xe000_e200 => self.exceptions.latched |= value,
            0xe000_e280 => self.exceptions.latched &= !value,
            0xe000_e400..=0xe000_e41c => {
                let first = (address & 0x1c) as usize;
                for i in 0..4 {
                    self.exceptions.priorities[first + i] = (value >> (8 * i + 6) & 3) as u8;
                }
            }
            0xe000_ed04 => {
                let exceptions = &mut self.exceptions;
                exceptions.nmi_pending |= value >> 31 & 1 != 0;
                exceptions.pendsv_pending |= value >> 28 & 1 != 0;
                exceptions.pendsv_pending &= value >> 27 & 1 == 0;
                exceptions.systick_pending |= value >> 26 & 1 != 0;
                exceptions.systick_pending &= value >> 25 & 1 == 0;
            }
            0xe000_ed08 => self.vtor = value & !0xff,
            0xe000_ed0c => {
                if value >> 16 == 0x05fa && value & 4 != 0 {
                    self.reset_requested = true;
                }
            }
            0xe000_ed10 => self.scr = value & 0x16,
            // CCR is read-only; SHCSR's pending bit is for debuggers
            0xe000_ed14 | 0xe000_ed24 => {}
            0xe000_ed1c => self.exceptions.svcall_priority = (value >> 30) as u8,
            0xe000_ed20 => {
                self.exceptions.systick_priority = (value >> 30) as u8;
                self.exceptions.pendsv_priority = (value >> 22 & 3) as u8;
            }
            _ if self.mpu.write(address, value) => {}
            _ => chip.not_modelled(address, Some(value)),
        }
        Ok(())
    }
}
