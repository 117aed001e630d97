//! What the radio's antenna leads to: a network of Ethernet frames in emulated time.
//!
//! Three networks: [`Local`], in the process and deterministic; [`User`], whose connections go out through the host's
//! sockets; and [`Tap`], an interface of the host. Around each: [`Impaired`], which makes it worse, and [`Captured`],
//! which writes down what passes.

mod addresses;
mod capture;
mod conditions;
mod dhcp;
mod local;
mod services;
mod stack;
#[cfg(target_os = "linux")]
mod tap;
mod user;

use std::time::Duration;

pub use addresses::{DEVICE, DNS, HOST};
pub use capture::Captured;
pub(crate) use conditions::duration;
pub use conditions::{Conditions, ConditionsError, Impaired};
pub use local::{Connection, DatagramServer, Local, Server, Stream};
#[cfg(target_os = "linux")]
pub use tap::Tap;
pub use user::{Publish, PublishError, User};

use crate::Time;

/// No network: what is sent there is lost.
pub(crate) struct Unplugged;

impl Link for Unplugged {
    fn send(&mut self, _frame: &[u8], _now: Time) {}
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        None
    }
    fn next_event(&self) -> Option<Time> {
        None
    }
    fn duplicate(&self) -> Option<Box<dyn Link>> {
        Some(Box::new(Self))
    }
}

/// A network with one place for a device to plug in.
///
/// The radio owns its link: it sends what the firmware sends, asks [`Link::next_event`] when to look again, and takes
/// what has arrived by then. `now` never goes back.
pub trait Link: Send {
    /// The device sends one Ethernet frame, from the destination address to the end of the payload, without checksum.
    fn send(&mut self, frame: &[u8], now: Time);

    /// The next frame for the device that has arrived by `now`, if there is one.
    fn receive(&mut self, now: Time) -> Option<Vec<u8>>;

    /// When the network next has something to do or to deliver, as far as it knows. A link to the host's sockets names
    /// the moment at which it wants to be polled again.
    fn next_event(&self) -> Option<Time>;

    /// Waits in the time of the host until something may have arrived, and at most `limit`; `true` if it may. A
    /// network in process returns `false` at once.
    fn wait_for_host(&mut self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// A copy in the same state; `None` if the state reaches into the host.
    fn duplicate(&self) -> Option<Box<dyn Link>>;
}
