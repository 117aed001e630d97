//! The programs of `guests/probes`, run with this WASI and with wasmtime's: they write the same and end the same.
//!
//! wasmtime comes from PyPI, where it is built, so this is a long test. Not compared is what depends on the machine or is no errno there:
//! times, random bytes, positions beyond 4 GiB, and unknown numbers of clocks and of `whence`, by which wasmtime traps.

mod support;

use std::cell::RefCell;
use std::env;
use std::fmt::Write;
use std::fs;
use std::iter::repeat;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use picolet_wasi::engine::{Program, Step};
use picolet_wasi::files::{FileLimits, FileSystem, Owner, Quota};
use picolet_wasi::{Errno, Host, Limits, Strings, Wasi};
use picolet_wasm::{Arena, Module, StoreLimits};
use support::World;

/// Set by `cargo xtask test --long`.
const LONG_TESTS: &str = "PICOLET_LONG_TESTS";

/// Programs that there are at least.
const LEAST: usize = 40;

/// The package with wasmtime.
const WASMTIME: &str = "wasmtime==50.0.1";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the module; `None` where the target is missing.
fn probes() -> Option<PathBuf> {
    let target = "wasm32-wasip1";
    let folder = workspace().join("target/guests/cargo");
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "probes",
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
    Some(folder.join(format!("{target}/release/probes.wasm")))
}

/// A Python that has wasmtime; `None` where it cannot be installed.
fn python() -> Option<PathBuf> {
    let folder = workspace().join("target/guests/tools/wasmtime");
    let python = folder.join("bin/python");
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        WASMTIME,
    ];
    if succeeds(Command::new(&python).args(["-c", "import wasmtime"]))
        || succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            && succeeds(Command::new(&python).args(pip))
    {
        return Some(python);
    }
    picolet_oracle::not_run("install python3-venv, and let it reach PyPI");
    None
}

fn files() -> Result<(FileSystem, picolet_wasi::files::NodeId), Errno> {
    let mut files = FileSystem::new(FileLimits::COMPUTER, Rc::new(Quota::new(1 << 20)));
    let root = files.add_root(true, 0o755, Owner::default())?;
    for (path, content) in [
        ("/etc/text", "hello, world"),
        ("/etc/empty", ""),
        ("/dir/one", "1"),
        ("/dir/two", "22"),
    ] {
        files.add_file(root, path, content.as_bytes(), 0o644)?;
    }
    for (target, link) in [
        ("etc/text", "/link"),
        ("dir", "/folder"),
        ("loop", "/loop"),
        ("nowhere", "/dangling"),
        ("../outside", "/up"),
    ] {
        files.add_link(root, link, target)?;
    }
    Ok((files, root))
}

/// Runs a program: its exit code or `trap`, and what it wrote.
fn run(module: &Rc<Module>, name: &str, input: &str) -> (String, String) {
    let world = World::new();
    world.input.borrow_mut().extend(input.bytes());
    let (files, root) = files().unwrap();
    let files = Rc::new(RefCell::new(files));
    let mut wasi = Wasi::new(files, root, false, Owner::default(), Limits::COMPUTER).unwrap();
    let (mut arguments, mut environment) = (Strings::new(), Strings::new());
    arguments.push("app.wasm").unwrap();
    if !name.is_empty() {
        arguments.push(name).unwrap();
    }
    environment.push_variable("NAME", "value").unwrap();
    environment.push_variable("EMPTY", "").unwrap();
    wasi.set_strings(Rc::new(arguments), Rc::new(environment));
    let limits = StoreLimits {
        frames: 1_024,
        stack: 64 * 1_024,
        ..StoreLimits::default()
    };
    let mut program = Program::new(module.clone(), &Arena::on_heap(1_024), limits, wasi).unwrap();
    let host = Host {
        clock: &world,
        entropy: &world,
        output: &world,
        input: &world,
        sockets: &world,
        signals: &world,
        device: None,
    };
    let end = loop {
        match program.run(&mut 1_000_000, &host) {
            Step::OutOfFuel => {}
            Step::Waiting(wait) => {
                let now = world.monotonic.get();
                world.monotonic.set(wait.deadline.unwrap_or(0).max(now));
            }
            end => break end,
        }
    };
    let end = match end {
        Step::Exited(code) => code.to_string(),
        Step::Trapped(_) => "trap".to_owned(),
        other => format!("{other:?}"),
    };
    let text = [world.output.take(), world.errors.take()].concat();
    (end, String::from_utf8(text).unwrap())
}

#[test]
fn programs_end_as_with_the_wasi_of_wasmtime() {
    if env::var_os(LONG_TESTS).is_none() {
        return;
    }
    let (Some(path), Some(python)) = (probes(), python()) else {
        return;
    };
    let module = Module::load(&fs::read(&path).unwrap(), &picolet_wasm::Limits::LARGE).unwrap();
    let module = Rc::new(module);
    let (_, list) = run(&module, "", "");
    let names: Vec<&str> = list.lines().collect();
    assert!(names.len() >= LEAST, "{names:?}");
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/comparison.py"))
        .arg(&path)
        .args(&names)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = String::from_utf8(output.stdout).unwrap();
    let expected = expected.lines().map(|line| serde_json::from_str(line).unwrap());
    let expected: Vec<(String, String, String)> = expected.collect();
    assert_eq!(expected.len(), names.len());

    let mut different = String::new();
    for (name, end, text) in &expected {
        let (our_end, our_text) = run(&module, name, "line one\nline two");
        if our_end != *end {
            writeln!(different, "{name}: ends with {our_end}, with wasmtime {end}").unwrap();
        }
        let count = our_text.lines().count().max(text.lines().count());
        let lines = our_text.lines().chain(repeat("(nothing)"));
        let theirs = text.lines().chain(repeat("(nothing)"));
        for (line, other) in lines.zip(theirs).take(count) {
            if line != other {
                writeln!(different, "{name}: {line}\n    wasmtime: {other}").unwrap();
            }
        }
    }
    assert!(different.is_empty(), "{different}");
    println!("{} programs", names.len());
}
