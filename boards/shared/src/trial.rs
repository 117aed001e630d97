//! The trial of this firmware, which its node ends.

use crate::fault::{self, FEEDING};
use crate::node::Node;
use crate::{firmware, log};
use embassy_time::{Duration, Instant, Timer};
use picolet_boot::Reason;
use picolet_platform::{FirmwareSlots, Level};

/// A trial without a Ready node is reverted after this time. Longer than an access point, a time server and a control plane take to
/// come back one after the other.
const TRIAL: Duration = Duration::from_secs(300);

/// Ends the trial of this firmware, if it is on trial: confirms it once its node is Ready, reverts it where that takes too long.
#[embassy_executor::task]
pub(crate) async fn judge_trial(node: &'static Node) {
    let Some(slots) = firmware::slots() else { return };
    let slots: &dyn FirmwareSlots = slots;
    if !slots.is_on_trial() {
        return;
    }
    while !node.is_ready() {
        if Instant::now() >= Instant::MIN + TRIAL {
            log::line(
                Level::Error,
                format_args!("firmware on trial is not Ready: reverted"),
            );
            // Where the log cannot be written, the restart is one that was not requested, and reverts as well.
            let _ = slots.revert(Reason::NOT_READY);
            fault::restart();
        }
        Timer::after(FEEDING).await;
    }
    match slots.confirm() {
        Ok(()) => log::line(Level::Info, format_args!("firmware confirmed")),
        Err(error) => log::line(
            Level::Error,
            format_args!("firmware is not confirmed: {error}; the one before it starts next time"),
        ),
    }
}
