//! What goes wrong for good: its place is kept over the reset that follows, and told by the next run.
//!
//! A panic or a fault leaves a record in memory that neither the bootloader nor the start of the program clears, and resets the chip
//! by the watchdog. The watchdog also bites when the thread does not come around for eight seconds: the bootloader has
//! started it, so that firmware which never gets this far is found too.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use crate::firmware;
use cortex_m_rt::{ExceptionFrame, exception};
use embassy_rp::pac;
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Duration, Instant, Timer};
use picolet_boot::Reason;
use picolet_device::crash::{Address, Cause, Crash, Slot};
use picolet_device::recovery::{RadioFailure, RadioResets};
use picolet_platform::ResetReason;

/// Something in memory that a reset leaves alone. Any pattern of bits must be a `T`.
pub(crate) struct Kept<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it is used by one at a time, within a critical section.
unsafe impl<T: Send> Sync for Kept<T> {}

impl<T> Kept<T> {
    pub(crate) const fn uninit() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Uses it, alone. `use_it` is short, and does not use it again.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        critical_section::with(|_| {
            // The compiler is not to know that nobody has written there yet.
            let place = core::hint::black_box(self.0.get());
            // SAFETY: there is memory with a content, and any content is a `T`; the critical section keeps others away.
            use_it(unsafe { (*place).assume_init_mut() })
        })
    }
}

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

/// Between two feedings of the watchdog.
pub(crate) const FEEDING: Duration = Duration::from_secs(1);

/// How long the thread may take for one step, most of all for a signature. The most that an RP2040 can count is 8.3 s.
const WATCHDOG: Duration = Duration::from_secs(8);

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

/// What the watchdog's counter starts from. It goes down twice a microsecond on an RP2040 (RP2040-E1).
const LOAD: u32 = WATCHDOG.as_micros() as u32 * if cfg!(target_abi = "eabi") { 2 } else { 1 };

/// Feeds the watchdog once, for a step of the start or of the flash that may take long. The bootloader has started it.
pub(crate) fn feed_now() {
    pac::WATCHDOG.load().write(|w| w.0 = LOAD);
}

/// Feeds the watchdog from the thread's executor, for ever.
#[embassy_executor::task]
pub(crate) async fn feed(mut watchdog: Watchdog) -> ! {
    watchdog.start(WATCHDOG);
    // The driver names the parts of an RP2040.
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(RESET));
    loop {
        watchdog.feed(WATCHDOG);
        Timer::after(FEEDING).await;
    }
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

/// What the watchdog resets: all but the two oscillators. RP2040 datasheet 2.13.5, PSM WDSEL: bits 0 and 1 of 17; RP2350 datasheet 7.4.4:
/// bits 2 and 3 of 25.
const RESET: u32 = if cfg!(target_abi = "eabi") {
    0x0001_ffff & !0b11
} else {
    0x01ff_ffff & !0b1100
};

/// Leaves a record behind and resets the chip.
fn end(cause: Cause, file: &str) -> ! {
    let millis = Instant::now().as_millis() as u32;
    cortex_m::interrupt::disable();
    CRASH.with(|slot| slot.leave(cause, file, millis));
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(RESET));
    pac::WATCHDOG.ctrl().modify(|control| control.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
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
