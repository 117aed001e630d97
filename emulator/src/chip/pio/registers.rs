//! The registers of a PIO block (section 3.7).

use super::{Inputs, Pio};
use crate::chip::memory::Write;

/// EXECCTRL bits whose behaviour is not modelled: INLINE_OUT_EN and OUT_STICKY.
const NOT_MODELLED: u32 = 1 << 18 | 1 << 17;

impl Pio {
    /// Reads a register.
    pub(crate) fn read(&mut self, offset: u32) -> Option<u32> {
        let each = |bit: &dyn Fn(&super::StateMachine) -> bool, shift: u32| -> u32 {
            self.machines
                .iter()
                .enumerate()
                .map(|(i, machine)| u32::from(bit(machine)) << (shift + i as u32))
                .sum()
        };
        Some(match offset {
            0x000 => each(&|machine| machine.enabled, 0),
            0x004 => {
                each(&|machine| machine.rx.len() >= machine.rx_depth(), 0)
                    | each(&|machine| machine.rx.is_empty(), 8)
                    | each(&|machine| machine.tx.len() >= machine.tx_depth(), 16)
                    | each(&|machine| machine.tx.is_empty(), 24)
            }
            0x008 => self.debug,
            0x00c => (0..4)
                .map(|i| {
                    let machine = &self.machines[i];
                    (machine.tx.len() as u32 & 15 | (machine.rx.len() as u32 & 15) << 4) << (8 * i)
                })
                .sum(),
            0x010..=0x01c => 0,
            0x020..=0x02c => {
                let i = (offset as usize - 0x20) / 4;
                match self.machines[i].rx.pop_front() {
                    Some(word) => {
                        self.effects.fifos = true;
                        word
                    }
                    None => {
                        self.debug |= 1 << (8 + i);
                        0
                    }
                }
            }
            0x030 => u32::from(self.flags),
            0x034 => 0,
            0x038 => self.bypass,
            0x03c => self.levels,
            0x040 => self.enable,
            0x044 => 32 << 16 | 4 << 8 | 4,
            0x048..=0x0c4 => 0,
            0x0c8..=0x127 => {
                let machine = &self.machines[(offset as usize - 0xc8) / 0x18];
                match (offset - 0xc8) % 0x18 {
                    0x00 => machine.clock_divider,
                    0x04 => {
                        machine.exec_control | u32::from(machine.stalled && machine.injected.is_some()) << 31
                    }
                    0x08 => machine.shift_control,
                    0x0c => machine.pc,
                    0x10 => u32::from(machine.injected.unwrap_or(self.memory[machine.pc as usize & 31])),
                    _ => machine.pin_control,
                }
            }
            0x128 => self.raw(),
            0x12c | 0x138 => self.enabled[usize::from(offset == 0x138)],
            0x130 | 0x13c => self.forced[usize::from(offset == 0x13c)],
            0x134 | 0x140 => {
                let line = usize::from(offset == 0x140);
                self.raw() & self.enabled[line] | self.forced[line]
            }
            _ => return None,
        })
    }

    /// Writes a register. `false` for what is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64, inputs: Inputs) -> bool {
        match offset {
            0x000 => {
                let enabled: u32 = (0..4).map(|i| u32::from(self.machines[i].enabled) << i).sum();
                let control = write.onto(enabled);
                for (i, machine) in self.machines.iter_mut().enumerate() {
                    if control >> (8 + i) & 1 != 0 {
                        machine.restart_clock(now);
                    }
                    if control >> (4 + i) & 1 != 0 {
                        machine.restart();
                    }
                    machine.set_enabled(control >> i & 1 != 0, now);
                }
            }
            0x008 => self.debug &= !write.bits(),
            0x010..=0x01c => {
                let i = (offset as usize - 0x10) / 4;
                if self.machines[i].has_room() {
                    self.machines[i].tx.push_back(write.bits());
                    self.effects.fifos = true;
                } else {
                    self.debug |= 1 << (16 + i);
                }
            }
            0x020..=0x02c | 0x03c | 0x040 | 0x044 => {}
            0x030 => {
                self.flags &= !(write.bits() as u8);
                self.effects.flags = true;
            }
            0x034 => {
                self.flags |= write.bits() as u8;
                self.effects.flags = true;
            }
            0x038 => self.bypass = write.onto(self.bypass),
            0x048..=0x0c4 => {
                self.memory[(offset as usize - 0x48) / 4] = write.bits() as u16;
                // a machine may be stalled on what has just been replaced
                self.wake(now);
            }
            0x0c8..=0x127 => {
                return self.write_machine((offset as usize - 0xc8) / 0x18, offset, write, inputs);
            }
            0x12c | 0x138 => {
                let enabled = &mut self.enabled[usize::from(offset == 0x138)];
                *enabled = write.onto(*enabled) & 0xfff;
            }
            0x130 | 0x13c => {
                let forced = &mut self.forced[usize::from(offset == 0x13c)];
                *forced = write.onto(*forced) & 0xfff;
            }
            _ => return false,
        }
        true
    }

    fn write_machine(&mut self, i: usize, offset: u32, write: Write, inputs: Inputs) -> bool {
        let machine = &mut self.machines[i];
        match (offset - 0xc8) % 0x18 {
            0x00 => machine.clock_divider = write.onto(machine.clock_divider) & 0xffff_ff00,
            0x04 => {
                machine.exec_control = write.onto(machine.exec_control) & 0x7fff_ff9f;
                return machine.exec_control & NOT_MODELLED == 0;
            }
            0x08 => {
                let before = machine.shift_control;
                machine.shift_control = write.onto(before) & 0xffff_0000;
                // joining FIFOs, or parting them, empties them
                if (before ^ machine.shift_control) >> 30 != 0 {
                    machine.tx.clear();
                    machine.rx.clear();
                    self.effects.fifos = true;
                }
            }
            0x0c => {}
            0x10 => {
                self.inject(i, write.bits() as u16, inputs);
                self.effects.flags = true;
            }
            _ => machine.pin_control = write.onto(machine.pin_control),
        }
        true
    }
}
