//! The watchdog: it bites when the thread does not come around, and resets the chip on request.

use embassy_rp::pac;
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Duration, Timer};

/// Between two feedings of the watchdog.
const FEEDING: Duration = Duration::from_secs(1);

/// How long the thread may take for one step, most of all for a signature. The most that an RP2040 can count is 8.3 s.
const WATCHDOG: Duration = Duration::from_secs(8);

/// What the watchdog resets: all but the two oscillators. RP2040 datasheet 2.13.5, PSM WDSEL: bits 0 and 1 of 17; RP2350 datasheet 7.4.4:
/// bits 2 and 3 of 25.
const RESET: u32 = if cfg!(target_abi = "eabi") {
    0x0001_ffff & !0b11
} else {
    0x01ff_ffff & !0b1100
};

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

/// Resets the chip, now.
pub(crate) fn reset() -> ! {
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(RESET));
    pac::WATCHDOG.ctrl().modify(|control| control.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}
