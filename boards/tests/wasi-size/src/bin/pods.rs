//! What a board needs to run pods of WebAssembly: the engine, WASI, the host module, and a runtime for one container in its place, with
//! four instances of it at once and the arena of a Pico W.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::slice;
use link_test::{input, output, start};
use picolet_platform::PinSet;
use picolet_wasi::engine::{Program, StartError, Step, takes_signals};
use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, NodeId, Owner};
use picolet_wasi::picolet::{Device, Grant};
use picolet_wasi::{Absent, Errno, Host, Limits, Strings, Wasi};
use picolet_wasm::{Arena, ErrorKind, Frame, Module, Shared, SideTable, Sink, StoreLimits, Validator};
use wasi_size::{Nothing, number, text};

/// Frames of the arena: what `allocatable.memory` of a Pico W says.
const FRAMES: usize = 88;
/// Programs that run at once.
const INSTANCES: usize = 4;
/// Fuel of a slice.
const SLICE: i32 = 4_000;

/// Flash, as the side table is written to it.
struct Flash;

impl Sink for Flash {
    fn write(&mut self, index: u32, word: u32) -> Result<(), ErrorKind> {
        index.to_le_bytes().into_iter().for_each(output);
        word.to_le_bytes().into_iter().for_each(output);
        if input() == 0 {
            Err(ErrorKind::Sink)
        } else {
            Ok(())
        }
    }
}

/// Why a container does not start.
enum Failure {
    Module(picolet_wasm::Error),
    Files(Errno),
    Start(StartError),
}

impl From<picolet_wasm::Error> for Failure {
    fn from(error: picolet_wasm::Error) -> Self {
        Self::Module(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Files(errno)
    }
}

/// The message of a waiting container.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(error) => error.fmt(f),
            Self::Files(errno) => write!(f, "cannot set up its files: errno {}", *errno as u16),
            Self::Start(error) => error.fmt(f),
        }
    }
}

/// What is mapped of flash, from an address of nowhere on.
fn mapped<T>() -> &'static [T] {
    // SAFETY: this code is linked and never run; on a board the range is mapped and not written while it is used.
    unsafe { slice::from_raw_parts(number() as *const T, number() as usize) }
}

/// Validates a module as it arrives.
fn load() -> Result<Rc<Module>, Failure> {
    let limits = picolet_wasm::Limits::SMALL;
    let mut flash = Flash;
    let mut emitter = SideTable::new(&mut flash, &limits);
    let mut validator = Validator::new(&limits, &mut emitter);
    while input() > 0 {
        let mut piece = [0; 256];
        piece.fill_with(input);
        validator.push(&piece)?;
    }
    let module = Module::new(validator, Shared::Static(mapped()), Shared::Static(mapped()))?;
    Ok(Rc::new(module))
}

fn files() -> Result<(Rc<RefCell<FileSystem>>, NodeId), Errno> {
    let mut files = FileSystem::new(FileLimits::BOARD, Rc::new(Nothing));
    let root = files.add_root(true, 0o755, Owner::default())?;
    files.add_devices(root)?;
    let source = files.add_source(Rc::new(Nothing))?;
    let part = ImageFile {
        source,
        offset: number(),
        length: number(),
    };
    files.add_image_file(root, &text(), part, 0o755)?;
    Ok((Rc::new(RefCell::new(files)), root))
}

/// A container that runs.
fn start_container(module: &Rc<Module>, arena: &Arena) -> Result<Program, Failure> {
    let (files, root) = files()?;
    let mut wasi = Wasi::new(files, root, input() > 0, Owner::default(), Limits::BOARD)?;
    let (mut arguments, mut environment) = (Strings::new(), Strings::new());
    arguments.push(&text())?;
    environment.push_variable(&text(), &text())?;
    wasi.set_strings(Rc::new(arguments), Rc::new(environment));
    let limits = StoreLimits {
        frames: number(),
        ..StoreLimits::default()
    };
    Program::new(module.clone(), arena, limits, wasi).map_err(Failure::Start)
}

/// Runs containers in turns, for as long as one of them has something to do.
fn run(programs: &mut Vec<Program>, host: &Host<'_>) {
    while !programs.is_empty() && input() > 0 {
        programs.retain_mut(|program| {
            let mut fuel = SLICE;
            if input() == 0 {
                program.stop(143, host);
            }
            match program.run(&mut fuel, host) {
                Step::OutOfFuel => true,
                Step::Waiting(wait) => {
                    output(wait.interest.0);
                    wait.deadline
                        .unwrap_or(0)
                        .to_le_bytes()
                        .into_iter()
                        .for_each(output);
                    true
                }
                Step::Exited(code) => {
                    output(code as u8);
                    false
                }
                Step::Trapped(trap) => {
                    trap.kind.message().bytes().for_each(output);
                    false
                }
                Step::OutOfMemory => false,
            }
        });
    }
}

/// A text to nowhere.
struct Text;

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(output);
        Ok(())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ARENA: [Frame; FRAMES] = [[0; _]; FRAMES];
    start();
    let arena = Arena::from_static(ARENA);
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
    let mut programs = Vec::new();
    loop {
        let result = load().and_then(|module| {
            output(takes_signals(&module).into());
            while programs.len() < INSTANCES {
                programs.push(start_container(&module, &arena)?);
            }
            Ok(())
        });
        if let Err(failure) = result {
            let _ = fmt::write(&mut Text, format_args!("{failure}"));
        }
        run(&mut programs, &host);
    }
}
