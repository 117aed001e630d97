//! Firmware on the host: embassy's futures in emulated time, and the radio's bus as its driver wants it.
//!
//! Time passes when the bus moves bits, and in leaps when every task waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cyw43::SpiBusCyw43;
use embedded_hal::digital::{ErrorType, OutputPin};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use picolet_emulator::Time;
use picolet_emulator::radio::{Cyw43439, Radio};

use super::gspi::Host;

thread_local! {
    static NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
    static ALARMS: RefCell<BTreeMap<(u64, u64), Waker>> = const { RefCell::new(BTreeMap::new()) };
    static INTERRUPT: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

struct Clock;

impl embassy_time_driver::Driver for Clock {
    fn now(&self) -> u64 {
        // Who waits in a loop sees time pass.
        NOW.set(NOW.get() + Duration::from_nanos(100));
        NOW.get().as_micros()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        ALARMS.with_borrow_mut(|alarms| {
            let number = alarms.range((at, 0)..(at + 1, 0)).count() as u64;
            alarms.insert((at, number), waker.clone());
        });
    }
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock);

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The radio's pins. Clones lead to the same radio.
#[derive(Clone)]
pub struct Pins(pub Rc<RefCell<Host<Cyw43439>>>);

impl Pins {
    pub fn new(radio: Cyw43439) -> Self {
        NOW.set(Time::ZERO);
        ALARMS.with_borrow_mut(BTreeMap::clear);
        Self(Rc::new(RefCell::new(Host::new(radio))))
    }

    /// Runs `future` to its end, and fails if that takes longer than `limit` of emulated time.
    pub fn run<T>(&self, limit: Duration, future: impl Future<Output = T>) -> T {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag.clone());
        let mut future = pin!(future);
        let end = NOW.get() + limit;
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            if flag.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            let mut host = self.0.borrow_mut();
            let alarm = ALARMS
                .with_borrow(|alarms| alarms.keys().next().map(|(micros, _)| Time::from_micros(*micros)));
            let next = [alarm, host.radio.next_event()]
                .into_iter()
                .flatten()
                .min()
                .expect("somebody waits for something");
            let now = NOW.get().max(next);
            assert!(now <= end, "it took longer than {limit:?}");
            NOW.set(now);
            host.now = host.now.max(now);
            host.radio.advance(now);
            let due = ALARMS.with_borrow_mut(|alarms| {
                let later = alarms.split_off(&(now.as_micros() + 1, 0));
                std::mem::replace(alarms, later)
            });
            due.into_values().for_each(Waker::wake);
            if host.radio.data() == Some(true) {
                INTERRUPT.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    pub fn now(&self) -> Time {
        NOW.get()
    }
}

/// Runs `background` until `app` is done. Each is a task with a waker of its own, as on the chip: one that wakes the
/// other does not wake itself.
pub async fn beside<T>(background: impl Future, app: impl Future<Output = T>) -> T {
    let mut tasks = FuturesUnordered::<LocalBoxFuture<'_, Option<T>>>::new();
    tasks.push(Box::pin(async {
        background.await;
        None
    }));
    tasks.push(Box::pin(async { Some(app.await) }));
    while let Some(output) = tasks.next().await {
        if let Some(output) = output {
            return output;
        }
    }
    unreachable!("the app is among the tasks");
}

impl SpiBusCyw43 for Pins {
    async fn cmd_write(&mut self, write: &[u32]) -> u32 {
        self.transfer(write, &mut [])
    }

    async fn cmd_read(&mut self, write: u32, read: &mut [u32]) -> u32 {
        self.transfer(&[write], read)
    }

    async fn wait_for_event(&mut self) {
        poll_fn(|context| match self.0.borrow().radio.data() {
            Some(true) => Poll::Ready(()),
            _ => {
                INTERRUPT.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await;
    }
}

impl Pins {
    fn transfer(&self, write: &[u32], read: &mut [u32]) -> u32 {
        let mut host = self.0.borrow_mut();
        host.now = host.now.max(NOW.get());
        let now = host.now;
        host.radio.advance(now);
        let status = host.transfer(write, read);
        NOW.set(host.now);
        status
    }

    fn power(&self, on: bool) {
        let mut host = self.0.borrow_mut();
        host.now = host.now.max(NOW.get());
        let now = host.now;
        host.radio.power(on, now);
    }
}

impl ErrorType for Pins {
    type Error = Infallible;
}

/// The pin that gives the radio power.
impl OutputPin for Pins {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.power(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.power(true);
        Ok(())
    }
}
