//! Speed of the WebAssembly engine beside wasmi and native code, in one run: ratios, since times say little on a busy machine.
//!
//! `cargo xtask bench wasm`, which also counts cycles on the simulated Cortex-M0+.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::{Duration, Instant};

use picolet_wasm::{Arena, Extern, ImportRequest, Limits, Module, Outcome, Store, StoreLimits, Value};

#[path = "../../../guests/benchmarks/src/programs.rs"]
mod programs;

/// Times slower than wasmi that the engine may be.
const LIMIT: f64 = 3.0;
/// Runs of each, in turns, of which the fastest counts. A run takes some milliseconds, so that one of them is not interrupted even where
/// others use the machine.
const RUNS: usize = 60;

/// A program, its size, and the same as native code.
type Program = (&'static str, u32, fn(u32) -> u32);

const PROGRAMS: [Program; 4] = [
    ("fib", 20, programs::fib),
    ("crc32", 16, programs::crc32),
    ("sieve", 1, programs::sieve),
    ("json", 10, programs::json),
];

/// Builds the module.
fn module() -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = workspace.join("target/guests/cargo");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", "benchmarks"])
        .args(["--target", "wasm32-unknown-unknown"])
        .current_dir(workspace.join("guests"))
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the module is built");
    let path = target.join("wasm32-unknown-unknown/release/benchmarks.wasm");
    std::fs::read(path).expect("the module was just built")
}

/// One engine's runs of a program.
struct Runs {
    fastest: Duration,
    result: u32,
}

impl Runs {
    const NONE: Self = Self {
        fastest: Duration::MAX,
        result: 0,
    };

    fn add(&mut self, run: impl FnOnce() -> u32) {
        let begun = Instant::now();
        self.result = run();
        self.fastest = self.fastest.min(begun.elapsed());
    }
}

/// picolet's engine, as pods on Linux have it.
struct Ours(Store, picolet_wasm::InstanceId);

impl Ours {
    fn new(bytes: &[u8]) -> Self {
        let module = Module::load(bytes, &Limits::LARGE).expect("it is valid");
        let limits = StoreLimits {
            stack: 64 * 1024,
            ..StoreLimits::default()
        };
        let mut store = Store::new(&Arena::on_heap(64), limits);
        let none = &mut |_: &ImportRequest<'_>| None;
        let instance = store
            .instantiate(Rc::new(module), none)
            .expect("it imports nothing");
        Self(store, instance)
    }

    fn run(&mut self, name: &str, size: u32) -> u32 {
        let Self(store, instance) = self;
        let Some(Extern::Function(function)) = store.export(*instance, name) else {
            panic!("no function {name}");
        };
        store
            .call(function, &[Value::I32(size.cast_signed())])
            .expect("it takes a number");
        loop {
            match store.run(&mut 1_000_000) {
                Outcome::OutOfFuel => {}
                Outcome::Finished => break,
                outcome => panic!("{name}: {outcome:?}"),
            }
        }
        match store.results()[..] {
            [Value::I32(result)] => result.cast_unsigned(),
            _ => panic!("{name} returns a number"),
        }
    }
}

fn main() -> ExitCode {
    let bytes = module();
    let mut ours = Ours::new(&bytes);
    // With fuel, since pods are metered.
    let mut config = wasmi::Config::default();
    config.consume_fuel(true);
    let engine = wasmi::Engine::new(&config);
    let theirs = wasmi::Module::new(&engine, &bytes).expect("it is valid");
    let mut store = wasmi::Store::new(&engine, ());
    store.set_fuel(u64::MAX).expect("it is metered");
    let instance = wasmi::Instance::new(&mut store, &theirs, &[]).expect("it imports nothing");

    println!("{} bytes of WebAssembly, the fastest of {RUNS} runs", bytes.len());
    println!(
        "{:8} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "", "ours", "wasmi", "native", "ours/wasmi", "ours/native"
    );
    let mut worst: f64 = 0.0;
    for (name, size, native) in PROGRAMS {
        let function = instance
            .get_typed_func::<u32, u32>(&store, name)
            .expect("it is exported");
        let [mut own, mut other, mut machine] = [Runs::NONE; 3];
        for _ in 0..RUNS {
            let size = black_box(size);
            own.add(|| ours.run(name, size));
            other.add(|| function.call(&mut store, size).expect("it ends"));
            machine.add(|| native(size));
        }
        assert_eq!(other.result, own.result, "{name}: wasmi comes to another result");
        assert_eq!(
            machine.result, own.result,
            "{name}: native code comes to another result"
        );
        let [own, other, machine] = [own, other, machine].map(|runs| runs.fastest);
        let ratio = own.div_duration_f64(other);
        println!(
            "{name:8} {:>9} us {:>9} us {:>9} us {ratio:>12.2} {:>12.1}",
            own.as_micros(),
            other.as_micros(),
            machine.as_micros(),
            own.div_duration_f64(machine)
        );
        worst = worst.max(ratio);
    }
    if worst > LIMIT {
        eprintln!("error: {worst:.2} times slower than wasmi; the limit is {LIMIT}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
