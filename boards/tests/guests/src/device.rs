//! The chip as a guest sees it: the boards' own drivers, a clock whose time of day is fixed, and the log on the UART.

use core::cell::{Cell, RefCell};

use embassy_rp::uart::{Blocking, Uart};
use embassy_time::Instant;
use picolet_platform::{Entropy, I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::picolet::{Configuration, Driven, PinEvent, PinEvents};
use picolet_wasi::{Clock, Errno, Output, Stream};

use crate::i2c::Buses;
use crate::job::Job;
use crate::pins::Bank;

/// 2026-12-01T00:00:00Z.
const NOW: u64 = 1_796_083_200;

pub(crate) struct Chip {
    pub(crate) pins: Bank,
    pub(crate) i2c: Buses,
    pub(crate) job: Job,
    pub(crate) uart: RefCell<Uart<'static, Blocking>>,
    /// The last number of a sequence: the same in each run.
    pub(crate) random: Cell<u32>,
}

impl Clock for Chip {
    fn realtime(&self) -> Option<u64> {
        Some(NOW * 1_000_000_000)
    }

    fn monotonic(&self) -> u64 {
        Instant::now().as_micros() * 1_000
    }
}

impl Entropy for Chip {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| {
            let next = self
                .random
                .get()
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            self.random.set(next);
            (next >> 24) as u8
        });
    }
}

impl Output for Chip {
    fn write(&self, _: Stream, bytes: &[u8]) {
        // The port of this chip does not fail to send.
        let _ = self.uart.borrow_mut().blocking_write(bytes);
    }
}

impl Pins for Chip {
    fn pins(&self) -> PinSet {
        self.pins.pins()
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        self.pins.set(pin, mode);
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        self.pins.read(pin)
    }

    fn read_adc(&self, channel: u8) -> Option<u16> {
        self.pins.analogue(channel)
    }
}

impl Led for Chip {
    /// The LED hangs on the radio, which this image does not start.
    fn set_led(&self, _: LedMode) {}
}

impl Sensors for Chip {
    fn temperature_millicelsius(&self) -> Option<i32> {
        self.pins.temperature()
    }
}

impl I2c for Chip {
    fn bus_pins(&self, bus: u8) -> Option<PinSet> {
        self.i2c.pins(bus)
    }

    fn start(&self, bus: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        self.i2c.start(bus, address, write, read)
    }

    fn finish(&self, bus: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        self.i2c.finish(bus, read)
    }

    fn abandon(&self, bus: u8) {
        self.i2c.abandon(bus);
    }
}

impl PinEvents for Chip {
    fn watch(&self, _: u8, _: bool, _: bool) -> Result<u8, Errno> {
        Err(Errno::NotSupported)
    }

    fn has_event(&self, _: u8) -> bool {
        false
    }

    fn next_event(&self, _: u8) -> Option<PinEvent> {
        None
    }

    fn unwatch(&self, _: u8) {}
}

impl Configuration for Chip {
    fn driven(&self) -> Driven {
        Driven::default()
    }

    fn cell(&self, _: u32) -> Option<u32> {
        None
    }

    fn value(&self, key: &str, offset: u32, bytes: &mut [u8]) -> Option<u32> {
        let value = self.job.value(key)?.as_bytes();
        let rest = value.get(offset as usize..).unwrap_or_default();
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
        }
        u32::try_from(value.len()).ok()
    }
}
