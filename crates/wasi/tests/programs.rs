//! The guests of `guests/`, run by the engine on a host whose clock and sensors are fixed.

mod support;

use std::cell::RefCell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use picolet_platform::{LedMode, PinMode, PinSet};
use picolet_wasi::engine::{Program, StartError, Step, takes_signals};
use picolet_wasi::files::{FileLimits, FileSystem, NodeId, Owner, Quota};
use picolet_wasi::picolet::{Device, Grant};
use picolet_wasi::{Host, Interest, Limits, Strings, Wasi};
use picolet_wasm::{Arena, Module, StoreLimits};
use support::World;

/// Set by `cargo xtask test --long`.
const LONG_TESTS: &str = "PICOLET_LONG_TESTS";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds an example in Rust and returns the module; `None` where the target is missing.
fn built(name: &str, target: &str) -> Option<Vec<u8>> {
    let folder = workspace().join("target/guests/cargo");
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            name,
            "--target",
            target,
        ])
        .current_dir(workspace().join("guests"))
        .env("CARGO_TARGET_DIR", &folder)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("rustup target add") {
        picolet_oracle::not_run(&format!("rustup target add {target}"));
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(fs::read(folder.join(format!("{target}/release/{name}.wasm"))).unwrap())
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
struct Run {
    step: Step,
    output: String,
    errors: String,
    /// KiB of memory that it touched.
    frames: u32,
    slices: u32,
}

/// A host, the files of a pod, and what a program is given.
struct Pod {
    world: World,
    files: Rc<RefCell<FileSystem>>,
    root: NodeId,
    arguments: Vec<&'static str>,
    frames: u32,
    /// Fuel of a slice.
    fuel: i32,
}

impl Pod {
    fn new() -> Self {
        let mut files = FileSystem::new(FileLimits::BOARD, Rc::new(Quota::new(16_384)));
        let root = files.add_root(true, 0o755, Owner::default()).unwrap();
        Self {
            world: World::new(),
            files: Rc::new(RefCell::new(files)),
            root,
            arguments: vec!["/app.wasm"],
            frames: 64,
            fuel: 10_000,
        }
    }

    /// Runs a program to its end; the clock goes on only while it waits.
    fn run(&self, module: &[u8]) -> Run {
        let module = Module::load(module, &picolet_wasm::Limits::LARGE).unwrap();
        let mut wasi = Wasi::new(
            self.files.clone(),
            self.root,
            false,
            Owner::default(),
            Limits::BOARD,
        )
        .unwrap();
        let mut arguments = Strings::new();
        self.arguments
            .iter()
            .for_each(|argument| arguments.push(argument).unwrap());
        wasi.set_strings(Rc::new(arguments), Rc::new(Strings::new()));
        let limits = StoreLimits {
            frames: self.frames,
            stack: 1_024,
            ..StoreLimits::default()
        };
        let mut program = Program::new(module.into(), &Arena::on_heap(256), limits, wasi).unwrap();
        let world = &self.world;
        let device = Device {
            pins: world,
            led: world,
            sensors: world,
            i2c: world,
            events: world,
            configuration: world,
            grant: Grant {
                pins: PinSet::range(2, 5),
                led: true,
                adc: 1,
            },
        };
        let host = Host {
            clock: world,
            entropy: world,
            output: world,
            input: world,
            sockets: world,
            signals: world,
            device: Some(&device),
        };
        let mut slices = 0;
        let step = loop {
            slices += 1;
            assert!(slices < 100_000, "it does not end");
            let mut fuel = self.fuel;
            match program.run(&mut fuel, &host) {
                Step::OutOfFuel => {}
                Step::Waiting(wait) => {
                    if wait.interest.intersects(Interest::I2C) {
                        world.transfer_ready.set(true);
                    }
                    let now = world.monotonic.get();
                    world.monotonic.set(wait.deadline.unwrap_or(0).max(now));
                }
                end => break end,
            }
        };
        Run {
            step,
            output: String::from_utf8(world.output.take()).unwrap(),
            errors: String::from_utf8(world.errors.take()).unwrap(),
            frames: program.memory_bytes() / 1_024,
            slices,
        }
    }
}

#[test]
fn hello_of_cargo_new_runs() {
    let Some(module) = built("hello", "wasm32-wasip1") else {
        return;
    };
    let run = Pod::new().run(&module);
    assert_eq!(
        (run.step, run.output.as_str()),
        (Step::Exited(0), "Hello, world!\n")
    );
    assert!(run.frames <= 14, "{run:?}");
}

#[test]
fn hello_ends_out_of_memory_at_every_limit_below_what_it_touches() {
    let Some(module) = built("hello", "wasm32-wasip1") else {
        return;
    };
    let mut pod = Pod::new();
    let enough = pod.run(&module).frames;
    for frames in 1..enough {
        pod.frames = frames;
        let run = pod.run(&module);
        assert_eq!(run.step, Step::OutOfMemory, "{frames} frames");
    }
    pod.frames = enough;
    assert_eq!(pod.run(&module).step, Step::Exited(0));
}

#[test]
fn hello_is_the_same_however_its_slices_are_cut() {
    let Some(module) = built("hello", "wasm32-wasip1") else {
        return;
    };
    let mut pod = Pod::new();
    for fuel in [1, 7, 100, 100_000] {
        pod.fuel = fuel;
        let run = pod.run(&module);
        assert_eq!(
            (run.step, run.output.as_str()),
            (Step::Exited(0), "Hello, world!\n"),
            "{fuel}"
        );
        assert_eq!(run.slices > 10, fuel < 10, "{run:?}");
    }
}

#[test]
fn hello_without_std_touches_two_frames() {
    let Some(module) = built("hello-small", "wasm32-unknown-unknown") else {
        return;
    };
    let run = Pod::new().run(&module);
    assert_eq!(
        (run.step, run.output.as_str()),
        (Step::Exited(0), "Hello, world!\n")
    );
    assert!(run.frames <= 2, "{run:?}");
}

#[test]
fn blink_drives_its_pin_until_it_is_asked_to_stop() {
    let Some(module) = built("blink", "wasm32-unknown-unknown") else {
        return;
    };
    let pod = Pod::new();
    pod.world.signals.borrow_mut().push_back(15);
    let run = pod.run(&module);
    assert_eq!(
        (run.step, run.output.as_str()),
        (Step::Exited(0), "on\noff\nstopped\n")
    );
    assert_eq!(
        pod.world.monotonic.get(),
        1_500_000_000,
        "it slept for half a second"
    );
    assert_eq!(pod.world.modes.borrow()[2], PinMode::Unset, "released");
    assert_eq!(pod.world.led.get(), LedMode::Off);
    let module = Module::load(&module, &picolet_wasm::Limits::LARGE).unwrap();
    assert!(takes_signals(&module));
}

#[test]
fn thermometer_reads_chip_and_sensor() {
    let Some(module) = built("thermometer", "wasm32-wasip1") else {
        return;
    };
    let pod = Pod::new();
    // The model of the sensor answers 0x00, 0x01.
    let run = pod.run(&module);
    assert_eq!(
        (run.step, run.output.as_str()),
        (Step::Exited(0), "chip: 21.5 °C\nLM75: 0.0 °C\n")
    );
    pod.world.temperature.set(None);
    let run = pod.run(&module);
    assert!(
        run.output.starts_with("chip: no such device (errno 43)\n"),
        "{run:?}"
    );
}

#[test]
fn counter_counts_in_a_file_that_outlives_it() {
    let Some(module) = built("counter", "wasm32-wasip1") else {
        return;
    };
    let mut pod = Pod::new();
    let run = pod.run(&module);
    assert_eq!(run.step, Step::Exited(1), "there is no /data yet");
    assert!(run.errors.contains("No such file or directory"), "{run:?}");
    pod.files
        .borrow_mut()
        .add_directory(pod.root, "data", 0o777)
        .unwrap();
    for start in 1..4 {
        let run = pod.run(&module);
        assert_eq!(
            (run.step, run.output),
            (Step::Exited(0), format!("start {start}\n"))
        );
    }
    assert_eq!(
        pod.files
            .borrow()
            .read_file(pod.root, "data/counter", 99)
            .unwrap(),
        b"3\n"
    );
    pod.arguments.push("/other");
    assert_eq!(pod.run(&module).output, "start 1\n");
    pod.files
        .borrow_mut()
        .add_file(pod.root, "other", b"many\n", 0o644)
        .unwrap();
    let run = pod.run(&module);
    assert!(run.errors.contains("InvalidDigit"), "{run:?}");
}

#[test]
fn crc_of_files_and_of_standard_input() {
    let Some(module) = built("crc", "wasm32-wasip1") else {
        return;
    };
    let mut pod = Pod::new();
    pod.files
        .borrow_mut()
        .add_file(pod.root, "etc/check", b"123456789", 0o644)
        .unwrap();
    pod.world.input.borrow_mut().extend(b"123456789");
    assert_eq!(pod.run(&module).output, "cbf43926  -\n");
    pod.arguments.extend(["/etc/check", "etc/check", "/none"]);
    let run = pod.run(&module);
    assert_eq!(run.output, "cbf43926  /etc/check\ncbf43926  etc/check\n");
    assert_eq!(run.step, Step::Exited(1));
}

#[test]
fn modules_of_other_languages_run() {
    if env::var_os(LONG_TESTS).is_none() {
        return;
    }
    let required = env::var_os(picolet_oracle::REQUIRE_ALL).is_some();
    let guests = ["run", "--quiet", "--package", "xtask", "--", "guests"];
    let mut command = Command::new(env!("CARGO"));
    command.args(guests).current_dir(workspace());
    if required {
        command.arg("--require-all");
    }
    assert!(command.status().unwrap().success());
    for (name, frames) in [("hello-c", 4), ("hello-zig", 8), ("hello-assemblyscript", 4)] {
        let Ok(module) = fs::read(workspace().join(format!("target/guests/{name}.wasm"))) else {
            picolet_oracle::not_run("install python3-venv and npm");
            continue;
        };
        let run = Pod::new().run(&module);
        assert_eq!(run.step, Step::Exited(0), "{name}: {run:?}");
        // Zig writes to standard error.
        assert_eq!(run.output + &run.errors, "Hello, world!\n", "{name}");
        assert!(run.frames <= frames, "{name}: {} frames", run.frames);
    }
}

#[test]
fn program_is_refused_when_it_imports_what_is_not_there() {
    // (module (import "env" "f" (func)) (func (export "_start")))
    let unknown = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01f\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";
    // The same with sched_yield, whose type is another.
    let other_type = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x26\x01\x16wasi_snapshot_preview1\x0bsched_yield\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";
    // (module)
    let empty = b"\0asm\x01\0\0\0";
    for (bytes, entry) in [(unknown.as_slice(), true), (other_type, true), (empty, false)] {
        let module = Module::load(bytes, &picolet_wasm::Limits::LARGE).unwrap();
        let pod = Pod::new();
        let wasi = Wasi::new(
            pod.files.clone(),
            pod.root,
            false,
            Owner::default(),
            Limits::BOARD,
        )
        .unwrap();
        let error = Program::new(module.into(), &Arena::on_heap(4), StoreLimits::default(), wasi).err();
        match error {
            Some(StartError::Instantiate(_)) => assert!(entry),
            Some(StartError::NoEntry) => assert!(!entry),
            other => panic!("{other:?}"),
        }
    }
}
