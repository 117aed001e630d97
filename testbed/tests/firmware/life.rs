//! From reset to a Ready node, and back to one after a fault, a panic, a hang, and new firmware.

use crate::{Bench, NODE, READY, image, slot, vectors};
use picolet_boot::{Reason, State};
use picolet_emulator::Image as Program;
use picolet_emulator::radio::FailureMode;
use picolet_image::boot_log;
use picolet_store::layout::PICO_W;
use std::time::Duration;

/// The entry in the vector table of the interrupt of the timer's first alarm, by which embassy keeps time: RP2040 datasheet 2.3.2.
pub(crate) const TIMER: u32 = 4 * 16;

/// Where a check of bounds in the shipped program leads when it fails, and the place that it tells then.
pub(crate) struct FailedCheck {
    pub(crate) address: u32,
    pub(crate) place: String,
}

impl FailedCheck {
    /// The first such code in the image: it loads the place into R2 and calls `core`'s panic. The image has no other way to
    /// panic than its own.
    pub(crate) fn find() -> Self {
        let elf = image().elf_of(slot()).expect("an ELF file");
        let program = Program::parse(&elf).expect("an ELF file");
        let panics = program
            .symbols()
            .iter()
            .find(|symbol| symbol.name.contains("panic_bounds_check"));
        let panics = panics.expect("the image checks bounds").address;
        let (base, code) = (vectors(), image().application(slot()));
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
    let at = address.checked_sub(vectors())? as usize;
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
    let from = name?.checked_sub(vectors())? as usize;
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
        let vector = vectors() + TIMER;
        let good = self.testbed.board.read_memory(vector, 4).expect("flash");
        let resets = self.testbed.board.figures().resets;
        self.write(vector, &handler.to_le_bytes());
        let reset = self
            .testbed
            .until(limit, |testbed| testbed.board.figures().resets > resets);
        assert!(reset.as_ref().is_ok_and(Option::is_some), "no reset: {reset:?}");
        self.write(vector, &good);
    }
}

#[test]
fn the_shipped_image_is_a_node_and_comes_back_to_be_one() {
    let mut bench = Bench::new();
    bench.testbed.board.power_on();
    bench.expect("started by power-on", READY);
    bench.expect_ready();
    assert!(bench.reason().contains("power-on"));
    // Where firmware of any version finds it: docs/firmware-format.md.
    let log = bench.testbed.board.read_memory(0x2000_8100, 4);
    assert_eq!(log.as_deref(), Some(&b"log\x01"[..]));

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

/// A board whose other slot is about to start for its trial, without power.
fn on_trial() -> Bench {
    let mut bench = Bench::new();
    let other = slot().other();
    bench.write(PICO_W.slots[other.index()].address(), &image().slot(other));
    let log = boot_log::on_trial(other, image().name()).expect("a boot log");
    bench.write(PICO_W.boot_log.address(), &log);
    bench
}

/// What the last entry of the boot log says.
fn boot_state(bench: &Bench) -> State {
    let (from, to) = (PICO_W.boot_log.offset as usize, PICO_W.boot_log.end() as usize);
    boot_log::read(&bench.testbed.board.flash()[from..to]).expect("a boot log")
}

#[test]
fn firmware_on_trial_is_confirmed_once_its_node_is_ready() {
    let mut bench = on_trial();
    let other = slot().other();
    bench.testbed.board.power_on();
    bench.expect("started by", READY);
    assert_eq!(
        boot_state(&bench).trial_slot(),
        Some(other),
        "it is not Ready yet"
    );
    bench.expect("FirmwareConfirmed", Duration::from_secs(45));
    assert!(bench.testbed.is_ready(NODE));
    assert_eq!(
        (boot_state(&bench).confirmed, boot_state(&bench).trial),
        (other, None)
    );
}

#[test]
fn firmware_on_trial_is_reverted_when_its_radio_fails() {
    let mut bench = on_trial();
    bench.testbed.break_radio(FailureMode::BusLow, Some(1));
    bench.testbed.board.power_on();
    bench.expect("started by power-on", READY);
    assert_eq!(boot_state(&bench).trial_slot(), Some(slot().other()));
    bench.expect("started by radio", Duration::from_secs(60));
    bench.expect_ready();
    let state = boot_state(&bench);
    assert_eq!(
        (state.confirmed, state.trial, state.reason),
        (slot(), None, Reason::RADIO_SILENT)
    );
}

#[test]
fn firmware_on_trial_is_reverted_when_its_node_is_not_ready_for_five_minutes() {
    let mut bench = on_trial();
    bench.testbed.set_access_point(false);
    bench.testbed.board.power_on();
    bench.run(Duration::from_secs(290));
    assert_eq!(
        boot_state(&bench).trial_slot(),
        Some(slot().other()),
        "{}",
        bench.log
    );
    bench.run(Duration::from_secs(20));
    let state = boot_state(&bench);
    assert_eq!(
        (state.confirmed, state.trial, state.reason),
        (slot(), None, Reason::NOT_READY)
    );
    bench.testbed.set_access_point(true);
    bench.expect_ready();
}
