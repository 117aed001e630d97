//! The serial line of a board: whatever is typed, answers are single lines, and only settings that are in order are
//! written.
#![no_main]

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use libfuzzer_sys::fuzz_target;
use picolet_store::serial::{Console, LINE, Then};
use picolet_store::settings::{REGION, Settings};
use std::convert::Infallible;

struct Flash(Vec<u8>);

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 4;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Infallible> {
        for (place, byte) in self.0[at as usize..].iter_mut().zip(bytes) {
            assert_eq!(*place, 0xff, "programmed twice");
            *place = *byte;
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut console = Console::new("pico-w");
    let mut flash = Flash(vec![0xff; REGION]);
    let mut written = false;
    for byte in data {
        let Some(answer) = block_on(console.take(*byte, &mut flash)) else {
            continue;
        };
        assert!(*byte == b'\n' && answer.line.len() <= LINE);
        if answer.then == Then::Firmware {
            assert!(!answer.line.contains('\n'));
            continue;
        }
        assert!(answer.line.starts_with("% ") && answer.line.ends_with("\r\n"));
        assert_eq!(answer.line.matches('\n').count(), 1);
        written |= answer.then == Then::Written;
    }
    assert_eq!(Settings::read(&flash.0).is_ok(), written);
});
