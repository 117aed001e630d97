//! Futures that are compiled out of line, and how tasks run side by side.
//!
//! The compiler inlines the code of a future into the one that awaits it. On a Cortex-M0+ that takes more flash than a call:
//! [`apart`] saves 1 KB in the image of the Pico W, [`together`] 1.1 KB more than `join5` (docs/decisions/0005-size-tricks.md). Wrap a
//! future in [`apart`] where a large one is awaited from another large one; run controllers by [`together`].

use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

pin_project! {
    /// See [`apart`].
    pub(crate) struct Apart<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(context)
    }
}

/// Keeps the code of `future` out of the future that awaits it. What is inlined there finds its variables from the
/// beginning of the whole, and behind the first 124 bytes a Cortex-M0+ takes several instructions for each.
pub(crate) fn apart<F: Future>(future: F) -> Apart<F> {
    Apart { future }
}

/// One of the futures that run [`together`]: `&mut pin!(future)`. The table is that of the pinned pointer and not that of
/// the future, so that it does not hold the code that drops it: an agent that never ends drops none of its tasks.
pub(crate) type Task<'a> = &'a mut (dyn Future<Output = ()> + Unpin + 'a);

/// See [`together`].
pub(crate) struct Together<'a, 'b> {
    tasks: &'a mut [Task<'b>],
    /// One bit for each that has ended.
    ended: u32,
}

impl Future for Together<'_, '_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { tasks, ended } = &mut *self;
        let mut waiting = false;
        for (index, task) in tasks.iter_mut().enumerate() {
            let bit = 1 << index;
            if *ended & bit == 0 {
                if Pin::new(task).poll(context).is_ready() {
                    *ended |= bit;
                } else {
                    waiting = true;
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Runs up to 32 tasks side by side until all have ended. They are [`apart`] by being known through a table only, and as they
/// tell nothing in the end, none needs a place for that: joined by their types they took two kilobytes more of flash.
pub(crate) fn together<'a, 'b>(tasks: &'a mut [Task<'b>]) -> Together<'a, 'b> {
    Together { tasks, ended: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::pin::pin;
    use embassy_futures::{block_on, yield_now};
    use std::cell::RefCell;
    use std::vec::Vec;

    #[test]
    fn all_are_polled_until_they_end() {
        let told = RefCell::new(Vec::new());
        let count = async |name: char, times: u8| {
            for _ in 0..times {
                told.borrow_mut().push(name);
                yield_now().await;
            }
        };
        block_on(together(&mut [
            &mut pin!(count('a', 1)),
            &mut pin!(count('b', 3)),
            &mut pin!(count('c', 2)),
        ]));
        assert_eq!(*told.borrow(), ['a', 'b', 'c', 'b', 'c', 'b']);
        block_on(together(&mut []));
    }
}
