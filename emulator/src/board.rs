//! A board: what a person can do with a Pico W on a desk.

use core::fmt;
use std::time::{Duration, Instant};

use crate::Time;
use crate::boot::{Image, ImageError};
use crate::chip::flash::{Cut, RunPress};
use crate::chip::{Oscillator, RegisterTrace, WatchdogReset};
use crate::code;
use crate::cpu::NoObserver;
use crate::debug::Debug;
use crate::fault::Fault;
use crate::machine::{Machine, Stop};
use crate::net::Link;
use crate::observe::{Observers, Profile};
use crate::quirks::UsbChange;
use crate::radio::{NoRadio, Radio};

/// How a board is made.
pub struct Config {
    /// Bytes of flash: a power of two, at most 16 MiB. A Pico W has 2 MiB.
    pub flash_size: u32,
    /// The serial number of the flash chip, which firmware takes for the board's.
    pub unique_id: [u8; 8],
    /// Feeds the ring oscillator's noise. The same seed gives the same run.
    pub seed: u64,
    /// A boot ROM to run instead of the emulated one.
    pub boot_rom: Option<Vec<u8>>,
    /// The radio behind the four pins.
    pub radio: Box<dyn Radio>,
}

impl Default for Config {
    /// A Pico: 2 MiB of flash, no radio.
    fn default() -> Self {
        Self {
            flash_size: 0x20_0000,
            unique_id: [0xe6, 0x60, 0x58, 0x38, 0x83, 0x70, 0x69, 0x63],
            seed: 0x7069_636f_6c65_7421,
            boot_rom: None,
            radio: Box::new(NoRadio),
        }
    }
}

/// What a board has done since it got power.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Instructions that both cores have run.
    pub instructions: u64,
    /// Instructions of each core.
    pub core_instructions: [u64; 2],
    /// Cycles of clk_sys, as far as the machine has come.
    pub cycles: u64,
    /// Of these, the ones in which neither core ran.
    pub idle_cycles: u64,
    /// Lines that the XIP cache had to fetch from flash.
    pub cache_misses: u64,
    /// Pages of flash programmed.
    pub flash_programs: u64,
    /// Sectors and blocks of flash erased.
    pub flash_erases: u64,
    /// Resets since power-on.
    pub resets: u32,
}

/// When to lose power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Before this instruction, counted from power-on over both cores.
    Instruction(u64),
    /// In this operation of the flash, programs and erases counted from 1, after so many 1/256 of it happened.
    FlashOperation {
        /// Which operation.
        number: u64,
        /// How much of it still happens.
        fraction: u8,
    },
}

/// The state of a board, to go back to: cores, memories, blocks, and the radio with its place in the air.
///
/// What is behind the access point is part of it if it can be copied ([`crate::net::Link::duplicate`]). The networks of
/// this crate cannot: their connections have ends elsewhere. For the board a snapshot then is a moment at which the
/// network's cable was pulled, and [`Board::restore_with`] plugs another one in.
pub struct Snapshot(Machine);

/// A snapshot cannot be gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The board was on a network that cannot be copied.
    Network,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the snapshot has no network, because that of the board could not be copied: give it one by restore_with"
        )
    }
}

impl core::error::Error for SnapshotError {}

/// An emulated board.
pub struct Board {
    pub(crate) machine: Machine,
    cut_at_instruction: u64,
    pace: Option<Pace>,
    pub(crate) observers: Observers,
    pub(crate) debug: Debug,
    /// What the USB host will do, the next first.
    pub(crate) planned: Vec<(Time, UsbChange)>,
}

/// Emulated time follows the host's.
#[derive(Debug, Clone, Copy)]
struct Pace {
    speed: f64,
    /// A moment in both times.
    host: Instant,
    emulated: Time,
}

/// How long the machine runs between two looks at the host's clock.
const PACE_SLICE: Duration = Duration::from_millis(1);

impl Pace {
    /// What time the board should have.
    fn now(&self) -> Time {
        self.emulated + self.host.elapsed().mul_f64(self.speed)
    }

    /// How long the host has to wait until the board should have this time.
    fn until(&self, time: Time) -> Duration {
        time.since(self.now()).div_f64(self.speed)
    }
}

impl Board {
    /// A board with erased flash, without power.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let flash_size = config.flash_size.next_power_of_two().clamp(0x1000, 0x100_0000);
        let mut machine = Machine::new(flash_size, config.unique_id, config.seed);
        machine.fill_ram();
        machine.chip.radio = config.radio;
        if let Some(rom) = &config.boot_rom {
            machine.set_rom(rom);
        }
        Self {
            machine,
            cut_at_instruction: u64::MAX,
            pace: None,
            observers: Observers::default(),
            debug: Debug::default(),
            planned: Vec::new(),
        }
    }

    // ---- images ----

    /// Puts an image where it belongs, over what is there, as a file dragged onto the USB drive does. An image that
    /// lies in RAM alone is started there by [`Board::power_on`].
    ///
    /// # Errors
    /// It does not fit.
    pub fn load(&mut self, image: &Image) -> Result<(), ImageError> {
        image.check(self.machine.chip.flash.size())?;
        for (address, bytes) in image.pieces() {
            // what is dragged is erased first, sector by sector: an image has no bits to keep
            for (i, byte) in bytes.iter().enumerate() {
                self.machine.chip.poke(address.wrapping_add(i as u32), *byte);
            }
        }
        self.machine.start_in_ram = if image.is_ram_only() {
            image.pieces().next().map(|(address, _)| address)
        } else {
            None
        };
        Ok(())
    }

    /// What is in flash.
    #[must_use]
    pub fn flash(&self) -> &[u8] {
        self.machine.chip.flash.bytes()
    }

    /// Puts a picture of the flash in place of what is there. Shorter pictures leave the rest erased.
    ///
    /// # Errors
    /// It is larger than the flash.
    pub fn set_flash(&mut self, picture: &[u8]) -> Result<(), ImageError> {
        let size = self.machine.chip.flash.size();
        if picture.len() > size as usize {
            let end = 0x1000_0000_u64 + picture.len() as u64;
            return Err(ImageError::TooLarge {
                end: end.min(u64::from(u32::MAX)) as u32,
                flash: size,
            });
        }
        let flash = self.machine.chip.flash.bytes_mut();
        flash.fill(0xff);
        flash[..picture.len()].copy_from_slice(picture);
        self.machine.chip.code.forget(code::FLASH, 0, size);
        Ok(())
    }

    /// Whether programs and erases take as long as the flash's datasheet allows, or the usual time.
    pub fn set_slow_flash(&mut self, slow: bool) {
        self.machine.chip.flash.set_slow(slow);
    }

    /// How often each sector of 4 KiB was erased since the board was made.
    #[must_use]
    pub fn wear(&self) -> &[u32] {
        self.machine.chip.flash.wear()
    }

    // ---- power ----

    /// Switches the board on: the boot ROM runs. What a program in RAM was is kept only if it was loaded there.
    pub fn power_on(&mut self) {
        self.machine.chip.flash.power_lost = false;
        self.machine.chip.flash.cut = None;
        self.cut_at_instruction = u64::MAX;
        self.machine.start();
    }

    /// Takes power away and gives it back: RAM, which holds noise then, and all registers are lost, flash is not. Time and counters
    /// go on.
    pub fn power_cycle(&mut self) {
        if self.machine.start_in_ram.is_none() {
            self.machine.fill_ram();
        }
        self.machine.chip.flash.power_cycle();
        self.machine.chip.watchdog.scratch = [0; 8];
        self.machine.chip.watchdog.fired = None;
        self.machine.reset();
        let now = self.machine.time();
        self.machine.chip.radio.cut_power(now);
        self.power_on();
    }

    /// Pulls RUN low and lets go: everything is reset but what is in memory.
    pub fn reset(&mut self) {
        self.machine.chip.watchdog.fired = None;
        self.machine.reset();
    }

    /// Loses power at a moment to come.
    pub fn cut_power_at(&mut self, cut: PowerCut) {
        match cut {
            PowerCut::Instruction(instruction) => self.cut_at_instruction = instruction,
            PowerCut::FlashOperation { number, fraction } => {
                self.machine.chip.flash.cut = Some(Cut {
                    operation: number,
                    fraction,
                });
            }
        }
    }

    /// Pulls RUN low and lets go in this operation of the flash, counted as in [`PowerCut::FlashOperation`], when `fraction` in 256 of its
    /// time have passed. The flash has power and goes on; the boot ROM waits for it for half a second.
    pub fn press_run_in(&mut self, number: u64, fraction: u8) {
        self.machine.chip.flash.run_press = Some(RunPress {
            operation: number,
            fraction,
        });
    }

    /// Programs and erases of the flash since the board was made.
    #[must_use]
    pub fn flash_operations(&self) -> u64 {
        self.machine.chip.flash.operations
    }

    // ---- running ----

    /// Runs until a moment of emulated time.
    pub fn run_until(&mut self, until: Time) -> Stop {
        self.run(until, u64::MAX)
    }

    /// [`Board::run`], as long as the USB host does nothing.
    pub(crate) fn run_undisturbed(&mut self, until: Time, instructions: u64) -> Stop {
        // between two runs somebody may have changed the network, or what is on the air
        self.machine.chip.poll_radio();
        if self.pace.is_some() {
            self.run_paced(until, instructions)
        } else {
            self.run_machine(until, instructions, false)
        }
    }

    /// Lets emulated time follow the host's at this speed, 1.0 being real time, or skips idle time again. A board that
    /// cannot keep up falls behind and stays there: it does not run faster later.
    pub fn set_pace(&mut self, speed: Option<f64>) {
        self.pace = speed.map(|speed| Pace {
            speed: speed.clamp(0.001, 1000.0),
            host: Instant::now(),
            emulated: self.time(),
        });
    }

    /// The board stood still while the host's time went on: that is not to be made up for.
    pub(crate) fn restart_clock(&mut self) {
        let now = self.time();
        if let Some(pace) = &mut self.pace {
            (pace.host, pace.emulated) = (Instant::now(), now);
        }
    }

    /// Runs in the time of the host: what is skipped otherwise is slept through.
    fn run_paced(&mut self, until: Time, instructions: u64) -> Stop {
        loop {
            let slice = (self.time() + PACE_SLICE).min(until);
            let stop = self.run_machine(slice, instructions, true);
            let Some(pace) = &mut self.pace else { return stop };
            let now = self.machine.time();
            match stop {
                Stop::Asleep => {
                    // awake again at the next event, or when the network has something, or at the end
                    let next = self
                        .machine
                        .chip
                        .time(self.machine.next_event().min(u64::MAX / 2))
                        .min(until);
                    let wait = pace.until(next);
                    if !wait.is_zero() && !self.machine.chip.radio.wait_for_host(wait.min(PACE_SLICE * 20)) {
                        std::thread::sleep(pace.until(next).min(PACE_SLICE * 20));
                    }
                    let reached = pace.now().max(now).min(next);
                    let cycle = self.cycle_of(reached);
                    self.machine.sleep_until(cycle);
                    self.machine.chip.poll_radio();
                    if reached >= until {
                        return Stop::Reached;
                    }
                }
                Stop::Reached => {
                    let ahead = pace.until(now);
                    if ahead > PACE_SLICE {
                        self.machine.chip.radio.wait_for_host(ahead);
                        std::thread::sleep(pace.until(now));
                    } else if pace.now().since(now) > PACE_SLICE * 100 {
                        // too slow: what was lost is not made up for
                        (pace.host, pace.emulated) = (Instant::now(), now);
                    }
                    self.machine.chip.poll_radio();
                    if now >= until || self.machine.instructions() >= instructions {
                        return stop;
                    }
                }
                other => return other,
            }
        }
    }

    fn run_machine(&mut self, until: Time, instructions: u64, may_wait: bool) -> Stop {
        loop {
            // clk_sys may change on the way, and with it the cycle at which the moment comes
            let hz = self.machine.chip.timeline.hz();
            let cycle = self.cycle_of(until);
            let limit = instructions.min(self.cut_at_instruction);
            let stop = if self.observers.is_empty() {
                self.machine.run(cycle, limit, may_wait, &mut NoObserver)
            } else {
                self.machine.run(cycle, limit, may_wait, &mut self.observers)
            };
            if stop == Stop::Reached {
                if self.machine.instructions() >= self.cut_at_instruction {
                    return Stop::PowerLost;
                }
                let early = self.machine.instructions() < limit && self.time() < until;
                if early && hz != self.machine.chip.timeline.hz() {
                    continue;
                }
            }
            return stop;
        }
    }

    /// The cycle at which a moment comes, as clk_sys is now.
    pub(crate) fn cycle_of(&self, time: Time) -> u64 {
        if time == Time::NEVER {
            u64::MAX
        } else {
            self.machine.chip.timeline.cycle(time.as_nanos())
        }
    }

    /// Emulated time.
    #[must_use]
    pub fn time(&self) -> Time {
        self.machine.time()
    }

    /// What the board has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let machine = &self.machine;
        Figures {
            instructions: machine.instructions(),
            core_instructions: [machine.cores[0].instructions, machine.cores[1].instructions],
            cycles: machine.now(),
            idle_cycles: machine.idle_cycles,
            cache_misses: machine.chip.cache.misses,
            flash_programs: machine.chip.flash.programs,
            flash_erases: machine.chip.flash.erases,
            resets: machine.resets,
        }
    }

    /// Why the watchdog last reset the chip, if it did.
    #[must_use]
    pub fn last_watchdog_reset(&self) -> Option<WatchdogReset> {
        self.machine.last_reset
    }

    /// Frequency of clk_sys in Hz.
    #[must_use]
    pub fn system_clock(&self) -> u64 {
        self.machine.chip.timeline.hz()
    }

    // ---- snapshots ----

    /// Remembers the state of the board.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.machine.duplicate())
    }

    /// Goes back to a state.
    ///
    /// # Errors
    /// It was on a network that is not in the snapshot.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if snapshot.0.chip.radio.is_unplugged() {
            return Err(SnapshotError::Network);
        }
        self.machine = snapshot.0.duplicate();
        self.cut_at_instruction = u64::MAX;
        self.restart_clock();
        Ok(())
    }

    /// Goes back to a state, on another network. A board that was joined still is, and has its address; connections
    /// that were open are unknown to the new network, which answers them as a router does that was restarted.
    pub fn restore_with(&mut self, snapshot: &Snapshot, network: Box<dyn Link>) {
        self.machine = snapshot.0.duplicate();
        self.machine.chip.radio.plug_in(network);
        self.cut_at_instruction = u64::MAX;
        self.restart_clock();
    }

    // ---- memory ----

    /// Reads memory as a debugger would, without any effect; `None` where there is none. Registers are not memory.
    #[must_use]
    pub fn read_memory(&self, address: u32, length: usize) -> Option<Vec<u8>> {
        (0..length)
            .map(|i| self.machine.chip.peek(address.wrapping_add(i as u32)))
            .collect()
    }

    /// Writes RAM, or flash as a programmer would; `None` where there is neither.
    pub fn write_memory(&mut self, address: u32, bytes: &[u8]) -> Option<()> {
        for (i, byte) in bytes.iter().enumerate() {
            self.machine.chip.poke(address.wrapping_add(i as u32), *byte)?;
        }
        Some(())
    }

    /// R0 to R12, SP, LR, PC and xPSR of a core.
    #[must_use]
    pub fn registers(&self, core: usize) -> [u32; 17] {
        let core = &self.machine.cores[core & 1];
        let mut registers = [0; 17];
        registers[..15].copy_from_slice(&core.r[..15]);
        registers[15] = core.pc;
        registers[16] = core.xpsr();
        registers
    }

    /// The last fault of a core since its reset, and the program counter. Its HardFault handler may have dealt with it.
    #[must_use]
    pub fn last_fault(&self, core: usize) -> Option<(Fault, u32)> {
        self.machine.cores[core & 1].last_fault
    }

    /// Whether BKPT stops the machine, as with a debugger attached, or faults.
    pub fn set_debugged(&mut self, on: bool) {
        for core in &mut self.machine.cores {
            core.debugged = on;
        }
    }

    // ---- what is on the pins ----

    /// The level of a pin's pad.
    #[must_use]
    pub fn pin(&self, pin: u32) -> bool {
        self.machine.chip.gpio.levels >> (pin & 31) & 1 != 0
    }

    /// The levels of all pads, GPIO0 in bit 0.
    #[must_use]
    pub fn pins(&self) -> u32 {
        self.machine.chip.gpio.levels
    }

    /// The pins that the chip itself drives.
    #[must_use]
    pub fn driven_pins(&self) -> u32 {
        self.machine.chip.gpio.out.enable
    }

    /// Drives a pin from outside, or lets go of it.
    pub fn drive_pin(&mut self, pin: u32, level: Option<bool>) {
        let mask = 1 << (pin & 31);
        let levels = if level == Some(true) { mask } else { 0 };
        self.machine
            .chip
            .drive_external(mask, levels, if level.is_some() { mask } else { 0 });
    }

    /// Lays a wire between two pins: the first drives the second.
    pub fn connect_pins(&mut self, from: u32, to: u32) {
        self.machine.chip.wires.push((from & 31, to & 31));
        let level = self.pin(from);
        self.drive_pin(to, Some(level));
    }

    /// Presses the BOOTSEL button, or lets go of it. The boot ROM looks at it when the board starts.
    pub fn set_bootsel(&mut self, pressed: bool) {
        self.machine.chip.qspi.button = pressed;
    }

    /// Applies a voltage to an input of the ADC: channel 0 to 3 is GPIO26 to 29.
    pub fn set_analog(&mut self, channel: usize, volts: f32) {
        self.machine.chip.adc.set_input(channel, volts);
    }

    /// The temperature of the chip, which its sensor measures.
    pub fn set_temperature(&mut self, celsius: f32) {
        self.machine.chip.adc.set_temperature(celsius);
    }

    /// Puts another ring oscillator in place of the default one, from now on.
    pub fn set_oscillator(&mut self, oscillator: Oscillator) {
        self.machine.chip.set_oscillator(oscillator);
    }

    /// Bits of min-entropy in all that the firmware has read of RANDOMBIT since the board was made, for an observer who knew the
    /// oscillator, its phase at each read, and when the next one came.
    #[must_use]
    pub fn randombit_min_entropy(&self) -> f64 {
        self.machine.chip.clocks.min_entropy()
    }

    /// Puts a memory of 256 bytes on an I²C bus.
    pub fn attach_i2c_memory(&mut self, bus: usize, address: u8, bytes: [u8; 256]) {
        self.machine.chip.i2cs[bus & 1].attach_memory(address, bytes);
    }

    /// Puts an LM75 thermometer on an I²C bus, or changes the temperature of the one that is there.
    pub fn attach_i2c_lm75(&mut self, bus: usize, address: u8, celsius: f64) {
        self.machine.chip.i2cs[bus & 1].attach_lm75(address, celsius);
    }

    /// Holds the clock line of an I²C bus low, as a device that hangs does, or releases it.
    pub fn hold_i2c(&mut self, bus: usize, held: bool) {
        self.machine.chip.hold_i2c(bus & 1, held);
    }

    // ---- serial ports ----

    /// Takes what UART 0 or 1 has sent since the last call.
    pub fn take_uart(&mut self, which: usize) -> Vec<u8> {
        std::mem::take(&mut self.machine.chip.uarts[which & 1].output)
    }

    /// Sends bytes to UART 0 or 1. They arrive at the speed that the firmware has set.
    pub fn feed_uart(&mut self, which: usize, bytes: &[u8]) {
        self.machine.chip.feed_uart(which & 1, bytes);
    }

    /// Takes what the firmware has written to its USB console since the last call.
    pub fn take_usb(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.machine.chip.usb.output)
    }

    /// Types on the USB console.
    pub fn feed_usb(&mut self, bytes: &[u8]) {
        let now = self.machine.chip.now;
        self.machine.chip.usb.feed(bytes, now);
        self.machine.chip.usb_touched();
    }

    /// Whether the USB console is open: the firmware offers one and the host has configured it.
    #[must_use]
    pub fn usb_is_open(&self) -> bool {
        self.machine.chip.usb.is_open()
    }

    /// Plugs the USB cable in or out. The board keeps its power.
    pub fn set_usb_attached(&mut self, attached: bool) {
        let now = self.machine.chip.now;
        self.machine.chip.usb.set_attached(attached, now);
        self.machine.chip.usb_touched();
    }

    /// Whether the USB host sends back what it reads of the console, as Linux does until a program has set the terminal up.
    pub fn set_usb_echo(&mut self, echo: bool) {
        self.machine.chip.usb.echo = echo;
    }

    /// Whether a program on the USB host has the console open (DTR).
    pub fn set_usb_open(&mut self, open: bool) {
        let now = self.machine.chip.now;
        self.machine.chip.usb.set_open(open, now);
        self.machine.chip.usb_touched();
    }

    /// Whether the USB host has suspended the bus.
    pub fn set_usb_suspended(&mut self, suspended: bool) {
        let now = self.machine.chip.now;
        self.machine.chip.usb.set_suspended(suspended, now);
        self.machine.chip.usb_touched();
    }

    // ---- to look at ----

    /// Traces accesses to registers whose names start with one of these (`UART0`, `DMA.CH1`), all for an empty list;
    /// or stops to.
    pub fn set_register_trace(&mut self, blocks: Option<Vec<String>>) {
        self.machine.chip.register_trace = blocks.map(|blocks| RegisterTrace {
            blocks,
            lines: Vec::new(),
        });
    }

    /// Takes the lines of the register trace.
    pub fn take_register_trace(&mut self) -> Vec<String> {
        self.machine
            .chip
            .register_trace
            .as_mut()
            .map_or_else(Vec::new, |trace| std::mem::take(&mut trace.lines))
    }

    /// Profiles from now on, or stops to; answers the profile so far.
    pub fn set_profile(&mut self, profile: Option<Profile>) -> Option<Profile> {
        std::mem::replace(&mut self.observers.profile, profile)
    }

    /// Traces instructions from now on, or stops to.
    pub fn set_instruction_trace(&mut self, on: bool) {
        self.observers.trace = on.then(Vec::new);
    }

    /// Takes the traced instructions: cycle, core, address, operation, and the registers before it.
    pub fn take_instruction_trace(&mut self) -> Vec<String> {
        self.observers
            .trace
            .as_mut()
            .map_or_else(Vec::new, std::mem::take)
    }

    /// Remembers the levels of the pins as they are and each change of one, or stops to.
    pub fn set_pin_log(&mut self, on: bool) {
        let now = (self.time(), self.machine.chip.gpio.levels);
        self.machine.chip.pin_log = on.then(|| vec![now]);
    }

    /// Takes the changes of pins: when, and the levels of all from then on.
    pub fn take_pin_log(&mut self) -> Vec<(Time, u32)> {
        self.machine
            .chip
            .pin_log
            .as_mut()
            .map_or_else(Vec::new, std::mem::take)
    }

    // ---- radio ----

    /// The radio, for tools and tests that know which one they plugged in.
    pub fn radio(&mut self) -> &mut dyn Radio {
        &mut *self.machine.chip.radio
    }
}
