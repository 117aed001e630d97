//! A Cortex-M0+ (ARMv6-M): registers, exceptions, the system control space, and the loop that runs it.
//!
//! Cycles are counted as the Cortex-M0+ Technical Reference Manual, section 3.3, gives them, with the single-cycle
//! multiplier and the single-cycle I/O port that RP2040 has. A core never looks at a peripheral: everything outside of
//! RAM, flash and its own system control space goes through [`crate::chip::Chip`].

mod alu;
mod debug;
mod exception;
mod execute;
mod load_store;
mod protection;
mod system;
#[cfg(test)]
mod tests;

pub(crate) use debug::DebugRegisters;
pub(crate) use execute::{Exit, NoObserver, Observe};

use crate::code::Region;
use crate::fault::{Access, Fault};
use exception::Exceptions;
use protection::Mpu;
use system::SysTick;

/// What a core waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Runs.
    Awake,
    /// WFE.
    Event,
    /// WFI.
    Interrupt,
    /// Held in reset (PSM), or halted for good by the boot ROM.
    Reset,
    /// Locked up: a fault where no fault can be taken.
    Lockup,
}

/// One core.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    /// 0 or 1.
    pub id: usize,
    /// R0 to R12, SP (the one in use), LR. R15 lives in `pc`.
    pub r: [u32; 16],
    /// Address of the next instruction.
    pub pc: u32,
    /// The memory that `pc` was last found in, and its place in the code cache.
    memory: usize,
    region: Region,
    /// The last result, whose sign is N and which is zero if Z is set: below 2^31 but for where both flags are set.
    nz: i64,
    c: bool,
    /// Bit 31 is V.
    v: u32,
    /// The stack pointer that is not in use.
    other_sp: u32,
    /// CONTROL.SPSEL: the process stack is in use.
    process_stack: bool,
    /// CONTROL.nPRIV.
    unprivileged: bool,
    pub primask: bool,
    /// The exception that runs, 0 in thread mode.
    pub ipsr: u32,
    pub sleep: Sleep,
    /// The event register of WFE.
    pub event: bool,
    /// SEV was run: the other core's event register is to be set.
    pub sent_event: bool,
    /// Cycles of clk_sys since power-on, as far as this core has come.
    pub cycles: u64,
    /// Where to stop and look around.
    pub limit: u64,
    /// Instructions run since power-on.
    pub instructions: u64,
    /// Cycles spent asleep.
    pub idle_cycles: u64,
    pub exceptions: Exceptions,
    systick: SysTick,
    mpu: Mpu,
    /// SCR: SLEEPONEXIT, SLEEPDEEP, SEVONPEND.
    scr: u32,
    pub vtor: u32,
    /// AIRCR.SYSRESETREQ was written.
    pub reset_requested: bool,
    /// BKPT stops the machine instead of faulting.
    pub debugged: bool,
    /// The last fault, and where: for whoever reports a lockup.
    pub last_fault: Option<(Fault, u32)>,
}

impl Core {
    /// A core in reset.
    pub(crate) fn new(id: usize) -> Self {
        Self {
            id,
            r: [0; 16],
            pc: 0,
            memory: 0,
            region: Region::default(),
            nz: 1,
            c: false,
            v: 0,
            other_sp: 0,
            process_stack: false,
            unprivileged: false,
            primask: false,
            ipsr: 0,
            sleep: Sleep::Reset,
            event: false,
            sent_event: false,
            cycles: 0,
            limit: 0,
            instructions: 0,
            idle_cycles: 0,
            exceptions: Exceptions::default(),
            systick: SysTick::default(),
            mpu: Mpu::default(),
            scr: 0,
            vtor: 0,
            reset_requested: false,
            debugged: false,
            last_fault: None,
        }
    }

    /// Resets the core: what it has counted stays.
    pub(crate) fn reset(&mut self, now: u64) {
        *self = Self {
            cycles: now,
            instructions: self.instructions,
            idle_cycles: self.idle_cycles,
            debugged: self.debugged,
            ..Self::new(self.id)
        };
    }

    pub(crate) fn is_awake(&self) -> bool {
        self.sleep == Sleep::Awake
    }

    /// APSR, IPSR and EPSR together (B1.4.2).
    pub(crate) fn xpsr(&self) -> u32 {
        u32::from(self.negative()) << 31
            | u32::from(self.zero()) << 30
            | u32::from(self.c) << 29
            | u32::from(self.overflow()) << 28
            | 1 << 24
            | self.ipsr
    }

    /// Sets N, Z, C, V from the top of an xPSR.
    pub(crate) fn set_flags(&mut self, psr: u32) {
        let (n, z) = (psr >> 31 & 1 != 0, psr >> 30 & 1 != 0);
        self.nz = if n { i64::MIN } else { 0 } | i64::from(!z);
        self.c = psr >> 29 & 1 != 0;
        self.v = psr << 3;
    }

    #[inline(always)]
    fn negative(&self) -> bool {
        self.nz < 0
    }

    #[inline(always)]
    fn zero(&self) -> bool {
        self.nz as u32 == 0
    }

    #[inline(always)]
    fn overflow(&self) -> bool {
        self.v >> 31 != 0
    }

    /// N is not V: the signed comparison found "less".
    #[inline(always)]
    fn less(&self) -> bool {
        ((self.nz >> 32) as u32 ^ self.v) >> 31 != 0
    }

    /// The main stack pointer, whichever is in use.
    pub(crate) fn msp(&self) -> u32 {
        if self.process_stack {
            self.other_sp
        } else {
            self.r[13]
        }
    }

    /// The process stack pointer, whichever is in use.
    pub(crate) fn psp(&self) -> u32 {
        if self.process_stack {
            self.r[13]
        } else {
            self.other_sp
        }
    }

    pub(crate) fn set_msp(&mut self, value: u32) {
        *(if self.process_stack {
            &mut self.other_sp
        } else {
            &mut self.r[13]
        }) = value & !3;
    }

    pub(crate) fn set_psp(&mut self, value: u32) {
        *(if self.process_stack {
            &mut self.r[13]
        } else {
            &mut self.other_sp
        }) = value & !3;
    }

    /// CONTROL (B1.4.4).
    pub(crate) fn control(&self) -> u32 {
        u32::from(self.process_stack) << 1 | u32::from(self.unprivileged)
    }

    pub(crate) fn use_process_stack(&mut self, on: bool) {
        if on != self.process_stack {
            std::mem::swap(&mut self.r[13], &mut self.other_sp);
            self.process_stack = on;
        }
    }

    /// Starts a core as reset leaves it at the given stack and entry point.
    pub(crate) fn start(&mut self, sp: u32, entry: u32) {
        self.r[13] = sp & !3;
        self.r[14] = u32::MAX;
        self.pc = entry & !1;
        self.sleep = Sleep::Awake;
    }
}
