//! Futures that are compiled by themselves.

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
