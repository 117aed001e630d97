//! How fast the emulator is: one image, one run, next to real time, to the crate `rp2040-emu`, and to the prototype
//! where that is at hand.
//!
//! Processor time is compared and not the clock on the wall, and of several rounds the best counts: what else runs on
//! the machine is to matter little. Ratios are what to look at; the absolute figures are those of this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use picolet_emulator::{Board, Config, Figures, Image, Stop, Time};
use rp2040_emu::{Emulator, EmulatorBuilder};

/// Emulated milliseconds of a round.
const MILLISECONDS: u64 = 1500;
/// Cycles that the slow one gets in a round.
const FEW_CYCLES: u64 = 10_000_000;
const ROUNDS: usize = 5;
/// The frequency of a real part, in Hz.
const REAL: f64 = 125e6;

/// What an emulator did for each second of processor time, at best.
#[derive(Default, Clone, Copy)]
struct Speed {
    instructions: f64,
    /// Cycles in which a core ran.
    cycles: f64,
}

impl Speed {
    fn improve(&mut self, instructions: u64, cycles: u64, seconds: f64) {
        self.instructions = self.instructions.max(instructions as f64 / seconds);
        self.cycles = self.cycles.max(cycles as f64 / seconds);
    }
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let elf = build_image(&root);
    let image = Image::parse(&fs::read(&elf).expect("it was just built")).expect("an ELF file");
    let prototype = build_prototype(&root);

    let memory = memory_of_a_board(&image);
    let [mut one, mut two, mut other, mut old, mut old_with_cache] = [Speed::default(); 5];
    let mut both_at_once = 0_f64;
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        measure(&mut one, || run(&image));
        let wall = Instant::now();
        measure(&mut two, || {
            thread::scope(|scope| {
                let boards = [(); 2].map(|()| scope.spawn(|| run(&image)));
                let done = boards.map(|board| board.join().expect("no panic"));
                (done[0].0 + done[1].0, done[0].1 + done[1].1)
            })
        });
        both_at_once = both_at_once.max(2.0 * busy(MILLISECONDS) / wall.elapsed().as_secs_f64());
        measure(&mut other, || run_rp2040_emu(&image));
        if let Some(prototype) = &prototype {
            measure(&mut old, || run_prototype(prototype, &elf, false));
            measure(&mut old_with_cache, || run_prototype(prototype, &elf, true));
        }
    }

    let line = |name: &str, value: f64, unit: &str| println!("{name:<44} {value:>8.2} {unit}");
    line("instructions a second", one.instructions / 1e6, "million");
    line("speed, one board", one.cycles / REAL, "× real time");
    line(
        "speed of each of two boards at once",
        two.cycles / REAL,
        "× real time",
    );
    line(
        "both, by the clock on the wall",
        both_at_once / REAL,
        "× real time",
    );
    line("against rp2040-emu (cycles)", one.cycles / other.cycles, "×");
    if prototype.is_some() {
        line(
            "against the prototype (instructions)",
            one.instructions / old.instructions,
            "×",
        );
        let ratio = one.instructions / old_with_cache.instructions;
        line("against the prototype with its cache model", ratio, "×");
    } else {
        println!("the prototype is not at hand: name its folder in PICOLET_PROTOTYPE");
    }
    line("memory of a board", memory as f64 / 1024.0, "MiB");
}

/// Cycles of a part that is never idle.
fn busy(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3 * REAL
}

fn measure(speed: &mut Speed, run: impl FnOnce() -> (u64, u64)) {
    let start = processor_time();
    let (instructions, cycles) = run();
    speed.improve(instructions, cycles, (processor_time() - start).max(0.01));
}

/// Seconds that this process and the ones that it waited for have spent in user mode.
fn processor_time() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").expect("Linux");
    // the name in parentheses may hold anything
    let fields: Vec<&str> = text[text.rfind(')').expect("a name")..].split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    // utime and cutime are fields 14 and 16, counted from 1; the hundredth of a second is Linux's ABI
    (ticks(12) + ticks(14)) / 100.0
}

fn board(image: &Image) -> Board {
    let mut board = Board::new(Config::default());
    board.load(image).expect("it fits");
    board.power_on();
    board
}

fn run(image: &Image) -> (u64, u64) {
    let mut board = board(image);
    let stop = board.run_until(Time::from_millis(MILLISECONDS));
    assert_eq!(stop, Stop::Reached, "{stop}");
    let Figures {
        instructions,
        cycles,
        idle_cycles,
        ..
    } = board.figures();
    (instructions, cycles - idle_cycles)
}

/// Kilobytes that a board takes when it has run.
fn memory_of_a_board(image: &Image) -> u64 {
    let resident = || {
        let text = fs::read_to_string("/proc/self/status").expect("Linux");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
    };
    let before = resident();
    let mut board = board(image);
    board.run_until(Time::from_millis(MILLISECONDS));
    resident().saturating_sub(before)
}

/// The same image on the crate `rp2040-emu`, started as its second stage would start it.
fn run_rp2040_emu(image: &Image) -> (u64, u64) {
    let mut emulator: Emulator = EmulatorBuilder::new(rp2040_emu::Config::default())
        .build()
        .expect("one thread always works");
    emulator.load_flash(board(image).flash());
    emulator.reset();
    emulator.direct_boot_from_flash(0x100);
    let cycles = emulator.run(FEW_CYCLES).expect("it runs");
    (0, cycles)
}

fn run_prototype(binary: &Path, elf: &Path, cache: bool) -> (u64, u64) {
    let mut command = Command::new(binary);
    command.arg(elf).args(["--max-ms", &MILLISECONDS.to_string()]);
    if cache {
        command.arg("--xip");
    }
    // it wants a boot ROM beside it, of which this image calls nothing
    let folder = binary.parent().expect("a folder");
    fs::write(folder.join("bootrom_b1.bin"), [0; 0x4000]).expect("written");
    let output = command.current_dir(folder).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |name: &str| -> u64 {
        let rest = text.rsplit_once(name).map_or("", |(_, rest)| rest);
        let digits = rest
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        digits.parse().unwrap_or_else(|_| panic!("no {name} in\n{text}"))
    };
    (number("\ninstr="), number("busy_cycles="))
}

/// Builds the image that computes without end.
fn build_image(root: &Path) -> PathBuf {
    let folder = root.join("emulator/firmware");
    cargo(&folder, &["build", "--release", "--quiet", "--bin", "bench"]);
    folder.join("target/thumbv6m-none-eabi/release/bench")
}

/// Builds the prototype if it is there, away from its folder.
fn build_prototype(root: &Path) -> Option<PathBuf> {
    let source = std::env::var_os("PICOLET_PROTOTYPE")
        .map_or_else(|| root.join("../shared/prototypes/emulator"), PathBuf::from);
    let manifest = fs::read_to_string(source.join("Cargo.toml")).ok()?;
    let folder = root.join("target/prototype");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::write(folder.join("Cargo.toml"), manifest + "\n[workspace]\n").expect("written");
    for file in fs::read_dir(source.join("src")).expect("its sources").flatten() {
        fs::copy(file.path(), folder.join("src").join(file.file_name())).expect("copied");
    }
    cargo(&folder, &["build", "--release", "--quiet"]);
    Some(
        folder
            .join("target/release/picoemu")
            .canonicalize()
            .expect("it was built"),
    )
}

fn cargo(folder: &Path, arguments: &[&str]) {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "cargo {} in {}",
        arguments.join(" "),
        folder.display()
    );
}
