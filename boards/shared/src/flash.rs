//! The flash, which everything that writes to it shares: the device's own records, the boot log, the slots.
//!
//! While it is erased or written nothing runs: the program itself lies in it. A sector takes some 50 ms.

use crate::{log, watchdog};
use alloc::vec::Vec;
use core::cell::RefCell;
use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_embedded_hal::flash::partition::{self, BlockingPartition};
use embassy_futures::block_on;
use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, ERASE_SIZE, Flash, WRITE_SIZE};
use embassy_rp::peripherals::FLASH;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use picolet_device::entropy::CARRIED;
use picolet_platform::{LONGEST_RECORD, Level, Record, RecordError, Records, TimeFloor};
use picolet_store::device::{Device, Opened, WORD};
use picolet_store::layout::{Layout, Region};
use picolet_store::settings::{self, InstallError, Settings};
use static_cell::StaticCell;

/// Bytes of the flash.
#[cfg(target_abi = "eabi")]
const SIZE: usize = picolet_store::layout::PICO_W.flash as usize;
/// Bytes of the flash.
#[cfg(target_abi = "eabihf")]
const SIZE: usize = picolet_store::layout::PICO_2_W.flash as usize;

/// The flash chip. The watchdog is fed before each operation: a sector may take 400 ms to erase, and a start may erase thirty.
pub(crate) struct Chip(Flash<'static, FLASH, Blocking, SIZE>);

impl ErrorType for Chip {
    type Error = embassy_rp::flash::Error;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.blocking_read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        for sector in (from..to).step_by(ERASE_SIZE) {
            watchdog::feed_now();
            self.0.blocking_erase(sector, sector + ERASE_SIZE as u32)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        watchdog::feed_now();
        self.0.blocking_write(offset, bytes)
    }
}

/// A part of the flash, as a driver that others use too. Nothing that is asked of it waits: the processor stands while
/// the flash works.
pub(crate) type Part = BlockingAsync<BlockingPart>;

/// The same, blocking.
pub(crate) type BlockingPart = BlockingPartition<'static, CriticalSectionRawMutex, Chip>;

type FlashError = partition::Error<embassy_rp::flash::Error>;

/// The device's records.
pub(crate) type DeviceRecords = Device<Part>;

/// The flash.
pub(crate) struct Storage(Mutex<CriticalSectionRawMutex, RefCell<Chip>>);

/// The region with the radio's firmware, as the processor sees it.
pub(crate) fn radio(layout: &Layout) -> &'static [u8] {
    let Region { length, .. } = layout.radio;
    // SAFETY: flash is mapped at this address for as long as the processor runs, and the region lies within it. Nothing
    // writes to this region while this program runs: all writes go through `Storage`, and its users write only within the
    // regions `settings`, `device`, `boot_log` and the slot that does not run.
    unsafe { core::slice::from_raw_parts(layout.radio.address() as *const u8, length as usize) }
}

impl Storage {
    /// Takes the flash over. To be called once.
    pub(crate) fn new(flash: Peri<'static, FLASH>) -> &'static Self {
        static STORAGE: StaticCell<Storage> = StaticCell::new();
        STORAGE.init_with(|| Self(Mutex::new(RefCell::new(Chip(Flash::new_blocking(flash))))))
    }

    /// The flash's number: nothing else on a Pico W has one. Without it the board is the same as any other that has
    /// none.
    #[cfg(target_abi = "eabi")]
    pub(crate) fn unique_number(&self) -> [u8; 8] {
        let mut number = [0; 8];
        self.0.lock(|chip| {
            // What could not be read is zero.
            let _ = chip.borrow_mut().0.blocking_unique_id(&mut number);
        });
        number
    }

    /// The chip's number, from its one-time memory.
    #[cfg(target_abi = "eabihf")]
    pub(crate) fn unique_number(&self) -> [u8; 8] {
        embassy_rp::otp::get_chipid().unwrap_or_default().to_be_bytes()
    }

    /// A region alone, from 0 on.
    pub(crate) fn part(&'static self, region: Region) -> Part {
        BlockingAsync::new(BlockingPartition::new(&self.0, region.offset, region.length))
    }

    /// Makes up for a power cut while settings were written, before anything else runs. What it cannot do it could not have
    /// done before either, and the settings that count are there.
    pub(crate) fn mend_settings(&'static self, region: Region) {
        let _ = block_on(settings::mend(&mut self.part(region)));
    }

    /// The settings that count: a copy, since new ones may come over USB while these are in use. It is made once at each
    /// start and never freed; settings have about 1 KiB, and [`settings::CAPACITY`] at most.
    pub(crate) fn settings(
        &'static self,
        region: Region,
    ) -> Result<Settings<'static>, InstallError<FlashError>> {
        let entries = block_on(settings::load(&mut self.part(region)))?;
        Ok(Settings::read_entries(entries.leak())?)
    }

    /// Opens the device's records in `region`, where nobody else uses them, and logs what was wrong with them.
    pub(crate) fn records(&'static self, region: Region) -> Result<DeviceRecords, RecordError> {
        let whole = Region {
            offset: 0,
            length: SIZE as u32,
        };
        let (records, opened) = block_on(Device::open(self.part(whole), region.range()))?;
        match opened {
            Opened::Intact => {}
            Opened::ReadOnly(error) => log::line(
                Level::Error,
                format_args!("device records cannot be written: {error}; certificates are not renewed"),
            ),
            Opened::Erased => log::line(
                Level::Error,
                format_args!("device records erased: they were corrupted; the node joins anew"),
            ),
        }
        Ok(records)
    }

    /// The boot log's sectors, from 0 on.
    pub(crate) fn boot_log(&'static self, layout: &Layout) -> BlockingPart {
        BlockingPartition::new(&self.0, layout.boot_log.offset, layout.boot_log.length)
    }

    /// Uses the whole flash, alone.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut Chip) -> R) -> R {
        self.0.lock(|chip| use_it(&mut chip.borrow_mut()))
    }
}

/// The lowest security number of firmware that may be installed.
pub(crate) fn security_floor(records: &DeviceRecords) -> u32 {
    let mut floor = [0; 4];
    block_on(records.load(Record::SecurityFloor, &mut floor));
    u32::from_le_bytes(floor)
}

/// The time floor that an earlier run stored.
pub(crate) fn time_floor(records: &DeviceRecords) -> Option<TimeFloor> {
    let mut record = [0; TimeFloor::BYTES];
    let length = block_on(records.load(Record::TimeFloor, &mut record));
    TimeFloor::from_record(&record, length)
}

/// Forgets who the device is, if the settings ask for it by a number that is new. Returns whether it did.
pub(crate) fn reset_identity(records: &DeviceRecords, number: u64) -> Result<bool, RecordError> {
    block_on(records.reset_identity(number))
}

/// Forgets who the device is and what it was provisioned with, if that was noted. Returns whether it did. What a power cut leaves
/// undone is done at the next start.
pub(crate) fn forget(
    records: &DeviceRecords,
    storage: &'static Storage,
    settings: Region,
) -> Result<bool, RecordError> {
    let mut noted = Vec::new();
    noted
        .try_reserve_exact(LONGEST_RECORD)
        .map_err(|_| RecordError::Memory)?;
    noted.resize(LONGEST_RECORD, 0);
    if block_on(records.load(Record::Forget, &mut noted)).is_none() {
        return Ok(false);
    }
    block_on(settings::remove(&mut storage.part(settings))).map_err(|_| RecordError::Io)?;
    block_on(records.forget())?;
    Ok(true)
}

/// Notes that the device is to forget who it is, where nobody else uses its records, which are in `region`.
pub(crate) fn note_to_forget(storage: &'static Storage, region: Region) -> Result<(), RecordError> {
    block_on(storage.records(region)?.store(Record::Forget, &[1]))
}

/// What the run before left for the random generator of this one.
pub(crate) fn carried(records: &DeviceRecords) -> Option<[u8; CARRIED]> {
    let mut carried = [0; CARRIED];
    let length = block_on(records.load(Record::Seed, &mut carried))?;
    (length == CARRIED).then_some(carried)
}

/// Leaves a seed for the next run, where nobody else uses the records, which are in `region`.
pub(crate) fn store_seed(
    storage: &'static Storage,
    region: Region,
    next: &[u8; CARRIED],
) -> Result<(), RecordError> {
    carry(&storage.records(region)?, next)
}

/// Leaves something for the random generator of the next run.
pub(crate) fn carry(records: &DeviceRecords, next: &[u8; CARRIED]) -> Result<(), RecordError> {
    block_on(records.store(Record::Seed, next))
}
