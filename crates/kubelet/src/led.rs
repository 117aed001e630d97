//! What the one LED shows, and who decides it.
//!
//! The node's own language comes first while it is not Ready, a person who asks "which one are you" before everything,
//! the configuration otherwise.

use crate::agent::Agent;
use crate::host::Host;
use embassy_futures::select::select;
use picolet_platform::{Clock, Duration, Led, LedMode};

/// What the node says by its LED when it is not Ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Not yet a node: blinks twice a second.
    #[default]
    Joining,
    /// Ready: the LED is the configuration's.
    Ready,
    /// It was Ready and has lost its API server: blinks fast.
    Trouble,
}

/// Decides.
#[derive(Default)]
pub(crate) struct Director {
    mood: Mood,
    /// What a command asked for; the configuration comes before it.
    commanded: Option<LedMode>,
    configured: Option<LedMode>,
    /// Something short, until this uptime.
    moment: Option<(LedMode, Duration)>,
}

const IDENTIFY: LedMode = LedMode::Blink { period_ms: 200 };
const JOINING: LedMode = LedMode::Blink { period_ms: 500 };
const TROUBLE: LedMode = LedMode::Blink { period_ms: 125 };

impl Director {
    /// The LED is to show this, as long as no ConfigMap says otherwise.
    pub(crate) fn command(&mut self, mode: LedMode) {
        self.commanded = Some(mode);
    }

    /// What the configuration says.
    pub(crate) fn configure(&mut self, mode: Option<LedMode>) {
        if mode.is_some() {
            self.commanded = None;
        }
        self.configured = mode;
    }

    /// Makes itself seen until this uptime.
    pub(crate) fn identify(&mut self, until: Duration) {
        self.moment = Some((IDENTIFY, until));
    }

    /// Blinks so often, from `now` on.
    pub(crate) fn blink(&mut self, times: u16, delay_ms: u16, now: Duration) {
        let period_ms = delay_ms.saturating_mul(2);
        let lasts = Duration::from_millis(u64::from(period_ms)) * u32::from(times);
        self.moment = Some((LedMode::Blink { period_ms }, now + lasts));
    }

    /// How the node is.
    pub(crate) fn feel(&mut self, mood: Mood) {
        self.mood = mood;
    }

    /// Whether the node said that it is Ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.mood == Mood::Ready
    }

    /// What to show at `now`, and when to look again.
    fn show(&mut self, now: Duration) -> (LedMode, Option<Duration>) {
        if let Some((mode, until)) = self.moment {
            if now < until {
                return (mode, Some(until));
            }
            self.moment = None;
        }
        let mode = match self.mood {
            Mood::Joining => JOINING,
            Mood::Trouble => TROUBLE,
            Mood::Ready => self.configured.or(self.commanded).unwrap_or_default(),
        };
        (mode, None)
    }
}

/// Keeps the LED right, for ever.
pub(crate) async fn run<H: Host>(agent: &Agent<H>) {
    let mut shown = None;
    loop {
        let now = agent.platform.uptime();
        let (mode, again) = agent.led.borrow_mut().show(now);
        if shown != Some(mode) {
            agent.platform.set_led(mode);
            shown = Some(mode);
        }
        match again {
            Some(until) => {
                select(agent.signals.led.wait(), agent.platform.sleep(until - now)).await;
            }
            None => agent.signals.led.wait().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_before_whom() {
        let mut led = Director::default();
        let at = Duration::from_secs;
        assert_eq!(led.show(at(0)).0, JOINING);
        led.configure(Some(LedMode::On));
        assert_eq!(led.show(at(0)).0, JOINING, "not yet Ready");
        led.feel(Mood::Ready);
        assert_eq!(led.show(at(0)), (LedMode::On, None));
        led.identify(at(5));
        assert_eq!(led.show(at(1)), (IDENTIFY, Some(at(5))));
        assert_eq!(led.show(at(5)), (LedMode::On, None));
        led.configure(None);
        assert_eq!(led.show(at(6)).0, LedMode::Off);
        led.command(LedMode::On);
        assert_eq!(led.show(at(6)).0, LedMode::On);
        led.configure(Some(LedMode::Off));
        assert_eq!(
            led.show(at(6)).0,
            LedMode::Off,
            "the configuration is above a command"
        );
        led.blink(3, 100, at(6));
        assert_eq!(
            led.show(at(6)),
            (
                LedMode::Blink { period_ms: 200 },
                Some(at(6) + Duration::from_millis(600))
            )
        );
        led.feel(Mood::Trouble);
        assert_eq!(led.show(at(7)).0, TROUBLE);
    }
}
