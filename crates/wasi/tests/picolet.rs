//! The `picolet` module: what each function does, and what it refuses.

mod support;

use picolet_platform::{LedMode, PinMode, PinSet};
use picolet_wasi::files::{Object, Owner};
use picolet_wasi::picolet::{Driven, Function, PinEvent};
use picolet_wasi::{Interest, Outcome, Wait};
use std::rc::Rc;
use support::{DATA, Guest, MEMORY, OUT, TEXT};

const BUSY: u32 = 10;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const NODEV: u32 = 43;
const NOENT: u32 = 44;
const NOTSUP: u32 = 58;
const NXIO: u32 = 60;
const PERM: u32 = 63;
const RANGE: u32 = 68;
const ROFS: u32 = 69;

const BAD: u32 = MEMORY as u32 - 2;

/// Pins 2 to 5 are the guest's, 3 is driven by a ConfigMap.
fn guest() -> Guest {
    let guest = Guest::new();
    guest.world.driven.set(Driven {
        pins: PinSet(1 << 3),
        led: false,
    });
    guest
}

fn errno(guest: &mut Guest, name: &str, arguments: &[u32]) -> u32 {
    match guest.picolet(name, arguments) {
        Outcome::Return(errno) => errno,
        other => panic!("{name}{arguments:?}: {other:?}"),
    }
}

#[test]
fn functions_return_their_errno() {
    let mut guest = guest();
    let calls: &[(&str, &[u32], u32)] = &[
        ("gpio_mode", &[2, 4], 0),
        ("gpio_mode", &[3, 4], BUSY),
        ("gpio_mode", &[6, 4], PERM),
        ("gpio_mode", &[23, 4], NODEV),
        ("gpio_mode", &[u32::MAX, 4], NODEV),
        ("gpio_mode", &[2, 2], NOTSUP),
        ("gpio_mode", &[2, 5], INVAL),
        ("gpio_write", &[2, 1], 0),
        ("gpio_write", &[3, 1], BUSY),
        ("gpio_write", &[4, 1], INVAL),
        ("gpio_write", &[6, 1], PERM),
        ("gpio_read", &[2, OUT], 0),
        ("gpio_read", &[3, OUT], 0),
        ("gpio_read", &[6, OUT], PERM),
        ("gpio_read", &[99, OUT], NODEV),
        ("gpio_read", &[2, BAD], FAULT),
        ("gpio_pwm", &[2, 65_535, 1_000], 0),
        ("gpio_pwm", &[2, 65_536, 1_000], INVAL),
        ("gpio_pwm", &[2, 1, 7], INVAL),
        ("gpio_pwm", &[2, 1, 100_001], INVAL),
        ("gpio_pwm", &[3, 1, 1_000], BUSY),
        ("gpio_watch", &[6, 3, OUT], PERM),
        ("gpio_watch", &[2, 0, OUT], INVAL),
        ("gpio_watch", &[2, 4, OUT], INVAL),
        ("gpio_watch", &[2, 1, BAD], FAULT),
        ("led", &[1, 0], 0),
        ("led", &[2, 0], INVAL),
        ("led", &[2, 65_536], INVAL),
        ("led", &[3, 0], INVAL),
        ("adc_read", &[0, OUT], 0),
        ("adc_read", &[0, BAD], FAULT),
        ("adc_read", &[1, OUT], PERM),
        ("adc_read", &[3, OUT], NODEV),
        ("adc_read", &[8, OUT], NODEV),
        ("temperature", &[OUT], 0),
        ("temperature", &[BAD], FAULT),
        ("i2c_transfer", &[1, 0x48, DATA, 1, DATA, 1], PERM),
        ("i2c_transfer", &[2, 0x48, DATA, 1, DATA, 1], NODEV),
        ("i2c_transfer", &[256, 0x48, DATA, 1, DATA, 1], NODEV),
        ("i2c_transfer", &[0, 0x80, DATA, 1, DATA, 1], INVAL),
        ("i2c_transfer", &[0, 0x48, DATA, 0, DATA, 0], INVAL),
        ("i2c_transfer", &[0, 0x48, DATA, 257, DATA, 0], INVAL),
        ("i2c_transfer", &[0, 0x48, BAD, 4, DATA, 0], FAULT),
        ("cell_get", &[7, OUT], 0),
        ("cell_get", &[8, OUT], NOENT),
        ("cell_get", &[7, BAD], FAULT),
        ("config_get", &[BAD, 4, DATA, 4, OUT], FAULT),
        ("signal", &[BAD], FAULT),
        ("signal_watch", &[BAD], FAULT),
        ("file_mode", &[BAD, 4, OUT], FAULT),
        ("ids", &[OUT], 0),
        ("ids", &[BAD], FAULT),
        ("abi", &[], 1),
    ];
    for (name, arguments, expected) in calls {
        assert_eq!(
            errno(&mut guest, name, arguments),
            *expected,
            "{name}{arguments:?}"
        );
    }
    assert_eq!(guest.world.watches.get(), 0);
}

#[test]
fn functions_of_the_device_return_enodev_when_there_is_none() {
    for function in Function::ALL {
        let mut guest = guest();
        let outcome = guest.on(|wasi, memory, host| {
            let host = picolet_wasi::Host {
                device: None,
                ..*host
            };
            wasi.call_picolet(*function, &[2, 2, OUT, 4, OUT, 4], memory, &host)
        });
        let name = function.signature().name;
        assert_eq!(Function::find(name), Some(*function));
        let expected = match name {
            "abi" => Outcome::Return(1),
            "signal" | "signal_watch" | "ids" => Outcome::Return(0),
            "file_mode" | "file_chmod" => Outcome::Return(INVAL),
            _ => Outcome::Return(NODEV),
        };
        assert_eq!(outcome, expected, "{name}");
    }
    assert_eq!(Function::find("dial"), None);
}

#[test]
fn pin_does_what_it_is_set_to() {
    let mut guest = guest();
    let mode = |guest: &Guest| guest.world.modes.borrow()[2];
    errno(&mut guest, "gpio_mode", &[2, 4]);
    assert_eq!(mode(&guest), PinMode::Low);
    errno(&mut guest, "gpio_write", &[2, 1]);
    assert_eq!(mode(&guest), PinMode::High);
    errno(&mut guest, "gpio_mode", &[2, 4]);
    assert_eq!(mode(&guest), PinMode::High, "an output stays as it is");
    errno(&mut guest, "gpio_read", &[2, OUT]);
    assert_eq!(guest.word(OUT), 1);
    errno(&mut guest, "gpio_pwm", &[2, 0x8000, 50]);
    assert_eq!(mode(&guest), PinMode::Pwm { duty: 128, hertz: 50 });
    errno(&mut guest, "gpio_mode", &[2, 1]);
    assert_eq!(mode(&guest), PinMode::Unset);
}

#[test]
fn pwm_is_busy_when_its_slice_runs_otherwise() {
    let mut guest = guest();
    guest.grant.pins = PinSet::range(0, 22);
    let pwm = |guest: &mut Guest, pin, duty, hertz| errno(guest, "gpio_pwm", &[pin, duty, hertz]);
    // 4 and 5 share a slice, 4 and 20 an output.
    assert_eq!(pwm(&mut guest, 4, 0x4000, 1_000), 0);
    assert_eq!(pwm(&mut guest, 5, 0x8000, 2_000), BUSY);
    assert_eq!(pwm(&mut guest, 5, 0x8000, 1_000), 0);
    assert_eq!(pwm(&mut guest, 20, 0x8000, 1_000), BUSY);
    assert_eq!(pwm(&mut guest, 20, 0x4000, 1_000), 0);
    assert_eq!(pwm(&mut guest, 6, 0x8000, 2_000), 0);
}

#[test]
fn led_and_sensors_work_when_they_are_given() {
    let mut guest = guest();
    errno(&mut guest, "led", &[2, 500]);
    assert_eq!(guest.world.led.get(), LedMode::Blink { period_ms: 500 });
    guest.world.driven.set(Driven {
        led: true,
        ..Driven::default()
    });
    assert_eq!(errno(&mut guest, "led", &[0, 0]), BUSY);
    guest.grant.led = false;
    assert_eq!(errno(&mut guest, "led", &[0, 0]), PERM);
    errno(&mut guest, "adc_read", &[0, OUT]);
    assert_eq!(guest.word(OUT), 1_000);
    guest.world.temperature.set(Some(-1_250));
    errno(&mut guest, "temperature", &[OUT]);
    assert_eq!(guest.word(OUT).cast_signed(), -1_250);
    guest.world.temperature.set(None);
    assert_eq!(errno(&mut guest, "temperature", &[OUT]), NODEV);
}

#[test]
fn edges_are_read_as_events() {
    let mut guest = guest();
    assert_eq!(errno(&mut guest, "gpio_watch", &[2, 3, OUT]), 0);
    let watch = guest.word(OUT);
    let [vectors, count] = guest.vector(DATA, 64);
    let waits = Outcome::Suspend(Wait {
        deadline: None,
        interest: Interest::PINS,
    });
    assert_eq!(guest.outcome("fd_read", &[watch, vectors, count, OUT]), waits);
    let event = PinEvent {
        time: 5_000_000_000,
        pin: 2,
        high: true,
    };
    guest.world.events.borrow_mut().extend([event; 2]);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(guest.word(OUT), 32);
    assert_eq!(
        (
            guest.long(DATA + 16),
            guest.word(DATA + 24),
            guest.word(DATA + 28)
        ),
        (5_000_000_000, 2, 1)
    );
    assert_eq!(guest.read(watch, 8), Err(INVAL), "no event fits");
    guest.ok("fd_close", &[watch]);
    assert_eq!(guest.world.watches.get(), 0);
}

#[test]
fn i2c_transfer_suspends_until_it_is_done() {
    let mut guest = guest();
    guest.world.driven.set(Driven::default());
    let waits = Outcome::Suspend(Wait {
        deadline: None,
        interest: Interest::I2C,
    });
    guest.memory.bytes[DATA as usize] = 0x10;
    let transfer = [0, 0x48, DATA, 1, DATA + 64, 2];
    assert_eq!(guest.picolet("i2c_transfer", &transfer), waits);
    assert_eq!(guest.resume(), waits);
    guest.world.transfer_ready.set(true);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(guest.bytes(DATA + 64, 2), [0x10, 0x11]);
    assert_eq!(
        errno(&mut guest, "i2c_transfer", &[0, 0x49, DATA, 1, DATA, 0]),
        NXIO
    );
    // While someone else has the bus, it waits.
    *guest.world.transfer.borrow_mut() = Some((0x48, vec![], 2));
    assert_eq!(guest.picolet("i2c_transfer", &transfer), waits);
    *guest.world.transfer.borrow_mut() = None;
    guest.world.transfer_ready.set(false);
    assert_eq!(guest.resume(), waits);
    guest.on(|wasi, _, host| wasi.close(host));
    assert!(guest.world.abandoned.get() && guest.world.transfer.borrow().is_none());
}

#[test]
fn i2c_is_busy_when_a_configmap_drives_one_of_its_pins() {
    let mut guest = guest();
    guest.world.driven.set(Driven {
        pins: PinSet(1 << 5),
        led: false,
    });
    assert_eq!(
        errno(&mut guest, "i2c_transfer", &[0, 0x48, DATA, 1, DATA, 1]),
        BUSY
    );
}

#[test]
fn i2c_transfer_that_runs_is_finished_when_a_configmap_takes_its_pins() {
    let mut guest = guest();
    guest.world.driven.set(Driven::default());
    let transfer = [0, 0x48, DATA, 1, DATA + 64, 2];
    assert!(matches!(
        guest.picolet("i2c_transfer", &transfer),
        Outcome::Suspend(_)
    ));
    guest.world.driven.set(Driven {
        pins: PinSet(1 << 5),
        led: false,
    });
    guest.world.transfer_ready.set(true);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert!(guest.world.transfer.borrow().is_none(), "the bus is free");
    assert_eq!(errno(&mut guest, "i2c_transfer", &transfer), BUSY);
}

#[test]
fn configuration_is_read_in_the_buffer_that_is_there() {
    let mut guest = guest();
    let mut get = |key: &str, capacity| {
        let [at, length] = guest.text(TEXT, key);
        let errno = errno(&mut guest, "config_get", &[at, length, DATA, capacity, OUT]);
        (errno, guest.word(OUT), guest.bytes(DATA, 300).to_vec())
    };
    let (errno, length, value) = get("mode", 64);
    assert_eq!((errno, length, &value[..5]), (0, 4, b"fast\0".as_slice()));
    let (errno, length, value) = get("long", 300);
    let expected: Vec<u8> = (0..=255).cycle().take(300).collect();
    assert_eq!((errno, length, value), (0, 300, expected));
    assert_eq!(get("long", 10).0, RANGE);
    assert_eq!(get("long", 0).1, 300);
    assert_eq!(get("none", 64).0, NOENT);
}

#[test]
fn signals_are_taken_or_waited_for() {
    let mut guest = guest();
    errno(&mut guest, "signal", &[OUT]);
    assert_eq!(guest.word(OUT), 0);
    errno(&mut guest, "signal_watch", &[OUT]);
    let watch = guest.word(OUT);
    let [vectors, count] = guest.vector(DATA, 4);
    let waits = Outcome::Suspend(Wait {
        deadline: None,
        interest: Interest::SIGNALS,
    });
    assert_eq!(guest.outcome("fd_read", &[watch, vectors, count, OUT]), waits);
    guest.world.signals.borrow_mut().extend([15, 2]);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!((guest.word(OUT), guest.word(DATA)), (4, 15));
    errno(&mut guest, "signal", &[OUT]);
    assert_eq!(guest.word(OUT), 2);
    let takes: Vec<_> = Function::ALL
        .iter()
        .filter(|function| function.takes_signals())
        .collect();
    assert_eq!(takes, [&Function::Signal, &Function::SignalWatch]);
}

#[test]
fn modes_and_owners_are_those_of_the_pod() {
    let mut guest = Guest::with(8_192, false, |files, root| {
        files.add_link(root, "link", "data/key").unwrap();
        let volume = files.add_root(false, 0o755, Owner { uid: 0, gid: 7 }).unwrap();
        let object = Rc::new(Object::new(b"x".as_slice(), 0));
        files.add_object(volume, "key", object, 0o400).unwrap();
        files.mount(root, "data", volume, true).unwrap();
    });
    let (tmpfs, overlay) = (0x0102_1994, 0x794c_7630);
    guest.open("new", 1, true).unwrap();
    for (path, expected) in [
        ("/link", [0o100_400, 0, 7, tmpfs]),
        ("data", [0o040_755, 0, 7, tmpfs]),
        ("/", [0o040_755, 0, 0, overlay]),
        ("new", [0o100_644, 1_000, 2_000, overlay]),
    ] {
        let [at, length] = guest.text(TEXT, path);
        assert_eq!(errno(&mut guest, "file_mode", &[at, length, OUT]), 0, "{path}");
        let fields = [0, 4, 8, 12].map(|offset| guest.word(OUT + offset));
        assert_eq!(fields, expected, "{path}");
    }
    let [at, length] = guest.text(TEXT, "data/key");
    assert_eq!(errno(&mut guest, "file_chmod", &[at, length, 0o777]), ROFS);
    let [at, length] = guest.text(TEXT, "/new");
    assert_eq!(errno(&mut guest, "file_chmod", &[at, length, 0o10_1600]), 0);
    errno(&mut guest, "file_mode", &[at, length, OUT]);
    assert_eq!(guest.word(OUT), 0o101_600);
    let [at, length] = guest.text(TEXT, "none");
    assert_eq!(errno(&mut guest, "file_mode", &[at, length, OUT]), NOENT);
    errno(&mut guest, "ids", &[OUT]);
    assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (1_000, 2_000));
}
