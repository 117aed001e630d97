//! A simulated device for a module that runs on this machine: pins that read what they are driven to, a thermometer on the chip, and one
//! on the I2C bus.

use std::cell::{Cell, RefCell};

use clap::Args;
use picolet_platform::{I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::Errno;
use picolet_wasi::picolet::{self, Configuration, Driven, Grant, PinEvent, PinEvents};

/// What the device has.
#[derive(Args)]
#[command(next_help_heading = "Simulated device")]
pub(crate) struct Options {
    /// Give the module a simulated device with the pins of a Pico. Without it, functions of the module picolet return ENODEV.
    #[arg(long)]
    device: bool,
    /// Temperature of the chip, in degrees Celsius. [default: 25]
    #[arg(
        long,
        value_name = "CELSIUS",
        requires = "device",
        allow_negative_numbers = true
    )]
    temperature: Option<f64>,
    /// Put an LM75 thermometer with this temperature, in degrees Celsius, at address 0x48 of I2C bus 0. [default: none]
    #[arg(
        long,
        value_name = "CELSIUS",
        requires = "device",
        allow_negative_numbers = true
    )]
    lm75: Option<f64>,
    /// A key of pico-config.
    #[arg(long, value_name = "KEY=VALUE", requires = "device", value_parser = super::variable)]
    config: Vec<(String, String)>,
}

/// Address of the LM75, and its register of the temperature.
const ADDRESS: u8 = 0x48;
const TEMPERATURE: u8 = 0;

/// The user's pins of a Pico, and SDA and SCL of its first I2C bus.
const PINS: PinSet = PinSet(PinSet::range(2, 22).0 | PinSet::range(26, 28).0);
const BUS: PinSet = PinSet::range(4, 5);

/// The device.
pub(crate) struct Simulated {
    modes: [Cell<PinMode>; 29],
    millicelsius: i32,
    /// The register of the LM75.
    lm75: Option<[u8; 2]>,
    config: Vec<(String, String)>,
    /// The result of the transfer that was started.
    transfer: RefCell<Option<Result<Vec<u8>, I2cError>>>,
}

impl Options {
    /// The device, if there is to be one.
    pub(crate) fn device(&self) -> Option<Simulated> {
        // Eighths of a degree in the upper 11 bits.
        let register = |celsius: f64| ((celsius * 8.0).round().clamp(-1024.0, 1023.0) as i16) << 5;
        self.device.then(|| Simulated {
            modes: Default::default(),
            millicelsius: (self.temperature.unwrap_or(25.0) * 1000.0).round() as i32,
            lm75: self.lm75.map(|celsius| register(celsius).to_be_bytes()),
            config: self.config.clone(),
            transfer: RefCell::default(),
        })
    }
}

impl Simulated {
    /// All of it, for a module that may use everything.
    pub(crate) fn as_device(&self) -> picolet::Device<'_> {
        picolet::Device {
            pins: self,
            led: self,
            sensors: self,
            i2c: self,
            events: self,
            configuration: self,
            grant: Grant {
                pins: PINS,
                led: true,
                adc: u8::MAX,
            },
        }
    }
}

impl Pins for Simulated {
    fn pins(&self) -> PinSet {
        PINS
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        if let Some(cell) = self.modes.get(usize::from(pin)) {
            cell.set(mode);
        }
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = self
            .modes
            .get(usize::from(pin))
            .filter(|_| PINS.contains(pin))?
            .get();
        let high = mode == PinMode::High;
        Some(PinReading { mode, high })
    }

    fn read_adc(&self, channel: u8) -> Option<u16> {
        (channel < 3).then_some(0)
    }
}

impl Led for Simulated {
    fn set_led(&self, _: LedMode) {}
}

impl Sensors for Simulated {
    fn temperature_millicelsius(&self) -> Option<i32> {
        Some(self.millicelsius)
    }
}

impl I2c for Simulated {
    fn bus_pins(&self, bus: u8) -> Option<PinSet> {
        (bus == 0).then_some(BUS)
    }

    fn start(&self, bus: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        if bus != 0 {
            return Err(I2cError::NoBus);
        }
        let register = match self.lm75 {
            // Its other registers are not simulated: they read as 0.
            Some(register) if address == ADDRESS => match write.first() {
                Some(&TEMPERATURE) | None => Ok(register),
                Some(_) => Ok([0; 2]),
            },
            _ => Err(I2cError::NoAddress),
        };
        let result = register.map(|register| register.into_iter().cycle().take(read).collect());
        *self.transfer.borrow_mut() = Some(result);
        Ok(())
    }

    fn finish(&self, _: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        let result = self.transfer.take().unwrap_or(Err(I2cError::Bus));
        Some(result.map(|bytes| {
            for (to, from) in read.iter_mut().zip(bytes) {
                *to = from;
            }
        }))
    }

    fn abandon(&self, _: u8) {
        self.transfer.take();
    }
}

impl PinEvents for Simulated {
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

impl Configuration for Simulated {
    fn driven(&self) -> Driven {
        Driven::default()
    }

    fn cell(&self, _: u32) -> Option<u32> {
        None
    }

    fn value(&self, key: &str, offset: u32, bytes: &mut [u8]) -> Option<u32> {
        let (_, value) = self.config.iter().find(|(name, _)| name == key)?;
        let rest = value.as_bytes().get(offset as usize..).unwrap_or_default();
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
        }
        u32::try_from(value.len()).ok()
    }
}
