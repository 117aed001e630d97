//! Something that is used in turn, by the most urgent first.

use super::class::Class;
use core::cell::{Cell, RefCell, RefMut};
use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::task::Poll;
use embassy_sync::waitqueue::WakerRegistration;

/// A value that one request uses at a time.
pub(super) struct Turns<T> {
    value: RefCell<T>,
    /// How many requests of each class wait.
    waiting: [Cell<u8>; Class::COUNT],
    waker: RefCell<WakerRegistration>,
}

impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: RefCell::new(value),
            waiting: Default::default(),
            waker: RefCell::new(WakerRegistration::new()),
        }
    }

    /// Waits until nobody uses the value and nobody more urgent waits for it.
    pub(super) async fn take(&self, class: Class) -> Turn<'_, T> {
        let waiting = Waiting::new(self, class);
        let value = poll_fn(|context| {
            let (more_urgent, _) = self.waiting.split_at(class as usize);
            match self.value.try_borrow_mut() {
                Ok(value) if more_urgent.iter().all(|count| count.get() == 0) => Poll::Ready(value),
                _ => {
                    self.waker.borrow_mut().register(context.waker());
                    Poll::Pending
                }
            }
        })
        .await;
        drop(waiting);
        Turn {
            value,
            _next: Next(self),
        }
    }

    fn wake(&self) {
        self.waker.borrow_mut().wake();
    }
}

/// Counts a request that waits.
struct Waiting<'a, T> {
    turns: &'a Turns<T>,
    class: Class,
}

impl<'a, T> Waiting<'a, T> {
    fn new(turns: &'a Turns<T>, class: Class) -> Self {
        let this = Self { turns, class };
        this.count(1);
        this
    }

    fn count(&self, change: i8) {
        if let Some(count) = self.turns.waiting.get(self.class as usize) {
            // There are fewer tasks than numbers.
            count.set(count.get().saturating_add_signed(change));
        }
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.count(-1);
        // Somebody less urgent may have waited for this one.
        self.turns.wake();
    }
}

/// The right to use the value, until it is dropped.
pub(super) struct Turn<'a, T> {
    value: RefMut<'a, T>,
    /// Dropped behind the value.
    _next: Next<'a, T>,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Has the next request look for its turn.
struct Next<'a, T>(&'a Turns<T>);

impl<T> Drop for Next<'_, T> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;
    use embassy_futures::join::join4;
    use picolet_platform::Duration;
    use std::vec::Vec;

    #[test]
    fn turns_go_to_the_most_urgent_when_several_wait() {
        let (time, turns) = (TestClock::default(), Turns::new(Vec::new()));
        let take = async |class: Class, after: u64| {
            time.sleep(Duration::from_millis(after)).await;
            let mut turn = turns.take(class).await;
            time.sleep(Duration::from_millis(100)).await;
            turn.push(class);
        };
        let all = join4(
            take(Class::Pods, 0),
            take(Class::Events, 10),
            take(Class::Status, 20),
            take(Class::Heartbeat, 30),
        );
        time.alone(all);
        let order = turns.value.into_inner();
        assert_eq!(
            order,
            [Class::Pods, Class::Heartbeat, Class::Status, Class::Events]
        );
    }

    #[test]
    fn turns_go_on_when_the_most_urgent_gives_up() {
        let (time, turns) = (TestClock::default(), Turns::new(()));
        let held = async {
            let _turn = turns.take(Class::Pods).await;
            time.sleep(Duration::from_millis(100)).await;
        };
        let impatient = async {
            time.sleep(Duration::from_millis(10)).await;
            let limit = time.sleep(Duration::from_millis(20));
            embassy_futures::select::select(turns.take(Class::Heartbeat), limit).await;
        };
        let patient = async {
            time.sleep(Duration::from_millis(20)).await;
            drop(turns.take(Class::Events).await);
            time.now()
        };
        let ((), (), (), at) = time.alone(join4(held, impatient, async {}, patient));
        assert_eq!(at, Duration::from_millis(100));
    }
}
