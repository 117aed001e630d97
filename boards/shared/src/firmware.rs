//! This firmware to the bootloader: its version, and that it is good.
//!
//! New firmware that never says that it is good is swapped back at the next start (`bootloader/`). What says so is a
//! node that is Ready: it has joined, knows the time, and the API server has taken its status. Where there is no
//! server to be Ready at, firmware that ran for [`LONG_ENOUGH`] under its watchdog is good as well: an outage of the
//! cluster must not cost a board its update, and firmware that cannot even run is found long before.

use crate::fault::FEEDING;
use crate::flash::Storage;
use crate::log;
use crate::node::Node;
use embassy_time::{Duration, Instant, Timer};
use picolet_platform::Level;
use picolet_store::layout::{Layout, VERSION_LENGTH};

/// Longer than an access point, a time server and a control plane take to come back after they were restarted, one
/// after the other, and many times what a join, a handshake and the first status take.
const LONG_ENOUGH: Duration = Duration::from_secs(600);

/// What `picotool` shows as the version of the board's program: the bootloader's information points here.
#[unsafe(link_section = ".version")]
#[used]
static VERSION: [u8; VERSION_LENGTH as usize] = {
    let (text, mut version) = (env!("CARGO_PKG_VERSION").as_bytes(), [0; VERSION_LENGTH as usize]);
    assert!(text.len() < version.len(), "a version ends with a zero");
    let mut at = 0;
    while at < text.len() {
        version[at] = text[at];
        at += 1;
    }
    version
};

/// Says that this firmware is good, once it has shown that.
#[embassy_executor::task]
pub(crate) async fn prove(node: &'static Node, storage: &'static Storage, layout: &'static Layout) {
    while !node.is_ready() && Instant::now() < Instant::MIN + LONG_ENOUGH {
        Timer::after(FEEDING).await;
    }
    match storage.keep_firmware(layout.state) {
        Ok(false) => {}
        Ok(true) => log::line(Level::Info, format_args!("this firmware is kept")),
        Err(error) => log::line(
            Level::Error,
            format_args!("{error}: the firmware before this one comes back at the next start"),
        ),
    }
}
