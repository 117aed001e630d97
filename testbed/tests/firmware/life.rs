//! From reset to a Ready node, and back to one after a fault, a panic, a hang, and new firmware.

use crate::{Bench, NODE, READY, image};
use picolet_emulator::Image as Program;
use picolet_store::layout::PICO_W;
use std::time::Duration;

/// A swap erases and writes twice 186 pages.
const SWAP: Duration = Duration::from_secs(40);
/// What the bootloader's state begins with (embassy-boot): swap what is staged, or keep what runs.
const SWAP_MAGIC: u8 = 0xf0;
const BOOT_MAGIC: u8 = 0xd0;
/// The entry of the interrupt of the timer's first alarm, by which embassy keeps time: RP2040 datasheet 2.3.2.
const TIMER_VECTOR: u32 = PICO_W.active.address() + 4 * 16;

/// Where a check of bounds in the shipped program leads when it fails, and the place that it tells then.
struct FailedCheck {
    address: u32,
    place: String,
}

impl FailedCheck {
    /// The first such code in the image: it loads the place into R2 and calls `core`'s panic. The image has no other way to
    /// panic than its own.
    fn find() -> Self {
        let program = Program::parse(&image().elf().expect("an ELF file")).expect("an ELF file");
        let panics = program
            .symbols()
            .iter()
            .find(|symbol| symbol.name.contains("panic_bounds_check"));
        let panics = panics.expect("the image checks bounds").address;
        let (base, code) = (PICO_W.active.address(), image().application());
        let addresses = (base..base + code.len() as u32 - 8).step_by(2);
        let mut found = addresses.filter_map(|address| {
            let literal = load_of_r2(address, half(code, address)?)?;
            let called = called(address + 2, half(code, address + 2)?, half(code, address + 4)?)?;
            let place = place(code, word(code, literal)?)?;
            (called == panics).then_some(Self { address, place })
        });
        found.next().expect("a check of bounds in the image")
    }
}

fn bytes<const N: usize>(code: &[u8], address: u32) -> Option<[u8; N]> {
    let at = address.checked_sub(PICO_W.active.address())? as usize;
    code.get(at..)?.first_chunk().copied()
}

fn half(code: &[u8], address: u32) -> Option<u32> {
    bytes(code, address).map(u16::from_le_bytes).map(u32::from)
}

fn word(code: &[u8], address: u32) -> Option<u32> {
    bytes(code, address).map(u32::from_le_bytes)
}

/// From where `LDR R2, [PC, …]` loads: Armv6-M manual, A6.7.27.
fn load_of_r2(address: u32, instruction: u32) -> Option<u32> {
    (instruction >> 8 == 0x4a).then_some(((address + 4) & !3) + 4 * (instruction & 0xff))
}

/// What `BL` calls: Armv6-M manual, A6.7.13.
fn called(address: u32, first: u32, second: u32) -> Option<u32> {
    if first >> 11 != 0b11110 || second >> 14 != 0b11 || second & 1 << 12 == 0 {
        return None;
    }
    let sign = first >> 10 & 1;
    // Each bit is kept as whether it is as the sign.
    let like_sign = |bit: u32| second >> bit & 1 ^ sign ^ 1;
    let offset = sign << 24
        | like_sign(13) << 23
        | like_sign(11) << 22
        | (first & 0x3ff) << 12
        | (second & 0x7ff) << 1;
    // 25 bits with a sign.
    let offset = (offset << 7).cast_signed() >> 7;
    Some((address + 4).wrapping_add_signed(offset))
}

/// A `core::panic::Location` as it lies in flash: the file's name and its length, line, column.
fn place(code: &[u8], address: u32) -> Option<String> {
    let [name, length, line] = [0, 4, 8].map(|at| word(code, address + at));
    let from = name?.checked_sub(PICO_W.active.address())? as usize;
    let name = std::str::from_utf8(code.get(from..)?.get(..length? as usize)?).ok()?;
    name.ends_with(".rs")
        .then(|| format!("{name}:{}", line.unwrap_or_default()))
}

impl Bench {
    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.testbed
            .board
            .write_memory(address, bytes)
            .expect("there is flash");
    }

    /// Why the board started, by its metrics.
    pub(crate) fn reason(&mut self) -> String {
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

    // A panic: the handler is code of the image's own, which finds that an index is out of bounds.
    let check = FailedCheck::find();
    bench.break_timer(check.address | 1, Duration::from_secs(5));
    let told = format!("the run before ended: panic at {}", check.place);
    println!("{told}");
    bench.expect(&told, READY);
    bench.expect_ready();
    assert!(bench.reason().contains("panic"));
    let told = format!("The run before ended: panic at {}", check.place);
    bench.within(READY, &told, |testbed| {
        let events = testbed.cluster.list("events", "", "", "").expect("events");
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "Crashed" && message.starts_with(&told)
        })
    });

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
