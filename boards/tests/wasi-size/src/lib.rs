//! A machine for link tests of WASI: every answer comes from an address that the compiler must take for a device.
#![no_std]

extern crate alloc;

use link_test::{input, output};
use picolet_platform::{Entropy, I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::files::{Account, Source};
use picolet_wasi::picolet::{Configuration, Driven, PinEvent, PinEvents};
use picolet_wasi::{Clock, Errno, GuestMemory, MemoryError, Output, Readiness, Shutdown, Sockets, Stream};

/// Four bytes from nowhere.
#[inline(never)]
pub fn number() -> u32 {
    u32::from_le_bytes([input(), input(), input(), input()])
}

/// A machine whose every answer comes from nowhere.
pub struct Nothing;

impl GuestMemory for Nothing {
    #[inline(never)]
    fn copy_out(&mut self, _: u32, bytes: &mut [u8]) -> Result<(), MemoryError> {
        bytes.fill_with(input);
        if input() == 0 {
            Err(MemoryError::Fault)
        } else {
            Ok(())
        }
    }

    #[inline(never)]
    fn copy_in(&mut self, _: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        bytes.iter().copied().for_each(output);
        if input() == 0 {
            Err(MemoryError::OutOfMemory)
        } else {
            Ok(())
        }
    }
}

impl Clock for Nothing {
    fn realtime(&self) -> Option<u64> {
        (input() > 0).then(|| number().into())
    }

    fn monotonic(&self) -> u64 {
        number().into()
    }
}

impl Entropy for Nothing {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(input);
    }
}

impl Output for Nothing {
    fn write(&self, _: Stream, bytes: &[u8]) {
        bytes.iter().copied().for_each(output);
    }
}

impl Sockets for Nothing {
    fn accept(&self, _: u8) -> Result<u8, Errno> {
        Ok(input())
    }

    fn receive(&self, _: u8, bytes: &mut [u8], _: bool) -> Result<usize, Errno> {
        bytes.fill_with(input);
        Err(Errno::Again)
    }

    fn send(&self, _: u8, bytes: &[u8]) -> Result<usize, Errno> {
        bytes.iter().copied().for_each(output);
        Ok(usize::from(input()))
    }

    fn shutdown(&self, socket: u8, _: Shutdown) -> Result<(), Errno> {
        output(socket);
        Ok(())
    }

    fn readiness(&self, _: u8) -> Readiness {
        Readiness {
            read: Some(number()),
            write: None,
            hangup: input() > 0,
        }
    }

    fn close(&self, socket: u8) {
        output(socket);
    }
}

impl Pins for Nothing {
    fn pins(&self) -> PinSet {
        PinSet(number().into())
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        output(pin);
        output(u8::from(mode == PinMode::High));
    }

    fn read_pin(&self, _: u8) -> Option<PinReading> {
        let mode = match input() {
            0 => return None,
            1 => PinMode::Unset,
            2 => PinMode::Low,
            3 => PinMode::High,
            duty => PinMode::Pwm {
                duty,
                hertz: number(),
            },
        };
        Some(PinReading {
            mode,
            high: input() > 0,
        })
    }

    fn read_adc(&self, _: u8) -> Option<u16> {
        Some(input().into())
    }
}

impl Led for Nothing {
    fn set_led(&self, mode: LedMode) {
        output(u8::from(mode == LedMode::On));
    }
}

impl Sensors for Nothing {
    fn temperature_millicelsius(&self) -> Option<i32> {
        Some(number() as i32)
    }
}

impl I2c for Nothing {
    fn bus_pins(&self, _: u8) -> Option<PinSet> {
        Some(PinSet(number().into()))
    }

    fn start(&self, _: u8, _: u8, write: &[u8], _: usize) -> Result<(), I2cError> {
        write.iter().copied().for_each(output);
        Ok(())
    }

    fn finish(&self, _: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        read.fill_with(input);
        (input() > 0).then_some(Err(I2cError::Bus))
    }

    fn abandon(&self, bus: u8) {
        output(bus);
    }
}

impl PinEvents for Nothing {
    fn watch(&self, _: u8, _: bool, _: bool) -> Result<u8, Errno> {
        Ok(input())
    }

    fn has_event(&self, _: u8) -> bool {
        input() > 0
    }

    fn next_event(&self, _: u8) -> Option<PinEvent> {
        Some(PinEvent {
            time: number().into(),
            pin: input(),
            high: input() > 0,
        })
    }

    fn unwatch(&self, watch: u8) {
        output(watch);
    }
}

impl Configuration for Nothing {
    fn driven(&self) -> Driven {
        Driven {
            pins: PinSet(number().into()),
            led: input() > 0,
        }
    }

    fn cell(&self, _: u32) -> Option<u32> {
        Some(number())
    }

    fn value(&self, key: &str, _: u32, bytes: &mut [u8]) -> Option<u32> {
        key.bytes().for_each(output);
        bytes.fill_with(input);
        Some(number())
    }
}

impl Account for Nothing {
    fn charge(&self, bytes: u32) -> bool {
        output(bytes as u8);
        input() > 0
    }

    fn release(&self, bytes: u32) {
        output(bytes as u8);
    }
}

impl Source for Nothing {
    fn read(&self, _: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        bytes.fill_with(input);
        Ok(())
    }
}

/// A text from nowhere.
pub fn text() -> alloc::string::String {
    let bytes = (0..input()).map(|_| input()).collect();
    alloc::string::String::from_utf8(bytes).unwrap_or_default()
}
