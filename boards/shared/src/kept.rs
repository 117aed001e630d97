//! Memory that a reset leaves alone.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

/// Something in memory that a reset leaves alone. Any pattern of bits must be a `T`.
pub(crate) struct Kept<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it is used by one at a time, within a critical section.
unsafe impl<T: Send> Sync for Kept<T> {}

impl<T> Kept<T> {
    pub(crate) const fn uninit() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Uses it, alone. `use_it` is short, and does not use it again.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        critical_section::with(|_| {
            // The compiler is not to know that nobody has written there yet.
            let place = core::hint::black_box(self.0.get());
            // SAFETY: there is memory with a content, and any content is a `T`; the critical section keeps others away.
            use_it(unsafe { (*place).assume_init_mut() })
        })
    }
}
