//! From reset to a Ready node, and back to one after a fault, a hang, and new firmware.

use crate::{Bench, NODE, READY, image};
use picolet_store::layout::PICO_W;
use std::time::Duration;

/// A swap erases and writes twice 186 pages.
const SWAP: Duration = Duration::from_secs(40);
/// What the bootloader's state begins with (embassy-boot): swap what is staged, or keep what runs.
const SWAP_MAGIC: u8 = 0xf0;
const BOOT_MAGIC: u8 = 0xd0;
/// The entry of the interrupt of the timer's first alarm, by which embassy keeps time: RP2040 datasheet 2.3.2.
const TIMER_VECTOR: u32 = PICO_W.active.address() + 4 * 16;

impl Bench {
    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.testbed
            .board
            .write_memory(address, bytes)
            .expect("there is flash");
    }

    /// Why the board started, by its metrics.
    fn reason(&mut self) -> String {
        self.metric("picolet_reset_info")
    }

    /// Has the timer's interrupt lead to `handler` until the board has started over for that, within `limit`.
    fn break_timer(&mut self, handler: u32, limit: Duration) {
        let good = self.testbed.board.read_memory(TIMER_VECTOR, 4).expect("flash");
        let resets = self.testbed.board.figures().resets;
        self.write(TIMER_VECTOR, &handler.to_le_bytes());
        let reset = self
            .testbed
            .until(limit, |testbed| testbed.board.figures().resets > resets);
        assert!(reset.as_ref().is_ok_and(Option::is_some), "no reset: {reset:?}");
        self.write(TIMER_VECTOR, &good);
    }
}

#[test]
fn the_shipped_image_is_a_node_and_comes_back_to_be_one() {
    let mut bench = Bench::new();
    bench.testbed.board.power_on();
    bench.expect("started by power-on", READY);
    bench.expect_ready();
    assert!(bench.reason().contains("power-on"));

    // A fault: the handler is where no memory is.
    bench.break_timer(0xf000_0001, Duration::from_secs(5));
    bench.expect("the run before ended: fault at 0xf0000000", READY);
    bench.expect_ready();
    assert!(bench.reason().contains("panic"));

    // A hang: the handler is a branch to itself, in flash that nothing else has.
    let idle = PICO_W.modules.address();
    bench.write(idle, &0xe7fe_e7fe_u32.to_le_bytes());
    bench.break_timer(idle | 1, Duration::from_secs(10));
    bench.expect("started by watchdog", READY);
    bench.expect_ready();
    assert!(bench.reason().contains("watchdog"));
}

#[test]
fn new_firmware_is_kept_once_its_node_is_ready() {
    let mut bench = Bench::new();
    bench.write(PICO_W.staging.address(), image().application());
    bench.write(PICO_W.state.address(), &[SWAP_MAGIC]);
    bench.testbed.board.power_on();
    bench.expect("started by", SWAP);
    let state = |bench: &Bench| bench.testbed.board.flash()[PICO_W.state.offset as usize];
    assert_eq!(state(&bench), SWAP_MAGIC, "it is not kept before it is Ready");
    bench.expect("this firmware is kept", READY);
    assert!(bench.testbed.is_ready(NODE));
    assert_eq!(state(&bench), BOOT_MAGIC);
}
