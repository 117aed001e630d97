//! What goes wrong for good: its place is kept over the reset that follows, and told by the next run.
//!
//! A panic or a fault leaves a record in memory that neither the bootloader nor the start of the program clears, and resets the chip
//! by the watchdog. The watchdog also bites when the thread does not come around for eight seconds: the bootloader has
//! started it, so that firmware which never gets this far is found too.

use crate::kept::Kept;
use crate::{firmware, watchdog};
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_rp::pac;
use embassy_time::Instant;
use picolet_boot::Reason;
use picolet_device::crash::{Address, Cause, Crash, Slot};
use picolet_device::recovery::{RadioFailure, RadioResets};
use picolet_platform::ResetReason;

unsafe extern "C" {
    /// The first byte of the slot that this firmware is linked for, and the first one behind it: the board's `memory.x`.
    static _slot_start: u8;
    static _slot_end: u8;
}

// The places of these, and of the log, are in the board's `memory.x`: firmware of another version finds them there.
#[unsafe(link_section = ".kept.crash")]
static CRASH: Kept<Slot> = Kept::uninit();

#[unsafe(link_section = ".kept.radio_resets")]
static RADIO_RESETS: Kept<RadioResets> = Kept::uninit();

/// Why the run before ended, and what it left behind.
pub(crate) struct Before {
    /// In a word.
    pub(crate) reason: ResetReason,
    /// With its place, where there is one.
    pub(crate) crash: Option<Crash>,
}

/// Looks at what the run before left. To be called once, first.
pub(crate) fn before() -> Before {
    let crash = CRASH.with(Slot::take);
    let watchdog = pac::WATCHDOG.reason().read();
    let reason = match crash {
        // What was left before the power went is not the reason.
        _ if !watchdog.timer() && !watchdog.force() => ResetReason::PowerOn,
        Some(crash) => match crash.cause {
            Cause::Restart => ResetReason::Software,
            Cause::Radio(_) => ResetReason::Radio,
            Cause::Panic { .. } | Cause::Fault { .. } => ResetReason::Panic,
        },
        None if watchdog.timer() => ResetReason::Watchdog,
        None => ResetReason::Software,
    };
    if reason == ResetReason::PowerOn {
        RADIO_RESETS.with(RadioResets::reset);
    }
    let crash = crash.filter(|_| matches!(reason, ResetReason::Panic | ResetReason::Radio));
    Before { reason, crash }
}

/// Starts the chip over, because it was asked to.
pub(crate) fn restart() -> ! {
    firmware::request_restart();
    end(Cause::Restart, "")
}

/// Seconds to wait before the board is reset for its radio: more after each such reset, until the radio works.
pub(crate) fn radio_reset_delay() -> u32 {
    RADIO_RESETS.with(|resets| resets.delay())
}

/// Steps by which the radio's bus is to be slower than usual.
pub(crate) fn radio_slower() -> u32 {
    RADIO_RESETS.with(|resets| resets.slower())
}

/// The radio works: the next reset for it need not wait.
pub(crate) fn radio_works() {
    RADIO_RESETS.with(RadioResets::clear);
}

/// Resets the chip, and with it the radio, which loses its power until the driver starts again.
pub(crate) fn reset_for_radio(failure: RadioFailure) -> ! {
    RADIO_RESETS.with(|resets| resets.add(failure));
    firmware::revert(Reason::RADIO_SILENT);
    end(Cause::Radio(failure), "")
}

/// Leaves a record behind and resets the chip.
fn end(cause: Cause, file: &str) -> ! {
    let millis = Instant::now().as_millis() as u32;
    cortex_m::interrupt::disable();
    CRASH.with(|slot| slot.leave(cause, file, millis));
    watchdog::reset()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // The place and not the words: words would keep formatting and all messages in the image.
    let (file, line) = info
        .location()
        .map_or(("", 0), |place| (place.file(), place.line()));
    end(Cause::Panic { line }, file)
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    let slot = &raw const _slot_start as u32..&raw const _slot_end as u32;
    let cause = Cause::Fault {
        at: Address::new(frame.pc(), &slot),
        from: Address::new(frame.lr(), &slot),
    };
    end(cause, "")
}
