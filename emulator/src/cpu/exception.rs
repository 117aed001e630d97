//! Exceptions: priorities, entry, return, tail-chaining, sleep (ARMv6-M ARM, section B1.5).

use super::{Access, Core, Fault, Sleep};
use crate::chip::Chip;

/// HardFault.
pub(crate) const HARD_FAULT: u32 = 3;
const NMI: u32 = 2;
const SVCALL: u32 = 11;
const PENDSV: u32 = 14;
const SYSTICK: u32 = 15;
/// The exception number of interrupt 0.
const FIRST_INTERRUPT: u32 = 16;

/// Cycles from the interrupt to the first instruction of its handler (Cortex-M0+ TRM, section 3.7: 15 with
/// zero-wait-state memory).
const ENTRY_CYCLES: u64 = 15;
/// Cycles to unstack. The manual gives no figure; eight words and a refill of the pipeline.
const RETURN_CYCLES: u64 = 13;
/// Cycles from the end of one handler to the next without unstacking. The manual gives no figure.
const TAIL_CHAIN_CYCLES: u64 = 6;

/// The state of the exception model and of the NVIC.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exceptions {
    /// One bit for each exception that has begun and not ended.
    active: u64,
    pub nmi_pending: bool,
    pub svcall_pending: bool,
    pub pendsv_pending: bool,
    pub systick_pending: bool,
    /// Interrupts that became pending, by a line that rose or by software.
    pub latched: u32,
    /// The levels of the interrupt lines now.
    pub lines: u32,
    pub enabled: u32,
    /// Priorities 0 to 3.
    pub priorities: [u8; 32],
    pub svcall_priority: u8,
    pub pendsv_priority: u8,
    pub systick_priority: u8,
    /// The count of instructions when an exception was last entered that another can still take the place of.
    entered_at: Option<u64>,
}

impl Exceptions {
    /// Takes over the levels of the interrupt lines.
    #[inline(always)]
    pub(crate) fn set_lines(&mut self, lines: u32) {
        self.latched |= lines & !self.lines;
        self.lines = lines;
    }

    /// The interrupts that are pending: latched, or their line is high and their handler does not run.
    pub(crate) fn pending_interrupts(&self) -> u32 {
        self.latched | self.lines & !((self.active >> FIRST_INTERRUPT) as u32)
    }

    fn priority(&self, exception: u32) -> i32 {
        match exception {
            NMI => -2,
            HARD_FAULT => -1,
            SVCALL => i32::from(self.svcall_priority),
            PENDSV => i32::from(self.pendsv_priority),
            SYSTICK => i32::from(self.systick_priority),
            interrupt => i32::from(self.priorities[(interrupt - FIRST_INTERRUPT) as usize & 31]),
        }
    }

    /// The priority of what runs: 4 is below everything. PRIMASK is not looked at.
    pub(super) fn active_priority(&self) -> i32 {
        let mut lowest = 4;
        let mut active = self.active;
        while active != 0 {
            lowest = lowest.min(self.priority(active.trailing_zeros()));
            active &= active - 1;
        }
        lowest
    }

    /// The pending exception of the highest priority; among equals the lowest number.
    fn highest_pending(&self) -> Option<(u32, i32)> {
        let mut best: Option<(u32, i32)> = None;
        let mut consider = |exception: u32| {
            let priority = self.priority(exception);
            if best.is_none_or(|(_, other)| priority < other) {
                best = Some((exception, priority));
            }
        };
        if self.nmi_pending {
            consider(NMI);
        }
        if self.svcall_pending {
            consider(SVCALL);
        }
        if self.pendsv_pending {
            consider(PENDSV);
        }
        if self.systick_pending {
            consider(SYSTICK);
        }
        let mut interrupts = self.pending_interrupts() & self.enabled;
        while interrupts != 0 {
            consider(FIRST_INTERRUPT + interrupts.trailing_zeros());
            interrupts &= interrupts - 1;
        }
        best
    }

    /// The number that ICSR.VECTPENDING shows.
    pub(crate) fn vector_pending(&self) -> u32 {
        self.highest_pending().map_or(0, |(exception, _)| exception)
    }

    #[inline(always)]
    fn anything_pending(&self) -> bool {
        self.pending_interrupts() & self.enabled != 0
            || self.svcall_pending
            || self.pendsv_pending
            || self.systick_pending
            || self.nmi_pending
    }

    fn set_pending(&mut self, exception: u32) {
        match exception {
            NMI => self.nmi_pending = true,
            SVCALL => self.svcall_pending = true,
            PENDSV => self.pendsv_pending = true,
            SYSTICK => self.systick_pending = true,
            HARD_FAULT => {}
            interrupt => self.latched |= 1 << (interrupt - FIRST_INTERRUPT),
        }
    }

    fn clear_pending(&mut self, exception: u32) {
        match exception {
            NMI => self.nmi_pending = false,
            SVCALL => self.svcall_pending = false,
            PENDSV => self.pendsv_pending = false,
            SYSTICK => self.systick_pending = false,
            HARD_FAULT => {}
            interrupt => self.latched &= !(1 << (interrupt - FIRST_INTERRUPT)),
        }
    }
}

impl Core {
    /// The priority of what runs, PRIMASK included (B1.5.4).
    fn execution_priority(&self) -> i32 {
        let priority = self.exceptions.active_priority();
        if self.primask { priority.min(0) } else { priority }
    }

    /// Wakes the core if something is there for it, and enters the handler of what may run now.
    #[inline(always)]
    pub(crate) fn service_exceptions(&mut self, chip: &mut Chip) {
        if self.sleep == Sleep::Event && self.event {
            self.event = false;
            self.sleep = Sleep::Awake;
        }
        if self.exceptions.anything_pending() {
            self.service_pending(chip);
        }
    }

    #[inline(never)]
    fn service_pending(&mut self, chip: &mut Chip) {
        if matches!(self.sleep, Sleep::Reset | Sleep::Lockup) {
            return;
        }
        let Some((exception, priority)) = self.exceptions.highest_pending() else {
            return;
        };
        // WFI also wakes for what PRIMASK keeps from running (B1.5.19)
        if self.sleep == Sleep::Interrupt && priority < self.exceptions.active_priority() {
            self.sleep = Sleep::Awake;
        }
        if priority < self.execution_priority() {
            self.sleep = Sleep::Awake;
            if self.exceptions.entered_at == Some(self.instructions) {
                // late arrival: nothing of the handler has run, so its frame serves the other, and it waits again
                self.exceptions.active &= !(1 << self.ipsr);
                self.exceptions.set_pending(self.ipsr);
                self.exceptions.clear_pending(exception);
                self.begin(chip, exception, 0);
            } else {
                self.enter(chip, exception, self.pc, ENTRY_CYCLES);
            }
        }
    }

    /// SCR.SEVONPEND: an interrupt that becomes pending is an event, enabled or not (B1.5.18).
    pub(crate) fn set_interrupt_lines(&mut self, lines: u32) {
        let before = self.exceptions.pending_interrupts();
        self.exceptions.set_lines(lines);
        if self.scr & 1 << 4 != 0 && self.exceptions.pending_interrupts() & !before != 0 {
            self.event = true;
        }
    }

    /// The instruction at `pc` faulted: HardFault, or lockup where that cannot be (B1.5.13).
    pub(crate) fn fault(&mut self, chip: &mut Chip, fault: Fault) {
        self.last_fault = Some((fault, self.pc));
        if self.execution_priority() < 0 {
            self.sleep = Sleep::Lockup;
        } else {
            self.enter(chip, HARD_FAULT, self.pc, ENTRY_CYCLES);
        }
    }

    /// SVC: its exception, or HardFault if it may not run now (B1.5.6).
    pub(crate) fn supervisor_call(&mut self, chip: &mut Chip) {
        if i32::from(self.exceptions.svcall_priority) < self.execution_priority() {
            self.enter(chip, SVCALL, self.pc, ENTRY_CYCLES);
        } else {
            self.pc = self.pc.wrapping_sub(2);
            self.fault(chip, Fault::Svc);
        }
    }

    /// Stacks a frame and goes to a handler (B1.5.6).
    fn enter(&mut self, chip: &mut Chip, exception: u32, return_address: u32, cost: u64) {
        let psr = self.xpsr();
        let misaligned = self.r[13] >> 2 & 1;
        let frame = self.r[13].wrapping_sub(0x20) & !7;
        let words = [
            self.r[0],
            self.r[1],
            self.r[2],
            self.r[3],
            self.r[12],
            self.r[14],
            return_address,
            psr | misaligned << 9,
        ];
        self.r[13] = frame;
        let stacked = words.iter().enumerate().all(|(i, &word)| {
            let address = frame.wrapping_add(4 * i as u32);
            self.allows(address, Access::Write) && chip.store_word(address, word).is_some()
        });
        if !stacked {
            // a fault while stacking: the HardFault handler runs without a frame, or nothing does
            let (address, access) = (frame, Access::Write);
            let fault = if self.allows(address, access) {
                Fault::Bus { address }
            } else {
                Fault::Protected { address, access }
            };
            self.last_fault = Some((fault, return_address));
            if self.execution_priority() < 0 || exception == HARD_FAULT {
                self.sleep = Sleep::Lockup;
                return;
            }
        }
        self.r[14] = match (self.ipsr != 0, self.control() & 2 != 0) {
            (true, _) => 0xffff_fff1,
            (false, false) => 0xffff_fff9,
            (false, true) => 0xffff_fffd,
        };
        self.exceptions.clear_pending(exception);
        self.use_process_stack(false);
        // a fault is nobody's to put off
        self.exceptions.entered_at = (stacked && exception != HARD_FAULT).then_some(self.instructions);
        self.begin(chip, if stacked { exception } else { HARD_FAULT }, cost);
    }

    /// Goes to a handler whose frame is on the stack.
    fn begin(&mut self, chip: &mut Chip, exception: u32, cost: u64) {
        self.exceptions.active |= 1 << exception;
        self.ipsr = exception;
        self.event = true;
        self.cycles += cost;
        let vector = chip.load_word(self.vtor.wrapping_add(4 * exception), &mut self.cycles);
        match vector {
            Some(vector) if vector & 1 != 0 => self.pc = vector & !1,
            other => {
                let address = other.unwrap_or(self.vtor.wrapping_add(4 * exception));
                let fault = if other.is_some() {
                    Fault::NotThumb { address }
                } else {
                    Fault::Bus { address }
                };
                self.last_fault = Some((fault, self.pc));
                self.sleep = Sleep::Lockup;
            }
        }
    }

    /// BX or POP to an EXC_RETURN value (B1.5.8).
    pub(crate) fn exception_return(&mut self, chip: &mut Chip, value: u32) {
        let returning = self.ipsr;
        let others = (self.exceptions.active & !(1 << returning)) != 0;
        let (process_stack, to_handler) = match value & 0xf {
            0x1 => (false, true),
            0x9 => (false, false),
            0xd => (true, false),
            _ => return self.fault(chip, Fault::NotThumb { address: value }),
        };
        if to_handler != others || value & 0x0fff_fff0 != 0x0fff_fff0 {
            // a return to a mode that the active exceptions do not allow
            return self.fault(chip, Fault::Fetch { address: value });
        }
        self.exceptions.active &= !(1 << returning);
        // tail-chaining: what is pending above the state returned to runs on the same frame
        if let Some((exception, priority)) = self.exceptions.highest_pending()
            && priority < self.execution_priority()
        {
            self.exceptions.clear_pending(exception);
            self.r[14] = value;
            return self.begin(chip, exception, TAIL_CHAIN_CYCLES);
        }
        self.use_process_stack(process_stack);
        let frame = self.r[13];
        let mut words = [0; 8];
        // what is returned to reads its frame
        let privileged = to_handler || !self.unprivileged;
        for (i, word) in words.iter_mut().enumerate() {
            let (address, access) = (frame.wrapping_add(4 * i as u32), Access::Read);
            if !self.allows_as(address, access, privileged) {
                return self.fault(chip, Fault::Protected { address, access });
            }
            match chip.load_word(address, &mut self.cycles) {
                Some(value) => *word = value,
                None => return self.fault(chip, Fault::Bus { address }),
            }
        }
        let [r0, r1, r2, r3, r12, lr, pc, psr] = words;
        self.r[..4].copy_from_slice(&[r0, r1, r2, r3]);
        self.r[12] = r12;
        self.r[14] = lr;
        self.pc = pc & !1;
        self.r[13] = frame.wrapping_add(0x20) | (psr >> 9 & 1) << 2;
        self.set_flags(psr);
        self.ipsr = psr & 0x3f;
        self.event = true;
        self.cycles += RETURN_CYCLES;
        if psr & 1 << 24 == 0 {
            return self.fault(chip, Fault::NotThumb { address: pc });
        }
        // SCR.SLEEPONEXIT
        if self.scr & 2 != 0 && self.ipsr == 0 {
            self.sleep = Sleep::Interrupt;
        }
    }

    /// Whether the code that runs is unprivileged thread mode (B1.4.4; RP2040's cores have the extension).
    pub(super) fn is_unprivileged(&self) -> bool {
        self.unprivileged && self.ipsr == 0
    }

    /// MRS (B4.2.2).
    pub(super) fn read_special(&self, register: u32) -> u32 {
        match register {
            0 => self.xpsr() & 0xf000_0000,
            1 => self.xpsr() & 0xf000_003f,
            2 => self.xpsr() & 0xf000_0000,
            3 => self.xpsr() & 0xf000_003f,
            5 | 7 => self.ipsr,
            8 if !self.is_unprivileged() => self.msp(),
            9 if !self.is_unprivileged() => self.psp(),
            16 if !self.is_unprivileged() => u32::from(self.primask),
            20 => self.control(),
            _ => 0,
        }
    }

    /// MSR (B4.2.3).
    pub(super) fn write_special(&mut self, register: u32, value: u32) {
        match register {
            0..=3 => self.set_flags(value),
            _ if self.is_unprivileged() => {}
            8 => self.set_msp(value),
            9 => self.set_psp(value),
            16 => self.primask = value & 1 != 0,
            20 if self.ipsr == 0 => {
                self.use_process_stack(value & 2 != 0);
                self.unprivileged = value & 1 != 0;
            }
            _ => {}
        }
    }
}
