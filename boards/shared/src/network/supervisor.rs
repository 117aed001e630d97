//! Resets the board for a radio that does not answer, after a back-off that is kept over resets.
//!
//! The driver waits for ever for a radio that hangs, so each control call has a deadline here. The watchdog does not see such a
//! radio: the thread, which feeds it, goes on.

use crate::{fault, log};
use core::cell::Cell;
use embassy_time::{Duration, Instant, Timer};
use picolet_device::recovery::{PendingReset, RadioFailure};
use picolet_platform::Level;

/// Between two looks at the deadline.
const INTERVAL: Duration = Duration::from_secs(1);

/// Supervises the control calls of one radio, of which there is one at a time.
pub(super) struct Supervisor {
    /// When the call that is under way must be answered.
    deadline: Cell<Instant>,
    reset: Cell<PendingReset>,
}

impl Supervisor {
    pub(super) const fn new() -> Self {
        Self {
            deadline: Cell::new(Instant::MAX),
            reset: Cell::new(PendingReset::new()),
        }
    }

    /// A control call begins, which takes `limit` at most.
    pub(super) fn begin(&self, limit: Duration) {
        self.deadline.set(Instant::now() + limit);
    }

    /// The radio has answered it.
    pub(super) fn end(&self) {
        self.deadline.set(Instant::MAX);
        let mut reset = self.reset.get();
        let answers = reset.answer(Instant::now().as_secs());
        self.reset.set(reset);
        if answers {
            log::line(Level::Info, format_args!("radio answers again"));
        }
    }

    /// Waits until a deadline has passed.
    pub(super) async fn overdue(&self) {
        loop {
            Timer::after(INTERVAL).await;
            if Instant::now() >= self.deadline.get() {
                return;
            }
        }
    }

    /// The radio has not answered: resets the board, or returns while the back-off lasts.
    pub(super) fn fail(&self, failure: RadioFailure) {
        let now = Instant::now().as_secs();
        let delay = fault::radio_reset_delay();
        let mut reset = self.reset.get();
        if reset.fail(now, delay) {
            log::line(
                Level::Error,
                format_args!("{failure}: resetting the board in {delay} s"),
            );
        }
        self.reset.set(reset);
        if reset.is_due(now) {
            fault::reset_for_radio(failure);
        }
    }
}
