//! The single-cycle I/O block of the two cores (RP2040 datasheet, section 2.3.1).

use std::collections::VecDeque;

use super::interpolator::Interpolator;

/// Words in each direction of the mailbox between the cores.
const FIFO_DEPTH: usize = 8;
/// Cycles that the divider takes.
const DIVIDER_CYCLES: u64 = 8;

/// The divider of one core (section 2.3.1.5).
#[derive(Debug, Clone, Copy, Default)]
struct Divider {
    dividend: u32,
    divisor: u32,
    quotient: u32,
    remainder: u32,
    dirty: bool,
    ready_at: u64,
}

impl Divider {
    fn divide(&mut self, signed: bool, now: u64) {
        let (n, d) = (self.dividend, self.divisor);
        (self.quotient, self.remainder) = match (signed, d) {
            (false, 0) => (u32::MAX, n),
            (false, _) => (n / d, n % d),
            // the sign of the dividend decides between the results of a division by zero
            (true, 0) => (if (n as i32) < 0 { 1 } else { u32::MAX }, n),
            (true, _) => (
                (n as i32).wrapping_div(d as i32) as u32,
                (n as i32).wrapping_rem(d as i32) as u32,
            ),
        };
        self.dirty = true;
        self.ready_at = now + DIVIDER_CYCLES;
    }
}

/// What belongs to one core.
#[derive(Debug, Clone, Default)]
struct PerCore {
    divider: Divider,
    interpolators: [Interpolator; 2],
    /// Words that the other core sent.
    inbox: VecDeque<u32>,
    overflowed: bool,
    read_empty: bool,
}

/// The block.
#[derive(Debug, Clone)]
pub(crate) struct Sio {
    pub out: u32,
    pub enable: u32,
    high_out: u32,
    high_enable: u32,
    spinlocks: u32,
    cores: [PerCore; 2],
}

/// What a write leads to outside of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    /// GPIO outputs may have changed.
    Pins,
    /// The mailbox changed, and with it interrupts.
    Mailbox,
    /// Not modelled.
    Unknown,
}

impl Sio {
    pub(crate) fn new() -> Self {
        let mut cores = [PerCore::default(), PerCore::default()];
        for core in &mut cores {
            core.interpolators = [Interpolator::new(0), Interpolator::new(1)];
            core.inbox.reserve(FIFO_DEPTH);
        }
        Self {
            out: 0,
            enable: 0,
            high_out: 0,
            high_enable: 0,
            spinlocks: 0,
            cores,
        }
    }

    /// SIO_IRQ_PROC0 or 1: something is in the mailbox, or went wrong with it.
    pub(crate) fn interrupt(&self, core: usize) -> bool {
        let own = &self.cores[core];
        !own.inbox.is_empty() || own.overflowed || own.read_empty
    }

    /// The word that the mailbox holds for a core, taken out: for the boot ROM's launch of core 1.
    pub(crate) fn receive(&mut self, core: usize) -> Option<u32> {
        self.cores[core].inbox.pop_front()
    }

    pub(crate) fn empty_inbox(&mut self, core: usize) {
        self.cores[core].inbox.clear();
    }

    /// Sends a word to the other core; `false` if its mailbox is full.
    pub(crate) fn send(&mut self, core: usize, word: u32) -> bool {
        let inbox = &mut self.cores[1 - core].inbox;
        let room = inbox.len() < FIFO_DEPTH;
        if room {
            inbox.push_back(word);
        }
        room
    }

    /// Reads a register. `gpio` and `gpio_high` are the levels of the pins.
    pub(crate) fn read(
        &mut self,
        core: usize,
        offset: u32,
        gpio: u32,
        gpio_high: u32,
        now: u64,
    ) -> Option<u32> {
        let room = self.cores[1 - core].inbox.len() < FIFO_DEPTH;
        let own = &mut self.cores[core];
        Some(match offset {
            0x000 => core as u32,
            0x004 => gpio,
            0x008 => gpio_high,
            0x010 => self.out,
            0x020 => self.enable,
            0x030 => self.high_out,
            0x040 => self.high_enable,
            0x050 => {
                u32::from(!own.inbox.is_empty())
                    | u32::from(room) << 1
                    | u32::from(own.overflowed) << 2
                    | u32::from(own.read_empty) << 3
            }
            0x058 => match own.inbox.pop_front() {
                Some(word) => word,
                None => {
                    own.read_empty = true;
                    0
                }
            },
            0x05c => self.spinlocks,
            0x060 | 0x068 => own.divider.dividend,
            0x064 | 0x06c => own.divider.divisor,
            0x070 => {
                own.divider.dirty = false;
                own.divider.quotient
            }
            0x074 => own.divider.remainder,
            0x078 => u32::from(now >= own.divider.ready_at) | u32::from(own.divider.dirty) << 1,
            0x080..=0x0fc => {
                let which = (offset as usize - 0x80) / 0x40;
                own.interpolators[which].read(offset & 0x3f)?
            }
            0x100..=0x17c => {
                let lock = 1 << ((offset - 0x100) / 4);
                if self.spinlocks & lock != 0 {
                    0
                } else {
                    self.spinlocks |= lock;
                    lock
                }
            }
            _ => return None,
        })
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, core: usize, offset: u32, value: u32, now: u64) -> Effect {
        let own = &mut self.cores[core];
        match offset {
            0x010..=0x01c => modify(&mut self.out, offset, value),
            0x020..=0x02c => modify(&mut self.enable, offset, value),
            0x030..=0x03c => {
                modify(&mut self.high_out, offset, value);
                return Effect::None;
            }
            0x040..=0x04c => {
                modify(&mut self.high_enable, offset, value);
                return Effect::None;
            }
            0x050 => {
                // Any value clears both, as the Pico SDK says and as the counters of the same access type (WC) do. The boot
                // ROM leaves ROE set on core 1, and embassy's handler of the interrupt clears it by writing zero.
                own.overflowed = false;
                own.read_empty = false;
                return Effect::Mailbox;
            }
            0x054 => {
                if !self.send(core, value) {
                    self.cores[core].overflowed = true;
                }
                return Effect::Mailbox;
            }
            0x060..=0x06c => {
                if offset & 4 == 0 {
                    own.divider.dividend = value;
                } else {
                    own.divider.divisor = value;
                }
                own.divider.divide(offset & 8 != 0, now);
                return Effect::None;
            }
            0x070 => {
                own.divider.quotient = value;
                own.divider.dirty = true;
                return Effect::None;
            }
            0x074 => {
                own.divider.remainder = value;
                own.divider.dirty = true;
                return Effect::None;
            }
            0x080..=0x0fc => {
                let which = (offset as usize - 0x80) / 0x40;
                return if own.interpolators[which].write(offset & 0x3f, value) {
                    Effect::None
                } else {
                    Effect::Unknown
                };
            }
            0x100..=0x17c => {
                self.spinlocks &= !(1 << ((offset - 0x100) / 4));
                return Effect::None;
            }
            _ => return Effect::Unknown,
        }
        Effect::Pins
    }
}

/// The four ways to write an output register: assign, set, clear, toggle.
fn modify(register: &mut u32, offset: u32, value: u32) {
    match offset & 0xc {
        0x0 => *register = value,
        0x4 => *register |= value,
        0x8 => *register &= !value,
        _ => *register ^= value,
    }
    *register &= 0x3fff_ffff;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divide(signed: bool, dividend: u32, divisor: u32) -> (u32, u32) {
        let mut sio = Sio::new();
        let base = if signed { 0x68 } else { 0x60 };
        sio.write(0, base, dividend, 0);
        sio.write(0, base + 4, divisor, 0);
        assert_eq!(sio.read(0, 0x78, 0, 0, 7), Some(2));
        assert_eq!(sio.read(0, 0x78, 0, 0, 8), Some(3));
        (
            sio.read(0, 0x70, 0, 0, 8).unwrap(),
            sio.read(0, 0x74, 0, 0, 8).unwrap(),
        )
    }

    #[test]
    fn divides_as_the_datasheet_says_even_by_zero() {
        assert_eq!(divide(false, 100, 7), (14, 2));
        assert_eq!(divide(false, 100, 0), (u32::MAX, 100));
        assert_eq!(
            divide(true, (-100_i32) as u32, 7),
            ((-14_i32) as u32, (-2_i32) as u32)
        );
        assert_eq!(divide(true, (-100_i32) as u32, 0), (1, (-100_i32) as u32));
        assert_eq!(divide(true, 100, 0), (u32::MAX, 100));
        assert_eq!(divide(true, 0x8000_0000, u32::MAX), (0x8000_0000, 0));
    }

    #[test]
    fn a_spinlock_is_had_by_one() {
        let mut sio = Sio::new();
        assert_eq!(sio.read(0, 0x17c, 0, 0, 0), Some(1 << 31));
        assert_eq!(sio.read(1, 0x17c, 0, 0, 0), Some(0));
        sio.write(0, 0x17c, 0, 0);
        assert_eq!(sio.read(1, 0x17c, 0, 0, 0), Some(1 << 31));
    }

    #[test]
    fn the_mailbox_holds_eight_words() {
        let mut sio = Sio::new();
        for word in 0..9 {
            sio.write(0, 0x54, word, 0);
        }
        assert_eq!(sio.read(0, 0x50, 0, 0, 0), Some(4), "full and overflowed");
        assert!(sio.interrupt(0) && sio.interrupt(1));
        assert_eq!(
            (0..8).map(|_| sio.read(1, 0x58, 0, 0, 0).unwrap()).sum::<u32>(),
            28
        );
        assert!(!sio.interrupt(1));
        sio.read(1, 0x58, 0, 0, 0);
        assert_eq!(sio.read(1, 0x50, 0, 0, 0), Some(2 | 8), "read while empty");
        assert!(sio.interrupt(1));
        // any value clears what went wrong, on the side that writes it
        for core in [0, 1] {
            sio.write(core, 0x50, 0, 0);
            assert_eq!(sio.read(core, 0x50, 0, 0, 0), Some(2));
            assert!(!sio.interrupt(core));
        }
    }
}
