//! The flash, which everything that writes to it shares: the device's own records, and what the bootloader is told.
//!
//! While it is erased or written nothing runs: the program itself lies in it. A sector takes some 50 ms.

use core::cell::RefCell;
use embassy_boot_rp::{AlignedBuffer, BlockingFirmwareState, State};
use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_futures::block_on;
use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Flash, WRITE_SIZE};
use embassy_rp::peripherals::FLASH;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use picolet_device::entropy::CARRIED;
use picolet_platform::{Record, RecordError, Records};
use picolet_store::device::Device;
use picolet_store::layout::Region;
use static_cell::StaticCell;

/// Bytes of the flash.
#[cfg(target_abi = "eabi")]
const SIZE: usize = picolet_store::layout::PICO_W.flash as usize;
/// Bytes of the flash.
#[cfg(target_abi = "eabihf")]
const SIZE: usize = picolet_store::layout::PICO_2_W.flash as usize;

type Chip = Flash<'static, FLASH, Blocking, SIZE>;

/// A part of the flash, as a driver that others use too.
type Part = BlockingPartition<'static, CriticalSectionRawMutex, Chip>;

/// The device's records. Nothing that is asked of them waits: the processor stands while the flash works.
pub(crate) type DeviceRecords = Device<BlockingAsync<Part>>;

/// The flash.
pub(crate) struct Storage(Mutex<CriticalSectionRawMutex, RefCell<Chip>>);

/// A region as the processor sees it.
pub(crate) fn mapped(region: Region) -> &'static [u8] {
    // SAFETY: flash is mapped there for as long as the processor runs, and the layout says that the region is whole.
    // Regions that are read so are changed only before a reset.
    unsafe { core::slice::from_raw_parts(region.address() as *const u8, region.length as usize) }
}

impl Storage {
    /// Takes the flash over. To be called once.
    pub(crate) fn new(flash: Peri<'static, FLASH>) -> &'static Self {
        static STORAGE: StaticCell<Storage> = StaticCell::new();
        STORAGE.init_with(|| Self(Mutex::new(RefCell::new(Flash::new_blocking(flash)))))
    }

    /// The flash's number: nothing else on a Pico W has one. Without it the board is the same as any other that has
    /// none.
    #[cfg(target_abi = "eabi")]
    pub(crate) fn unique_number(&self) -> [u8; 8] {
        let mut number = [0; 8];
        self.0.lock(|chip| {
            // What could not be read is zero.
            let _ = chip.borrow_mut().blocking_unique_id(&mut number);
        });
        number
    }

    /// The chip's number, from its one-time memory.
    #[cfg(target_abi = "eabihf")]
    pub(crate) fn unique_number(&self) -> [u8; 8] {
        embassy_rp::otp::get_chipid().unwrap_or_default().to_be_bytes()
    }

    /// Opens the device's records in `region`, before anything else runs.
    pub(crate) fn records(&'static self, region: Region) -> Result<DeviceRecords, RecordError> {
        let whole = BlockingPartition::new(&self.0, 0, SIZE as u32);
        let (records, _) = block_on(Device::open(BlockingAsync::new(whole), region.range()))?;
        Ok(records)
    }

    /// Tells the bootloader, whose `state` this is, to keep the firmware that runs. Returns whether it had to be told.
    pub(crate) fn keep_firmware(&self, state: Region) -> Result<bool, RecordError> {
        let mut word = AlignedBuffer([0; WRITE_SIZE]);
        let state = BlockingPartition::new(&self.0, state.offset, state.length);
        let mut state = BlockingFirmwareState::new(state, &mut word.0);
        // Nothing is written where nothing was swapped.
        if state.get_state().map_err(|_| RecordError::Io)? == State::Boot {
            return Ok(false);
        }
        state.mark_booted().map_err(|_| RecordError::Io)?;
        Ok(true)
    }
}

/// What the run before left for the random generator of this one.
pub(crate) fn carried(records: &DeviceRecords) -> Option<[u8; CARRIED]> {
    let mut carried = [0; CARRIED];
    let length = block_on(records.load(Record::Seed, &mut carried))?;
    (length == CARRIED).then_some(carried)
}

/// Leaves something for the random generator of the next run.
pub(crate) fn carry(records: &DeviceRecords, next: &[u8; CARRIED]) -> Result<(), RecordError> {
    block_on(records.store(Record::Seed, next))
}
