//! Programmable I/O (RP2040 datasheet, chapter 3): two blocks of four state machines.
//!
//! A state machine runs one instruction for each event; one that is stalled has none until something that it may wait
//! for changes. So a block that waits costs nothing, and one that runs is exact to the cycle.

mod registers;
mod state_machine;
#[cfg(test)]
mod tests;

pub(crate) use state_machine::StateMachine;

/// Depth of each FIFO before they are joined.
const FIFO_DEPTH: usize = 4;

/// Cycles that an input takes through the synchroniser (section 3.5.6.3).
pub(crate) const SYNCHRONIZER_CYCLES: u64 = 2;

/// One block.
#[derive(Debug, Clone)]
pub(crate) struct Pio {
    pub(super) machines: [StateMachine; 4],
    memory: [u16; 32],
    /// The eight flags that state machines set and wait for.
    flags: u8,
    /// Interrupt enables and forces of the two lines.
    enabled: [u32; 2],
    forced: [u32; 2],
    /// Pins whose input does not go through the synchroniser.
    pub bypass: u32,
    debug: u32,
    /// Until this cycle a change of a pin is on its way through the synchronisers.
    poll_until: u64,
    /// What the block drives, if a pin has its function.
    pub levels: u32,
    pub enable: u32,
    /// What the last instructions did that others must know of.
    pub effects: Effects,
}

/// What an instruction or a register access changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Levels or directions of pins.
    pub pins: bool,
    /// A FIFO.
    pub fifos: bool,
    /// A flag.
    pub flags: bool,
}

impl Effects {
    pub(crate) fn any(self) -> bool {
        self.pins || self.fifos || self.flags
    }
}

/// The level of every pin as a state machine sees it: two cycles late through the synchroniser, or at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs {
    pub synchronized: u32,
    pub direct: u32,
}

impl Inputs {
    fn seen(self, bypass: u32) -> u32 {
        self.synchronized & !bypass | self.direct & bypass
    }
}

impl Pio {
    pub(crate) fn new() -> Self {
        Self {
            machines: std::array::from_fn(|_| StateMachine::new()),
            memory: [0; 32],
            flags: 0,
            enabled: [0; 2],
            forced: [0; 2],
            bypass: 0,
            debug: 0,
            poll_until: 0,
            levels: 0,
            enable: 0,
            effects: Effects::default(),
        }
    }

    /// The cycle of the next instruction of any state machine, and which that is.
    #[inline(always)]
    pub(crate) fn next(&self) -> (u64, usize) {
        let mut best = (u64::MAX, 0);
        for (i, machine) in self.machines.iter().enumerate() {
            let due = machine.due();
            if due < best.0 {
                best = (due, i);
            }
        }
        best
    }

    /// Something that stalled state machines may wait for has changed at this cycle.
    pub(crate) fn wake(&mut self, now: u64) {
        for machine in &mut self.machines {
            machine.wake(now);
        }
    }

    /// Pins have changed at this cycle.
    #[inline(always)]
    pub(crate) fn pins_changed(&mut self, now: u64) {
        self.poll_until = now + SYNCHRONIZER_CYCLES;
        self.wake(now);
    }

    /// The raw interrupts of the block (section 3.7, INTR).
    fn raw(&self) -> u32 {
        let mut raw = u32::from(self.flags & 15) << 8;
        for (i, machine) in self.machines.iter().enumerate() {
            raw |= u32::from(machine.has_output()) << i;
            raw |= u32::from(machine.has_room()) << (4 + i);
        }
        raw
    }

    /// Whether an interrupt line of the block is up.
    pub(crate) fn interrupt(&self, line: usize) -> bool {
        (self.enabled[line] | self.forced[line]) != 0
            && (self.raw() & self.enabled[line] | self.forced[line]) != 0
    }

    /// Whether anything of the block can interrupt.
    pub(crate) fn can_interrupt(&self) -> bool {
        self.enabled != [0; 2]
    }

    /// DREQ of a transmit FIFO.
    pub(crate) fn wants_data(&self, machine: usize) -> bool {
        self.machines[machine].has_room()
    }

    /// DREQ of a receive FIFO.
    pub(crate) fn has_data(&self, machine: usize) -> bool {
        self.machines[machine].has_output()
    }

    /// Sets levels or directions of `count` pins from `base`, wrapping at 32.
    fn set_pins(&mut self, base: u32, count: u32, value: u32, directions: bool) {
        if count == 0 {
            return;
        }
        let mask = (u32::MAX >> (32 - count.min(32))).rotate_left(base);
        let value = value.rotate_left(base);
        let target = if directions {
            &mut self.enable
        } else {
            &mut self.levels
        };
        let changed = *target & !mask | value & mask;
        if changed != *target {
            *target = changed;
            self.effects.pins = true;
        }
    }
}
