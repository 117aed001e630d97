//! The first program of a board: finishes or takes back a change of firmware, and starts what is there.
//!
//! New firmware lies in the staging region. When the application has asked for it, both are swapped page by page, and a
//! power cut at any moment only delays that. The new firmware runs with the watchdog on; unless it says that it is
//! good, the next start swaps both back. Where there is no firmware at all the board shows itself as a USB drive.
//!
//! It never looks into what it starts: whether new firmware is genuine is for the firmware to judge that received it.
//! It never writes outside of its state and the two slots, and it leaves the application's memory alone, so that what a
//! crash left behind can be read after the reset.
#![no_std]
#![no_main]

mod information;

use core::cell::RefCell;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use embassy_boot_rp::{BootLoader, BootLoaderConfig, WatchdogFlash};
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_rp::{pac, rom_data};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::Duration;
use picolet_store::layout::{Layout, Region};

/// The map of the board's flash.
#[cfg(target_abi = "eabi")]
const LAYOUT: Layout = picolet_store::layout::PICO_W;
/// The map of the board's flash.
#[cfg(target_abi = "eabihf")]
const LAYOUT: Layout = picolet_store::layout::PICO_2_W;

/// Who has to feed the watchdog within this time: the application, from its first instruction on. The most that an
/// RP2040 can count is 8.3 s.
const WATCHDOG: Duration = Duration::from_secs(8);

type Flash = WatchdogFlash<'static, { LAYOUT.flash as usize }>;
type SharedFlash = Mutex<NoopRawMutex, RefCell<Flash>>;

#[entry]
fn main() -> ! {
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    let flash = WatchdogFlash::start(chip.FLASH, chip.WATCHDOG, WATCHDOG);
    let flash: SharedFlash = Mutex::new(RefCell::new(flash));
    let part = |region: Region| BlockingPartition::new(&flash, region.offset, region.length);
    let config = BootLoaderConfig {
        active: part(LAYOUT.active),
        dfu: part(LAYOUT.staging),
        state: part(LAYOUT.state),
    };
    let Ok(loader) = BootLoader::<4096>::try_prepare(config) else {
        // The flash did not do what it was told; another try is all that can be done.
        restart()
    };
    if !is_firmware(LAYOUT.active) {
        pac::WATCHDOG.ctrl().modify(|control| control.set_enable(false));
        rom_data::reset_to_usb_boot(0, 0);
    }
    // SAFETY: there is a vector table whose stack is in memory and whose first instruction is in its slot. Nothing of
    // this program runs any more, and no interrupt was enabled.
    unsafe { loader.load(LAYOUT.active.address()) }
}

/// Whether a slot starts with a vector table: a stack in memory, and a first instruction within the slot.
fn is_firmware(slot: Region) -> bool {
    let table = slot.address() as *const u32;
    // SAFETY: the flash is mapped here; both words are within the slot.
    let (stack, entry) = unsafe { (table.read_volatile(), table.add(1).read_volatile()) };
    let slot = slot.address()..slot.address() + slot.length;
    stack >> 24 == 0x20 && stack.is_multiple_of(4) && entry & 1 == 1 && slot.contains(&entry)
}

/// Starts over, with all of the chip.
fn restart() -> ! {
    pac::PSM
        .wdsel()
        .write_value(pac::psm::regs::Wdsel(0x0001_ffff & !0b11));
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
