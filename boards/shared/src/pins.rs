//! The user's pins: levels, pulse-width modulation, and the analogue inputs.
//!
//! Which pin does what is decided while the board runs, so this drives the registers: the drivers' types fix it when
//! the firmware is compiled.

use core::cell::Cell;
use embassy_rp::Peri;
use embassy_rp::adc::{Adc, Blocking, Config};
use embassy_rp::clocks::clk_sys_freq;
use embassy_rp::pac;
use embassy_rp::peripherals::ADC;
use picolet_device::pwm::Counting;
use picolet_platform::{PinMode, PinReading, PinSet, PwmOutput};

/// Functions of a pin: RP2040 datasheet 2.19.2, RP2350 datasheet 9.4.
const PWM: u8 = 4;
const SIO: u8 = 5;
const NOTHING: u8 = 31;

/// The analogue input that is the thermometer: RP2040 datasheet 4.9.5, RP2350A datasheet 12.4.6.
pub(crate) const THERMOMETER: u8 = 4;
/// The first pin with an analogue input.
const FIRST_ANALOGUE: u8 = 26;
/// An input that nobody drives charges itself to a level that reads as high (RP2350-E9): the buffer of a pin that is not used is off
/// but while it is read.
const LEAKS: bool = cfg!(target_abi = "eabihf");
/// Cycles in which a pin follows its outside, some microseconds.
const SETTLE: u32 = 500;

/// Millivolts of the ADC's reference on both boards.
const REFERENCE: u32 = 3300;

const PINS: usize = 29;

/// All of the user's pins.
pub(crate) struct Bank {
    modes: [Cell<PinMode>; PINS],
    pins: PinSet,
    /// Switches the converter off when it is dropped.
    _adc: Adc<'static, Blocking>,
}

impl Bank {
    /// Takes the pins over, all of them unset. With the log on a UART, pins 0 and 1 are its.
    pub(crate) fn new(adc: Peri<'static, ADC>, uart: bool) -> Self {
        let adc = Adc::new_blocking(adc, Config::default());
        pac::ADC.cs().modify(|w| w.set_ts_en(true));
        // The drivers' `init` keeps PWM in reset until somebody asks for a slice.
        pac::RESETS.reset().modify(|w| w.set_pwm(false));
        while !pac::RESETS.reset_done().read().pwm() {}
        let user = PinSet::range(2, 22).union(PinSet::range(26, 28));
        let bank = Self {
            _adc: adc,
            modes: [const { Cell::new(PinMode::Unset) }; PINS],
            pins: if uart {
                user
            } else {
                user.union(PinSet::range(0, 1))
            },
        };
        for pin in bank.pins.iter() {
            bank.release(pin);
        }
        bank
    }

    /// The pins that may be configured.
    pub(crate) fn pins(&self) -> PinSet {
        self.pins
    }

    fn mode(&self, pin: u8) -> Option<&Cell<PinMode>> {
        self.modes
            .get(usize::from(pin))
            .filter(|_| self.pins.contains(pin))
    }

    /// Makes `pin` do `mode`, which was checked.
    pub(crate) fn set(&self, pin: u8, mode: PinMode) {
        let Some(cell) = self.mode(pin) else {
            return;
        };
        match mode {
            PinMode::Unset => self.release(pin),
            PinMode::Low | PinMode::High => {
                let bit = 1 << pin;
                match mode {
                    PinMode::High => pac::SIO.gpio_out(0).value_set().write_value(bit),
                    _ => pac::SIO.gpio_out(0).value_clr().write_value(bit),
                }
                pac::SIO.gpio_oe(0).value_set().write_value(bit);
                function(pin, SIO);
            }
            PinMode::Pwm { duty, hertz } => modulate(pin, duty, hertz),
        }
        cell.set(mode);
    }

    /// Drives nothing, pulls nothing, and can be read.
    fn release(&self, pin: u8) {
        pac::SIO.gpio_oe(0).value_clr().write_value(1 << pin);
        pac::PADS_BANK0.gpio(usize::from(pin)).modify(|w| {
            w.set_pue(false);
            w.set_pde(false);
            w.set_ie(true);
            w.set_od(false);
        });
        function(pin, NOTHING);
        if LEAKS {
            listen(pin, false);
        }
    }

    /// Reads a pin.
    pub(crate) fn read(&self, pin: u8) -> Option<PinReading> {
        let mode = self.mode(pin)?.get();
        let sleeps = LEAKS && mode == PinMode::Unset;
        if sleeps {
            listen(pin, true);
            cortex_m::asm::delay(SETTLE);
        }
        let high = pac::IO_BANK0.gpio(usize::from(pin)).status().read().infrompad();
        if sleeps {
            listen(pin, false);
        }
        Some(PinReading { mode, high })
    }

    /// Millivolts on an analogue input.
    pub(crate) fn analogue(&self, channel: u8) -> Option<u16> {
        let pin = FIRST_ANALOGUE
            .checked_add(channel)
            .filter(|pin| usize::from(*pin) < PINS)?;
        // A digital input draws current from a voltage between its levels.
        let listens = pac::PADS_BANK0.gpio(usize::from(pin)).read().ie();
        listen(pin, false);
        let sample = sample(channel);
        listen(pin, listens);
        u16::try_from(u32::from(sample?) * REFERENCE / 4096).ok()
    }

    /// The die's temperature in thousandths of a degree Celsius.
    pub(crate) fn temperature(&self) -> Option<i32> {
        // The middle of the step that the result stands for.
        let micros = (2 * i32::from(sample(THERMOMETER)?) + 1) * (REFERENCE as i32 * 1000 / 32) / 256;
        // 27 degrees at 0.706 V, and 1.721 mV less for each degree more. The sensor and its reference are off by up to 10 degrees.
        Some(27_000 - (micros - 706_000) * 1000 / 1721)
    }
}

/// Has a pin's slice count for `hertz`, and its output be high for `duty` of 255.
fn modulate(pin: u8, duty: u8, hertz: u32) {
    let counting = Counting::new(clk_sys_freq(), hertz);
    let output = PwmOutput::of(pin);
    let slice = pac::PWM.ch(usize::from(output.slice));
    slice.div().write(|w| {
        w.set_int((counting.divider >> 4) as u8);
        w.set_frac((counting.divider & 15) as u8);
    });
    slice.top().write(|w| w.set_top((counting.counts - 1) as u16));
    // A level above the top is never left: always high.
    let level = (counting.counts * u32::from(duty) / 255).min(0xffff) as u16;
    slice.cc().modify(|w| match output.second {
        true => w.set_b(level),
        false => w.set_a(level),
    });
    slice.csr().modify(|w| {
        w.set_ph_correct(counting.both_ways);
        w.set_en(true);
    });
    function(pin, PWM);
}

/// Switches a pad's input buffer.
fn listen(pin: u8, on: bool) {
    pac::PADS_BANK0.gpio(usize::from(pin)).modify(|w| w.set_ie(on));
}

/// Leads a pin to one of the chip's blocks.
fn function(pin: u8, function: u8) {
    // The pad keeps its old level until it is led there, on the chip that can isolate it.
    pac::IO_BANK0
        .gpio(usize::from(pin))
        .ctrl()
        .write(|w| w.set_funcsel(function));
    pac::PADS_BANK0.gpio(usize::from(pin)).modify(|w| {
        w.set_ie(true);
        w.set_od(false);
        #[cfg(target_abi = "eabihf")]
        w.set_iso(false);
    });
}

/// One conversion, two microseconds; `None` if it failed.
fn sample(channel: u8) -> Option<u16> {
    pac::ADC.cs().modify(|w| {
        w.set_ainsel(channel);
        w.set_start_once(true);
        w.set_err(true);
    });
    while !pac::ADC.cs().read().ready() {}
    let failed = pac::ADC.cs().read().err();
    (!failed).then(|| pac::ADC.result().read().result())
}
