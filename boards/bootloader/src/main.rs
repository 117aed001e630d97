//! The first program of a board: chooses a firmware slot by the boot log, and starts it.
//!
//! What it decides is `picolet-boot`'s; the rules and the byte formats are in `docs/firmware-format.md`. It starts the watchdog, which
//! the firmware has to feed, and shows the boot ROM's USB drive where no slot may start.
//!
//! It checks neither digest nor signature: firmware that stages other firmware verifies it before it asks for a trial. It writes
//! nothing but the boot log, and leaves the application's memory alone, so that a crash record outlives the reset.
#![no_std]
#![no_main]

mod information;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use embassy_rp::flash::{Blocking, ERASE_SIZE, Error, Flash, WRITE_SIZE};
use embassy_rp::peripherals::FLASH;
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{pac, rom_data};
use embassy_time::Duration;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use picolet_boot::{ResetCause, Slot, Start};
use picolet_store::layout::{IMAGE_OFFSET, Layout, Region, SLOT_MAGIC};

/// The map of the board's flash.
#[cfg(target_abi = "eabi")]
const LAYOUT: Layout = picolet_store::layout::PICO_W;
/// The map of the board's flash.
#[cfg(target_abi = "eabihf")]
const LAYOUT: Layout = picolet_store::layout::PICO_2_W;

/// Firmware has to feed the watchdog within this time. The most that an RP2040 can count is 8.3 s.
const WATCHDOG: Duration = Duration::from_secs(8);

/// What the watchdog resets: all but the two oscillators. RP2040 datasheet 2.13.5, PSM WDSEL: bits 0 and 1 of 17; RP2350 datasheet 7.4.4:
/// bits 2 and 3 of 25.
const RESET: u32 = if cfg!(target_abi = "eabi") {
    0x0001_ffff & !0b11
} else {
    0x01ff_ffff & !0b1100
};

/// What this program leaves in [`mark`] when it starts a slot.
const STARTED: u32 = u32::from_le_bytes(*b"slot");

#[entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let cause = reset_cause();
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    watchdog.start(WATCHDOG);
    let log = LogFlash(Flash::new_blocking(chip.FLASH));
    let has_image = LAYOUT.slots.map(has_image);
    match picolet_boot::start(log, cause, has_image) {
        Ok(Start::Slot(slot)) => start(slot),
        Ok(Start::UsbDrive) => {
            pac::WATCHDOG.ctrl().modify(|control| control.set_enable(false));
            rom_data::reset_to_usb_boot(0, 0);
            restart()
        }
        // Nothing is known about either slot: another try is all that can be done.
        Err(_) => restart(),
    }
}

/// Why the chip was reset, as far as the firmware that this program started is the cause.
fn reset_cause() -> ResetCause {
    let (reason, was_started) = (pac::WATCHDOG.reason().read(), mark().read() == STARTED);
    mark().write_value(0);
    match (was_started, reason.timer(), reason.force()) {
        (true, true, _) => ResetCause::Watchdog,
        (true, false, true) => ResetCause::Forced,
        _ => ResetCause::External,
    }
}

/// The scratch register of the watchdog for [`STARTED`]. A reset by the watchdog leaves it, any other clears it. The boot ROM uses 4 to
/// 7, and 0 and 1 on its way to the USB drive.
fn mark() -> pac::common::Reg<u32, pac::common::RW> {
    pac::WATCHDOG.scratch3()
}

/// Whether a slot has an image: header, and a vector table whose stack is in memory and whose reset vector is in the slot.
fn has_image(slot: Region) -> bool {
    let image = slot.address() + IMAGE_OFFSET;
    // SAFETY: the flash is mapped here, and all of it is within the slot. A boot log is written elsewhere.
    let (magic, stack, entry) = unsafe {
        let table = image as *const u32;
        (
            (slot.address() as *const [u8; SLOT_MAGIC.len()]).read_volatile(),
            table.read_volatile(),
            table.add(1).read_volatile(),
        )
    };
    let code = image..slot.address() + slot.length;
    magic == *SLOT_MAGIC
        && stack >> 24 == 0x20
        && stack.is_multiple_of(4)
        && entry & 1 == 1
        && code.contains(&(entry & !1))
}

/// Starts the image in a slot.
fn start(slot: Slot) -> ! {
    let table = (LAYOUT.slots[slot.index()].address() + IMAGE_OFFSET) as *const u32;
    mark().write_value(STARTED);
    // SAFETY: `has_image` found a vector table there. Nothing of this program runs any more, and no interrupt was enabled.
    unsafe {
        (*cortex_m::peripheral::SCB::PTR).vtor.write(table as u32);
        cortex_m::asm::bootload(table)
    }
}

/// The boot log's two sectors.
struct LogFlash(Flash<'static, FLASH, Blocking, { LAYOUT.flash as usize }>);

impl ErrorType for LogFlash {
    type Error = Error;
}

impl ReadNorFlash for LogFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.blocking_read(LAYOUT.boot_log.offset + offset, bytes)
    }

    fn capacity(&self) -> usize {
        LAYOUT.boot_log.length as usize
    }
}

impl NorFlash for LogFlash {
    const WRITE_SIZE: usize = WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let start = LAYOUT.boot_log.offset;
        self.0.blocking_erase(start + from, start + to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.0.blocking_write(LAYOUT.boot_log.offset + offset, bytes)
    }
}

/// Resets all of the chip.
fn restart() -> ! {
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(RESET));
    pac::WATCHDOG.ctrl().modify(|control| control.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    restart()
}

#[exception]
unsafe fn DefaultHandler(_: i16) -> ! {
    restart()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    restart()
}
