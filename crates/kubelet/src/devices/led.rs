//! What the one LED shows.
//!
//! The node's own language comes first while it is not Ready, a person who asks "which one are you" before everything,
//! the owner of the LED otherwise.

use crate::health::{Health, State};
use crate::host::Host;
use crate::signal::Signal;
use core::cell::RefCell;
use embassy_futures::select::select3;
use picolet_platform::{Clock, Duration, Led, LedMode};

/// What the LED shows.
#[derive(Default)]
pub(crate) struct Display {
    wishes: RefCell<Wishes>,
    /// They have changed.
    changed: Signal,
}

/// What the LED is to show.
#[derive(Default)]
struct Wishes {
    /// While the node is Ready: what its owner wants.
    steady: LedMode,
    /// Something short, until this uptime.
    moment: Option<(LedMode, Duration)>,
}

/// How long nothing is looked at when nothing happens.
const REST: Duration = Duration::from_secs(3600);
const IDENTIFY: LedMode = LedMode::Blink { period_ms: 200 };
const JOINING: LedMode = LedMode::Blink { period_ms: 500 };
const LOST: LedMode = LedMode::Blink { period_ms: 125 };

impl Display {
    /// Shows this while the node is Ready.
    pub(super) fn show_steadily(&self, mode: LedMode) {
        self.wish(|wishes| wishes.steady = mode);
    }

    /// Makes the node be seen until this uptime.
    pub(crate) fn identify(&self, until: Duration) {
        self.wish(|wishes| wishes.moment = Some((IDENTIFY, until)));
    }

    /// Blinks so often, from `now` on.
    pub(crate) fn blink(&self, times: u16, delay_ms: u16, now: Duration) {
        let period_ms = delay_ms.saturating_mul(2);
        let lasts = Duration::from_millis(u64::from(period_ms)) * u32::from(times);
        self.wish(|wishes| wishes.moment = Some((LedMode::Blink { period_ms }, now + lasts)));
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.borrow_mut());
        self.changed.signal(());
    }

    /// What a node of that state shows at `now`, and when to look again.
    fn show(&self, state: State, now: Duration) -> (LedMode, Option<Duration>) {
        let mut wishes = self.wishes.borrow_mut();
        if let Some((mode, until)) = wishes.moment {
            if now < until {
                return (mode, Some(until));
            }
            wishes.moment = None;
        }
        let mode = match state {
            State::Joining => JOINING,
            State::Lost => LOST,
            State::Ready => wishes.steady,
        };
        (mode, None)
    }
}

/// Shows on the LED what is to be shown.
pub(crate) struct LedController<'a, H: Host> {
    pub(crate) machine: &'a H::Machine,
    pub(crate) health: &'a Health,
    pub(crate) display: &'a Display,
}

impl<H: Host> LedController<'_, H> {
    /// Keeps the LED right, for ever.
    pub(crate) async fn run(&self) {
        let mut shown = None;
        loop {
            let now = self.machine.uptime();
            let (mode, again) = self.display.show(self.health.state(), now);
            if shown != Some(mode) {
                self.machine.set_led(mode);
                shown = Some(mode);
            }
            let rest = again.map_or(REST, |until| until.saturating_sub(now));
            select3(
                self.display.changed.wait(),
                self.health.changed.wait(),
                self.machine.sleep(rest),
            )
            .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, TestClock, Wires};
    use picolet_runtime::NoRuntime;

    #[test]
    fn who_comes_before_whom() {
        let led = Display::default();
        let at = Duration::from_secs;
        let (joining, ready, lost) = (State::Joining, State::Ready, State::Lost);
        assert_eq!(led.show(joining, at(0)).0, JOINING);
        led.show_steadily(LedMode::On);
        assert_eq!(led.show(joining, at(0)).0, JOINING, "not yet Ready");
        assert_eq!(led.show(ready, at(0)), (LedMode::On, None));
        led.identify(at(5));
        assert_eq!(led.show(ready, at(1)), (IDENTIFY, Some(at(5))));
        assert_eq!(led.show(ready, at(5)), (LedMode::On, None));
        led.show_steadily(LedMode::Off);
        assert_eq!(led.show(ready, at(6)).0, LedMode::Off);
        led.blink(3, 100, at(6));
        let blinking = LedMode::Blink { period_ms: 200 };
        assert_eq!(
            led.show(ready, at(6)),
            (blinking, Some(at(6) + Duration::from_millis(600)))
        );
        assert_eq!(led.show(lost, at(7)).0, LOST);
    }

    #[test]
    fn led_follows_the_health_of_the_node() {
        let time = TestClock::default();
        let (machine, health, display) = (Machine::new(time.clone()), Health::default(), Display::default());
        let controller = LedController::<(Machine, Wires, NoRuntime)> {
            machine: &machine,
            health: &health,
            display: &display,
        };
        time.run(controller.run(), async {
            time.sleep(Duration::from_secs(1)).await;
            health.look(time.now());
            time.sleep(Duration::from_secs(1)).await;
            assert_eq!(*machine.led.borrow(), [JOINING, LedMode::Off]);
        });
    }
}
