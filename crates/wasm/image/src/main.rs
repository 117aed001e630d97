//! The WebAssembly engine as functions that the simulator calls: each takes its input's address and its output's.
//!
//! There is no entry point and no runtime. Without features it holds only the heap, so that the flash of the rest can be measured.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

#[cfg(feature = "interpreter")]
mod run;
#[cfg(feature = "validator")]
mod validate;

/// Where a panic ends: an undefined instruction, which the simulator reports.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it does not return and touches nothing.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}

const HEAP_BYTES: usize = 48 << 10;

/// A heap that only grows: a run is short.
struct Heap {
    bytes: UnsafeCell<[u64; HEAP_BYTES / 8]>,
    used: UnsafeCell<usize>,
}

// SAFETY: there is one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    bytes: UnsafeCell::new([0; HEAP_BYTES / 8]),
    used: UnsafeCell::new(0),
};

// SAFETY: a block is given out once, aligned and within the array.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and the reference ends here.
        let used = unsafe { &mut *self.used.get() };
        let start = used.next_multiple_of(layout.align());
        let end = start + layout.size();
        if end > HEAP_BYTES {
            return core::ptr::null_mut();
        }
        *used = end;
        // SAFETY: `start` lies within the array.
        unsafe { self.bytes.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Makes a function that the linker keeps and the simulator finds by name.
#[macro_export]
macro_rules! operation {
    ($name:ident, $body:path) => {
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".operations")]
        extern "C" fn $name(input: *const u32, output: *mut u32) {
            // SAFETY: the simulator gives 4 KiB for both, apart from each other and from everything else.
            let (input, output) = unsafe {
                (
                    &*input.cast::<[u32; 1024]>(),
                    &mut *output.cast::<[u32; 16]>(),
                )
            };
            $body(input, output);
        }
        const _: () = {
            // What keeps it through link-time optimization.
            #[used]
            static KEPT: extern "C" fn(*const u32, *mut u32) = $name;
        };
    };
}

/// The bytes of a module: the number of bytes is the first word.
pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    let count = words.first().copied().unwrap_or(0) as usize;
    words
        .iter()
        .skip(1)
        .flat_map(|word| word.to_le_bytes())
        .take(count)
        .collect()
}

fn heap(input: &[u32], output: &mut [u32]) {
    if let Some(out) = output.first_mut() {
        *out = bytes(input).len() as u32;
    }
}

operation!(wasm_heap, heap);
