//! The two executors, and how long the processor is busy with them.

use core::cell::Cell;
use critical_section::Mutex;
use embassy_executor::{SendSpawner, Spawner, raw};
use embassy_rp::executor::InterruptExecutor;
use embassy_rp::interrupt::{self, InterruptExt, Priority};
use embassy_time::Instant;
use static_cell::StaticCell;

/// What embassy-rp's `__pender` takes for the executor of the thread.
const THREAD: usize = usize::MAX;

static NETWORK: InterruptExecutor = InterruptExecutor::new();

/// Microseconds.
#[derive(Clone, Copy, Default)]
struct Times {
    /// In the network's executor.
    network: u64,
    /// Asleep.
    idle: u64,
    /// When the network's executor ran, all in one: frames come when they come.
    arrivals: u64,
}

static TIMES: Mutex<Cell<Times>> = Mutex::new(Cell::new(Times {
    network: 0,
    idle: 0,
    arrivals: 0,
}));

fn times() -> Times {
    critical_section::with(|section| TIMES.borrow(section).get())
}

/// Microseconds in which the processor was not asleep, since the start.
pub(crate) fn busy_micros() -> u64 {
    Instant::now().as_micros().saturating_sub(times().idle)
}

/// The moments at which the network had something to do, all in one number.
pub(crate) fn arrivals() -> u64 {
    times().arrivals
}

#[embassy_rp::interrupt]
unsafe fn SWI_IRQ_1() {
    let begun = Instant::now();
    // SAFETY: this is its interrupt, which is unmasked when the executor is started.
    unsafe { NETWORK.on_interrupt() };
    let took = begun.elapsed().as_micros();
    critical_section::with(|section| {
        let times = TIMES.borrow(section);
        let mut now = times.get();
        now.network += took;
        now.arrivals = now.arrivals.rotate_left(7) ^ begun.as_ticks();
        times.set(now);
    });
}

/// Starts the network's executor and makes the thread's, each with the tasks that it is given to begin with.
pub(crate) fn start(
    network: impl FnOnce(SendSpawner),
    thread: impl FnOnce(Spawner),
) -> &'static raw::Executor {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    // Below the interrupts of the drivers, which only wake tasks, and above the thread.
    interrupt::SWI_IRQ_1.set_priority(Priority::P3);
    network(NETWORK.start(interrupt::SWI_IRQ_1));
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(THREAD as *mut ()));
    thread(executor.spawner());
    executor
}

/// Runs the thread's executor, for ever.
pub(crate) fn run(executor: &'static raw::Executor) -> ! {
    loop {
        // SAFETY: the executor is polled here only, and never from within itself.
        unsafe { executor.poll() };
        let (before, begun) = (times(), Instant::now());
        cortex_m::asm::wfe();
        let slept = begun.elapsed().as_micros();
        critical_section::with(|section| {
            let times = TIMES.borrow(section);
            let mut now = times.get();
            now.idle += slept.saturating_sub(now.network - before.network);
            times.set(now);
        });
    }
}
