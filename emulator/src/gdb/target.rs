//! A board as gdb sees it: a process of two threads, which are the cores.

use core::convert::Infallible;

use gdbstub::common::{Signal, Tid};
use gdbstub::outputln;
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps, MultiThreadSingleStep,
    MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::arch::{Armv6M, CoreRegisters};
use crate::board::Board;
use crate::cpu::Sleep;
use crate::debug::Debug;
use crate::machine::Stop;
use crate::observe::Step;

/// gdb counts threads from 1.
fn thread(core: usize) -> Tid {
    Tid::new(core + 1).unwrap_or(Tid::MIN)
}

fn core_of(tid: Tid) -> usize {
    (tid.get() - 1) & 1
}

const HELP: &str = "\
monitor reset    resets the chip, as pulling RUN low does (then: maintenance flush register-cache)
monitor power    takes power away and gives it back: RAM is lost
monitor bootsel  holds BOOTSEL during a reset
monitor status   time, counters, pins and radio
monitor help     this";

impl Board {
    /// Why it stopped, in gdb's words; `None` if it did not stop for good. Cores that stood still go on.
    pub(crate) fn debug_stopped(&mut self, stop: &Stop) -> Option<MultiThreadStopReason<u32>> {
        let (core, signal) = match stop {
            Stop::Reached => return None,
            Stop::Observer { core } => {
                let (tid, pc) = (thread(*core), self.machine.cores[*core].pc);
                let watched = self.observers.watched.take();
                let breakpoint = self
                    .observers
                    .breakpoints
                    .iter()
                    .find(|(address, _)| *address == pc)
                    .copied();
                self.debug_halted();
                return Some(match (watched, breakpoint) {
                    (Some((_, addr, kinds)), _) => MultiThreadStopReason::Watch {
                        tid,
                        addr,
                        kind: match kinds {
                            1 => WatchKind::Write,
                            2 => WatchKind::Read,
                            _ => WatchKind::ReadWrite,
                        },
                    },
                    (None, Some((_, true))) => MultiThreadStopReason::HwBreak(tid),
                    (None, Some((_, false))) => MultiThreadStopReason::SwBreak(tid),
                    (None, None) => MultiThreadStopReason::SignalWithThread {
                        tid,
                        signal: Signal::SIGTRAP,
                    },
                });
            }
            Stop::Breakpoint { core } => {
                self.debug.at_breakpoint = Some((*core, self.machine.cores[*core].pc));
                (*core, Signal::SIGTRAP)
            }
            Stop::Lockup { core, .. } => (*core, Signal::SIGSEGV),
            Stop::NotModelled { core, .. } => (*core, Signal::SIGSYS),
            Stop::Asleep | Stop::UsbBoot { .. } | Stop::PowerLost => (0, Signal::SIGSTOP),
        };
        self.debug_halted();
        let tid = thread(core);
        Some(MultiThreadStopReason::SignalWithThread { tid, signal })
    }

    /// gdb asked to stop.
    pub(crate) fn debug_interrupted(&mut self) -> MultiThreadStopReason<u32> {
        self.debug_halted();
        let core = usize::from(!self.machine.cores[0].is_awake() && self.machine.cores[1].is_awake());
        MultiThreadStopReason::SignalWithThread {
            tid: thread(core),
            signal: Signal::SIGINT,
        }
    }

    /// The board stands still until gdb resumes it.
    fn debug_halted(&mut self) {
        self.observers.step = None;
        for (core, frozen) in self.machine.cores.iter_mut().zip(&mut self.debug.frozen) {
            // a reset may have started it meanwhile
            if let Some(sleep) = frozen.take().filter(|_| core.sleep == Sleep::Reset) {
                core.sleep = sleep;
            }
        }
    }

    /// gdb is there: BKPT stops instead of faulting.
    pub(crate) fn debug_attached(&mut self) {
        self.set_debugged(true);
        self.debug = Debug::default();
    }

    /// gdb is gone: what it set goes with it, and the board runs on.
    pub(crate) fn debug_detached(&mut self) {
        self.debug_halted();
        self.set_debugged(false);
        self.observers.breakpoints.clear();
        self.observers.watchpoints.clear();
        self.observers.watched = None;
        self.observers.resume_at = None;
        self.restart_clock();
    }

    /// Reads a word of a register as a debug probe does, with all that reading it does; `None` where there is none.
    fn read_register(&mut self, core: usize, address: u32) -> Option<u32> {
        let mut cycles = self.machine.cores[core].cycles;
        let chip = &mut self.machine.chip;
        let value = match address >> 28 {
            0xd => chip.read_sio(core, address, cycles).ok(),
            0x4 | 0x5 => chip.read(core, address, &mut cycles).ok(),
            _ => None,
        };
        chip.trap.take().is_none().then_some(value).flatten()
    }

    fn write_register(&mut self, core: usize, address: u32, value: u32) -> Option<()> {
        let mut cycles = self.machine.cores[core].cycles;
        let chip = &mut self.machine.chip;
        let written = match address >> 28 {
            0xd => chip.write_sio(core, address, value, cycles).ok(),
            0x4 | 0x5 => chip.write(core, address, 4, value, &mut cycles).ok(),
            _ => None,
        };
        chip.trap.take().is_none().then_some(written).flatten()
    }

    fn set_breakpoint(&mut self, address: u32, hardware: bool, on: bool) -> bool {
        let entry = (address & !1, hardware);
        let breakpoints = &mut self.observers.breakpoints;
        let before = breakpoints.len();
        breakpoints.retain(|other| *other != entry);
        if on && breakpoints.len() < MOST_POINTS {
            breakpoints.push(entry);
            return true;
        }
        !on && before != breakpoints.len()
    }

    fn set_watchpoint(&mut self, address: u32, length: u32, kind: WatchKind, on: bool) -> bool {
        let kinds = match kind {
            WatchKind::Write => 1,
            WatchKind::Read => 2,
            WatchKind::ReadWrite => 3,
        };
        let entry = (address, length, kinds);
        let watchpoints = &mut self.observers.watchpoints;
        let before = watchpoints.len();
        watchpoints.retain(|other| *other != entry);
        if on && watchpoints.len() < MOST_POINTS && length > 0 {
            watchpoints.push(entry);
            return true;
        }
        !on && before != watchpoints.len()
    }

    fn status_for_debugger(&mut self) -> String {
        let (time, figures, radio) = (self.time(), self.figures(), self.radio().status());
        let cores = [0, 1].map(|core| self.machine.cores[core].activity());
        format!(
            "{time} s, {} cycles, {} instructions, {} resets\ncore 0 {}, core 1 {}\npins {:#010x}, LED {}, {}",
            figures.cycles,
            figures.instructions,
            figures.resets,
            cores[0],
            cores[1],
            self.pins(),
            if radio.gpio & 1 == 0 { "off" } else { "on" },
            radio
                .joined
                .map_or("no link".to_owned(), |name| format!("joined {name:?}")),
        )
    }
}

/// Breakpoints or watchpoints at a time. Each is looked at before every instruction.
const MOST_POINTS: usize = 256;

impl Target for Board {
    type Arch = Armv6M;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, Armv6M, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    /// Between two programs of one machine nothing is gained by it.
    fn use_rle(&self) -> bool {
        false
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Board {
    fn read_registers(&mut self, registers: &mut CoreRegisters, tid: Tid) -> TargetResult<(), Self> {
        registers.0 = self.machine.cores[core_of(tid)].debug_registers();
        Ok(())
    }

    fn write_registers(&mut self, registers: &CoreRegisters, tid: Tid) -> TargetResult<(), Self> {
        self.machine.cores[core_of(tid)].set_debug_registers(&registers.0);
        Ok(())
    }

    fn read_addrs(&mut self, start: u32, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let mut read = 0;
        while read < data.len() {
            let address = start.wrapping_add(read as u32);
            if let Some(byte) = self.machine.chip.peek(address) {
                data[read] = byte;
                read += 1;
                continue;
            }
            // a register is read whole, and once
            let Some(word) = self.read_register(core_of(tid), address & !3) else {
                break;
            };
            let bytes = &word.to_le_bytes()[(address & 3) as usize..];
            let length = bytes.len().min(data.len() - read);
            data[read..read + length].copy_from_slice(&bytes[..length]);
            read += length;
        }
        if read == 0 && !data.is_empty() {
            return Err(TargetError::NonFatal);
        }
        Ok(read)
    }

    fn write_addrs(&mut self, start: u32, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        if self.write_memory(start, data).is_some() {
            return Ok(());
        }
        let (words, rest) = data.as_chunks::<4>();
        if start & 3 != 0 || !rest.is_empty() {
            return Err(TargetError::NonFatal);
        }
        for (address, word) in (start..).step_by(4).zip(words) {
            self.write_register(core_of(tid), address, u32::from_le_bytes(*word))
                .ok_or(TargetError::NonFatal)?;
        }
        Ok(())
    }

    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        register(thread(0));
        register(thread(1));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Board {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let core = core_of(tid);
        let info = format!("core {core}: {}", self.machine.cores[core].activity());
        let length = info.len().min(buffer.len());
        buffer[..length].copy_from_slice(&info.as_bytes()[..length]);
        Ok(length)
    }
}

impl MultiThreadResume for Board {
    fn resume(&mut self) -> Result<(), Infallible> {
        self.observers.resume_at = None;
        self.observers.watched = None;
        let skipped = self.debug.at_breakpoint.take();
        for (id, core) in self.machine.cores.iter_mut().enumerate() {
            let step = self.debug.steps[id];
            if self.debug.locked && !self.debug.continues[id] && step.is_none() {
                self.debug.frozen[id] = Some(core.sleep);
                core.sleep = Sleep::Reset;
                continue;
            }
            let over = skipped == Some((id, core.pc));
            if over {
                core.pc = core.pc.wrapping_add(2);
            }
            if let Some(range) = step {
                self.observers.step = Some(Step { core: id, range });
                // to step over BKPT is to step
                self.observers.resume_at = (!over).then_some((id, core.pc));
            }
        }
        self.restart_clock();
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.debug.steps = [None; 2];
        self.debug.continues = [false; 2];
        self.debug.locked = false;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Infallible> {
        self.debug.continues[core_of(tid)] = true;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Board {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Infallible> {
        self.debug.steps[core_of(tid)] = Some((0, 0));
        Ok(())
    }
}

impl MultiThreadRangeStepping for Board {
    fn set_resume_action_range_step(&mut self, tid: Tid, start: u32, end: u32) -> Result<(), Infallible> {
        self.debug.steps[core_of(tid)] = Some((start, end));
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Board {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.debug.locked = true;
        Ok(())
    }
}

impl Breakpoints for Board {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Board {
    fn add_sw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(address, false, true))
    }

    fn remove_sw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(address, false, false))
    }
}

impl HwBreakpoint for Board {
    fn add_hw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(address, true, true))
    }

    fn remove_hw_breakpoint(&mut self, address: u32, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(address, true, false))
    }
}

impl HwWatchpoint for Board {
    fn add_hw_watchpoint(&mut self, address: u32, length: u32, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(self.set_watchpoint(address, length, kind, true))
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u32,
        length: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.set_watchpoint(address, length, kind, false))
    }
}

impl MonitorCmd for Board {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Infallible> {
        self.debug.at_breakpoint = None;
        match command.trim_ascii() {
            b"reset" | b"reset halt" | b"reset init" => {
                self.reset();
                outputln!(
                    out,
                    "reset; gdb learns of it by: maintenance flush register-cache"
                );
            }
            b"power" => {
                self.power_cycle();
                outputln!(
                    out,
                    "power was away; gdb learns of it by: maintenance flush register-cache"
                );
            }
            b"bootsel" => {
                self.set_bootsel(true);
                self.reset();
                self.set_bootsel(false);
                outputln!(out, "the boot ROM shows its USB drive");
            }
            b"status" => outputln!(out, "{}", self.status_for_debugger()),
            b"help" | b"" => outputln!(out, "{HELP}"),
            other => outputln!(
                out,
                "{:?} is no command of this server\n{HELP}",
                String::from_utf8_lossy(other)
            ),
        }
        Ok(())
    }
}
