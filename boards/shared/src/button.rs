//! The BOOTSEL button while the firmware runs: held for ten seconds, it has the board forget who it is.
//!
//! The button pulls at the flash's chip select, so that nothing may want the flash while it is looked at: that is done from RAM, with
//! interrupts off, in 25 µs, once a second (RP2040 datasheet 2.8.1, and embassy-rp's `bootsel`; on an RP2350 our own). What is to be forgotten
//! is noted, and done at the next start, when nothing uses it; the board starts over once the button is let go, since the boot ROM
//! would show its USB drive before that.

#[cfg(target_abi = "eabihf")]
use crate::bootsel::is_pressed;
use crate::flash::{self, Storage};
use crate::node::Node;
use crate::{log, network, shutdown};
use embassy_rp::Peri;
#[cfg(target_abi = "eabi")]
use embassy_rp::bootsel::is_bootsel_pressed as is_pressed;
use embassy_rp::peripherals::BOOTSEL;
use embassy_time::{Duration, Timer};
use picolet_device::led::Show;
use picolet_platform::{LedMode, Level, Record, Records};
use picolet_store::layout::Region;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that find it held until it counts.
const HELD: u8 = 10;
/// What the LED shows meanwhile, and then.
const HOLDING: Show = Show::Mode(LedMode::Blink { period_ms: 100 });
const DONE: Show = Show::Mode(LedMode::On);

/// Looks at the button, for ever. A board without a node has records all the same, in `region`.
#[embassy_executor::task]
pub(crate) async fn watch(
    mut button: Peri<'static, BOOTSEL>,
    node: Option<&'static Node>,
    storage: &'static Storage,
    region: Region,
) -> ! {
    let mut held = 0;
    loop {
        Timer::after(LOOK).await;
        let pressed = is_pressed(button.reborrow());
        match (pressed, held) {
            (false, 0) => continue,
            (false, HELD) => shutdown::restart().await,
            (false, _) => {
                held = 0;
                network::show_over(None);
                continue;
            }
            (true, HELD) => continue,
            (true, 0) => {
                network::show_over(Some(HOLDING));
                let line = format_args!("BOOTSEL: held for 10 s, it makes the board forget who it is");
                log::line(Level::Warn, line);
            }
            (true, _) => {}
        }
        held += 1;
        if held < HELD {
            continue;
        }
        let noted = match node {
            Some(node) => node.machine().store(Record::Forget, &[1]).await,
            None => flash::note_to_forget(storage, region),
        };
        match noted {
            Ok(()) => {
                network::show_over(Some(DONE));
                log::line(
                    Level::Warn,
                    format_args!("BOOTSEL: let go, and the board forgets who it is"),
                );
            }
            Err(error) => {
                held = 0;
                log::line(Level::Error, format_args!("BOOTSEL: {error}"));
            }
        }
    }
}
