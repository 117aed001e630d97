//! The device's own records: identity, time floor, seed, counters.
//!
//! Only the device writes them, and settings or firmware never touch their region. A record is stored behind the last
//! one, by `sequential-storage`: a value is written whole before it counts, sectors are used in turn, and one of them
//! is always empty. A store costs 9 bytes and the value, rounded up to four, so that a region of 48 KiB takes some 3,000 time floors until
//! each sector was erased once; flash is made for 100,000 times that. A value that is there already costs nothing.
//!
//! A value that was replaced stays in flash, unreadable through here, until its sector is used again. Who the device is
//! is forgotten with all that is left of it: each sector is used again then.

use alloc::vec::Vec;
use core::ops::Range;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_storage_async::nor_flash::NorFlash;
use picolet_platform::{LONGEST_RECORD, Record, RecordError, Records};
use sequential_storage::Error;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};
use zeroize::Zeroizing;

/// The format of the records, which the headers of firmware files name.
pub const VERSION: u16 = 1;

/// What the library works in: the longest value, its key and room for alignment.
const SCRATCH: usize = LONGEST_RECORD + 8;

/// Bytes of a word of the flash, at least. The library appends behind a torn header, which the new one may complete, and then a record
/// that was stored is lost (sequential-storage 8.0.2, issue 136): one time in 256 with words of a byte, in 65,536 with these.
pub const WORD: usize = 4;

type Map<F> = MapStorage<u8, F, Cache<Uncached, Uncached, Uncached, u8>>;

/// The records of one device, in a region of its flash.
pub struct Device<F: NorFlash> {
    map: Mutex<NoopRawMutex, Map<F>>,
    sectors: u32,
    boots: u32,
}

/// What was found when records were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Records, or an empty region.
    Intact,
    /// Records that can be read, but this boot could not be counted: nothing can be stored at the moment. Nothing was
    /// erased.
    ReadOnly(RecordError),
    /// No records: the region was not empty and could not be read as records, not even after the library's repair, so
    /// it was erased. Another program left something there, or the flash is worn out.
    Erased,
}

impl<F: NorFlash> Device<F> {
    /// Opens the records in `region` of `flash`, at least two sectors, and counts this boot. An update that was cut
    /// short is brought to its end.
    ///
    /// The region is erased only where it is proved to hold no records of ours, and none can be read from it:
    /// `sequential_storage::Error::Corrupted`, or an item that is longer than any record. One item whose checksum is wrong is no such proof: the library passes over it, and
    /// the record has the value before.
    ///
    /// # Errors
    /// The region is not made of sectors, the flash cannot be read, or there is no memory. Nothing was erased then.
    pub async fn open(flash: F, region: Range<u32>) -> Result<(Self, Opened), RecordError> {
        const { assert!(F::READ_SIZE.is_multiple_of(WORD)) };
        let sectors = region.end.saturating_sub(region.start) / F::ERASE_SIZE as u32;
        let config = MapConfig::try_new(region).map_err(|_| RecordError::Io)?;
        let mut device = Self {
            map: Mutex::new(MapStorage::new(flash, config, Cache::new_uncached())),
            sectors,
            boots: 1,
        };
        let opened = match device.count_boot().await? {
            Ok(()) => Opened::Intact,
            Err(Uncounted::Failed(error)) => Opened::ReadOnly(error),
            Err(Uncounted::Corrupted) => {
                let map = device.map.get_mut();
                map.erase_all().await.map_err(|_| RecordError::Io)?;
                match device.count_boot().await? {
                    Ok(()) => Opened::Erased,
                    Err(_) => return Err(RecordError::Io),
                }
            }
        };
        Ok((device, opened))
    }

    /// How often this device has booted, this time included; boots that could not be stored are missing.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// Obeys `reset identity` of the settings: forgets who the device is, unless that was done for the same number.
    /// Returns whether it did. A power cut in between is made up for by the next call.
    ///
    /// # Errors
    /// Some of it may have been forgotten.
    pub async fn reset_identity(&self, number: u64) -> Result<bool, RecordError> {
        let mut done = [0; 8];
        let known = self.load(Record::IdentityReset, &mut done).await.is_some();
        if known && done == number.to_le_bytes() {
            return Ok(false);
        }
        self.forget().await?;
        self.store(Record::IdentityReset, &number.to_le_bytes()).await?;
        Ok(true)
    }

    /// Forgets who the device is, and overwrites what is left of it in flash: [`Record::Forget`] is made so long that
    /// each sector has room for one, and is written as often as there are sectors. It is taken away at last, so that what a
    /// power cut leaves undone is known.
    ///
    /// # Errors
    /// Some of it may have been forgotten.
    pub async fn forget(&self) -> Result<(), RecordError> {
        self.store(Record::Forget, &[u8::MAX]).await?;
        for record in Record::IDENTITY {
            self.store(record, &[]).await?;
        }
        let mut filling = Vec::new();
        filling
            .try_reserve_exact(LONGEST_RECORD)
            .map_err(|_| RecordError::Memory)?;
        for round in 0..=self.sectors {
            filling.clear();
            filling.resize(LONGEST_RECORD, round as u8);
            self.store(Record::Forget, &filling).await?;
        }
        self.store(Record::Forget, &[]).await
    }

    /// # Errors
    /// The flash cannot be read, or there is no memory.
    async fn count_boot(&mut self) -> Result<Result<(), Uncounted>, RecordError> {
        let mut scratch = scratch()?;
        let map = self.map.get_mut();
        let known = match map.fetch_item::<&[u8]>(&mut scratch, &BOOTS).await {
            Ok(value) => value.map(|value| value.try_into().unwrap_or_default()),
            // A whole item that is longer than any record is another program's.
            Err(Error::Corrupted { .. } | Error::BufferTooSmall(_)) => return Ok(Err(Uncounted::Corrupted)),
            Err(error) => return Err(told(error)),
        };
        self.boots = u32::from_le_bytes(known.unwrap_or_default()).saturating_add(1);
        let boots = self.boots.to_le_bytes();
        let stored = map.store_item(&mut scratch, &BOOTS, &boots.as_slice()).await;
        Ok(stored.map_err(|error| match error {
            // This record is the first of a device: without it there are no others.
            Error::Corrupted { .. } if known.is_none() => Uncounted::Corrupted,
            error => Uncounted::Failed(told(error)),
        }))
    }
}

/// Why a boot was not counted.
enum Uncounted {
    /// The region holds no records.
    Corrupted,
    /// The records are there and can be read.
    Failed(RecordError),
}

const BOOTS: u8 = Record::Boots as u8;

impl<F: NorFlash> Records for Device<F> {
    async fn load(&self, record: Record, buffer: &mut [u8]) -> Option<usize> {
        let mut scratch = scratch().ok()?;
        let mut map = self.map.lock().await;
        let value: &[u8] = map.fetch_item(&mut scratch, &(record as u8)).await.ok()??;
        buffer.get_mut(..value.len())?.copy_from_slice(value);
        (!value.is_empty()).then_some(value.len())
    }

    async fn store(&self, record: Record, value: &[u8]) -> Result<(), RecordError> {
        if value.len() > LONGEST_RECORD {
            return Err(RecordError::Full);
        }
        let mut scratch = scratch()?;
        let mut map = self.map.lock().await;
        let old: Option<&[u8]> = map
            .fetch_item(&mut scratch, &(record as u8))
            .await
            .map_err(told)?;
        if old.unwrap_or_default() != value {
            map.store_item(&mut scratch, &(record as u8), &value)
                .await
                .map_err(told)?;
        }
        Ok(())
    }
}

/// Memory for one operation, which may come to hold a key.
fn scratch() -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let mut scratch = Zeroizing::new(Vec::new());
    scratch
        .try_reserve_exact(SCRATCH)
        .map_err(|_| RecordError::Memory)?;
    scratch.resize(SCRATCH, 0);
    Ok(scratch)
}

fn told<E>(error: Error<E>) -> RecordError {
    match error {
        Error::FullStorage | Error::ItemTooBig => RecordError::Full,
        _ => RecordError::Io,
    }
}
