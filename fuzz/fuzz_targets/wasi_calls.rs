//! All calls of WASI and of the host module, with any arguments and memory: none panics, and each ends or waits.
#![no_main]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use picolet_platform::{Entropy, I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, Object, Owner, Quota};
use picolet_wasi::picolet::{self, Configuration, Device, Driven, Grant, PinEvent, PinEvents};
use picolet_wasi::{
    Clock, Errno, Function, GuestMemory, Host, Input, Limits, MemoryError, Outcome, Output, Readiness,
    Shutdown, Signals, Sockets, Stream, Wasi,
};

const MEMORY: usize = 4_096;

/// A host whose answers come from a counter.
#[derive(Default)]
struct World {
    count: Cell<u32>,
    pins: Cell<u32>,
}

impl World {
    fn next(&self) -> u32 {
        self.count.set(
            self.count
                .get()
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223),
        );
        self.count.get() >> 16
    }

    fn flag(&self) -> bool {
        self.next() & 1 == 1
    }

    /// As a socket or a stream: some bytes, the end, or nothing yet.
    fn some(&self, length: usize) -> Result<usize, Errno> {
        match self.next() % 4 {
            0 => Err(Errno::Again),
            1 => Err(Errno::ConnectionReset),
            _ => Ok(self.next() as usize % (length + 1)),
        }
    }
}

impl Clock for World {
    fn realtime(&self) -> Option<u64> {
        self.flag().then(|| u64::from(self.next()) << 40)
    }

    fn monotonic(&self) -> u64 {
        u64::from(self.next()) << 30
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.next() as u8);
    }
}

impl Output for World {
    fn write(&self, _: Stream, _: &[u8]) {}
}

impl Input for World {
    fn read(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.some(bytes.len())
    }

    fn available(&self) -> Option<u32> {
        self.flag().then(|| self.next())
    }
}

impl Sockets for World {
    fn accept(&self, _: u8) -> Result<u8, Errno> {
        self.some(255).map(|socket| socket as u8)
    }

    fn receive(&self, _: u8, bytes: &mut [u8], _: bool) -> Result<usize, Errno> {
        self.some(bytes.len())
    }

    fn send(&self, _: u8, bytes: &[u8]) -> Result<usize, Errno> {
        self.some(bytes.len())
    }

    fn shutdown(&self, _: u8, _: Shutdown) -> Result<(), Errno> {
        self.some(0).map(|_| ())
    }

    fn readiness(&self, _: u8) -> Readiness {
        Readiness {
            read: self.flag().then(|| self.next()),
            write: self.flag().then(|| self.next()),
            hangup: self.flag(),
        }
    }

    fn close(&self, _: u8) {}
}

impl Signals for World {
    fn pending(&self) -> Option<u8> {
        self.flag().then_some(15)
    }

    fn take(&self) -> Option<u8> {
        self.flag().then_some(15)
    }
}

impl Pins for World {
    fn pins(&self) -> PinSet {
        PinSet::range(0, 22)
    }

    fn set_pin(&self, pin: u8, _: PinMode) {
        // Only what was granted is ever set.
        assert!((2..=9).contains(&pin));
        self.pins.set(self.pins.get() + 1);
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = match self.next() % 4 {
            0 => PinMode::Unset,
            1 => PinMode::Low,
            2 => PinMode::High,
            _ => PinMode::Pwm {
                duty: 9,
                hertz: 1_000,
            },
        };
        (pin < 30).then_some(PinReading {
            mode,
            high: self.flag(),
        })
    }

    fn read_adc(&self, _: u8) -> Option<u16> {
        self.flag().then_some(9)
    }
}

impl Led for World {
    fn set_led(&self, _: LedMode) {}
}

impl Sensors for World {
    fn temperature_millicelsius(&self) -> Option<i32> {
        self.flag().then_some(-9)
    }
}

impl I2c for World {
    fn bus_pins(&self, bus: u8) -> Option<PinSet> {
        (bus < 2).then_some(PinSet::range(4, 5))
    }

    fn start(&self, _: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        assert!(address < 128 && write.len() <= 256 && read <= 256 && write.len() + read > 0);
        if self.flag() { Err(I2cError::Busy) } else { Ok(()) }
    }

    fn finish(&self, _: u8, _: &mut [u8]) -> Option<Result<(), I2cError>> {
        self.flag()
            .then(|| if self.flag() { Ok(()) } else { Err(I2cError::Bus) })
    }

    fn abandon(&self, _: u8) {}
}

impl PinEvents for World {
    fn watch(&self, _: u8, _: bool, _: bool) -> Result<u8, Errno> {
        self.some(255).map(|watch| watch as u8)
    }

    fn has_event(&self, _: u8) -> bool {
        self.flag()
    }

    fn next_event(&self, pin: u8) -> Option<PinEvent> {
        self.flag().then(|| PinEvent {
            time: 1,
            pin,
            high: true,
        })
    }

    fn unwatch(&self, _: u8) {}
}

impl Configuration for World {
    fn driven(&self) -> Driven {
        Driven {
            pins: PinSet(1 << 3),
            led: self.flag(),
        }
    }

    fn cell(&self, index: u32) -> Option<u32> {
        (index < 9).then_some(index)
    }

    fn value(&self, _: &str, _: u32, _: &mut [u8]) -> Option<u32> {
        // It may even change from one piece to the next.
        self.flag().then(|| self.next() % 1_000)
    }
}

struct Memory(Vec<u8>);

impl GuestMemory for Memory {
    fn copy_out(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let address = address as usize;
        let part = self.0.get(address..address.saturating_add(bytes.len()));
        bytes.copy_from_slice(part.ok_or(MemoryError::Fault)?);
        Ok(())
    }

    fn copy_in(&mut self, address: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        let address = address as usize;
        let part = self.0.get_mut(address..address.saturating_add(bytes.len()));
        part.ok_or(MemoryError::Fault)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// An argument: small ones are descriptors and flags, others addresses.
fn argument(byte: u8) -> u32 {
    match byte {
        0..=31 => byte.into(),
        32..=247 => u32::from(byte) * 16,
        248..=251 => MEMORY as u32 - u32::from(byte - 247),
        _ => u32::MAX - u32::from(byte - 252),
    }
}

fuzz_target!(|data: &[u8]| {
    let world = World::default();
    let quota = Rc::new(Quota::new(8_192));
    let mut files = FileSystem::new(FileLimits::BOARD, quota.clone());
    let root = files.add_root(true, 0o755, Owner::default()).unwrap();
    let source = files.add_source(Rc::new(vec![7; 300])).unwrap();
    let (offset, length) = (4, 200);
    files
        .add_image_file(
            root,
            "a",
            ImageFile {
                source,
                offset,
                length,
            },
            0o644,
        )
        .unwrap();
    files
        .add_object(root, "b", Rc::new(Object::new(b"object".as_slice(), 0)), 0o400)
        .unwrap();
    files.add_link(root, "c", "/d/../a").unwrap();
    files.add_directory(root, "d", 0o755).unwrap();
    files.add_devices(root).unwrap();
    let files = Rc::new(RefCell::new(files));
    let mut wasi = Wasi::new(files.clone(), root, false, Owner::default(), Limits::BOARD).unwrap();
    wasi.add_listener(0).unwrap();
    let device = Device {
        pins: &world,
        led: &world,
        sensors: &world,
        i2c: &world,
        events: &world,
        configuration: &world,
        grant: Grant {
            pins: PinSet::range(2, 9),
            led: true,
            adc: 3,
        },
    };
    let host = Host {
        clock: &world,
        entropy: &world,
        output: &world,
        input: &world,
        sockets: &world,
        signals: &world,
        device: Some(&device),
    };
    let mut memory = Memory(vec![0; MEMORY]);
    for call in data.chunks_exact(16) {
        let (poke, call) = call.split_at(4);
        // The guest writes a word, and calls.
        let at = argument(poke[0]) as usize;
        if let Some(place) = memory.0.get_mut(at..at + 3) {
            place.copy_from_slice(&poke[1..]);
        }
        let arguments: Vec<u32> = call[1..].iter().map(|byte| argument(*byte)).collect();
        let number = usize::from(call[0]);
        let mut outcome = match Function::ALL.get(number) {
            Some(function) => wasi.call(*function, &arguments, &mut memory, &host),
            None => {
                let function = picolet::Function::ALL[number % picolet::Function::ALL.len()];
                wasi.call_picolet(function, &arguments, &mut memory, &host)
            }
        };
        for _ in 0..3 {
            if let Outcome::Suspend(wait) = outcome {
                assert!(
                    wait.deadline.is_some() || wait.interest.0 != 0,
                    "it would never go on"
                );
                outcome = wasi.resume(&mut memory, &host);
            }
        }
        assert_ne!(outcome, Outcome::OutOfMemory);
    }
    wasi.close(&host);
    drop((wasi, files));
    assert_eq!(quota.used(), 0);
});
