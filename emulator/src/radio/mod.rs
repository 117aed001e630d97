//! The radio of a Pico W, as the RP2040 sees it: four pins and what hangs on them.
//!
//! The board calls in with every change of those pins and with the passing of time; nothing here calls back. A board
//! without a radio (a plain Pico) has [`NoRadio`].

mod air;
mod backplane;
mod bus;
pub mod clm;
mod credentials;
mod cyw43439;
mod event;
mod failure;
mod firmware;
mod gspi;
mod quirks;
mod scan;
mod sdpcm;
mod station;

use std::any::Any;
use std::time::Duration;

pub use air::{AccessPoint, Air, Change, Security};
pub use cyw43439::{Config, Cyw43439, Statistics};
pub use failure::{Failure, FailureError, FailureMode};
pub(crate) use quirks::random;
pub use quirks::{BitErrors, Quirks, QuirksError};

use crate::Time;
use crate::net::Link;

/// The pins of the RP2040 that lead to the radio on a Pico W (Pico W datasheet, section 2.1).
pub mod pins {
    /// WL_ON: high powers the radio up.
    pub const POWER: u32 = 23;
    /// WL_D: data in both directions, and the radio's interrupt while the chip is not selected.
    pub const DATA: u32 = 24;
    /// WL_CS: chip select, active low.
    pub const SELECT: u32 = 25;
    /// WL_CLK: the gSPI clock.
    pub const CLOCK: u32 = 29;
}

/// What the board needs of a radio behind its pins.
///
/// # How the board calls
///
/// * Each change of a pin's level is one call, in the order in which the pins changed; pins that change in the same
///   system clock cycle are reported in the order power, select, clock. The radio is told levels, not drivers: a pad
///   that nobody drives reads as its pull says.
/// * `now` never goes back. [`Radio::advance`] is called at every moment that [`Radio::next_event`] named, at the first
///   instruction boundary that is not before it, and may be called more often.
/// * After every call the board asks [`Radio::data`] again: that is the only way by which the radio raises its
///   interrupt.
/// * The same calls with the same `now` must lead to the same answers, unless the link reaches the host's network.
pub trait Radio: Send {
    /// The level of WL_ON. The board starts with it low; repeated calls with the same level change nothing.
    fn power(&mut self, on: bool, now: Time);

    /// The whole board loses power, however soon WL_ON is high again.
    fn cut_power(&mut self, now: Time) {
        self.power(false, now);
    }

    /// The level of WL_CS, which is active low: `false` selects the chip.
    fn select(&mut self, level: bool, now: Time);

    /// An edge of WL_CLK. `level` is the level after the edge, `data` the level of WL_D at that moment, as the RP2040
    /// or the radio drives it. The radio samples on the rising edge and shifts out on the falling one.
    fn clock(&mut self, level: bool, data: bool, now: Time);

    /// What the radio drives on WL_D now, `None` if it leaves the line alone. While the chip is not selected that is
    /// the level of its interrupt.
    fn data(&self) -> Option<bool>;

    /// When the radio next has something to do by itself: an event, a beacon, a frame of the link that arrives.
    fn next_event(&self) -> Option<Time>;

    /// Does everything that is due at or before `now`.
    fn advance(&mut self, now: Time);

    /// Waits in the time of the host until the link may have something, and at most `limit`; `true` if it may. Called
    /// only when emulated time is paced to the host's and the processor sleeps. A link without sockets returns `false`
    /// at once, and the board then sleeps by itself.
    fn wait_for_host(&mut self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// A copy in the same state, for a snapshot of the board. A network that cannot be copied is not plugged into it.
    fn duplicate(&self) -> Box<dyn Radio>;

    /// Puts another network behind the access points.
    fn plug_in(&mut self, network: Box<dyn Link>) {
        drop(network);
    }

    /// It is a copy whose network could not be copied.
    fn is_unplugged(&self) -> bool {
        false
    }

    /// What to show of the radio on a status line.
    fn status(&self) -> Status;

    /// What the firmware did that the radio does not model, since the last call: the board stops and says it together
    /// with the program counter.
    fn take_fault(&mut self) -> Option<String> {
        None
    }

    /// Starts or stops the trace of what the radio does, one line each, to be taken with [`Radio::take_trace`].
    fn set_trace(&mut self, on: bool) {
        let _ = on;
    }

    /// The lines traced since the last call.
    fn take_trace(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// For tests and tools that know which radio they plugged in.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// What to show of a radio.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Status {
    /// Has power.
    pub powered: bool,
    /// The level of the pins behind the radio, bit by bit; bit 0 (WL_GPIO0) is the LED of a Pico W.
    pub gpio: u8,
    /// The name of the network that it is joined to.
    pub joined: Option<String>,
    /// Ethernet frames that the device sent.
    pub sent: u64,
    /// Ethernet frames that the device took.
    pub received: u64,
}

/// A board without a radio: the pins lead nowhere.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoRadio;

impl Radio for NoRadio {
    fn power(&mut self, _on: bool, _now: Time) {}
    fn select(&mut self, _level: bool, _now: Time) {}
    fn clock(&mut self, _level: bool, _data: bool, _now: Time) {}
    fn data(&self) -> Option<bool> {
        None
    }
    fn next_event(&self) -> Option<Time> {
        None
    }
    fn advance(&mut self, _now: Time) {}
    fn duplicate(&self) -> Box<dyn Radio> {
        Box::new(*self)
    }
    fn status(&self) -> Status {
        Status::default()
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
