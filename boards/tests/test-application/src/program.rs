//! Firmware that does what a test tells it by its UART, one letter for each thing.
//!
//! It says first which firmware it is, in which slot, and whether it is on trial. Its name is the text at the end of the slot: a test
//! writes different text there, fills the space between with a pattern, and so has as many versions of it as it wants.

use core::cell::RefCell;
use core::fmt::Write;

use cortex_m_rt::entry;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_rp::flash::Flash;
use embassy_rp::uart::{Config, Uart};
use embassy_rp::watchdog::Watchdog;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::Duration;
use picolet_boot::{BootLog, ContentName, Reason, Slot};
use picolet_store::layout::{Layout, Region};

/// The map of the board's flash.
#[cfg(target_abi = "eabi")]
const LAYOUT: Layout = picolet_store::layout::PICO_W;
/// The map of the board's flash.
#[cfg(target_abi = "eabihf")]
const LAYOUT: Layout = picolet_store::layout::PICO_2_W;

/// What `picotool` shows as the version of the board's program.
#[unsafe(link_section = ".version")]
#[used]
static VERSION: [u8; 11] = *b"0.0.1-test\0";

#[entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let mut uart = Uart::new_blocking(chip.UART0, chip.PIN_0, chip.PIN_1, Config::default());
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let flash = Flash::<_, _, { LAYOUT.flash as usize }>::new_blocking(chip.FLASH);
    let flash = Mutex::<NoopRawMutex, _>::new(RefCell::new(flash));
    let Region { offset, length } = LAYOUT.boot_log;
    let mut log = BootLog::open(BlockingPartition::new(&flash, offset, length)).expect("flash can be read");
    let running = if LAYOUT.slots[1]
        .range()
        .contains(&((&raw const VERSION as u32) & 0x00ff_ffff))
    {
        Slot::B
    } else {
        Slot::A
    };
    let state = log.state();
    let what = match state.trial_slot() {
        Some(slot) if slot == running => "trial",
        None if state.confirmed == running => "confirmed",
        _ => "unknown",
    };
    let _ = uart.blocking_write(b"firmware ");
    let _ = uart.blocking_write(name(LAYOUT.slots[running.index()]));
    let _ = writeln!(Out(&mut uart), " {running:?} {what} {}", state.reason.0);

    loop {
        let mut letter = [0];
        if uart.blocking_read(&mut letter).is_err() {
            continue;
        }
        watchdog.feed(Duration::from_secs(8));
        let state = log.state();
        let next = match letter[0] {
            b's' => state.mark_scratch(running),
            b't' => state.start_trial(running, ContentName::from_digest(&[7; 32])),
            b'g' => state.confirm(running),
            b'v' => state.revert(running, Reason::NOT_READY),
            b'q' => state.request_restart(running),
            b'r' => {
                watchdog.trigger_reset();
                Ok(state)
            }
            _ => {
                // SAFETY: it is not; the fault is what is asked for.
                unsafe { core::ptr::read_volatile(0xf000_0000 as *const u32) };
                Ok(state)
            }
        };
        let is_done = next.is_ok_and(|state| log.append(state).is_ok());
        let _ = uart.blocking_write(if is_done { b"done\n" } else { b"fail\n" });
    }
}

/// The text at the end of the slot, as far as it is text.
fn name(slot: Region) -> &'static [u8] {
    let last = slot.address() + slot.length - 16;
    // SAFETY: the last bytes of the slot, which is mapped here and not written while this program runs.
    let bytes = unsafe { core::slice::from_raw_parts(last as *const u8, 16) };
    let length = bytes
        .iter()
        .position(|byte| !byte.is_ascii_graphic())
        .unwrap_or(16);
    &bytes[..length]
}

/// The UART as a place for text.
struct Out<'a, 'd>(&'a mut Uart<'d, embassy_rp::uart::Blocking>);

impl Write for Out<'_, '_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0
            .blocking_write(text.as_bytes())
            .map_err(|_| core::fmt::Error)
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}
