//! The log: a ring in RAM that outlives a reset, and UART 0, one of the two ports that it is told on.
//!
//! Writing a line never waits. UART 0 and the console on USB (`usb`) each read the ring at their own speed; one that is
//! too slow, or that nobody listens to, loses the oldest lines and says so. After a reset UART 0 goes on where it was,
//! and the console begins with what is left of the run before.

use crate::kept::Kept;
use core::cell::RefCell;
use core::fmt::{self, Write};
use embassy_rp::peripherals::{PIN_0, UART0};
use embassy_rp::uart::{Config, UartTx};
use embassy_rp::{Peri, pac};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use heapless::String;
use picolet_device::log::{Cursor, LINE, Next, Ring, Text};
use picolet_platform::{Level, LogExtent, LogNext};

/// Bytes of the ring: some thirty lines.
const BYTES: usize = 2048;
/// Bytes of the ring of DEBUG lines.
const DEBUG_BYTES: usize = 512;
/// A line with its time and its end, as a port sends it.
pub(crate) type Sent = String<{ LINE + 32 }>;

#[unsafe(link_section = ".kept.log")]
static RING: Kept<Ring<BYTES>> = Kept::uninit();
/// Lines of the level DEBUG: many, and for UART 0 alone. They must not push out the others, which `kubectl logs` shows.
static DEBUG_RING: Mutex<CriticalSectionRawMutex, RefCell<Ring<DEBUG_BYTES>>> =
    Mutex::new(RefCell::new(Ring::new()));

/// Tells that there is something new: UART 0, and the console on USB.
static NEW_FOR_UART: Signal<CriticalSectionRawMutex, ()> = Signal::new();
pub(crate) static NEW_FOR_USB: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Makes a log of what the run before left. To be called once, before any line is written.
pub(crate) fn start() {
    RING.with(Ring::recover);
}

/// Writes a line.
#[inline(never)]
pub(crate) fn line(level: Level, text: fmt::Arguments<'_>) {
    let text = Text::of(text);
    // They start over after 49 days.
    let millis = Instant::now().as_millis() as u32;
    if level == Level::Debug {
        DEBUG_RING.lock(|ring| ring.borrow_mut().push(level, millis, &text));
    } else {
        RING.with(|ring| ring.push(level, millis, &text));
        NEW_FOR_USB.signal(());
    }
    NEW_FOR_UART.signal(());
}

/// Where a port begins that tells all there is.
pub(crate) fn oldest() -> Cursor {
    RING.with(|ring| ring.oldest())
}

/// Makes `sent` the next line for a port, which goes on by it. Returns whether there is one.
#[inline(never)]
pub(crate) fn next(cursor: &mut Cursor, sent: &mut Sent) -> bool {
    let mut text = [0; LINE];
    write_line(RING.with(|ring| ring.next(cursor, &mut text)), sent)
}

/// The same for DEBUG lines.
#[inline(never)]
fn next_debug(cursor: &mut Cursor, sent: &mut Sent) -> bool {
    let mut text = [0; LINE];
    write_line(
        DEBUG_RING.lock(|ring| ring.borrow().next(cursor, &mut text)),
        sent,
    )
}

fn write_line(next: Option<Next<'_>>, sent: &mut Sent) -> bool {
    sent.clear();
    // There is room for the longest line.
    let _ = match next {
        Some(Next::Line(line)) => write!(sent, "{line}\r\n"),
        Some(Next::Lost(bytes)) => write!(sent, "({bytes} bytes of the log were lost)\r\n"),
        None => return false,
    };
    true
}

/// Which lines there are, those of the run before included.
pub(crate) fn extent() -> LogExtent {
    RING.with(|ring| ring.extent())
}

/// Appends the next line for a reader of the kubelet API.
#[inline(never)]
pub(crate) fn next_line(cursor: &mut Cursor, line: &mut alloc::string::String) -> Option<LogNext> {
    let mut text = [0; LINE];
    match RING.with(|ring| ring.next(cursor, &mut text))? {
        Next::Line(found) => {
            let _ = write!(line, "{found}");
            Some(LogNext::Line { millis: found.millis })
        }
        Next::Lost(bytes) => Some(LogNext::Lost { bytes }),
    }
}

/// In which a UART sends half of what it holds for sending.
const HALF_SENT: Duration = Duration::from_micros(170);

/// Tells the log on UART 0, for ever.
#[embassy_executor::task]
pub(crate) async fn run(uart: Peri<'static, UART0>, transmit: Peri<'static, PIN_0>) -> ! {
    let mut config = Config::default();
    config.baudrate = 921_600;
    // It sends by itself from then on.
    let _uart = UartTx::new_blocking(uart, transmit, config);
    let mut cursor = RING.with(|ring| ring.told());
    let mut debug = DEBUG_RING.lock(|ring| ring.borrow().oldest());
    let mut sent = Sent::new();
    loop {
        while next(&mut cursor, &mut sent) || next_debug(&mut debug, &mut sent) {
            for byte in sent.bytes() {
                while pac::UART0.uartfr().read().txff() {
                    Timer::after(HALF_SENT).await;
                }
                pac::UART0.uartdr().write(|word| word.set_data(byte));
            }
            RING.with(|ring| ring.tell(cursor));
        }
        NEW_FOR_UART.wait().await;
    }
}
