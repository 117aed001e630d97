//! A state machine: its instructions (section 3.4), shifting and autopush/autopull (3.5.4), side-set and delay (3.5.1),
//! clock divider (3.5.5).

use std::collections::VecDeque;

use super::{FIFO_DEPTH, Inputs, Pio};

/// Bits of FDEBUG.
const RX_STALL: u32 = 0;
const TX_STALL: u32 = 24;

/// One state machine.
#[derive(Debug, Clone)]
pub(crate) struct StateMachine {
    pub(super) enabled: bool,
    pub(super) clock_divider: u32,
    pub(super) exec_control: u32,
    pub(super) shift_control: u32,
    pub(super) pin_control: u32,
    pub(super) pc: u32,
    x: u32,
    y: u32,
    isr: u32,
    isr_count: u32,
    osr: u32,
    osr_count: u32,
    pub(super) tx: VecDeque<u32>,
    pub(super) rx: VecDeque<u32>,
    /// An instruction given by OUT EXEC, MOV EXEC or the INSTR register, to run before the one at `pc`.
    pub(super) injected: Option<u16>,
    /// The instruction cannot go on until something changes.
    pub(super) stalled: bool,
    /// IRQ WAIT has set its flag and waits for it to go.
    waits_for_flag: bool,
    /// IN has shifted and waits for room to push.
    push_pending: bool,
    /// OUT found the OSR empty.
    starved: bool,
    /// When the next instruction runs, in 1/256 cycles.
    next: u64,
    /// Instructions run.
    pub(super) instructions: u64,
}

/// How an instruction ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    Next,
    Jumped,
    Stalled,
    /// A stall of one cycle that nothing has to end.
    Retry,
}

impl StateMachine {
    pub(super) fn new() -> Self {
        Self {
            enabled: false,
            clock_divider: 1 << 16,
            exec_control: 0x1_f000,
            shift_control: 0xc_0000,
            pin_control: 5 << 26,
            pc: 0,
            x: 0,
            y: 0,
            isr: 0,
            isr_count: 0,
            osr: 0,
            osr_count: 32,
            tx: VecDeque::with_capacity(2 * FIFO_DEPTH),
            rx: VecDeque::with_capacity(2 * FIFO_DEPTH),
            injected: None,
            stalled: false,
            waits_for_flag: false,
            push_pending: false,
            starved: false,
            next: 0,
            instructions: 0,
        }
    }

    /// The cycle of the next instruction.
    #[inline(always)]
    pub(super) fn due(&self) -> u64 {
        if self.enabled && !self.stalled {
            self.next.div_ceil(256)
        } else {
            u64::MAX
        }
    }

    /// Cycles for one step, in 1/256. An integer part of zero is 65536.
    fn period(&self) -> u64 {
        match self.clock_divider >> 8 {
            divider if divider >> 8 == 0 => 65536 << 8,
            divider => u64::from(divider),
        }
    }

    /// What a stalled machine may wait for has changed: it tries again at its next clock.
    pub(super) fn wake(&mut self, now: u64) {
        if self.stalled {
            self.stalled = false;
            let now = now << 8;
            if self.next < now {
                let period = self.period();
                self.next += (now - self.next).div_ceil(period) * period;
            }
        }
    }

    pub(super) fn set_enabled(&mut self, enabled: bool, now: u64) {
        if enabled && !self.enabled {
            self.next = (now + 1) << 8;
            self.stalled = false;
        }
        self.enabled = enabled;
    }

    /// CTRL.SM_RESTART (section 3.7): what is half done is forgotten, registers and FIFOs stay.
    pub(super) fn restart(&mut self) {
        self.isr = 0;
        self.isr_count = 0;
        self.osr_count = 32;
        self.injected = None;
        self.stalled = false;
        self.waits_for_flag = false;
        self.push_pending = false;
        self.starved = false;
    }

    /// CTRL.CLKDIV_RESTART.
    pub(super) fn restart_clock(&mut self, now: u64) {
        self.next = (now + 1) << 8;
    }

    pub(super) fn tx_depth(&self) -> usize {
        match self.shift_control >> 30 {
            1 | 3 => 2 * FIFO_DEPTH,
            2 => 0,
            _ => FIFO_DEPTH,
        }
    }

    pub(super) fn rx_depth(&self) -> usize {
        match self.shift_control >> 30 {
            2 => 2 * FIFO_DEPTH,
            1 | 3 => 0,
            _ => FIFO_DEPTH,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.tx.len() < self.tx_depth()
    }

    pub(super) fn has_output(&self) -> bool {
        !self.rx.is_empty()
    }

    fn rx_full(&self) -> bool {
        self.rx.len() >= self.rx_depth()
    }

    fn pull_threshold(&self) -> u32 {
        match self.shift_control >> 25 & 31 {
            0 => 32,
            threshold => threshold,
        }
    }

    fn push_threshold(&self) -> u32 {
        match self.shift_control >> 20 & 31 {
            0 => 32,
            threshold => threshold,
        }
    }

    fn autopull(&self) -> bool {
        self.shift_control >> 17 & 1 != 0
    }

    fn autopush(&self) -> bool {
        self.shift_control >> 16 & 1 != 0
    }

    /// Puts a word into the OSR if there is one.
    fn refill(&mut self) -> bool {
        match self.tx.pop_front() {
            Some(word) => {
                self.osr = word;
                self.osr_count = 0;
                true
            }
            None => false,
        }
    }

    fn push(&mut self) {
        self.rx.push_back(self.isr);
        self.isr = 0;
        self.isr_count = 0;
    }

    fn shift_out(&mut self, count: u32) -> u32 {
        let right = self.shift_control >> 19 & 1 != 0;
        let (value, rest) = match (count, right) {
            (32, _) => (self.osr, 0),
            (_, true) => (self.osr & ((1 << count) - 1), self.osr >> count),
            (_, false) => (self.osr >> (32 - count), self.osr << count),
        };
        self.osr = rest;
        self.osr_count = (self.osr_count + count).min(32);
        value
    }

    fn shift_in(&mut self, value: u32, count: u32) {
        let right = self.shift_control >> 18 & 1 != 0;
        self.isr = match (count, right) {
            (32, _) => value,
            (_, true) => self.isr >> count | value << (32 - count),
            (_, false) => self.isr << count | value & ((1 << count) - 1),
        };
        self.isr_count = (self.isr_count + count).min(32);
    }
}

/// The flag that an IRQ or WAIT IRQ instruction names, with the machine's number added if bit 4 says so.
fn flag(index: u32, machine: usize) -> u8 {
    let number = if index & 0x10 != 0 {
        index & 4 | (index + machine as u32) & 3
    } else {
        index & 7
    };
    1 << number
}

/// A count of zero bits means 32.
fn bits(op: u32) -> u32 {
    match op & 31 {
        0 => 32,
        count => count,
    }
}

impl Pio {
    /// Runs the instruction of a machine that is due.
    pub(crate) fn step(&mut self, i: usize, inputs: Inputs) {
        let machine = &mut self.machines[i];
        machine.instructions += 1;
        // the OSR is refilled in the background as soon as there is something (section 3.5.4.2)
        if machine.autopull() && machine.osr_count >= machine.pull_threshold() && !machine.tx.is_empty() {
            let out = machine
                .injected
                .unwrap_or(self.memory[(machine.pc & 31) as usize])
                >> 13
                == 3;
            let late = std::mem::take(&mut machine.starved);
            machine.refill();
            self.effects.fifos = true;
            if out && late {
                // an OUT that found the OSR empty goes on a cycle after it was filled
                machine.next += machine.period();
                return;
            }
        }
        let machine = &mut self.machines[i];
        let injected = machine.injected.take();
        let op = u32::from(injected.unwrap_or(self.memory[(machine.pc & 31) as usize]));
        let outcome = self.execute(i, op, inputs);
        let machine = &mut self.machines[i];
        let side_set_bits = machine.pin_control >> 29;
        let mut delay = u64::from(op >> 8 & 31 & ((1 << (5 - side_set_bits.min(5))) - 1));
        match outcome {
            Outcome::Next if injected.is_none() => {
                let (top, bottom) = (machine.exec_control >> 12 & 31, machine.exec_control >> 7 & 31);
                machine.pc = if machine.pc == top {
                    bottom
                } else {
                    (machine.pc + 1) & 31
                };
            }
            Outcome::Next | Outcome::Jumped => {}
            Outcome::Stalled | Outcome::Retry => {
                // a pin that has just changed is still on its way through the synchroniser: look again each cycle
                machine.stalled = outcome == Outcome::Stalled && machine.next >> 8 >= self.poll_until;
                machine.injected = injected;
                delay = 0;
            }
        }
        // OUT EXEC and MOV EXEC: their own delay is not taken
        if machine.injected.is_some() {
            delay = 0;
        }
        machine.next += (1 + delay) * machine.period();
    }

    /// Runs an instruction that the firmware wrote to INSTR, at once and whether or not the machine is enabled.
    pub(super) fn inject(&mut self, i: usize, op: u16, inputs: Inputs) {
        let machine = &mut self.machines[i];
        machine.stalled = false;
        machine.waits_for_flag = false;
        // the OSR of a machine that is not enabled is refilled too: drivers load X and Y through the FIFO that way
        if machine.autopull() && machine.osr_count >= machine.pull_threshold() && machine.refill() {
            self.effects.fifos = true;
        }
        let outcome = self.execute(i, u32::from(op), inputs);
        let machine = &mut self.machines[i];
        if matches!(outcome, Outcome::Stalled | Outcome::Retry) {
            machine.injected = Some(op);
            machine.stalled = outcome == Outcome::Stalled;
        }
    }

    /// Does one instruction.
    fn execute(&mut self, i: usize, op: u32, inputs: Inputs) -> Outcome {
        let outcome = self.operate(i, op, inputs);
        // in the same cycle, and over what the operation did to the same pins (section 3.5.6.1); a stall puts nothing off
        self.side_set(i, op);
        outcome
    }

    fn operate(&mut self, i: usize, op: u32, inputs: Inputs) -> Outcome {
        let seen = inputs.seen(self.bypass);
        let mapped = seen.rotate_right(self.machines[i].pin_control >> 15 & 31);
        match op >> 13 {
            0 => self.jump(i, op, seen),
            1 => self.wait(i, op, seen, mapped),
            2 => self.input(i, op, mapped),
            3 => self.output(i, op),
            4 if op >> 7 & 1 == 0 => self.push(i, op),
            4 => self.pull(i, op),
            5 => self.mov(i, op, mapped),
            6 => self.irq(i, op),
            _ => self.set(i, op),
        }
    }

    /// Section 3.5.1.
    fn side_set(&mut self, i: usize, op: u32) {
        let machine = &self.machines[i];
        let count = (machine.pin_control >> 29).min(5);
        if count == 0 {
            return;
        }
        let field = (op >> 8 & 31) >> (5 - count);
        let optional = machine.exec_control >> 30 & 1 != 0;
        let (base, directions) = (
            machine.pin_control >> 10 & 31,
            machine.exec_control >> 29 & 1 != 0,
        );
        if !optional {
            self.set_pins(base, count, field, directions);
        } else if field >> (count - 1) & 1 != 0 {
            self.set_pins(base, count - 1, field, directions);
        }
    }

    fn jump(&mut self, i: usize, op: u32, seen: u32) -> Outcome {
        let machine = &mut self.machines[i];
        let taken = match op >> 5 & 7 {
            0 => true,
            1 => machine.x == 0,
            2 => {
                let before = machine.x;
                machine.x = before.wrapping_sub(1);
                before != 0
            }
            3 => machine.y == 0,
            4 => {
                let before = machine.y;
                machine.y = before.wrapping_sub(1);
                before != 0
            }
            5 => machine.x != machine.y,
            6 => seen >> (machine.exec_control >> 24 & 31) & 1 != 0,
            _ => machine.osr_count < machine.pull_threshold(),
        };
        if !taken {
            return Outcome::Next;
        }
        machine.pc = op & 31;
        Outcome::Jumped
    }

    fn wait(&mut self, i: usize, op: u32, seen: u32, mapped: u32) -> Outcome {
        let wanted = op >> 7 & 1;
        let index = op & 31;
        let met = match op >> 5 & 3 {
            0 => seen >> index & 1 == wanted,
            1 => mapped >> index & 1 == wanted,
            2 => {
                let flag = flag(index, i);
                let met = u32::from(self.flags & flag != 0) == wanted;
                // waiting for a flag to be set also clears it
                if met && wanted == 1 {
                    self.flags &= !flag;
                    self.effects.flags = true;
                }
                met
            }
            _ => false,
        };
        if met { Outcome::Next } else { Outcome::Stalled }
    }

    fn input(&mut self, i: usize, op: u32, mapped: u32) -> Outcome {
        let count = bits(op);
        let machine = &mut self.machines[i];
        if !machine.push_pending {
            let value = match op >> 5 & 7 {
                0 => mapped,
                1 => machine.x,
                2 => machine.y,
                6 => machine.isr,
                7 => machine.osr,
                _ => 0,
            };
            machine.shift_in(value, count);
        }
        machine.push_pending = false;
        if machine.autopush() && machine.isr_count >= machine.push_threshold() {
            if machine.rx_full() {
                machine.push_pending = true;
                self.debug |= 1 << (RX_STALL + i as u32);
                return Outcome::Stalled;
            }
            machine.push();
            self.effects.fifos = true;
        }
        Outcome::Next
    }

    fn output(&mut self, i: usize, op: u32) -> Outcome {
        let count = bits(op);
        let machine = &mut self.machines[i];
        if machine.autopull() && machine.osr_count >= machine.pull_threshold() {
            machine.starved = true;
            self.debug |= 1 << (TX_STALL + i as u32);
            return Outcome::Stalled;
        }
        let value = machine.shift_out(count);
        if machine.autopull() && machine.osr_count >= machine.pull_threshold() && machine.refill() {
            self.effects.fifos = true;
        }
        let (base, pins) = (machine.pin_control & 31, machine.pin_control >> 20 & 63);
        match op >> 5 & 7 {
            0 => self.set_pins(base, pins, value, false),
            1 => machine.x = value,
            2 => machine.y = value,
            4 => self.set_pins(base, pins, value, true),
            5 => {
                machine.pc = value & 31;
                return Outcome::Jumped;
            }
            6 => {
                machine.isr = value;
                machine.isr_count = count;
            }
            7 => machine.injected = Some(value as u16),
            _ => {}
        }
        Outcome::Next
    }

    fn push(&mut self, i: usize, op: u32) -> Outcome {
        let machine = &mut self.machines[i];
        if op >> 6 & 1 != 0 && machine.isr_count < machine.push_threshold() {
            return Outcome::Next;
        }
        if machine.rx_full() {
            self.debug |= 1 << (RX_STALL + i as u32);
            if op >> 5 & 1 != 0 {
                return Outcome::Stalled;
            }
            // without Block the word is lost
            machine.isr = 0;
            machine.isr_count = 0;
            return Outcome::Next;
        }
        machine.push();
        self.effects.fifos = true;
        Outcome::Next
    }

    fn pull(&mut self, i: usize, op: u32) -> Outcome {
        let machine = &mut self.machines[i];
        if op >> 6 & 1 != 0 && machine.osr_count < machine.pull_threshold() {
            return Outcome::Next;
        }
        // with autopull a PULL is a barrier: nothing to do while the OSR is full
        if machine.autopull() && machine.osr_count == 0 {
            return Outcome::Next;
        }
        if machine.refill() {
            self.effects.fifos = true;
            return Outcome::Next;
        }
        if op >> 5 & 1 != 0 {
            self.debug |= 1 << (TX_STALL + i as u32);
            return Outcome::Stalled;
        }
        machine.osr = machine.x;
        machine.osr_count = 0;
        Outcome::Next
    }

    fn mov(&mut self, i: usize, op: u32, mapped: u32) -> Outcome {
        let machine = &mut self.machines[i];
        let source = match op & 7 {
            0 => mapped,
            1 => machine.x,
            2 => machine.y,
            5 => {
                let level = machine.exec_control & 15;
                let held = if machine.exec_control >> 4 & 1 != 0 {
                    machine.rx.len()
                } else {
                    machine.tx.len()
                };
                if (held as u32) < level { u32::MAX } else { 0 }
            }
            6 => machine.isr,
            7 => machine.osr,
            _ => 0,
        };
        let value = match op >> 3 & 3 {
            1 => !source,
            2 => source.reverse_bits(),
            _ => source,
        };
        match op >> 5 & 7 {
            0 => {
                let (base, pins) = (machine.pin_control & 31, machine.pin_control >> 20 & 63);
                self.set_pins(base, pins, value, false);
            }
            1 => machine.x = value,
            2 => machine.y = value,
            4 => machine.injected = Some(value as u16),
            5 => {
                machine.pc = value & 31;
                return Outcome::Jumped;
            }
            6 => {
                machine.isr = value;
                machine.isr_count = 0;
            }
            7 => {
                machine.osr = value;
                machine.osr_count = 0;
            }
            _ => {}
        }
        Outcome::Next
    }

    fn irq(&mut self, i: usize, op: u32) -> Outcome {
        let flag = flag(op & 31, i);
        if op >> 6 & 1 != 0 {
            self.flags &= !flag;
            self.effects.flags = true;
            return Outcome::Next;
        }
        let machine = &mut self.machines[i];
        if machine.waits_for_flag {
            if self.flags & flag != 0 {
                return Outcome::Stalled;
            }
            machine.waits_for_flag = false;
            return Outcome::Next;
        }
        self.flags |= flag;
        self.effects.flags = true;
        machine.waits_for_flag = op >> 5 & 1 != 0;
        // it looks again in its next cycle, even if nothing changes until then
        if machine.waits_for_flag {
            Outcome::Retry
        } else {
            Outcome::Next
        }
    }

    fn set(&mut self, i: usize, op: u32) -> Outcome {
        let machine = &mut self.machines[i];
        let value = op & 31;
        let (base, pins) = (machine.pin_control >> 5 & 31, machine.pin_control >> 26 & 7);
        match op >> 5 & 7 {
            0 => self.set_pins(base, pins, value, false),
            1 => machine.x = value,
            2 => machine.y = value,
            4 => self.set_pins(base, pins, value, true),
            _ => {}
        }
        Outcome::Next
    }
}
