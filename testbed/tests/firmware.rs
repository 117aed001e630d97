//! The shipped image of a Pico W, from reset, through its bootloader, to a Ready node; and back to one after firmware was
//! changed, after a fault, and after a hang.

use picolet_emulator::Image as Program;
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_store::layout::PICO_W;
use picolet_testbed::{Options, Testbed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

const NODE: &str = "pico-1";
/// Many times what it takes.
const READY: Duration = Duration::from_secs(15);
/// A swap erases and writes twice 186 pages.
const SWAP: Duration = Duration::from_secs(40);
/// What the bootloader's state begins with (embassy-boot): swap what is staged, or keep what runs.
const SWAP_MAGIC: u8 = 0xf0;
const BOOT_MAGIC: u8 = 0xd0;
/// The entry of the interrupt of the timer's first alarm, by which embassy keeps time: RP2040 datasheet 2.3.2.
const TIMER_VECTOR: u32 = PICO_W.active.address() + 4 * 16;

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here).expect("the image is built")
    })
}

/// A board with the file that a user drags onto it, and settings. One at a time, as testbeds are.
struct Bench {
    testbed: Testbed,
    log: String,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut testbed = Testbed::new(Options::default()).expect("certificates");
        let settings = testbed.settings(NODE, &[]).expect("settings");
        let firmware = Program::parse(&image().uf2()).expect("it is a UF2 file");
        testbed.board.load(&firmware).expect("it fits");
        testbed.board.load(&settings).expect("they fit");
        Self {
            testbed,
            log: String::new(),
            _alone: alone,
        }
    }

    /// Runs until the log has `words`, and forgets the log up to now.
    fn expect(&mut self, words: &str, limit: Duration) {
        let Self { testbed, log, .. } = self;
        let found = testbed.until(limit, |testbed| {
            log.push_str(&String::from_utf8_lossy(&testbed.board.take_uart(0)));
            log.contains(words)
        });
        assert!(
            found.as_ref().is_ok_and(Option::is_some),
            "{words:?} did not come ({found:?}):\n{log}"
        );
        self.log.clear();
    }

    /// Runs until the API server has heard of a Ready node again.
    fn expect_ready(&mut self) {
        let before = self.testbed.connections();
        let ready = self.testbed.until(READY, |testbed| {
            testbed.connections() > before && testbed.is_ready(NODE)
        });
        assert!(
            ready.as_ref().is_ok_and(Option::is_some),
            "not Ready: {ready:?}\n{}",
            String::from_utf8_lossy(&self.testbed.board.take_uart(0))
        );
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.testbed
            .board
            .write_memory(address, bytes)
            .expect("there is flash");
    }

    /// Why the board started, by its metrics.
    fn reason(&mut self) -> String {
        let (_, metrics) = self.testbed.get("/metrics").expect("metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with("picolet_reset_info"));
        line.expect("a reason").to_owned()
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
