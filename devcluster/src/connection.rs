//! An open connection, as the cluster keeps it to cut it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The cluster's hold on a connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    is_cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(crate) fn cut(&self) {
        self.is_cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Returns when the connection is cut.
    pub(crate) async fn until_cut(&self) {
        poll_fn(|context| {
            if self.is_cut.get() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
