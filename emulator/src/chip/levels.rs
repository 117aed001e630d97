//! Levels of pins: which block drives them, and who looks at them: PIO, PWM, wires and the radio.

use super::gpio::Function;
use super::pio::{self, Inputs};
use super::schedule::Source;
use super::{Chip, Trap};
use crate::Time;
use crate::radio::pins;

impl Chip {
    /// What the pins look like to PIO at a cycle: as they are, and as they were two cycles ago.
    #[inline(always)]
    pub(super) fn pio_inputs(&self, at: u64) -> Inputs {
        let direct = self.gpio.inputs();
        let seen_until = at.saturating_sub(pio::SYNCHRONIZER_CYCLES);
        let mut levels = self.gpio.levels;
        // newest first: each entry holds the levels before a change
        for &(changed, before) in &self.history {
            if changed <= seen_until {
                break;
            }
            levels = before;
        }
        let synchronized = if levels == self.gpio.levels {
            direct
        } else {
            self.gpio.inputs_of(levels)
        };
        Inputs { synchronized, direct }
    }

    /// Takes what an instruction or a register access of a PIO block did to the rest of the chip.
    pub(super) fn pio_effects(&mut self, which: usize, now: u64) {
        let effects = std::mem::take(&mut self.pios[which].effects);
        if effects.pins {
            let function = [Function::Pio0, Function::Pio1][which];
            let before = self.gpio.levels;
            let (levels, enable) = (self.pios[which].levels, self.pios[which].enable);
            if self.gpio.drive(function, levels, enable) {
                self.pins_moved(before, now);
            }
        }
        if effects.fifos || effects.flags {
            self.pios[which].wake(now);
            self.interrupts_dirty |= self.pios[which].can_interrupt();
            if effects.fifos && self.dma.is_busy() {
                self.refresh(Source::Dma);
            }
        }
    }

    /// Levels of pins have changed: tell whoever looks at them.
    pub(super) fn pins_moved(&mut self, before: u32, now: u64) {
        let mut before = before;
        // the radio answers on its data line and wires lead on, which moves pins again; a ring of wires is cut short
        for _ in 0..4 {
            let levels = self.gpio.levels;
            let moved = before ^ levels;
            if moved == 0 {
                return;
            }
            self.history.rotate_right(1);
            self.history[0] = (now, before);
            if let Some(log) = &mut self.pin_log {
                log.push((Time::from_nanos(self.timeline.nanos(now)), levels));
            }
            for (i, pio) in self.pios.iter_mut().enumerate() {
                pio.pins_changed(now);
                self.due[Source::Pio0 as usize + i] = pio.next().0;
            }
            self.interrupts_dirty = true;
            self.pwm.pins_changed(before, levels, now);
            before = levels;
            for i in 0..self.wires.len() {
                let (from, to) = self.wires[i];
                self.gpio
                    .drive_external(1 << to, (levels >> from & 1) << to, 1 << to);
            }
            if moved & (1 << pins::POWER | 1 << pins::SELECT | 1 << pins::CLOCK) != 0 {
                self.radio_sees(moved, levels, now);
            }
        }
        self.update_next_due();
    }

    /// Shows the radio the pins that lead to it.
    fn radio_sees(&mut self, moved: u32, levels: u32, now: u64) {
        let time = Time::from_nanos(self.timeline.nanos(now));
        let level = |pin: u32| levels >> pin & 1 != 0;
        if moved >> pins::POWER & 1 != 0 {
            self.radio.power(level(pins::POWER), time);
        }
        if moved >> pins::SELECT & 1 != 0 {
            self.radio.select(level(pins::SELECT), time);
        }
        if moved >> pins::CLOCK & 1 != 0 {
            self.radio.clock(level(pins::CLOCK), level(pins::DATA), time);
        }
        if moved & (1 << pins::POWER | 1 << pins::SELECT) != 0 {
            self.refresh(Source::Radio);
            // a transfer ends with such an edge: what went wrong in it is known by then
            if let Some(fault) = self.radio.take_fault() {
                self.trap.get_or_insert(Trap::Radio(fault));
                self.attention = true;
            }
        }
        let data = self.radio.data();
        let enable = u32::from(data.is_some()) << pins::DATA;
        self.gpio.drive_external(
            1 << pins::DATA,
            u32::from(data == Some(true)) << pins::DATA,
            enable,
        );
    }

    /// Takes over what the radio drives on its data line.
    pub(crate) fn radio_drives(&mut self) {
        let data = self.radio.data();
        let enable = u32::from(data.is_some()) << pins::DATA;
        self.drive_external(
            1 << pins::DATA,
            u32::from(data == Some(true)) << pins::DATA,
            enable,
        );
        self.refresh(Source::Radio);
        self.update_next_due();
    }

    /// Something outside of the chip drives pins, or lets go of them.
    pub(crate) fn drive_external(&mut self, mask: u32, levels: u32, enable: u32) {
        let before = self.gpio.levels;
        if self.gpio.drive_external(mask, levels, enable) {
            self.pins_moved(before, self.now);
        }
        self.interrupts_dirty = true;
    }

    pub(super) fn pwm_drives(&mut self) {
        let before = self.gpio.levels;
        if self.gpio.drive(Function::Pwm, self.pwm.levels(), u32::MAX) {
            self.pins_moved(before, self.now);
        }
    }
}
