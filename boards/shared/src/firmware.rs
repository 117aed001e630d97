//! The firmware slots and the boot log, as the node sees them, and the version of this firmware.

use crate::flash::{BlockingPart, Storage};
use crate::log;
use core::cell::{Cell, RefCell};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use picolet_boot::{BootLog, Reason, Refusal, Slot, State};
use picolet_platform::{FirmwareSlots, Level, SlotError};
use picolet_store::layout::{Layout, PAGE, Region, SECTOR, VERSION_LENGTH};
use static_cell::StaticCell;

/// What `picotool` shows as the version of the board's program: the bootloader's information points here.
#[unsafe(link_section = ".version")]
#[used]
static VERSION: [u8; VERSION_LENGTH as usize] = {
    let (text, mut version) = (env!("CARGO_PKG_VERSION").as_bytes(), [0; VERSION_LENGTH as usize]);
    assert!(text.len() < version.len(), "a version ends with a zero");
    let mut at = 0;
    while at < text.len() {
        version[at] = text[at];
        at += 1;
    }
    version
};

/// The firmware slots of this board.
pub(crate) struct Slots {
    storage: &'static Storage,
    layout: &'static Layout,
    log: Mutex<CriticalSectionRawMutex, RefCell<BootLog<BlockingPart>>>,
}

static SLOTS: Mutex<CriticalSectionRawMutex, Cell<Option<&'static Slots>>> = Mutex::new(Cell::new(None));

/// Reads the boot log. To be called once.
pub(crate) fn open(storage: &'static Storage, layout: &'static Layout) {
    static MEMORY: StaticCell<Slots> = StaticCell::new();
    match BootLog::open(storage.boot_log(layout)) {
        Ok(log) => {
            let slots = &*MEMORY.init(Slots {
                storage,
                layout,
                log: Mutex::new(RefCell::new(log)),
            });
            SLOTS.lock(|cell| cell.set(Some(slots)));
        }
        Err(_) => log::line(
            Level::Error,
            format_args!("the boot log cannot be read: no firmware updates"),
        ),
    }
}

/// The firmware slots; `None` where the boot log cannot be read.
pub(crate) fn slots() -> Option<&'static Slots> {
    SLOTS.lock(Cell::get)
}

/// Records that a restart is on request: it repeats a trial and does not end it.
pub(crate) fn request_restart() {
    let Some(slots) = slots() else { return };
    if let Err(error) = (slots as &dyn FirmwareSlots).request_restart() {
        log::line(
            Level::Error,
            format_args!("the restart is not recorded: {error}; the trial ends with it"),
        );
    }
}

/// Ends the trial of this firmware, if it is on trial: the reset that must follow starts the firmware before it.
pub(crate) fn revert(reason: Reason) {
    let Some(slots) = slots() else { return };
    let slots: &dyn FirmwareSlots = slots;
    if slots.is_on_trial() {
        // What cannot be recorded is a crash to the bootloader, which reverts as well.
        let _ = slots.revert(reason);
    }
}

impl Slots {
    /// The region of the slot that does not run, if it may be written to, and where `length` bytes at `offset` lie in flash.
    fn writable(&self, offset: u32, length: usize) -> Result<u32, SlotError> {
        let slot = self.state().writable(self.running());
        let slot = slot.ok_or(SlotError::Refused(Refusal::NotScratch))?;
        self.place(slot, offset, length)
    }

    fn place(&self, slot: Slot, offset: u32, length: usize) -> Result<u32, SlotError> {
        let region: Region = self.layout.slots[slot.index()];
        let end = u32::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        match end {
            Some(end) if end <= region.length => Ok(region.offset + offset),
            _ => Err(SlotError::Flash),
        }
    }
}

impl FirmwareSlots for Slots {
    fn running(&self) -> Slot {
        let here = &raw const VERSION as u32;
        let [a, _] = self.layout.slots;
        if (a.address()..a.address() + a.length).contains(&here) {
            Slot::A
        } else {
            Slot::B
        }
    }

    fn slot_length(&self) -> u32 {
        self.layout.slots[0].length
    }

    fn state(&self) -> State {
        self.log.lock(|log| log.borrow().state())
    }

    fn append(&self, state: State) -> Result<(), SlotError> {
        let appended = self.log.lock(|log| log.borrow_mut().append(state));
        appended.map_err(|_| SlotError::Flash)
    }

    fn read(&self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), SlotError> {
        let place = self.place(slot, offset, bytes.len())?;
        let read = self.storage.with(|chip| chip.read(place, bytes));
        read.map_err(|_| SlotError::Flash)
    }

    fn erase(&self, offset: u32) -> Result<(), SlotError> {
        let place = self.writable(offset, SECTOR as usize)?;
        let erased = self.storage.with(|chip| chip.erase(place, place + SECTOR));
        erased.map_err(|_| SlotError::Flash)
    }

    fn program(&self, offset: u32, bytes: &[u8]) -> Result<(), SlotError> {
        if !offset.is_multiple_of(PAGE) {
            return Err(SlotError::Flash);
        }
        let place = self.writable(offset, bytes.len())?;
        let written = self.storage.with(|chip| chip.write(place, bytes));
        written.map_err(|_| SlotError::Flash)
    }
}
