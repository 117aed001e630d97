//! All calls of WASI and of the host module on a device whose every answer comes from nowhere.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;
use link_test::{input, output, start};
use picolet_platform::{Entropy, I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::files::{Account, FileLimits, FileSystem, ImageFile, Object, Owner, Source};
use picolet_wasi::picolet::{Configuration, Device, Driven, Grant, PinEvent, PinEvents};
use picolet_wasi::{
    Absent, Clock, Errno, Function, GuestMemory, Host, Limits, MemoryError, Outcome, Output, Readiness,
    Shutdown, Sockets, Stream, Strings, Wasi, picolet,
};

#[inline(never)]
fn number() -> u32 {
    u32::from_le_bytes([input(), input(), input(), input()])
}

struct Nothing;

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

fn text() -> alloc::string::String {
    let bytes = (0..input()).map(|_| input()).collect();
    alloc::string::String::from_utf8(bytes).unwrap_or_default()
}

fn files() -> Result<(FileSystem, picolet_wasi::files::NodeId), Errno> {
    let mut files = FileSystem::new(FileLimits::BOARD, Rc::new(Nothing));
    let root = files.add_root(true, 0o755, Owner::default())?;
    let source = files.add_source(Rc::new(Nothing))?;
    let file = ImageFile {
        source,
        offset: number(),
        length: number(),
    };
    files.add_image_file(root, &text(), file, 0o644)?;
    files.add_link(root, &text(), &text())?;
    files.add_file(root, &text(), text().as_bytes(), 0o644)?;
    files.add_devices(root)?;
    let volume = files.add_root(false, 0o755, Owner::default())?;
    let object = Rc::new(Object::new(text().into_bytes(), 0));
    files.add_object(volume, &text(), object, 0o400)?;
    files.mount(root, &text(), volume, true)?;
    files.remove(root, &text())?;
    files
        .read_file(root, &text(), number())?
        .into_iter()
        .for_each(output);
    Ok((files, root))
}

fn run() -> Result<(), Errno> {
    let (files, root) = files()?;
    let files = Rc::new(RefCell::new(files));
    let mut wasi = Wasi::new(files, root, input() > 0, Owner::default(), Limits::BOARD)?;
    let mut strings = Strings::new();
    strings.push(&text())?;
    strings.push_variable(&text(), &text())?;
    let strings = Rc::new(strings);
    wasi.set_strings(strings.clone(), strings);
    wasi.add_listener(input())?;
    let nothing = Nothing;
    let device = Device {
        pins: &nothing,
        led: &nothing,
        sensors: &nothing,
        i2c: &nothing,
        events: &nothing,
        configuration: &nothing,
        grant: Grant {
            pins: PinSet(number().into()),
            led: input() > 0,
            adc: input(),
        },
    };
    let host = Host {
        clock: &nothing,
        entropy: &nothing,
        output: &nothing,
        input: &Absent,
        sockets: &nothing,
        signals: &Absent,
        device: Some(&device),
    };
    let arguments = [number(); 11];
    loop {
        let name = text();
        let outcome = match (Function::find(&name), picolet::Function::find(&name)) {
            (Some(function), _) => wasi.call(function, &arguments, &mut Nothing, &host),
            (_, Some(function)) => wasi.call_picolet(function, &arguments, &mut Nothing, &host),
            _ => wasi.resume(&mut Nothing, &host),
        };
        match outcome {
            Outcome::Return(value) => output(value as u8),
            Outcome::Suspend(wait) => output(wait.interest.0),
            Outcome::Exit(_) | Outcome::OutOfMemory => break,
        }
    }
    wasi.close(&host);
    Ok(())
}

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    loop {
        if let Err(errno) = run() {
            output(errno as u8);
        }
    }
}
