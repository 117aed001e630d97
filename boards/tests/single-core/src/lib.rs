//! The critical section of a single core, for programs without a chip's drivers: link tests, and what a simulator runs.
//!
//! cortex-m has one as well. It cannot be in a workspace with that of the images' drivers, since there is one kind of
//! state to restore for all.
#![no_std]

struct SingleCore;

critical_section::set_impl!(SingleCore);

// SAFETY: with interrupts masked nothing else runs on a single core; those within leave them masked.
unsafe impl critical_section::Impl for SingleCore {
    unsafe fn acquire() -> u8 {
        let active = cortex_m::register::primask::read().is_active();
        cortex_m::interrupt::disable();
        active.into()
    }

    unsafe fn release(active: u8) {
        if active != 0 {
            // SAFETY: they were unmasked before.
            unsafe { cortex_m::interrupt::enable() }
        }
    }
}
