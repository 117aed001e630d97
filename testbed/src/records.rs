//! Records in the flash of a board without power, as its firmware would have left them.

use crate::Testbed;
use anyhow::Result;
use core::convert::Infallible;
use embedded_storage_async::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};
use futures_executor::block_on;
use picolet_platform::{LONGEST_RECORD, Record, Records};
use picolet_store::device::{Device, WORD};
use picolet_store::layout::PICO_W;
use std::cell::RefCell;
use std::rc::Rc;

/// A picture of the flash that a [`Device`] works on. Clones are the same picture.
#[derive(Clone)]
struct Picture(Rc<RefCell<Vec<u8>>>);

impl ErrorType for Picture {
    type Error = Infallible;
}

impl ReadNorFlash for Picture {
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        bytes.copy_from_slice(&self.0.borrow()[offset..offset + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().len()
    }
}

impl NorFlash for Picture {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0.borrow_mut()[from as usize..to as usize].fill(u8::MAX);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        for (cell, byte) in self.0.borrow_mut()[offset as usize..].iter_mut().zip(bytes) {
            *cell &= byte;
        }
        Ok(())
    }
}

impl MultiwriteNorFlash for Picture {}

impl Picture {
    fn of(testbed: &Testbed) -> Self {
        Self(Rc::new(RefCell::new(testbed.board.flash().to_vec())))
    }

    async fn device(&self) -> Result<Device<Self>> {
        Ok(Device::open(self.clone(), PICO_W.device.range()).await?.0)
    }
}

impl Testbed {
    /// Stores `record` in the flash of a board that is reset or switched on next.
    ///
    /// # Errors
    /// The record is too long.
    pub fn store_record(&mut self, record: Record, value: &[u8]) -> Result<()> {
        let picture = Picture::of(self);
        block_on(async { anyhow::Ok(picture.device().await?.store(record, value).await?) })?;
        self.board.set_flash(&picture.0.borrow())?;
        Ok(())
    }

    /// Loads `record` from the board's flash; empty where there is none.
    ///
    /// # Errors
    /// The region holds no records.
    pub fn load_record(&self, record: Record) -> Result<Vec<u8>> {
        let mut value = vec![0; LONGEST_RECORD];
        let picture = Picture::of(self);
        let length = block_on(async { anyhow::Ok(picture.device().await?.load(record, &mut value).await) })?;
        value.truncate(length.unwrap_or(0));
        Ok(value)
    }
}
