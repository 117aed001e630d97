//! `picolet wasm inspect` and `picolet wasm check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use picolet_linux::client::printable;
use picolet_wasi::Limits;
use picolet_wasi::engine::{Step, takes_signals};
use picolet_wasi::files::FileLimits;

use super::machine::Machine;
use super::module::{self, Read};
use super::run::{Setup, host};

/// List what is in a module.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The module.
    #[arg(value_name = "MODULE")]
    module: PathBuf,
}

/// Check whether a module fits on a board.
#[derive(Args)]
pub(crate) struct Check {
    /// The board.
    #[arg(long, value_enum, default_value = "pico-w")]
    board: Board,
    /// The module.
    #[arg(value_name = "MODULE")]
    module: PathBuf,
}

/// A board that modules run on.
#[derive(Clone, Copy, ValueEnum)]
enum Board {
    PicoW,
}

/// Flash for modules and RAM for pods of a Pico W, in bytes.
const MODULES: usize = 176 * 1024;
const ARENA: u32 = 88 * 1024;

/// Fuel of the trial run.
const TRIAL: i32 = 20_000_000;

/// Lists sections, imports, memory and code of a module.
pub(crate) fn inspect(arguments: &Inspect) -> Result<ExitCode> {
    let read = module::read(&arguments.module, &picolet_wasm::Limits::LARGE)?;
    println!("bytes             {}", read.bytes.len());
    println!("side table        {}", read.side_table);
    println!("functions         {}", read.functions);
    println!(
        "instructions      {}, {} of them floating-point",
        read.instructions, read.floats
    );
    println!(
        "takes signals     {}",
        if takes_signals(&read.module) { "yes" } else { "no" }
    );
    println!("sections");
    for section in module::sections(&read.bytes) {
        println!("  {:<16} {:>8}", printable(section.name), section.bytes);
    }
    println!("imports");
    for (from, name) in imports(&read) {
        println!("  {}.{}", printable(from), printable(name));
    }
    match trial(read) {
        Ok(trial) => {
            println!("memory declared   {}", trial.declared);
            println!(
                "memory touched    {} (run without arguments: {})",
                trial.touched, trial.end
            );
        }
        Err(error) => println!("cannot start      {}", printable(&format!("{error:#}"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says whether a module fits on a board.
pub(crate) fn check(arguments: &Check) -> Result<ExitCode> {
    let Board::PicoW = arguments.board;
    let read = module::read(&arguments.module, &picolet_wasm::Limits::SMALL)?;
    let mut fits = true;
    let mut line = |what: &str, value: String, ok: bool, remedy: &str| {
        fits &= ok;
        if ok {
            println!("ok    {what}: {value}");
        } else {
            println!("FAIL  {what}: {value}: {remedy}");
        }
    };
    let flash = read.bytes.len() + read.side_table;
    let shrink = "build with opt-level = \"s\", lto and panic = \"abort\", and strip it; then wasm-opt -Oz";
    line(
        "flash",
        format!("{flash} of {MODULES} bytes"),
        flash <= MODULES,
        shrink,
    );
    if read.floats > 0 {
        println!(
            "note  floating point: {} instructions, emulated in software",
            read.floats
        );
    }
    match trial(read) {
        Err(error) => {
            let remedy =
                "build a command for wasm32-wasip1 that imports what `picolet wasm inspect` of it can show";
            line("start", printable(&format!("{error:#}")), false, remedy);
        }
        Ok(trial) => {
            line("imports", "all known".into(), true, "");
            let value = format!(
                "{} of {ARENA} bytes touched, {} declared",
                trial.touched, trial.declared
            );
            let remedy = "set a memory limit and reduce buffers; build with -z stack-size=4096";
            line("memory", value, !trial.out_of_memory, remedy);
            println!("note  run without arguments: {}", trial.end);
        }
    }
    Ok(if fits {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a run without arguments, files and input showed.
struct Trial {
    touched: u32,
    declared: u64,
    out_of_memory: bool,
    end: String,
}

/// Runs a module in the memory of a board until it ends, waits for long, or has used up its fuel.
fn trial(read: Read) -> Result<Trial> {
    let mut setup = Setup::new(Limits::BOARD, FileLimits::BOARD, ARENA)?;
    // It is there for the length of a name: as in a pod.
    let _ = setup.arguments.push("/app.wasm");
    let mut program = setup.start(read.module)?;
    let machine = Machine::silent();
    let host = host(&machine);
    let mut fuel = TRIAL;
    let mut turns = 0;
    let end = loop {
        match program.run(&mut fuel, &host) {
            Step::Waiting(wait) if wait.deadline == Some(0) && turns < 10_000 => turns += 1,
            end => break end,
        }
    };
    let trial = Trial {
        touched: program.memory_bytes(),
        declared: program.declared_bytes(),
        out_of_memory: end == Step::OutOfMemory,
        end: match end {
            Step::Exited(code) => format!("exit code {code}"),
            Step::Trapped(trap) => format!("trap: {}", trap.kind.message()),
            Step::OutOfMemory => "out of memory".into(),
            Step::OutOfFuel => "still running".into(),
            Step::Waiting(_) => "waiting".into(),
        },
    };
    program.stop(0, &host);
    Ok(trial)
}

fn imports(read: &Read) -> impl Iterator<Item = (&str, &str)> {
    (0..read.module.imports()).filter_map(|index| read.module.import_names(index))
}
