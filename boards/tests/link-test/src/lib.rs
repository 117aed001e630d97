//! What every link test has: a heap, a stream, and a way out on panic.
//!
//! The stream's bytes come from and go to an address that the compiler must take for a device, so that nothing that
//! handles them can be optimized away.
#![no_std]

// For its critical section, which is found by the linker only.
use single_core as _;

use core::convert::Infallible;
use core::panic::PanicInfo;
use core::ptr::{read_volatile, write_volatile};
use embedded_alloc::LlffHeap;
use embedded_io_async::{ErrorType, Read, Write};

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Gives the heap its memory. To be called once, first.
pub fn start() {
    const SIZE: usize = 64 * 1024;
    static mut MEMORY: [u8; SIZE] = [0; SIZE];
    // SAFETY: this is the one place that takes the memory's address, and it is called once, before any allocation.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) }
}

/// A register that does not exist.
const DEVICE: *mut u8 = 0x4000_0000 as *mut u8;

/// A byte from nowhere.
pub fn input() -> u8 {
    // SAFETY: a device register on the chip; this code is linked and never run.
    unsafe { read_volatile(DEVICE) }
}

/// A byte to nowhere.
pub fn output(byte: u8) {
    // SAFETY: as above.
    unsafe { write_volatile(DEVICE, byte) }
}

/// A stream of bytes from and to nowhere.
pub struct Nowhere;

impl ErrorType for Nowhere {
    type Error = Infallible;
}

impl Read for Nowhere {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        buffer.fill_with(input);
        Ok(buffer.len())
    }
}

impl Write for Nowhere {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().copied().for_each(output);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        output(0);
    }
}
