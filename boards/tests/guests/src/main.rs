//! Runs a WebAssembly module that lies in flash, over the engine, WASI and the drivers of the boards.
//!
//! On UART 0 comes what the guest writes, then a line that begins with the byte 4 (end of transmission): how it ended, and what was
//! measured. The side table of the module is in flash, as on a board, so that the heap has what a container takes.
#![no_std]
#![no_main]

extern crate alloc;

mod device;
#[path = "../../../shared/src/i2c.rs"]
mod i2c;
mod job;
#[path = "../../../shared/src/pins.rs"]
mod pins;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use embassy_rp::clocks::clk_sys_freq;
use embassy_rp::flash::{Blocking, ERASE_SIZE, Flash};
use embassy_rp::peripherals::FLASH;
use embassy_rp::uart::{self, Uart};
use embassy_time::Instant;
use embedded_alloc::LlffHeap;
use picolet_platform::PinSet;
use picolet_wasi::engine::{Program, StartError, Step};
use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, NodeId, Owner, Quota};
use picolet_wasi::picolet::{Device, Grant};
use picolet_wasi::{Absent, Clock, Errno, Host, Limits, Strings, Wasi};
use picolet_wasm::{Arena, ErrorKind, Frame, Module, Shared, SideTable, Sink, StoreLimits, Validator};

use device::Chip;
use job::Job;

/// The second stage of the boot.
#[cfg(target_abi = "eabi")]
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Bytes of flash.
const FLASH_SIZE: usize = 2 << 20;
const HEAP_SIZE: usize = 120 << 10;
/// Frames of the arena, as `allocatable.memory` of a Pico W.
const FRAMES: usize = 88;
/// Fuel of a slice, about 2 ms.
const SLICE: i32 = 4_000;
/// Bytes of files that the guest may have in RAM, beside its memory.
const FILES: u32 = 16 << 10;

/// As [`picolet_wasm::Limits::SMALL`], and data segments for AssemblyScript, whose smallest program over WASI has 170.
const LIMITS: picolet_wasm::Limits = picolet_wasm::Limits {
    data: 256,
    ..picolet_wasm::Limits::SMALL
};

/// Why a guest did not run.
enum Failure {
    Module(picolet_wasm::Error),
    Files(Errno),
    Start(StartError),
    Flash,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Files(errno)
    }
}

impl From<picolet_wasm::Error> for Failure {
    fn from(error: picolet_wasm::Error) -> Self {
        Self::Module(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(error) => error.fmt(f),
            Self::Files(errno) => write!(f, "files: errno {}", *errno as u16),
            Self::Start(error) => error.fmt(f),
            Self::Flash => f.write_str("cannot write flash"),
        }
    }
}

/// What was measured. Bytes and microseconds.
struct Figures {
    validation: u64,
    table: usize,
    /// Heap of the module, of the files, and of the instance with its stack, before it runs.
    module: usize,
    files: usize,
    instance: usize,
    /// Heap and frames at its end.
    heap: usize,
    frames: u32,
    run: u64,
}

/// The side table while it is written. Validation may need it in any order, and flash is written by pages.
struct Words(Rc<RefCell<Vec<u32>>>);

impl Sink for Words {
    fn write(&mut self, index: u32, word: u32) -> Result<(), ErrorKind> {
        self.0.borrow_mut().write(index, word)
    }
}

/// Validates the module of a job and puts its side table into flash: the module, microseconds, and bytes of the table.
fn load(
    flash: &mut Flash<'_, FLASH, Blocking, FLASH_SIZE>,
    job: Job,
) -> Result<(Module, u64, usize), Failure> {
    let words = Rc::new(RefCell::new(Vec::new()));
    let mut sink = Words(words.clone());
    let mut emitter = SideTable::new(&mut sink, &LIMITS);
    let mut validator = Validator::new(&LIMITS, &mut emitter);
    let begun = Instant::now();
    for piece in job.module.chunks(256) {
        validator.push(piece)?;
    }
    let took = begun.elapsed().as_micros();
    let words = words.take();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let length = bytes.len().next_multiple_of(ERASE_SIZE) as u32;
    flash
        .blocking_erase(job::TABLE, job::TABLE + length.min(job::TABLE_LENGTH))
        .and_then(|()| flash.blocking_write(job::TABLE, &bytes))
        .map_err(|_| Failure::Flash)?;
    let table = Shared::Static(job::table(words.len()));
    Ok((
        Module::new(validator, Shared::Static(job.module), table)?,
        took,
        bytes.len(),
    ))
}

/// The root directory of a guest, with the files of a job.
fn files(job: Job) -> Result<(FileSystem, NodeId), Errno> {
    let mut files = FileSystem::new(FileLimits::BOARD, Rc::new(Quota::new(FILES)));
    let root = files.add_root(true, 0o755, Owner::default())?;
    files.add_devices(root)?;
    files.add_directory(root, "/data", 0o755)?;
    let source = files.add_source(Rc::new(job))?;
    for line in job.lines("file") {
        let mut words = line.split(' ');
        let path = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let (offset, length) = (number(), number());
        let part = ImageFile {
            source,
            offset,
            length,
        };
        files.add_image_file(root, path, part, 0o644)?;
    }
    Ok((files, root))
}

/// Runs the guest to its end.
fn run(
    flash: &mut Flash<'_, FLASH, Blocking, FLASH_SIZE>,
    frames: &'static mut [Frame],
    chip: &Chip,
) -> Result<(Step, Figures), Failure> {
    let job = chip.job;
    let arena = Arena::from_static(frames);
    let empty = HEAP.used();
    let (module, validation, table) = load(flash, job)?;
    let loaded = HEAP.used();
    let (files, root) = files(job)?;
    let files = Rc::new(RefCell::new(files));
    let filled = HEAP.used();
    let mut wasi = Wasi::new(files, root, false, Owner::default(), Limits::BOARD)?;
    let mut arguments = Strings::new();
    for argument in job.lines("argument") {
        arguments.push(argument)?;
    }
    wasi.set_strings(Rc::new(arguments), Rc::new(Strings::new()));
    let mut program =
        Program::new(Rc::new(module), &arena, StoreLimits::default(), wasi).map_err(Failure::Start)?;
    let instance = HEAP.used() - filled;
    let device = Device {
        pins: chip,
        led: chip,
        sensors: chip,
        i2c: chip,
        events: chip,
        configuration: chip,
        grant: Grant {
            pins: PinSet::range(2, 22),
            led: true,
            adc: 0,
        },
    };
    let host = Host {
        clock: chip,
        entropy: chip,
        output: chip,
        input: &Absent,
        sockets: &Absent,
        signals: &Absent,
        device: Some(&device),
    };
    let begun = Instant::now();
    let end = loop {
        match program.run(&mut SLICE.clone(), &host) {
            Step::OutOfFuel => {}
            Step::Waiting(wait) => {
                // A transfer on a bus is asked for again at each tick.
                if wait.deadline.is_none_or(|deadline| chip.monotonic() < deadline) {
                    cortex_m::asm::wfi();
                }
            }
            end => break end,
        }
    };
    let figures = Figures {
        validation,
        table,
        module: loaded - empty,
        files: filled - loaded,
        instance,
        heap: HEAP.used() - empty,
        frames: program.memory_bytes(),
        run: begun.elapsed().as_micros(),
    };
    Ok((end, figures))
}

/// Starts an interrupt each millisecond, by which `wfi` returns.
fn tick(mut timer: SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(clk_sys_freq() / 1_000 - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

#[exception]
fn SysTick() {}

/// The UART as a place for text.
struct Text<'c>(&'c Chip);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut uart = self.0.uart.borrow_mut();
        uart.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

#[entry]
fn main() -> ! {
    static mut MEMORY: [u64; HEAP_SIZE / 8] = [0; HEAP_SIZE / 8];
    static mut ARENA: [Frame; FRAMES] = [[0; _]; FRAMES];
    // SAFETY: given away once, before any allocation; nothing else uses it.
    unsafe { HEAP.init(MEMORY.as_mut_ptr() as usize, HEAP_SIZE) }
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    let mut config = uart::Config::default();
    config.baudrate = 921_600;
    let mut uart = Uart::new_blocking(p.UART0, p.PIN_0, p.PIN_1, config);
    let mut flash = Flash::<_, Blocking, FLASH_SIZE>::new_blocking(p.FLASH);
    if let Some(core) = cortex_m::Peripherals::take() {
        tick(core.SYST);
    }
    if let Some(job) = Job::find() {
        let chip = Chip {
            pins: pins::Bank::new(p.ADC, true),
            i2c: i2c::Buses::new(),
            job,
            uart: RefCell::new(uart),
            random: Cell::new(0),
        };
        let mut text = Text(&chip);
        let _ = match run(&mut flash, ARENA, &chip) {
            Ok((end, figures)) => report(&mut text, end, &figures),
            Err(failure) => writeln!(text, "\x04failed: {failure}"),
        };
    } else {
        let _ = uart.blocking_write(b"\x04failed: no job in flash\n");
    }
    loop {
        cortex_m::asm::wfi();
    }
}

fn report(text: &mut Text<'_>, end: Step, figures: &Figures) -> fmt::Result {
    match end {
        Step::Exited(code) => write!(text, "\x04exit {code}")?,
        Step::Trapped(trap) => write!(text, "\x04trap {}", trap.kind.message())?,
        Step::OutOfMemory => write!(text, "\x04memory")?,
        Step::OutOfFuel | Step::Waiting(_) => write!(text, "\x04stopped")?,
    }
    let Figures {
        validation,
        table,
        module,
        files,
        instance,
        heap,
        frames,
        run,
    } = figures;
    writeln!(
        text,
        " validation={validation} table={table} module={module} files={files} instance={instance} heap={heap} frames={frames} run={run}"
    )
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}
