//! Heap and stack, and how much of each was ever used.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use critical_section::Mutex;
use embedded_alloc::LlffHeap;
use picolet_platform::HeapFigures;

unsafe extern "C" {
    /// The first byte behind all static variables: cortex-m-rt's linker script.
    static __sheap: u8;
    /// The first byte behind the RAM that is not the stack's: the board's `memory.x`.
    static _heap_end: u8;
    /// The stack's lowest byte, and the first one above it: the same.
    static _stack_end: u8;
    static _stack_start: u8;
}

/// What unused stack is filled with.
const PAINT: u32 = 0xa5a5_a5a5;

/// A heap that remembers how much was handed out at most.
struct Heap {
    inner: LlffHeap,
    peak: Mutex<Cell<usize>>,
}

// SAFETY: everything is done by `LlffHeap`, which is an allocator; only figures are kept besides.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let place = unsafe { self.inner.alloc(layout) };
        let used = self.inner.used();
        critical_section::with(|section| {
            let peak = self.peak.borrow(section);
            peak.set(peak.get().max(used));
        });
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.inner.dealloc(place, layout) }
    }
}

#[global_allocator]
static HEAP: Heap = Heap {
    inner: LlffHeap::empty(),
    peak: Mutex::new(Cell::new(0)),
};

/// Words of RAM that are looked at before they are used.
const LEFT: usize = 512;

/// Paints the stack and gives the heap all RAM that nothing else has, after `mix` has seen some of what power-on left there. To be
/// called once, first.
pub(crate) fn start(mut mix: impl FnMut(&[u8])) {
    let (low, here) = (
        &raw const _stack_end as usize,
        cortex_m::register::msp::read() as usize,
    );
    let mut word = low;
    // Stays clear of this function's own frame.
    while word < here - 64 {
        // SAFETY: between the stack's lowest byte and where it reaches now, so that nobody has anything there.
        unsafe { (word as *mut u32).write_volatile(PAINT) };
        word += 4;
    }
    let begin = &raw const __sheap as usize;
    let size = &raw const _heap_end as usize - begin;
    for n in 0..LEFT {
        // SAFETY: RAM behind all variables, which nothing uses yet; any content is a number. It is more than 2 KiB.
        let word = unsafe { (begin as *const u32).add(n).read_volatile() };
        mix(&word.to_ne_bytes());
    }
    // SAFETY: RAM behind all variables, given away once, before any allocation.
    unsafe { HEAP.inner.init(begin, size) }
}

/// How much heap there is.
pub(crate) fn heap() -> HeapFigures {
    let (used, free) = (HEAP.inner.used() as u64, HEAP.inner.free() as u64);
    HeapFigures {
        total: used + free,
        used,
        peak: critical_section::with(|section| HEAP.peak.borrow(section).get()) as u64,
    }
}

/// Bytes of stack there are, and the most that was ever used.
pub(crate) fn stack() -> (usize, usize) {
    let (low, high) = (&raw const _stack_end as usize, &raw const _stack_start as usize);
    let mut word = low;
    // SAFETY: within the stack, which is RAM and aligned.
    while word < high && unsafe { (word as *const u32).read_volatile() } == PAINT {
        word += 4;
    }
    (high - low, high - word)
}
