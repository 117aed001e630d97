//! The guests of `guests/` in the emulated RP2040, from flash and over the boards' drivers: they write what they write here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use picolet_emulator::{Board, Config, Image, Stop, Time, Vcd};
use picolet_image::build::Place;

/// The temperature of the chip, and what its converter makes of it.
const CHIP: f32 = 25.0;
const CHIP_AS_READ: &str = "25.0";
/// The thermometer on the bus.
const LM75: f64 = -7.5;

/// Where the runner looks for its job, and the bytes in front of the text.
const JOB: u32 = 0x1010_0000;
const HEAD: usize = 8;

/// Emulated time within which every guest ends.
const LIMIT_MS: u64 = 30_000;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds a package with a `Cargo.toml` for a target; `None` where the target is missing.
fn built(folder: &Path, package: &str, target: &str) -> Option<Vec<u8>> {
    let into = workspace().join("target/guests/cargo");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", package])
        .args(["--target", target])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &into)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("rustup target add") {
        picolet_oracle::not_run(&format!("rustup target add {target}"));
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(fs::read(into.join(format!("{target}/release/{package}.wasm"))).unwrap())
}

/// An example in Rust.
fn guest(name: &str) -> Option<Vec<u8>> {
    built(&workspace().join("guests"), name, "wasm32-wasip1")
}

/// One without the standard library.
fn small_guest(name: &str) -> Option<Vec<u8>> {
    built(&workspace().join("guests"), name, "wasm32-unknown-unknown")
}

/// A module, and what it is given.
#[derive(Default)]
struct Job<'j> {
    module: &'j [u8],
    arguments: &'j [&'j str],
    configuration: &'j [(&'j str, &'j str)],
    /// Path and content.
    files: &'j [(&'j str, &'j str)],
    /// Nothing is on the bus.
    empty_bus: bool,
}

/// How a guest ended on the chip, and what it wrote.
#[derive(Debug)]
struct Run {
    output: String,
    /// The line of the runner: how it ended, and figures.
    end: String,
}

impl Run {
    fn figure(&self, name: &str) -> u64 {
        let mut words = self.end.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.expect("a figure of the runner").parse().expect("a number")
    }

    /// All RAM that it takes: heap and frames.
    fn bytes(&self) -> u64 {
        self.figure("heap") + self.figure("frames")
    }
}

impl Job<'_> {
    /// As it lies in flash.
    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for argument in self.arguments {
            text += &format!("argument {argument}\n");
        }
        for (key, value) in self.configuration {
            text += &format!("configuration {key} {value}\n");
        }
        // Offsets have as many digits, whatever they are: the text's length is known before them.
        let line = |path: &str, offset: usize, length: usize| format!("file {path} {offset:08} {length}\n");
        let lines = self
            .files
            .iter()
            .map(|(path, content)| line(path, 0, content.len()).len());
        let length = text.len() + lines.sum::<usize>();
        let start = HEAD + length.next_multiple_of(4);
        let mut offset = start + self.module.len();
        for (path, content) in self.files {
            text += &line(path, offset, content.len());
            offset += content.len();
        }
        let mut bytes = Vec::new();
        for length in [text.len(), self.module.len()] {
            bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
        }
        bytes.extend(text.bytes());
        bytes.resize(start, 0);
        bytes.extend(self.module);
        self.files
            .iter()
            .for_each(|(_, content)| bytes.extend(content.bytes()));
        bytes
    }

    /// A board with the runner and this job.
    fn board(&self) -> Board {
        static RUNNER: OnceLock<PathBuf> = OnceLock::new();
        let runner = RUNNER.get_or_init(|| {
            let built = picolet_image::build::build(
                "guest-runner",
                "guest-runner",
                "thumbv6m-none-eabi",
                Place::Here,
            );
            built.expect("the runner is built")
        });
        let mut board = Board::new(Config::default());
        board
            .load(&Image::parse(&fs::read(runner).unwrap()).unwrap())
            .unwrap();
        board
            .load(&Image::from_bytes(JOB, &self.bytes()).unwrap())
            .unwrap();
        board.set_temperature(CHIP);
        if !self.empty_bus {
            board.attach_i2c_lm75(0, 0x48, LM75);
        }
        board.power_on();
        board
    }

    fn on_chip(&self) -> Run {
        finish(&mut self.board())
    }

    /// Runs it here, with the same device.
    fn here(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("app.wasm");
        fs::write(&module, self.module).unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("data")).unwrap();
        for (path, content) in self.files {
            fs::write(root.join(path.trim_start_matches('/')), content).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_picolet"));
        command.args(["wasm", "run", "--device", "--temperature", CHIP_AS_READ]);
        if !self.empty_bus {
            command.args(["--lm75", &LM75.to_string()]);
        }
        command.arg("--dir").arg(&root);
        for (key, value) in self.configuration {
            command.args(["--config", &format!("{key}={value}")]);
        }
        let output = command
            .arg(&module)
            .args(self.arguments.iter().skip(1))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Runs it on the chip and here, and compares.
    fn compared(&self) -> Run {
        let run = self.on_chip();
        assert!(run.end.starts_with("exit 0 "), "{run:?}");
        assert!(!run.output.is_empty());
        assert_eq!(run.output, self.here());
        run
    }
}

/// Runs a board until its guest has ended.
fn finish(board: &mut Board) -> Run {
    let mut log = Vec::new();
    for slice in (0..LIMIT_MS).step_by(5) {
        let stop = board.run_until(Time::from_millis(slice + 5));
        log.extend(board.take_uart(0));
        let text = String::from_utf8_lossy(&log);
        assert_eq!(stop, Stop::Reached, "{stop}\n{text}");
        if let Some((output, end)) = text.split_once('\x04')
            && let Some(end) = end.strip_suffix('\n')
        {
            return Run {
                output: output.to_owned(),
                end: end.to_owned(),
            };
        }
    }
    panic!("the guest does not end:\n{}", String::from_utf8_lossy(&log));
}

const NAME: &[&str] = &["app.wasm"];

#[test]
fn guests_write_on_the_chip_what_they_write_on_linux() {
    let file = "123456789".repeat(100);
    let files = [("/check", "123456789"), ("/long", &file)];
    for (name, arguments, files) in [
        ("hello", NAME, [].as_slice()),
        ("counter", NAME, &[]),
        ("crc", &["app.wasm", "/check", "long"], &files),
        ("thermometer", NAME, &[]),
    ] {
        let Some(module) = guest(name) else { return };
        let job = Job {
            module: &module,
            arguments,
            files,
            ..Job::default()
        };
        let run = job.compared();
        println!("{name}: {} bytes, {}", module.len(), run.end);
    }
    let Some(module) = small_guest("hello-small") else {
        return;
    };
    let job = Job {
        module: &module,
        arguments: NAME,
        ..Job::default()
    };
    println!("hello-small: {} bytes, {}", module.len(), job.compared().end);
}

#[test]
fn blink_drives_its_pin_on_the_chip() {
    let Some(module) = small_guest("blink") else {
        return;
    };
    let job = Job {
        module: &module,
        arguments: NAME,
        configuration: &[("blink.times", "3"), ("blink.pin", "9")],
        ..Job::default()
    };
    let mut board = job.board();
    board.set_pin_log(true);
    let run = finish(&mut board);
    assert_eq!(run.output, "on\noff\n".repeat(3));
    assert_eq!(run.output, job.here());
    let log = board.take_pin_log();
    let mut vcd = Vcd::new(Vec::new()).unwrap();
    vcd.write(&log).unwrap();
    let vcd = String::from_utf8(vcd.finish(board.time()).unwrap()).unwrap();
    let line = vcd.lines().find(|line| line.ends_with(" gpio9 $end")).unwrap();
    let pin = line.split(' ').nth(3).unwrap();
    // Milliseconds at which the pin rises and falls.
    let mut time = 0;
    let mut edges = Vec::new();
    for line in vcd.lines() {
        if let Some(nanos) = line.strip_prefix('#') {
            time = nanos.parse::<u64>().unwrap() / 1_000_000;
        } else if let Some(level) = line.strip_suffix(pin).filter(|level| ["0", "1"].contains(level)) {
            edges.push((level == "1", time));
        }
    }
    let begin = edges.iter().position(|(high, _)| *high).expect("the pin rises");
    let edges = &edges[begin..];
    assert_eq!(edges.len(), 6, "{edges:?}");
    for (number, two) in edges.windows(2).enumerate() {
        assert_eq!(two[0].0, number % 2 == 0, "{edges:?}");
        let half = two[1].1 - two[0].1;
        assert!((250..=253).contains(&half), "{edges:?}");
    }
}

#[test]
fn transfer_fails_when_nothing_is_on_the_bus() {
    let Some(module) = guest("thermometer") else {
        return;
    };
    let job = Job {
        module: &module,
        arguments: NAME,
        empty_bus: true,
        ..Job::default()
    };
    let run = job.compared();
    assert!(
        run.output
            .ends_with("LM75: no answer at this address (errno 60)\n"),
        "{run:?}"
    );
}

#[test]
fn transfer_ends_with_an_error_when_the_bus_is_held() {
    let Some(module) = guest("thermometer") else {
        return;
    };
    let job = Job {
        module: &module,
        arguments: NAME,
        ..Job::default()
    };
    let mut board = job.board();
    board.hold_i2c(0, true);
    let run = finish(&mut board);
    assert_eq!(
        run.output, "chip: 25.0 °C\nLM75: input/output error (errno 29)\n",
        "{run:?}"
    );
    // The time limit of a transfer, and not much more.
    assert!((100_000..150_000).contains(&run.figure("run")), "{run:?}");
}

#[test]
fn unmodified_cargo_project_runs_on_the_chip() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["new", "--quiet", "--vcs", "none", "fresh"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let Some(module) = built(&folder.path().join("fresh"), "fresh", "wasm32-wasip1") else {
        return;
    };
    let job = Job {
        module: &module,
        arguments: NAME,
        ..Job::default()
    };
    let run = job.compared();
    assert_eq!(run.output, "Hello, world!\n");
    println!("cargo new: {} bytes, {}", module.len(), run.end);
}

#[test]
fn modules_of_other_languages_run_on_the_chip() {
    // Their toolchains come from package registries.
    if env::var_os("PICOLET_LONG_TESTS").is_none() {
        return;
    }
    let guests = ["run", "--quiet", "--package", "xtask", "--", "guests"];
    let mut command = Command::new(env!("CARGO"));
    command.args(guests).current_dir(workspace());
    assert!(command.status().unwrap().success());
    for name in ["hello-c", "hello-zig", "hello-assemblyscript"] {
        let Ok(module) = fs::read(workspace().join(format!("target/guests/{name}.wasm"))) else {
            picolet_oracle::not_run("install python3-venv and npm");
            continue;
        };
        let job = Job {
            module: &module,
            arguments: NAME,
            ..Job::default()
        };
        let run = job.compared();
        assert_eq!(run.output, "Hello, world!\n", "{name}");
        println!("{name}: {} bytes of RAM, {}", run.bytes(), run.end);
        if name == "hello-c" {
            assert!(run.bytes() <= 8 << 10, "{run:?}");
        }
    }
}

#[test]
fn hello_keeps_to_its_memory_on_the_chip() {
    let Some(module) = guest("hello") else { return };
    let job = Job {
        module: &module,
        arguments: NAME,
        ..Job::default()
    };
    let run = job.on_chip();
    println!("hello: {} bytes of RAM in all, {}", run.bytes(), run.end);
    assert!(run.bytes() <= 18 << 10, "{run:?}");
    // 3,312 were measured, 2,048 of them the stack; the aim is 3 KiB.
    assert!(run.figure("instance") <= 3_450, "{run:?}");
}
