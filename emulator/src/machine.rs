//! Cores and chip together: who runs when, resets, and the skipping of idle time.

use crate::Time;
use crate::boot::rom::{self, Launch, Outcome};
use crate::boot::{SECOND_STAGE, SECOND_STAGE_SIZE, has_second_stage};
use crate::chip::memory::RAM_SIZE;
use crate::chip::{Chip, ROM_SIZE, Trap, WatchdogReset, name_of};
use crate::code::{RAM, ROM};
use crate::cpu::{Core, Exit, Observe, Sleep};
use crate::fault::Fault;
use core::fmt;

/// How far one core may be ahead of the other when both run, in cycles.
const TWO_CORE_SLICE: u64 = 16;
/// How long a core runs between two looks at PIO and DMA, in cycles.
const BUSY_SLICE: u64 = 32;
/// Cycles that the boot ROM takes from reset to the second stage. An estimate.
const BOOT_CYCLES: u64 = 15_000;
/// How often the boot ROM reads the second stage before it waits for USB, and what one attempt takes (RP2040 datasheet,
/// section 2.8.1: about half a second in all).
const BOOT_ATTEMPTS: u64 = 128;
const BOOT_RETRY_NANOS: u64 = 4_000_000;

/// Why a run ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Stop {
    /// The moment, or the instruction, that it was to run to.
    Reached,
    /// Both cores sleep, and nothing that the board knows of will wake them.
    Asleep,
    /// The firmware used something that is not modelled.
    NotModelled {
        /// The register, or what else it was.
        what: String,
        /// What was written, if it was a write.
        value: Option<u32>,
        /// Which core did it.
        core: usize,
        /// The address of the instruction behind.
        pc: u32,
    },
    /// A core locked up: a fault where no fault can be taken.
    Lockup {
        /// Which core.
        core: usize,
        /// What went wrong, and where.
        fault: Option<(Fault, u32)>,
    },
    /// The boot ROM shows its USB drive: BOOTSEL was held, the firmware asked for it, or flash holds nothing to start.
    UsbBoot {
        /// Whether flash starts with a second stage whose checksum is right.
        bootable: bool,
    },
    /// Power was lost, as it was asked for.
    PowerLost,
    /// BKPT, with a debugger attached.
    Breakpoint {
        /// Which core.
        core: usize,
    },
    /// The observer asked for it.
    Observer {
        /// Which core was about to run.
        core: usize,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached => write!(f, "the end of the run was reached"),
            Self::Asleep => write!(f, "both cores sleep and nothing will wake them"),
            Self::NotModelled {
                what,
                value,
                core,
                pc,
            } => {
                match value {
                    Some(value) => write!(f, "not modelled: {what} <- {value:#010x}")?,
                    None => write!(f, "not modelled: {what}")?,
                }
                write!(f, " (core {core}, pc {pc:#010x})")
            }
            Self::Lockup {
                core,
                fault: Some((fault, pc)),
            } => {
                write!(f, "core {core} locked up: {fault} (pc {pc:#010x})")
            }
            Self::Lockup { core, fault: None } => write!(f, "core {core} locked up"),
            Self::UsbBoot { bootable: true } => write!(f, "the boot ROM shows its USB drive"),
            Self::UsbBoot { bootable: false } => {
                write!(
                    f,
                    "flash holds no second stage with a right checksum: the boot ROM shows its USB drive"
                )
            }
            Self::PowerLost => write!(f, "power was lost"),
            Self::Breakpoint { core } => write!(f, "core {core} is at a BKPT"),
            Self::Observer { core } => write!(f, "core {core} was stopped by its observer"),
        }
    }
}

/// The chip with its cores.
pub(crate) struct Machine {
    pub cores: [Core; 2],
    pub chip: Chip,
    launch: Launch,
    core_1_held: bool,
    seed: u64,
    /// The seed that the board was made with.
    first_seed: u64,
    /// A real boot ROM is in place of the emulated one.
    real_rom: bool,
    /// Resets since power-on, and why the last one was.
    pub resets: u32,
    pub last_reset: Option<WatchdogReset>,
    /// The firmware asked for the USB drive.
    usb_boot: bool,
    /// A program in RAM is to be started at this vector table, without a boot ROM.
    pub start_in_ram: Option<u32>,
    /// Cycles in which neither core ran.
    pub idle_cycles: u64,
}

impl Machine {
    pub(crate) fn new(flash_size: u32, unique_id: [u8; 8], seed: u64) -> Self {
        let mut machine = Self {
            cores: [Core::new(0), Core::new(1)],
            chip: Chip::new(flash_size, unique_id, seed),
            launch: Launch::default(),
            core_1_held: false,
            seed,
            first_seed: seed,
            real_rom: false,
            resets: 0,
            last_reset: None,
            usb_boot: false,
            start_in_ram: None,
            idle_cycles: 0,
        };
        rom::install(&mut machine.chip);
        machine
    }

    /// What power-on leaves in RAM.
    pub(crate) fn fill_ram(&mut self) {
        self.chip.ram.power_on(self.first_seed, self.seed);
        self.chip.code.forget(RAM, 0, RAM_SIZE);
    }

    /// Puts a real boot ROM in place of the emulated one.
    pub(crate) fn set_rom(&mut self, bytes: &[u8]) {
        let mut rom = bytes.to_vec();
        rom.resize(ROM_SIZE as usize, 0);
        self.chip.rom = rom.into_boxed_slice();
        self.chip.code.forget(ROM, 0, ROM_SIZE);
        self.real_rom = true;
    }

    /// Both cores come out of reset.
    pub(crate) fn start(&mut self) {
        let now = self.chip.now;
        self.launch = Launch::default();
        self.core_1_held = false;
        self.usb_boot = false;
        for core in &mut self.cores {
            core.reset(now);
        }
        if self.real_rom {
            let word = |chip: &Chip, at: usize| {
                u32::from_le_bytes(chip.rom[at..at + 4].try_into().expect("four bytes"))
            };
            let (sp, entry) = (word(&self.chip, 0), word(&self.chip, 4));
            for core in &mut self.cores {
                core.start(sp, entry);
            }
            return;
        }
        self.cores[1].start(0, rom::core_1_entry());
        self.boot_core_0();
    }

    /// What the boot ROM does on core 0 (RP2040 datasheet, section 2.8.1).
    fn boot_core_0(&mut self) {
        let core = &mut self.cores[0];
        core.cycles += BOOT_CYCLES;
        core.vtor = 0;
        if let Some(table) = self.start_in_ram {
            let mut cycles = 0;
            let sp = self.chip.load_word(table, &mut cycles).unwrap_or(0);
            let entry = self.chip.load_word(table + 4, &mut cycles).unwrap_or(0);
            core.vtor = table;
            core.start(sp, entry);
            return;
        }
        // what was left in the watchdog's scratch registers comes first
        let [magic, entry_check, sp, entry] =
            [4, 5, 6, 7].map(|register: usize| self.chip.watchdog.scratch[register]);
        if magic == 0xb007_c0d3 && entry_check == entry ^ 0xb007_c0d3_u32.wrapping_neg() {
            self.chip.watchdog.scratch[4] = 0;
            core.start(sp, entry);
            return;
        }
        // A flash that is busy answers nothing.
        let busy = self.chip.flash.busy_for(self.chip.timeline.nanos(self.chip.now));
        let attempts = busy.div_ceil(BOOT_RETRY_NANOS);
        core.cycles += attempts * BOOT_RETRY_NANOS * self.chip.timeline.hz() / 1_000_000_000;
        let too_late = attempts >= BOOT_ATTEMPTS;
        if self.chip.qspi.button || too_late || !has_second_stage(self.chip.flash.bytes()) {
            self.usb_boot = true;
            core.sleep = Sleep::Reset;
            return;
        }
        self.chip.resets.release_for_second_stage();
        self.chip.ssi.set_up_for_reads();
        self.chip.update_flash_mapped();
        for i in 0..SECOND_STAGE_SIZE as u32 / 4 {
            let word = self.chip.flash.word(4 * i);
            self.chip.store_word(SECOND_STAGE + 4 * i, word);
        }
        core.start(SECOND_STAGE, SECOND_STAGE);
        // where the second stage finds zero in LR, it starts what is behind it in flash
        core.r[14] = 0;
    }

    /// Resets the chip and starts again.
    pub(crate) fn reset(&mut self) {
        self.last_reset = self.chip.watchdog.fired;
        self.resets += 1;
        let now = self.now();
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.chip.reset(now, self.seed);
        self.start();
    }

    /// How far the machine has come, in cycles of clk_sys: as far as the core that lags behind.
    pub(crate) fn now(&self) -> u64 {
        let awake = self
            .cores
            .iter()
            .filter(|core| core.is_awake())
            .map(|core| core.cycles)
            .min();
        awake.unwrap_or(self.chip.now)
    }

    pub(crate) fn time(&self) -> Time {
        self.chip.time(self.now())
    }

    /// Instructions that both cores have run.
    pub(crate) fn instructions(&self) -> u64 {
        self.cores[0].instructions + self.cores[1].instructions
    }

    /// Runs until a cycle, or until this many instructions were run in all, or until something happens that is not
    /// the machine's to decide. With `may_wait`, comes back with [`Stop::Asleep`] as soon as both cores sleep.
    pub(crate) fn run<O: Observe>(
        &mut self,
        until: u64,
        instructions: u64,
        may_wait: bool,
        observer: &mut O,
    ) -> Stop {
        loop {
            let now = self.now();
            self.chip.advance(now, false);
            if let Some(stop) = self.look_around(now) {
                return stop;
            }
            let awake = [self.cores[0].is_awake(), self.cores[1].is_awake()];
            let now = self.now();
            if now >= until || self.instructions() >= instructions {
                return Stop::Reached;
            }
            if awake == [false, false] {
                if may_wait {
                    return Stop::Asleep;
                }
                match self.sleep_until(until) {
                    Some(stop) => return stop,
                    // DMA and PIO go on while both sleep
                    None if self.chip.trap.is_some() => return self.trapped(0),
                    None => continue,
                }
            }
            let horizon = self
                .chip
                .horizon(now, BUSY_SLICE)
                .min(until)
                .min(self.systick_event());
            let left = now.saturating_add(instructions - self.instructions());
            let mut limit = horizon.min(left).max(now + 1);
            let which = match awake {
                [true, true] => {
                    let which = usize::from(self.cores[1].cycles < self.cores[0].cycles);
                    limit = limit.min(self.cores[1 - which].cycles + TWO_CORE_SLICE);
                    which
                }
                [false, true] => 1,
                _ => 0,
            };
            let core = &mut self.cores[which];
            core.limit = limit;
            self.chip.attention = false;
            match core.run(&mut self.chip, observer) {
                Exit::Limit | Exit::Sleep => {}
                Exit::Fault(fault) => core.fault(&mut self.chip, fault),
                Exit::Svc => core.supervisor_call(&mut self.chip),
                Exit::ExceptionReturn(value) => core.exception_return(&mut self.chip, value),
                Exit::Breakpoint => return Stop::Breakpoint { core: which },
                Exit::Observer => return Stop::Observer { core: which },
                Exit::Rom(number) => self.call_rom(which, number),
            }
            if self.chip.trap.is_some() {
                return self.trapped(which);
            }
        }
    }

    /// Between two slices: resets, events between the cores, interrupts.
    #[inline(always)]
    fn look_around(&mut self, now: u64) -> Option<Stop> {
        if self.chip.watchdog.fired.is_some()
            || self.cores[0].reset_requested
            || self.cores[1].reset_requested
        {
            self.reset();
        }
        if self.chip.flash.run_pressed.is_some() {
            self.chip.flash.go_on(self.chip.timeline.nanos(now));
            self.reset();
        }
        if self.usb_boot {
            return Some(Stop::UsbBoot {
                bootable: has_second_stage(self.chip.flash.bytes()),
            });
        }
        if self.chip.flash.power_lost {
            return Some(Stop::PowerLost);
        }
        self.hold_core_1();
        if self.cores[0].sent_event || self.cores[1].sent_event {
            for which in 0..2 {
                if std::mem::take(&mut self.cores[which].sent_event) {
                    self.cores[1 - which].event = true;
                }
            }
        }
        if std::mem::take(&mut self.chip.interrupts_dirty) {
            for (which, core) in self.cores.iter_mut().enumerate() {
                core.set_interrupt_lines(self.chip.lines(which));
            }
        }
        for core in &mut self.cores {
            if core.is_awake() {
                core.advance_systick(core.cycles);
                core.service_exceptions(&mut self.chip);
            } else {
                core.advance_systick(now);
                let slept = now.saturating_sub(core.cycles);
                core.idle_cycles += slept;
                core.cycles += slept;
                core.service_exceptions(&mut self.chip);
            }
            if core.sleep == Sleep::Lockup && self.chip.watchdog.next_event() == u64::MAX {
                return Some(Stop::Lockup {
                    core: core.id,
                    fault: core.last_fault,
                });
            }
        }
        None
    }

    /// The power-on state machine can hold core 1 in reset: that is how core 0 starts it anew.
    fn hold_core_1(&mut self) {
        let held = self.chip.resets.holds_core_1();
        if held != self.core_1_held {
            self.core_1_held = held;
            let now = self.chip.now;
            self.launch = Launch::default();
            self.cores[1].reset(now);
            if !held {
                let word =
                    |at: usize| u32::from_le_bytes(self.chip.rom[at..at + 4].try_into().expect("four bytes"));
                let (sp, entry) = if self.real_rom {
                    (word(0), word(4))
                } else {
                    (0, rom::core_1_entry())
                };
                self.cores[1].start(sp, entry);
            }
        }
    }

    fn systick_event(&self) -> u64 {
        self.cores[0].systick_event().min(self.cores[1].systick_event())
    }

    /// Both cores sleep: goes on to the next thing that happens.
    pub(crate) fn sleep_until(&mut self, until: u64) -> Option<Stop> {
        let systick = self.systick_event();
        let next = self.chip.next_event().min(systick);
        if next == u64::MAX && until == u64::MAX {
            return Some(Stop::Asleep);
        }
        let before = self.chip.now;
        // what is due every few cycles is done in one go, until it interrupts
        let target = if next == self.chip.next_event() {
            until.min(systick)
        } else {
            next.min(until)
        };
        self.chip.advance(target, true);
        self.idle_cycles += self.chip.now - before;
        None
    }

    /// The cycle of the next thing that happens by itself, for who wants to wait for it in the time of the host.
    pub(crate) fn next_event(&self) -> u64 {
        self.chip.next_event().min(self.systick_event())
    }

    fn call_rom(&mut self, which: usize, number: u32) {
        let core = &mut self.cores[which];
        match rom::call(number, core, &mut self.chip, &mut self.launch) {
            Outcome::Return(cycles) => {
                core.cycles += cycles;
                core.pc = core.r[14] & !1;
            }
            Outcome::Continue => {}
            Outcome::Reset => self.boot_core_0(),
            Outcome::UsbBoot => self.usb_boot = true,
        }
    }

    fn trapped(&mut self, which: usize) -> Stop {
        let core = &self.cores[which];
        let (what, value) = match self.chip.trap.take() {
            Some(Trap::Register { address, value }) => (name_of(address), value),
            Some(Trap::FlashNotMapped { address }) => (
                format!("read of flash at {address:#010x} while the SSI is not set up to execute in place"),
                None,
            ),
            Some(Trap::Radio(fault)) => (fault, None),
            None => (String::new(), None),
        };
        Stop::NotModelled {
            what,
            value,
            core: which,
            pc: core.pc,
        }
    }

    /// A copy in the same state, but for a network that cannot be copied.
    pub(crate) fn duplicate(&self) -> Self {
        let mut copy = Self {
            cores: self.cores.clone(),
            chip: self.chip.duplicate(),
            launch: self.launch,
            core_1_held: self.core_1_held,
            seed: self.seed,
            first_seed: self.first_seed,
            real_rom: self.real_rom,
            resets: self.resets,
            last_reset: self.last_reset,
            usb_boot: self.usb_boot,
            start_in_ram: self.start_in_ram,
            idle_cycles: self.idle_cycles,
        };
        if !copy.real_rom {
            rom::install(&mut copy.chip);
        }
        copy
    }
}
