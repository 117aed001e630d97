//! Emulated time, as the cluster and its tasks tell it.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use picolet_emulator::Time;
use picolet_platform::{Clock, Duration, TimeSource, UnixMicros};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
struct Inner {
    now: Cell<Duration>,
    /// Microseconds of Unix at power-on.
    epoch: Cell<u64>,
    /// Seconds of Unix now, for the verifiers of TLS.
    unix_seconds: Arc<AtomicU64>,
    /// Who sleeps until when; the number tells sleepers of one moment apart.
    sleepers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    slept: Cell<u64>,
}

/// The clock. Clones are the same one.
#[derive(Clone, Debug)]
pub struct EmulatedClock(Rc<Inner>);

impl EmulatedClock {
    /// A clock that stands at power-on, when Unix counted `epoch_seconds`.
    pub(crate) fn new(epoch_seconds: u64) -> Self {
        Self(Rc::new(Inner {
            now: Cell::new(Duration::ZERO),
            epoch: Cell::new(epoch_seconds * 1_000_000),
            unix_seconds: Arc::new(AtomicU64::new(epoch_seconds)),
            sleepers: RefCell::default(),
            slept: Cell::new(0),
        }))
    }

    /// Puts it to the board's time and wakes who slept until then.
    pub(crate) fn advance(&self, to: Time) {
        let inner = &self.0;
        let now = Duration::from_micros(to.as_micros());
        inner.now.set(now);
        inner.unix_seconds.store(self.unix().seconds(), Ordering::Relaxed);
        let mut sleepers = inner.sleepers.borrow_mut();
        while let Some(first) = sleepers.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().wake();
        }
    }

    /// Puts the date forward, and nobody's sleep: returns the microseconds of Unix at power-on that this makes.
    pub(crate) fn put_forward(&self, by: Duration) -> u64 {
        let inner = &self.0;
        let epoch = inner.epoch.get() + by.as_micros();
        inner.epoch.set(epoch);
        inner.unix_seconds.store(self.unix().seconds(), Ordering::Relaxed);
        epoch
    }

    /// When the first sleeper wants to be woken.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.0.sleepers.borrow().keys().next().map(|(at, _)| *at)
    }

    /// What TLS judges dates by.
    pub(crate) fn for_tls(&self) -> impl Fn() -> Option<u64> + Send + Sync + use<> {
        let seconds = self.0.unix_seconds.clone();
        move || Some(seconds.load(Ordering::Relaxed))
    }

    fn unix(&self) -> UnixMicros {
        let uptime = self.0.now.get().as_micros();
        UnixMicros(self.0.epoch.get().saturating_add(uptime))
    }
}

impl Clock for EmulatedClock {
    fn uptime(&self) -> Duration {
        self.0.now.get()
    }

    fn now(&self) -> Option<UnixMicros> {
        Some(self.unix())
    }

    fn time_source(&self) -> TimeSource {
        TimeSource::Synchronized
    }

    fn set_time(&self, _: UnixMicros, _: TimeSource) {}

    async fn sleep(&self, duration: Duration) {
        let inner = &self.0;
        let key = (inner.now.get().saturating_add(duration), inner.slept.get());
        inner.slept.set(key.1 + 1);
        let _asleep = Asleep(inner, key);
        poll_fn(|context| {
            if inner.now.get() >= key.0 {
                return Poll::Ready(());
            }
            inner.sleepers.borrow_mut().insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Takes a sleeper off the list that does not sleep any more.
struct Asleep<'a>(&'a Inner, (Duration, u64));

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.sleepers.borrow_mut().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::LocalPool;
    use futures_util::task::LocalSpawnExt;

    #[test]
    fn sleepers_wake_at_their_time_and_those_that_gave_up_do_not() {
        let clock = EmulatedClock::new(100);
        let mut pool = LocalPool::new();
        let woken = Rc::new(RefCell::new(Vec::new()));
        for seconds in [3, 1, 2, 2] {
            let (clock, woken) = (clock.clone(), woken.clone());
            let task = async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                woken.borrow_mut().push(seconds);
            };
            pool.spawner().spawn_local(task).unwrap();
        }
        drop(clock.sleep(Duration::from_millis(1)));
        pool.run_until_stalled();
        assert_eq!(clock.next(), Some(Duration::from_secs(1)));
        clock.advance(Time::from_millis(2_000));
        pool.run_until_stalled();
        assert_eq!(*woken.borrow(), [1, 2, 2]);
        assert_eq!(clock.now(), Some(UnixMicros(102_000_000)));
        assert_eq!(clock.for_tls()(), Some(102));
        clock.advance(Time::from_millis(3_000));
        pool.run_until_stalled();
        assert_eq!((woken.borrow().len(), clock.next()), (4, None));
    }
}
