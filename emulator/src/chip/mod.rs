//! The RP2040 around its cores: the bus, and one module for each block on it.
//!
//! Blocks are advanced by event time. Each says at which cycle it next does something by itself; [`Chip::advance`]
//! does these things in their order, and a register access first brings everything up to its own cycle. Nothing is
//! polled, and a block that waits costs nothing.

mod adc;
mod bus;
mod clocks;
pub(crate) mod dma;
pub(crate) mod flash;
pub(crate) mod gpio;
mod i2c;
mod interpolator;
mod levels;
pub(crate) mod memory;
mod names;
pub(crate) mod pio;
mod pwm;
mod registers;
mod ring;
mod rtc;
mod schedule;
mod sio;
mod spi;
mod system;
mod timer;
mod uart;
pub(crate) mod usb;
pub(crate) mod xip;

pub(crate) use bus::replicate;
pub use timer::WatchdogReset;

use crate::Time;
use crate::code::CodeCache;
use crate::radio::{NoRadio, Radio};
use clocks::{Clock, Clocks, Timeline};
use gpio::{Gpio, QspiPins};
pub(crate) use memory::Write;
use memory::{RAM_BASE, RAM_SIZE, Ram};
pub use names::blocks;
pub(crate) use names::name_of;
use pio::Pio;
pub use ring::Oscillator;
use schedule::{SOURCES, Source};
use system::{Resets, System};

/// Size of the boot ROM.
pub(crate) const ROM_SIZE: u32 = 0x4000;
/// Where flash is seen.
pub(crate) const FLASH_BASE: u32 = 0x1000_0000;

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
        let clocks = Clocks::new(Oscillator::default(), seed);
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
        self.clocks.reset(seed);
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

    /// Puts another ring oscillator in place of the one there is.
    pub(crate) fn set_oscillator(&mut self, oscillator: Oscillator) {
        self.clocks.set_oscillator(oscillator);
        self.clocks_changed(self.now);
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

    /// The host types on a serial port.
    pub(crate) fn feed_uart(&mut self, which: usize, bytes: &[u8]) {
        let now = self.now;
        self.uarts[which].feed(bytes, now);
        self.refresh(if which == 0 { Source::Uart0 } else { Source::Uart1 });
        self.update_next_due();
    }

    /// The clock line of an I2C bus is held low or released.
    pub(crate) fn hold_i2c(&mut self, bus: usize, held: bool) {
        let now = self.now;
        self.i2cs[bus].hold(held, now);
        self.refresh(if bus == 0 { Source::I2c0 } else { Source::I2c1 });
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
