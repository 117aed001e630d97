//! Time that passes only when everybody waits.

use super::START;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use picolet_platform::{Clock, Duration, TimeSource, UnixMicros};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::vec::Vec;

#[derive(Default)]
struct Shared {
    now: Cell<Duration>,
    sleepers: RefCell<Vec<(Duration, Waker)>>,
}

/// A clock at which one can sleep. Clones are the same clock.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Rc<Shared>);

impl TestClock {
    /// How much time has passed.
    pub(crate) fn now(&self) -> Duration {
        self.0.now.get()
    }

    /// Completes once `duration` has passed.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        let shared = self.0.clone();
        let end = shared.now.get().saturating_add(duration);
        poll_fn(move |cx| {
            if shared.now.get() >= end {
                return Poll::Ready(());
            }
            let mut sleepers = shared.sleepers.borrow_mut();
            if !sleepers
                .iter()
                .any(|(other, waker)| *other == end && waker.will_wake(cx.waker()))
            {
                sleepers.push((end, cx.waker().clone()));
            }
            Poll::Pending
        })
    }

    /// Runs `test` to its end while `background` runs beside it. Whenever nobody can go on, time jumps to when the
    /// next sleeper wakes.
    ///
    /// # Panics
    /// When everybody waits and nobody sleeps.
    pub(crate) fn run<T>(&self, background: impl Future, test: impl Future<Output = T>) -> T {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (mut background, mut test) = (pin!(background), pin!(test));
        let mut ended = false;
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            while flag.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(result) = test.as_mut().poll(&mut cx) {
                    return result;
                }
                ended = ended || background.as_mut().poll(&mut cx).is_ready();
            }
            let mut sleepers = self.0.sleepers.borrow_mut();
            // Some of these were dropped with the future that slept: waking for them is harmless.
            let next = sleepers.iter().map(|(end, _)| *end).min();
            let next = next.expect("everybody waits and nobody sleeps");
            self.0.now.set(next);
            sleepers.retain(|(end, waker)| {
                let due = *end <= next;
                if due {
                    waker.wake_by_ref();
                }
                !due
            });
        }
    }

    /// Runs `test` alone.
    pub(crate) fn alone<T>(&self, test: impl Future<Output = T>) -> T {
        self.run(core::future::pending::<()>(), test)
    }
}

/// The clock of an in-memory cluster: that of the node beside it.
pub(crate) struct ClusterClock(pub(crate) TestClock);

impl Clock for ClusterClock {
    fn uptime(&self) -> Duration {
        self.0.now()
    }

    fn now(&self) -> Option<UnixMicros> {
        Some(UnixMicros(START.micros() + self.0.now().as_micros()))
    }

    fn time_source(&self) -> TimeSource {
        TimeSource::Synchronized
    }

    fn set_time(&self, _: UnixMicros, _: TimeSource) {}

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.0.sleep(duration)
    }
}

#[test]
fn an_hour_passes_at_once() {
    let time = TestClock::default();
    let started = std::time::Instant::now();
    time.alone(time.sleep(Duration::from_secs(3600)));
    assert_eq!(time.now(), Duration::from_secs(3600));
    assert!(started.elapsed().as_secs() < 60);
}
