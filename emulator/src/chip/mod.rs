//! The RP2040 around its cores: the bus, and one module for each block on it.
//!
//! Blocks are advanced by event time. Each says at which cycle it next does something by itself; [`Chip::advance`]
//! does these things in their order, and a register access first brings everything up to its own cycle. Nothing is
//! polled, and a block that waits costs nothing.

mod adc;
mod clocks;
pub(crate) mod dma;
pub(crate) mod flash;
pub(crate) mod gpio;
mod i2c;
mod interpolator;
pub(crate) mod memory;
mod names;
pub(crate) mod pio;
mod pwm;
mod rtc;
mod sio;
mod spi;
mod system;
mod timer;
mod uart;
pub(crate) mod usb;
pub(crate) mod xip;

pub use timer::WatchdogReset;

use crate::Time;
use crate::cpu::Fault;
use crate::cpu::code::{self, CodeCache};
use crate::radio::{NoRadio, Radio, pins};
use clocks::{Clock, Clocks, Timeline};
use gpio::{Function, Gpio, QspiPins};
pub(crate) use memory::Write;
use memory::{RAM_BASE, RAM_SIZE, Ram};
pub use names::blocks;
pub(crate) use names::name_of;
use pio::{Inputs, Pio};
use system::{Resets, System};

/// Size of the boot ROM.
pub(crate) const ROM_SIZE: u32 = 0x4000;
/// Where flash is seen.
pub(crate) const FLASH_BASE: u32 = 0x1000_0000;
/// Cycles that an access to a register behind the APB bridge takes more than one to SRAM (section 2.1.3).
const APB_WAIT: u64 = 2;

/// Everything that does something by itself at a time that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Source {
    Timer,
    Watchdog,
    Uart0,
    Uart1,
    Pio0,
    Pio1,
    Dma,
    Radio,
    Adc,
    Pwm,
    Rtc,
    Spi0,
    Spi1,
    I2c0,
    I2c1,
    Usb,
}

const SOURCES: usize = 16;
const ALL_SOURCES: [Source; SOURCES] = [
    Source::Timer,
    Source::Watchdog,
    Source::Uart0,
    Source::Uart1,
    Source::Pio0,
    Source::Pio1,
    Source::Dma,
    Source::Radio,
    Source::Adc,
    Source::Pwm,
    Source::Rtc,
    Source::Spi0,
    Source::Spi1,
    Source::I2c0,
    Source::I2c1,
    Source::Usb,
];

/// Something that the firmware did and the emulator does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trap {
    /// A register, or something that it asked a register for.
    Register { address: u32, value: Option<u32> },
    /// Flash was read while the SSI is not set up for that.
    FlashNotMapped { address: u32 },
    /// Something that it asked the radio for, in the radio's words.
    Radio(String),
}

/// The chip without its cores, and the board around it.
pub(crate) struct Chip {
    pub ram: Ram,
    pub code: CodeCache,
    pub rom: Box<[u8]>,
    pub flash: flash::Flash,
    pub cache: xip::Cache,
    pub ssi: xip::Ssi,
    pub sio: sio::Sio,
    pub clocks: Clocks,
    pub timeline: Timeline,
    pub timer: timer::Timer,
    pub watchdog: timer::Watchdog,
    pub resets: Resets,
    pub system: System,
    pub gpio: Gpio,
    pub qspi: QspiPins,
    pub uarts: [uart::Uart; 2],
    pub dma: dma::Dma,
    pub pios: [Pio; 2],
    pub pwm: pwm::Pwm,
    pub adc: adc::Adc,
    pub rtc: rtc::Rtc,
    pub spis: [spi::Spi; 2],
    pub i2cs: [i2c::I2c; 2],
    pub usb: usb::Usb,
    pub radio: Box<dyn Radio>,
    /// The cycle that everything has been brought up to.
    pub now: u64,
    due: [u64; SOURCES],
    next_due: u64,
    /// The running core is to stop and let the machine look around.
    pub attention: bool,
    /// Interrupt lines may have changed.
    pub interrupts_dirty: bool,
    pub trap: Option<Trap>,
    flash_mapped: bool,
    /// Levels before the last changes of pins, with the cycle of the change: the synchronisers of PIO lag behind.
    history: [(u64, u32); 4],
    /// The DMA controller is in the middle of a transfer.
    dma_moves: bool,
    /// Wires from pin to pin: the first drives the second.
    pub wires: Vec<(u32, u32)>,
    /// Every change of a pin, if somebody wants to know.
    pub pin_log: Option<Vec<(Time, u32)>>,
    /// Register accesses to these blocks, as lines, if somebody wants to know.
    pub register_trace: Option<RegisterTrace>,
}

/// Which blocks to trace, and what was traced.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegisterTrace {
    /// Prefixes of register names; an empty list traces all.
    pub blocks: Vec<String>,
    pub lines: Vec<String>,
}

impl Chip {
    /// A chip that has just got power, with flash of this size.
    pub(crate) fn new(flash_size: u32, unique_id: [u8; 8], seed: u64) -> Self {
        let clocks = Clocks::new(seed);
        let mut chip = Self {
            ram: Ram::new(),
            code: CodeCache::new([(0, ROM_SIZE), (RAM_BASE, RAM_SIZE), (FLASH_BASE, flash_size)]),
            rom: vec![0; ROM_SIZE as usize].into_boxed_slice(),
            flash: flash::Flash::new(flash_size, unique_id),
            cache: xip::Cache::new(),
            ssi: xip::Ssi::new(),
            sio: sio::Sio::new(),
            timeline: Timeline::new(clocks.hz(Clock::System)),
            clocks,
            timer: timer::Timer::new(),
            watchdog: timer::Watchdog::new(),
            resets: Resets::new(),
            system: System::new(),
            gpio: Gpio::new(),
            qspi: QspiPins::new(false),
            uarts: [uart::Uart::new(), uart::Uart::new()],
            dma: dma::Dma::new(),
            pios: [Pio::new(), Pio::new()],
            pwm: pwm::Pwm::new(),
            adc: adc::Adc::new(),
            rtc: rtc::Rtc::new(),
            spis: [spi::Spi::new(), spi::Spi::new()],
            i2cs: [i2c::I2c::new(), i2c::I2c::new()],
            usb: usb::Usb::new(),
            radio: Box::new(NoRadio),
            now: 0,
            due: [u64::MAX; SOURCES],
            next_due: u64::MAX,
            attention: false,
            interrupts_dirty: true,
            trap: None,
            flash_mapped: false,
            history: [(0, 0); 4],
            dma_moves: false,
            wires: Vec::new(),
            pin_log: None,
            register_trace: None,
        };
        chip.clocks_changed(0);
        chip
    }

    /// Resets everything but the watchdog's memory, and what is outside: flash, radio, the host's side of the ports.
    pub(crate) fn reset(&mut self, now: u64, seed: u64) {
        self.now = self.now.max(now);
        let now = self.now;
        self.clocks = Clocks::new(seed);
        self.cache.reset();
        self.ssi = xip::Ssi::new();
        self.sio = sio::Sio::new();
        self.timer = timer::Timer::new();
        self.watchdog.reset();
        self.resets = Resets::new();
        self.system.reset();
        self.qspi = QspiPins::new(self.qspi.button);
        for block in [
            1 << 0,
            1 << 2,
            1 << 3,
            1 << 4,
            1 << 14,
            1 << 15,
            1 << 16,
            1 << 17,
            1 << 22,
            1 << 23,
            1 << 24,
        ] {
            self.reset_blocks(block);
        }
        self.pios = [Pio::new(), Pio::new()];
        self.gpio.reset_pads();
        let before = self.gpio.levels;
        self.gpio.reset_bank();
        self.pins_moved(before, now);
        self.clocks_changed(now);
        self.update_flash_mapped();
        self.interrupts_dirty = true;
    }

    /// The moment of a cycle.
    pub(crate) fn time(&self, cycle: u64) -> Time {
        Time::from_nanos(self.timeline.nanos(cycle))
    }

    /// Cycles of clk_sys for one tick of the watchdog: a microsecond, as firmware sets it up.
    pub(crate) fn cycles_per_tick(&self) -> u64 {
        let reference = self.clocks.hz(Clock::Reference);
        let ticks = self
            .watchdog
            .tick_divider()
            .map_or(0, |divider| reference / divider);
        self.timeline
            .hz()
            .checked_div(ticks)
            .map_or(u64::MAX >> 40, |cycles| cycles.max(1))
    }

    /// A clock was set up anew: tell everybody who runs from it.
    fn clocks_changed(&mut self, now: u64) {
        self.timeline.set_hz(now, self.clocks.hz(Clock::System));
        let sys = self.timeline.hz();
        let reference = self.clocks.hz(Clock::Reference);
        let ticks = self
            .watchdog
            .tick_divider()
            .map_or(0, |divider| reference / divider);
        self.timer.set_tick(now, ticks, sys);
        self.watchdog.set_cycles_per_tick(self.cycles_per_tick(), now);
        let peripheral = self.clocks.hz(Clock::Peripheral);
        for uart in &mut self.uarts {
            uart.set_clocks(sys, peripheral);
        }
        for spi in &mut self.spis {
            spi.set_clocks(sys, peripheral);
        }
        self.adc.set_clocks(sys, self.clocks.hz(Clock::Adc));
        self.rtc.set_clocks(now, sys, self.clocks.hz(Clock::Rtc));
        self.usb.set_clocks(sys);
        self.refresh_all();
    }

    /// Asks one block again when it next does something.
    fn refresh(&mut self, source: Source) {
        let due = match source {
            Source::Timer => self.timer.next_event(),
            Source::Watchdog => self.watchdog.next_event(),
            Source::Uart0 => self.uarts[0].next_event(),
            Source::Uart1 => self.uarts[1].next_event(),
            Source::Pio0 => self.pios[0].next().0,
            Source::Pio1 => self.pios[1].next().0,
            Source::Dma if self.dma_moves => u64::MAX,
            Source::Dma => {
                let up = self.requests_up();
                self.dma.next_event(self.now, |request| up >> request & 1 != 0)
            }
            Source::Radio => self.radio.next_event().map_or(u64::MAX, |time| {
                self.timeline.cycle(time.as_nanos()).max(self.now)
            }),
            Source::Adc => self.adc.next_event(),
            Source::Pwm => self.pwm.next_event(),
            Source::Rtc => self.rtc.next_event(),
            Source::Spi0 => self.spis[0].next_event(),
            Source::Spi1 => self.spis[1].next_event(),
            Source::I2c0 => self.i2cs[0].next_event(),
            Source::I2c1 => self.i2cs[1].next_event(),
            Source::Usb => self.usb.next_event(),
        };
        self.due[source as usize] = due;
    }

    fn refresh_all(&mut self) {
        for source in ALL_SOURCES {
            self.refresh(source);
        }
        self.update_next_due();
    }

    #[inline(always)]
    fn update_next_due(&mut self) {
        self.next_due = self.due.iter().copied().min().unwrap_or(u64::MAX);
    }

    /// The cycle at which something next happens by itself.
    pub(crate) fn next_event(&self) -> u64 {
        self.next_due
    }

    /// How far a core that runs may go before it has to look around. What happens at each cycle (PIO, DMA) is looked
    /// at in larger steps: nobody but an interrupt handler can tell.
    pub(crate) fn horizon(&self, now: u64, step: u64) -> u64 {
        let mut horizon = u64::MAX;
        for source in ALL_SOURCES {
            let due = self.due[source as usize];
            let due = match source {
                Source::Pio0 | Source::Pio1 | Source::Dma if due < now.saturating_add(step) => now + step,
                _ => due,
            };
            horizon = horizon.min(due);
        }
        horizon
    }

    /// Whether a DREQ is up (section 2.5.3.1).
    fn requests(&self, request: u32) -> bool {
        match request {
            0..=3 => self.pios[0].wants_data(request as usize),
            4..=7 => self.pios[0].has_data(request as usize - 4),
            8..=11 => self.pios[1].wants_data(request as usize - 8),
            12..=15 => self.pios[1].has_data(request as usize - 12),
            16 | 18 => self.spis[usize::from(request == 18)].wants_data(),
            17 | 19 => self.spis[usize::from(request == 19)].has_data(),
            20 | 22 => self.uarts[usize::from(request == 22)].wants_data(),
            21 | 23 => self.uarts[usize::from(request == 23)].has_data(),
            24..=31 => self.pwm.request(request as usize - 24),
            32 | 34 => self.i2cs[usize::from(request == 34)].wants_data(),
            33 | 35 => self.i2cs[usize::from(request == 35)].has_data(),
            36 => self.adc.has_data(),
            _ => false,
        }
    }

    /// The DREQs that are up, of those that a busy channel waits for.
    fn requests_up(&self) -> u64 {
        let mut wanted = self.dma.wanted();
        let mut up = 0;
        while wanted != 0 {
            let request = wanted.trailing_zeros();
            wanted &= wanted - 1;
            up |= u64::from(self.requests(request)) << request;
        }
        up
    }

    /// Does everything that is due at or before `until`, in its order. With `watch`, comes back as soon as an
    /// interrupt line changed.
    pub(crate) fn advance(&mut self, until: u64, watch: bool) {
        let lines = if watch {
            [self.lines(0), self.lines(1)]
        } else {
            [0; 2]
        };
        while self.next_due <= until && self.next_due != u64::MAX {
            let at = self.next_due;
            let which = self.due.iter().position(|&due| due == at).unwrap_or(0);
            self.now = self.now.max(at);
            let source = ALL_SOURCES[which];
            match source {
                Source::Timer => self.timer.advance(at),
                Source::Watchdog => self.watchdog.advance(at),
                Source::Uart0 => self.uarts[0].advance(at),
                Source::Uart1 => self.uarts[1].advance(at),
                Source::Pio0 | Source::Pio1 => {
                    self.run_pio(source as usize - Source::Pio0 as usize, until);
                    if watch && self.wakes(lines) {
                        return;
                    }
                    continue;
                }
                Source::Dma => self.transfer(at),
                Source::Radio => {
                    let time = self.time(at);
                    self.radio.advance(time);
                    self.radio_drives();
                }
                Source::Adc => self.adc.advance(at),
                Source::Pwm => {
                    self.pwm.advance(at);
                    self.pwm_drives();
                }
                Source::Rtc => self.rtc.advance(at),
                Source::Spi0 => self.spis[0].advance(at),
                Source::Spi1 => self.spis[1].advance(at),
                Source::I2c0 => self.i2cs[0].advance(at),
                Source::I2c1 => self.i2cs[1].advance(at),
                Source::Usb => self.usb.advance(at),
            }
            self.refresh(source);
            // a FIFO may have made room or got data
            if self.dma.is_busy() {
                self.refresh(Source::Dma);
            }
            self.update_next_due();
            self.interrupts_dirty = true;
            if watch && self.wakes(lines) {
                return;
            }
        }
        if until != u64::MAX {
            self.now = self.now.max(until);
        }
    }

    /// Whether something has happened that is not the chip's alone, since the interrupt lines were these.
    fn wakes(&mut self, lines: [u32; 2]) -> bool {
        if self.watchdog.fired.is_some() || self.trap.is_some() {
            return true;
        }
        if self.interrupts_dirty {
            if lines != [self.lines(0), self.lines(1)] {
                return true;
            }
            self.interrupts_dirty = false;
        }
        false
    }

    /// Runs the state machine of a PIO block that is due. As long as nothing else is due and nobody else is touched,
    /// goes on with the next.
    #[inline(always)]
    fn run_pio(&mut self, which: usize, until: u64) {
        let source = Source::Pio0 as usize + which;
        let mut others = until;
        for (i, &due) in self.due.iter().enumerate() {
            if i != source {
                others = others.min(due);
            }
        }
        loop {
            let (at, machine) = self.pios[which].next();
            if at > others {
                self.due[source] = at;
                break;
            }
            self.now = self.now.max(at);
            let inputs = self.pio_inputs(at);
            self.pios[which].step(machine, inputs);
            if self.pios[which].effects.any() {
                self.pio_effects(which, at);
                self.due[source] = self.pios[which].next().0;
                break;
            }
        }
        self.update_next_due();
    }

    /// What the pins look like to PIO at a cycle: as they are, and as they were two cycles ago.
    #[inline(always)]
    fn pio_inputs(&self, at: u64) -> Inputs {
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
    fn pio_effects(&mut self, which: usize, now: u64) {
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
    fn pins_moved(&mut self, before: u32, now: u64) {
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

    fn pwm_drives(&mut self) {
        let before = self.gpio.levels;
        if self.gpio.drive(Function::Pwm, self.pwm.levels(), u32::MAX) {
            self.pins_moved(before, self.now);
        }
    }

    /// One transfer of the DMA controller.
    fn transfer(&mut self, at: u64) {
        let up = self.requests_up();
        let Some(transfer) = self.dma.take(at, |request| up >> request & 1 != 0) else {
            return;
        };
        // the registers that it touches bring everything up to date, which must not start the next transfer within
        self.dma_moves = true;
        self.refresh(Source::Dma);
        self.update_next_due();
        if let Some(slice) = transfer.request.checked_sub(24).filter(|slice| *slice < 8) {
            self.pwm.acknowledge(slice as usize);
        }
        let mut cycles = at;
        let read = self.dma_read(transfer.read, transfer.size, &mut cycles);
        let (value, failed) = match read {
            None => (0, Some(false)),
            Some(value) => {
                let value = transfer.swapped(value);
                let written = self.dma_write(transfer.write, transfer.size, value, &mut cycles);
                (value, if written.is_none() { Some(true) } else { None })
            }
        };
        self.dma_moves = false;
        self.dma.done(transfer, value, failed);
    }

    fn dma_read(&mut self, address: u32, size: u32, cycles: &mut u64) -> Option<u32> {
        let address = address & !(size - 1);
        if let Some(word) = self.ram.load32(address & !3) {
            return Some(word >> (8 * (address & 3)));
        }
        let word = match address >> 28 {
            1 if address < 0x1400_0000 => self.read_flash(address & !3, cycles),
            0xd | 0xe => return None,
            _ => self.read_register(0, address & !3, cycles)?,
        };
        Some(word >> (8 * (address & 3)))
    }

    fn dma_write(&mut self, address: u32, size: u32, value: u32, cycles: &mut u64) -> Option<()> {
        let address = address & !(size - 1);
        let stored = match size {
            1 => self.ram.store8(address, value),
            2 => self.ram.store16(address, value),
            _ => self.ram.store32(address, value),
        };
        if let Some(offset) = stored {
            self.code.ram_written(offset);
            return Some(());
        }
        match address >> 28 {
            0xd | 0xe => None,
            _ => self.write_anywhere(address, size, value, cycles),
        }
    }

    /// The levels of the interrupt lines of a core (section 2.3.2).
    pub(crate) fn lines(&self, core: usize) -> u32 {
        let bit = |level: bool, number: u32| u32::from(level) << number;
        self.timer.interrupts()
            | bit(self.pwm.interrupt(), 4)
            | bit(self.usb.interrupt(), 5)
            | bit(self.pios[0].interrupt(0), 7)
            | bit(self.pios[0].interrupt(1), 8)
            | bit(self.pios[1].interrupt(0), 9)
            | bit(self.pios[1].interrupt(1), 10)
            | bit(self.dma.interrupt(0), 11)
            | bit(self.dma.interrupt(1), 12)
            | bit(self.gpio.interrupt(core), 13)
            | bit(self.sio.interrupt(core), 15 + core as u32)
            | bit(self.spis[0].interrupt(), 18)
            | bit(self.spis[1].interrupt(), 19)
            | bit(self.uarts[0].interrupt(), 20)
            | bit(self.uarts[1].interrupt(), 21)
            | bit(self.adc.interrupt(), 22)
            | bit(self.i2cs[0].interrupt(), 23)
            | bit(self.i2cs[1].interrupt(), 24)
            | bit(self.rtc.interrupt(), 25)
    }

    /// Says that the emulator does not do what the firmware asked for.
    #[cold]
    pub(crate) fn not_modelled(&mut self, address: u32, value: Option<u32>) {
        self.trap.get_or_insert(Trap::Register { address, value });
        self.attention = true;
    }

    /// Brings everything up to a cycle, and answers it. A core that lags behind the other finds the later one's time.
    #[inline(always)]
    fn sync(&mut self, cycles: u64) -> u64 {
        if self.next_due <= cycles {
            self.advance(cycles, false);
        }
        self.now = self.now.max(cycles);
        self.now
    }

    // ---- memories ----

    /// An instruction halfword, for decoding.
    pub(crate) fn fetch(&self, memory: usize, address: u32) -> u16 {
        let (bytes, offset): (&[u8], u32) = match memory {
            code::ROM => (&self.rom, address),
            code::RAM => (self.ram.bytes(), address - RAM_BASE),
            _ => (self.flash.bytes(), address - FLASH_BASE),
        };
        let offset = offset as usize;
        bytes
            .get(offset..offset + 2)
            .map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// An instruction is fetched from a new cache line: how many cycles that takes.
    #[inline(always)]
    pub(crate) fn fetch_line(&mut self, address: u32) -> u64 {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        self.cache.access((address & 0xff_ffff) >> 3)
    }

    #[cold]
    #[inline(never)]
    fn read_unmapped(&mut self, address: u32) {
        self.trap.get_or_insert(Trap::FlashNotMapped { address });
        self.attention = true;
    }

    /// A word of flash through the alias that caches, and how many cycles that takes more than a hit.
    #[inline(always)]
    pub(crate) fn read_cached(&mut self, address: u32) -> (u32, u64) {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        let wait = self.cache.access((address & 0xff_ffff) >> 3);
        (self.flash.word(address & 0xff_ffff), wait)
    }

    /// A word of flash through one of its four aliases.
    #[inline(always)]
    pub(crate) fn read_flash(&mut self, address: u32, cycles: &mut u64) -> u32 {
        if !self.flash_mapped {
            self.read_unmapped(address);
        }
        *cycles += if address < 0x1100_0000 {
            self.cache.access((address & 0xff_ffff) >> 3)
        } else {
            self.cache.access_alias(address)
        };
        self.flash.word(address & 0xff_ffff)
    }

    /// A word of memory for the exception model, the boot ROM and debuggers.
    pub(crate) fn load_word(&mut self, address: u32, cycles: &mut u64) -> Option<u32> {
        if address & 3 != 0 {
            return None;
        }
        self.ram.load32(address).or_else(|| match address >> 28 {
            0 => self
                .rom
                .as_chunks::<4>()
                .0
                .get(address as usize / 4)
                .map(|bytes| u32::from_le_bytes(*bytes)),
            1 if address < 0x1400_0000 => Some(self.read_flash(address, cycles)),
            2 => memory::unstripe(address).and_then(|address| self.ram.load32(address)),
            _ => None,
        })
    }

    /// Stores a word of RAM.
    pub(crate) fn store_word(&mut self, address: u32, value: u32) -> Option<()> {
        let offset = self.ram.store32(address, value)?;
        self.code.ram_written(offset);
        Some(())
    }

    /// A byte of memory without any effect, for debuggers and tools.
    pub(crate) fn peek(&self, address: u32) -> Option<u8> {
        match address >> 28 {
            0 => self.rom.get(address as usize).copied(),
            1 if address < 0x1400_0000 => self
                .flash
                .bytes()
                .get((address & (self.flash.size() - 1) & 0xff_ffff) as usize)
                .copied(),
            2 => {
                let address = memory::unstripe(address).unwrap_or(address);
                self.ram
                    .bytes()
                    .get(address.wrapping_sub(RAM_BASE) as usize)
                    .copied()
            }
            _ => None,
        }
    }

    /// Writes a byte of memory without any effect of the firmware's; flash as if it had been programmed at the factory.
    pub(crate) fn poke(&mut self, address: u32, value: u8) -> Option<()> {
        match address >> 28 {
            1 if address < 0x1400_0000 => {
                let offset = address & 0xff_ffff & (self.flash.size() - 1);
                self.flash.bytes_mut()[offset as usize] = value;
                self.code.forget(code::FLASH, offset & !1, 2);
                Some(())
            }
            2 => {
                let offset = self
                    .ram
                    .store8(memory::unstripe(address).unwrap_or(address), value.into())?;
                self.code.ram_written(offset);
                Some(())
            }
            _ => None,
        }
    }

    /// Takes note of what happened to the flash.
    pub(crate) fn flash_changed(&mut self) {
        if let Some(
            flash::Operation::Erase { offset, length } | flash::Operation::Program { offset, length },
        ) = self.flash.changed.take()
        {
            self.code.forget(code::FLASH, offset, length);
        }
        if self.flash.power_lost {
            self.attention = true;
        }
    }

    pub(crate) fn update_flash_mapped(&mut self) {
        self.flash_mapped = self.ssi.is_mapped();
        let cycles = self.ssi.line_cycles();
        self.cache.set_miss_cycles(cycles);
    }

    // ---- registers ----

    /// Reads a register of the SIO.
    pub(crate) fn read_sio(&mut self, core: usize, address: u32, cycles: u64) -> Result<u32, Fault> {
        let offset = address & 0xfff_ffff;
        let (gpio, high) = match offset {
            0x004 => {
                self.sync(cycles);
                (self.gpio.inputs(), 0)
            }
            0x008 => (0, self.qspi.levels()),
            _ => (0, 0),
        };
        // the mailbox raises interrupts
        if matches!(offset, 0x058) {
            self.interrupts_dirty = true;
            self.attention = true;
        }
        match self.sio.read(core, offset, gpio, high, cycles) {
            Some(value) => {
                if self.register_trace.is_some() {
                    self.trace_register(core, address, value, false, cycles);
                }
                Ok(value)
            }
            None if offset < 0x180 => {
                self.not_modelled(address, None);
                Ok(0)
            }
            None => Err(Fault::Bus { address }),
        }
    }

    /// Writes a register of the SIO.
    pub(crate) fn write_sio(
        &mut self,
        core: usize,
        address: u32,
        value: u32,
        cycles: u64,
    ) -> Result<(), Fault> {
        let offset = address & 0xfff_ffff;
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, true, cycles);
        }
        match self.sio.write(core, offset, value, cycles) {
            sio::Effect::None => {}
            sio::Effect::Pins => {
                let now = self.sync(cycles);
                let before = self.gpio.levels;
                if self.gpio.drive(Function::Sio, self.sio.out, self.sio.enable) {
                    self.pins_moved(before, now);
                    self.attention |= self.interrupts_dirty;
                }
            }
            sio::Effect::Mailbox => {
                self.interrupts_dirty = true;
                self.attention = true;
            }
            sio::Effect::Unknown if offset < 0x180 => self.not_modelled(address, Some(value)),
            sio::Effect::Unknown => return Err(Fault::Bus { address }),
        }
        Ok(())
    }

    /// Reads anything that is neither RAM, flash, SIO nor a core's own.
    pub(crate) fn read(&mut self, core: usize, address: u32, cycles: &mut u64) -> Result<u32, Fault> {
        if let Some(word) = match address >> 28 {
            0 => self
                .rom
                .as_chunks::<4>()
                .0
                .get(address as usize / 4)
                .map(|bytes| u32::from_le_bytes(*bytes)),
            2 => memory::unstripe(address).and_then(|address| self.ram.load32(address)),
            _ => None,
        } {
            return Ok(word);
        }
        let at = *cycles;
        let value = self
            .read_register(core, address, cycles)
            .ok_or(Fault::Bus { address })?;
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, false, at);
        }
        Ok(value)
    }

    /// Writes anything that is neither aligned RAM, SIO nor a core's own.
    pub(crate) fn write(
        &mut self,
        core: usize,
        address: u32,
        size: u32,
        value: u32,
        cycles: &mut u64,
    ) -> Result<(), Fault> {
        if self.register_trace.is_some() {
            self.trace_register(core, address, value, true, *cycles);
        }
        self.write_anywhere(address, size, value, cycles)
            .ok_or(Fault::Bus { address })
    }

    fn write_anywhere(&mut self, address: u32, size: u32, value: u32, cycles: &mut u64) -> Option<()> {
        match address >> 20 {
            // a write to the window of the flash removes its line from the cache: what it holds is always right
            0x100..0x140 => return Some(()),
            0x150 if address < 0x1500_4000 && self.cache.is_sram() => {
                let offset = (address & 0x3fff) as usize;
                let size = size as usize;
                self.cache.sram[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
                return Some(());
            }
            0x210..0x214 => {
                let address = memory::unstripe(address)?;
                let offset = match size {
                    1 => self.ram.store8(address, value),
                    2 => self.ram.store16(address, value),
                    _ => self.ram.store32(address, value),
                }?;
                self.code.ram_written(offset);
                return Some(());
            }
            // USB's memory can be written in pieces, unlike any register
            0x501 if address & 0xf_f000 == 0 && !self.resets.holds(address) => {
                self.usb.write_memory(address & 0xfff, size, value);
                let now = self.sync(*cycles);
                self.usb.memory_written(now);
                self.refresh(Source::Usb);
                self.update_next_due();
                self.interrupts_dirty = true;
                return Some(());
            }
            _ => {}
        }
        self.write_register(address, crate::cpu::replicate(value, size), cycles)
    }

    /// Reads a register outside of the cores and the SIO; `None` where nothing is.
    fn read_register(&mut self, _core: usize, address: u32, cycles: &mut u64) -> Option<u32> {
        if address >> 28 == 4 {
            *cycles += APB_WAIT;
        }
        let now = self.sync(*cycles);
        let offset = address & 0xfff;
        if self.resets.holds(address) {
            return Some(0);
        }
        let value = match address & 0xffff_c000 {
            0x4000_0000 => self.system.read_sysinfo(offset),
            0x4000_4000 => self.system.read_syscfg(offset),
            0x4000_8000 => self.clocks.read(offset),
            0x4000_c000 => self.resets.read(offset),
            0x4001_0000 => self.resets.read_psm(offset),
            0x4001_4000 => self.gpio.read(offset),
            0x4001_8000 => self.qspi.read(offset),
            0x4001_c000 => self.gpio.read_pad(offset),
            0x4002_0000 => self.qspi.read_pad(offset),
            0x4002_4000 => self.clocks.read_crystal(offset),
            0x4002_8000 => self.clocks.read_pll(0, offset),
            0x4002_c000 => self.clocks.read_pll(1, offset),
            0x4003_0000 => self.system.read_bus_control(offset),
            0x4003_4000 | 0x4003_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                let value = self.uarts[which].read(offset, now);
                if offset == 0 {
                    self.touched(if which == 0 { Source::Uart0 } else { Source::Uart1 });
                }
                value
            }
            0x4003_c000 | 0x4004_0000 => {
                let which = usize::from(address & 0x4_0000 != 0);
                let value = self.spis[which].read(offset, now);
                if offset == 8 {
                    self.touched(if which == 0 { Source::Spi0 } else { Source::Spi1 });
                }
                value
            }
            0x4004_4000 | 0x4004_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                let value = self.i2cs[which].read(offset, now);
                self.touched(if which == 0 { Source::I2c0 } else { Source::I2c1 });
                value
            }
            0x4004_c000 => {
                let value = self.adc.read(offset, now);
                if offset == 0xc {
                    self.touched(Source::Adc);
                }
                value
            }
            0x4005_0000 => self.pwm.read(offset, now),
            0x4005_4000 => self.timer.read(offset, now),
            0x4005_8000 => self.watchdog.read(offset, now),
            0x4005_c000 => self.rtc.read(offset, now),
            0x4006_0000 => self.clocks.read_ring(offset),
            0x4006_4000 => self.system.read_regulator(offset),
            0x4006_c000 => self.system.read_testbench(offset),
            0x5000_0000 => self.dma.read(offset),
            0x5020_0000 | 0x5030_0000 => {
                let which = usize::from(address & 0x10_0000 != 0);
                let value = self.pios[which].read(offset);
                if self.pios[which].effects.any() {
                    self.pio_effects(which, now);
                    self.touched(if which == 0 { Source::Pio0 } else { Source::Pio1 });
                }
                value
            }
            0x5010_0000 if offset == address & 0xffff => Some(self.usb.read_memory(offset)),
            0x5011_0000 => self.usb.read(offset, now),
            0x1400_0000 => self.cache.read(offset),
            0x1500_0000 if self.cache.is_sram() => self
                .cache
                .sram
                .as_chunks::<4>()
                .0
                .get((address & 0x3fff) as usize / 4)
                .map(|b| u32::from_le_bytes(*b)),
            0x1800_0000 => {
                let nanos = self.timeline.nanos(now);
                let value = self.ssi.read(offset, &mut self.flash, nanos);
                self.flash_changed();
                value
            }
            // the FIFO of the streaming interface, by itself
            0x5040_0000 => Some(0),
            _ => return None,
        };
        if value.is_none() {
            self.not_modelled(address & !0x3000, None);
        }
        Some(value.unwrap_or(0))
    }

    /// A read had a side effect on a block.
    fn touched(&mut self, source: Source) {
        self.refresh(source);
        if self.dma.is_busy() {
            self.refresh(Source::Dma);
        }
        self.update_next_due();
        self.interrupts_dirty = true;
        self.attention = true;
    }

    /// Writes a register outside of the cores and the SIO; `None` where nothing is.
    fn write_register(&mut self, address: u32, value: u32, cycles: &mut u64) -> Option<()> {
        if address >> 28 == 4 {
            *cycles += APB_WAIT;
        }
        let now = self.sync(*cycles);
        let offset = address & 0xfff;
        if self.resets.holds(address) {
            return Some(());
        }
        let write = Write::at(address, value);
        let mut source = None;
        let modelled = match address & 0xffff_c000 {
            0x4000_0000 | 0x4006_c000 => true,
            0x4000_4000 => self.system.write_syscfg(offset, write),
            0x4000_8000 => {
                let modelled = self.clocks.write(offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4000_c000 => {
                let held = self.resets.write(offset, write);
                if let Some(held) = held {
                    self.reset_blocks(held);
                }
                held.is_some()
            }
            0x4001_0000 => {
                let modelled = self.resets.write_psm(offset, write);
                if self.resets.holds_sio() {
                    self.sio = sio::Sio::new();
                    let before = self.gpio.levels;
                    if self.gpio.drive(Function::Sio, 0, 0) {
                        self.pins_moved(before, now);
                    }
                }
                modelled
            }
            0x4001_4000 | 0x4001_c000 => {
                let before = self.gpio.levels;
                let changed = if address & 0x8000 == 0 {
                    self.gpio.write(offset, write)
                } else {
                    self.gpio.write_pad(offset, write)
                };
                if changed == Some(true) {
                    self.pins_moved(before, now);
                }
                changed.is_some()
            }
            0x4001_8000 => {
                let modelled = self.qspi.write(offset, write);
                let nanos = self.timeline.nanos(now);
                self.ssi
                    .force_select(self.qspi.forced_select(), &mut self.flash, nanos);
                self.flash_changed();
                self.update_flash_mapped();
                modelled
            }
            0x4002_0000 => self.qspi.write_pad(offset, write),
            0x4002_4000 => {
                let modelled = self.clocks.write_crystal(offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4002_8000 | 0x4002_c000 => {
                let modelled = self
                    .clocks
                    .write_pll(usize::from(address & 0x4000 != 0), offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4003_0000 => self.system.write_bus_control(offset, write),
            0x4003_4000 | 0x4003_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                source = Some(if which == 0 { Source::Uart0 } else { Source::Uart1 });
                self.uarts[which].write(offset, write, now)
            }
            0x4003_c000 | 0x4004_0000 => {
                let which = usize::from(address & 0x4_0000 != 0);
                source = Some(if which == 0 { Source::Spi0 } else { Source::Spi1 });
                self.spis[which].write(offset, write, now)
            }
            0x4004_4000 | 0x4004_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                source = Some(if which == 0 { Source::I2c0 } else { Source::I2c1 });
                self.i2cs[which].write(offset, write, now)
            }
            0x4004_c000 => {
                source = Some(Source::Adc);
                self.adc.write(offset, write, now)
            }
            0x4005_0000 => {
                source = Some(Source::Pwm);
                let modelled = self.pwm.write(offset, write, now);
                self.pwm_drives();
                modelled
            }
            0x4005_4000 => {
                source = Some(Source::Timer);
                self.timer.write(offset, write, now)
            }
            0x4005_8000 => {
                source = Some(Source::Watchdog);
                let modelled = self.watchdog.write(offset, write, now);
                if offset == 0x2c {
                    self.clocks_changed(now);
                }
                modelled
            }
            0x4005_c000 => {
                source = Some(Source::Rtc);
                self.rtc.write(offset, write, now)
            }
            0x4006_0000 => {
                let modelled = self.clocks.write_ring(offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4006_4000 => self.system.write_regulator(offset, write),
            0x5000_0000 => {
                source = Some(Source::Dma);
                self.dma.write(offset, write, now)
            }
            0x5020_0000 | 0x5030_0000 => {
                let which = usize::from(address & 0x10_0000 != 0);
                source = Some(if which == 0 { Source::Pio0 } else { Source::Pio1 });
                let inputs = self.pio_inputs(now);
                let modelled = self.pios[which].write(offset, write, now, inputs);
                self.pio_effects(which, now);
                modelled
            }
            0x5011_0000 => {
                source = Some(Source::Usb);
                self.usb.write(offset, write, now)
            }
            0x1400_0000 => self.cache.write(offset, write),
            0x1800_0000 => {
                let nanos = self.timeline.nanos(now);
                let modelled = self.ssi.write(offset, value, &mut self.flash, nanos);
                self.flash_changed();
                self.update_flash_mapped();
                modelled
            }
            _ => return None,
        };
        if !modelled {
            self.not_modelled(address & !0x3000, Some(value));
        }
        if let Some(source) = source {
            self.refresh(source);
            if self.dma.is_busy() {
                self.refresh(Source::Dma);
            }
            self.update_next_due();
        }
        self.interrupts_dirty = true;
        self.attention = true;
        Some(())
    }

    /// These blocks are held in reset (section 2.14).
    fn reset_blocks(&mut self, held: u32) {
        let now = self.now;
        for block in (0..25).filter(|block| held >> block & 1 != 0) {
            match block {
                0 => self.adc.reset(),
                2 => self.dma = dma::Dma::new(),
                3 | 4 => self.i2cs[block - 3].reset(),
                5 => {
                    let before = self.gpio.levels;
                    self.gpio.reset_bank();
                    self.gpio.drive(Function::Sio, self.sio.out, self.sio.enable);
                    self.pins_moved(before, now);
                }
                6 => self.qspi = QspiPins::new(self.qspi.button),
                8 => {
                    let before = self.gpio.levels;
                    self.gpio.reset_pads();
                    self.pins_moved(before, now);
                }
                10 | 11 => {
                    let which = block - 10;
                    self.pios[which] = Pio::new();
                    self.pios[which].effects.pins = true;
                    self.pio_effects(which, now);
                }
                12 | 13 => self.clocks.reset_pll(block - 12),
                14 => self.pwm = pwm::Pwm::new(),
                15 => self.rtc.reset(),
                16 | 17 => self.spis[block - 16].reset(),
                18 => self.system.reset(),
                21 => self.timer = timer::Timer::new(),
                22 | 23 => self.uarts[block - 22].reset(),
                24 => self.usb.reset(),
                _ => {}
            }
        }
        if held & (1 << 12 | 1 << 13 | 1 << 21 | 1 << 15) != 0 {
            self.clocks_changed(now);
        }
        self.refresh_all();
        self.interrupts_dirty = true;
    }

    #[cold]
    fn trace_register(&mut self, core: usize, address: u32, value: u32, write: bool, cycles: u64) {
        let time = self.time(cycles);
        let Some(trace) = &mut self.register_trace else {
            return;
        };
        let name = name_of(address);
        if trace.blocks.is_empty() || trace.blocks.iter().any(|block| name.starts_with(block.as_str())) {
            let arrow = if write { "<-" } else { "->" };
            trace
                .lines
                .push(format!("[{time}] core {core} {name} {arrow} {value:08x}"));
        }
    }

    /// The host types on a serial port.
    pub(crate) fn feed_uart(&mut self, which: usize, bytes: &[u8]) {
        let now = self.now;
        self.uarts[which].feed(bytes, now);
        self.refresh(if which == 0 { Source::Uart0 } else { Source::Uart1 });
        self.update_next_due();
    }

    /// Something outside of the chip happened to its USB port.
    pub(crate) fn usb_touched(&mut self) {
        self.refresh(Source::Usb);
        self.update_next_due();
        self.interrupts_dirty = true;
    }

    /// Lets the radio look at the network again, as far as time has come.
    pub(crate) fn poll_radio(&mut self) {
        let time = self.time(self.now);
        self.radio.advance(time);
        self.radio_drives();
    }

    /// A copy in the same state, but for a network that cannot be copied.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            ram: self.ram.clone(),
            code: CodeCache::new([
                (0, ROM_SIZE),
                (RAM_BASE, RAM_SIZE),
                (FLASH_BASE, self.flash.size()),
            ]),
            rom: self.rom.clone(),
            flash: self.flash.clone(),
            cache: self.cache.clone(),
            ssi: self.ssi.clone(),
            sio: self.sio.clone(),
            clocks: self.clocks.clone(),
            timeline: self.timeline,
            timer: self.timer.clone(),
            watchdog: self.watchdog.clone(),
            resets: self.resets.clone(),
            system: self.system.clone(),
            gpio: self.gpio.clone(),
            qspi: self.qspi.clone(),
            uarts: self.uarts.clone(),
            dma: self.dma.clone(),
            pios: self.pios.clone(),
            pwm: self.pwm.clone(),
            adc: self.adc.clone(),
            rtc: self.rtc.clone(),
            spis: self.spis.clone(),
            i2cs: self.i2cs.clone(),
            usb: self.usb.clone(),
            radio: self.radio.duplicate(),
            now: self.now,
            due: self.due,
            next_due: self.next_due,
            attention: self.attention,
            interrupts_dirty: self.interrupts_dirty,
            trap: self.trap.clone(),
            flash_mapped: self.flash_mapped,
            history: self.history,
            dma_moves: self.dma_moves,
            wires: self.wires.clone(),
            pin_log: self.pin_log.clone(),
            register_trace: self.register_trace.clone(),
        }
    }
}
