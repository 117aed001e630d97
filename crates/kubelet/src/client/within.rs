//! Waiting for a result, but not for ever.

use super::ApiError;
use core::pin::Pin;
use core::task::{Context, Poll};
use embassy_futures::select::{Either, Select, select};
use picolet_platform::{Clock, Duration};
use pin_project_lite::pin_project;

pin_project! {
    /// See [`within`]. A struct and no `async fn`, which would keep the future twice: as its argument and as what it
    /// awaits.
    pub(crate) struct Within<F, S> {
        #[pin]
        either: Select<F, S>,
    }
}

impl<T, F: Future<Output = Result<T, ApiError>>, S: Future> Future for Within<F, S> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().either.poll(context).map(|either| match either {
            Either::First(result) => result,
            Either::Second(_) => Err(ApiError::Timeout),
        })
    }
}

/// Waits for `future`, but no longer than `limit`.
pub(crate) fn within<T, F: Future<Output = Result<T, ApiError>>>(
    clock: &impl Clock,
    limit: Duration,
    future: F,
) -> impl Future<Output = F::Output> {
    Within {
        either: select(future, clock.sleep(limit)),
    }
}
