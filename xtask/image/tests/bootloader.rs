//! The bootloader in the emulator: a trial starts, is confirmed or reverted, and no power cut bricks the board.
//!
//! What runs is the image as it is shipped, with an application that does what it is told by its UART.

use std::sync::OnceLock;

use picolet_boot::Slot;
use picolet_emulator::{Board, Config, Image as Program, PowerCut, Stop, Time};
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_store::layout::PICO_W;

const SECTOR: usize = 4096;
/// Many times what a start takes, in milliseconds.
const START: u64 = 500;
/// The watchdog, and a start.
const HANG: u64 = 9_000;

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Image::build("pico-w", "test-application", "test-application", Place::Here)
            .expect("the image is built")
    })
}

/// A board with firmware `one` in slot A and `two` in slot B, switched on. Its boot log is empty: nothing is known of slot B.
struct Bench {
    board: Board,
    log: String,
}

impl Bench {
    fn new() -> Self {
        let mut board = Board::new(Config::default());
        let program = Program::parse(&image().uf2().expect("a file")).expect("it is a UF2 file");
        board.load(&program).expect("it fits");
        for (slot, name) in [(Slot::A, "one"), (Slot::B, "two")] {
            let region = PICO_W.slots[slot.index()];
            let mut content = image().slot(slot);
            content.resize(region.length as usize, 0xff);
            let end = content.len() - 16;
            content[end..end + name.len()].copy_from_slice(name.as_bytes());
            board
                .write_memory(region.address(), &content)
                .expect("there is flash");
        }
        board.power_on();
        let mut bench = Self {
            board,
            log: String::new(),
        };
        bench.expect("firmware one A confirmed 0", START);
        bench
    }

    /// Runs until a line comes, at most so many emulated milliseconds.
    fn expect(&mut self, line: &str, millis: u64) {
        if let Some(stop) = self.run_until_line(line, millis) {
            panic!("{stop} before {line:?} came:\n{}", self.log);
        }
    }

    /// The same; returns what came in between, if anything did.
    fn run_until_line(&mut self, line: &str, millis: u64) -> Option<Stop> {
        let end = self.board.time() + std::time::Duration::from_millis(millis);
        loop {
            let next = self.board.time() + std::time::Duration::from_millis(1);
            let stop = self.board.run_until(next);
            self.log
                .push_str(&String::from_utf8_lossy(&self.board.take_uart(0)));
            if self.log.lines().any(|found| found == line) && self.log.ends_with('\n') {
                self.log.clear();
                return None;
            }
            if stop != Stop::Reached || next >= end {
                return Some(stop);
            }
        }
    }

    fn tell(&mut self, letter: u8) {
        self.board.feed_uart(0, &[letter]);
    }

    fn tell_and_expect(&mut self, letter: u8) {
        self.tell(letter);
        self.expect("done", START);
    }

    /// Restarts, and expects the firmware that says this.
    fn restart(&mut self, line: &str) {
        self.tell(b'r');
        self.expect(line, START);
    }

    fn power_cycle(&mut self, line: &str) {
        self.board.power_cycle();
        self.expect(line, START);
    }

    /// A board whose slot B was put on trial and started.
    fn on_trial() -> Self {
        let mut bench = Self::new();
        bench.tell_and_expect(b't');
        bench.restart("firmware two B trial 0");
        bench
    }
}

#[test]
fn trial_stays_when_it_is_confirmed() {
    let mut bench = Bench::on_trial();
    bench.tell_and_expect(b'g');
    bench.restart("firmware two B confirmed 0");
    bench.power_cycle("firmware two B confirmed 0");
    // And back, into slot A.
    bench.tell_and_expect(b's');
    bench.tell_and_expect(b't');
    bench.restart("firmware one A trial 0");
    bench.tell_and_expect(b'g');
    bench.restart("firmware one A confirmed 0");
}

#[test]
fn trial_is_reverted_when_it_hangs() {
    let mut bench = Bench::on_trial();
    // It is told nothing: nobody feeds the watchdog, which the bootloader has started.
    bench.expect("firmware one A confirmed 2", HANG);
    // What was reverted stays so.
    bench.restart("firmware one A confirmed 2");
}

#[test]
fn trial_is_reverted_when_it_faults() {
    let mut bench = Bench::on_trial();
    bench.tell(b'f');
    bench.expect("firmware one A confirmed 2", HANG);
}

#[test]
fn trial_is_reverted_when_it_restarts_without_a_request() {
    let mut bench = Bench::on_trial();
    bench.restart("firmware one A confirmed 3");
}

#[test]
fn trial_is_reverted_when_it_says_so() {
    let mut bench = Bench::on_trial();
    bench.tell_and_expect(b'v');
    bench.restart("firmware one A confirmed 4");
}

#[test]
fn trial_is_repeated_when_its_restart_was_requested_three_times() {
    let mut bench = Bench::on_trial();
    for _ in 0..3 {
        bench.tell_and_expect(b'q');
        bench.restart("firmware two B trial 0");
    }
    bench.tell_and_expect(b'q');
    bench.restart("firmware one A confirmed 6");
}

#[test]
fn trial_starts_three_times_when_power_is_lost() {
    let mut bench = Bench::on_trial();
    bench.power_cycle("firmware two B trial 0");
    bench.power_cycle("firmware two B trial 0");
    bench.power_cycle("firmware one A confirmed 1");
}

/// Slot B has a valid header and vector table all the time.
#[test]
fn slot_never_starts_when_it_has_no_trial_entry() {
    let mut bench = Bench::new();
    // Without an entry in the log, and with one that says scratch.
    for letters in [&b""[..], b"s"] {
        for letter in letters {
            bench.tell_and_expect(*letter);
        }
        bench.restart("firmware one A confirmed 0");
        bench.power_cycle("firmware one A confirmed 0");
        bench.tell(b'f');
        bench.expect("firmware one A confirmed 0", HANG);
        bench.expect("firmware one A confirmed 0", HANG);
    }
    // Not even where nothing else can start.
    bench
        .board
        .write_memory(PICO_W.slots[0].address(), &[0xff; SECTOR])
        .expect("there is flash");
    bench.board.power_cycle();
    let end = bench.board.time() + std::time::Duration::from_millis(START);
    assert_eq!(bench.board.run_until(end), Stop::UsbBoot { bootable: true });
}

/// A reverted slot is scratch, although it holds the firmware that was on trial.
#[test]
fn slot_never_starts_when_its_trial_was_reverted() {
    let mut bench = Bench::on_trial();
    bench.restart("firmware one A confirmed 3");
    bench
        .board
        .write_memory(PICO_W.slots[0].address(), &[0xff; SECTOR])
        .expect("there is flash");
    bench.board.power_cycle();
    let end = bench.board.time() + std::time::Duration::from_millis(START);
    assert_eq!(bench.board.run_until(end), Stop::UsbBoot { bootable: true });
}

#[test]
fn confirmed_slot_starts_when_the_other_has_lost_its_image() {
    let mut bench = Bench::on_trial();
    bench.tell_and_expect(b'g');
    bench
        .board
        .write_memory(PICO_W.slots[1].address(), &[0xff; SECTOR])
        .expect("there is flash");
    bench.power_cycle("firmware one A confirmed 8");
}

/// Power goes in each operation of the flash of an update, from the trial entry to the confirmation, at four parts of it: afterwards one of
/// the two runs, and the update can be completed.
#[test]
fn update_completes_when_power_is_cut_in_any_operation() {
    let mut bench = Bench::new();
    let snapshot = bench.board.snapshot();
    let before = bench.board.flash_operations();
    let update = |bench: &mut Bench| -> Option<Stop> {
        for (letter, line) in [
            (b't', "done"),
            (b'r', "firmware two B trial 0"),
            (b'g', "done"),
            (b'r', "firmware two B confirmed 0"),
        ] {
            bench.tell(letter);
            if let Some(stop) = bench.run_until_line(line, START) {
                return Some(stop);
            }
        }
        None
    };
    assert_eq!(update(&mut bench), None);
    let operations = bench.board.flash_operations() - before;
    assert!(operations >= 3, "{operations}");
    for operation in 1..=operations {
        for fraction in [0, 1, 128, 255] {
            bench.board.restore(&snapshot).expect("there is no network");
            bench.log.clear();
            let number = before + operation;
            bench
                .board
                .cut_power_at(PowerCut::FlashOperation { number, fraction });
            assert_eq!(
                update(&mut bench),
                Some(Stop::PowerLost),
                "{operation} {fraction}"
            );
            bench.log.clear();
            bench.board.power_cycle();
            let end = bench.board.time() + std::time::Duration::from_millis(START);
            while !bench.log.ends_with('\n') && bench.board.time() < end {
                bench.run_until_line("", 1);
            }
            let line = bench.log.trim().to_owned();
            bench.log.clear();
            match &*line {
                "firmware one A confirmed 0" => assert_eq!(update(&mut bench), None),
                "firmware two B trial 0" => {
                    bench.tell_and_expect(b'g');
                    bench.restart("firmware two B confirmed 0");
                }
                "firmware two B confirmed 0" => {}
                line => panic!("{operation} {fraction}: {line:?}"),
            }
        }
    }
}

/// An outage of an update may not depend on the age of the flash: a start costs the program of one page.
#[test]
fn trial_starts_as_fast_as_before_when_flash_is_slow() {
    let mut bench = Bench::new();
    bench.board.set_slow_flash(true);
    bench.tell_and_expect(b't');
    let restarted = bench.board.time();
    bench.restart("firmware two B trial 0");
    let took = bench.board.time().since(restarted);
    println!("{took:?} from the reset to the first line of the firmware on trial");
    assert!(took < std::time::Duration::from_millis(100), "{took:?}");
}

#[test]
fn board_without_firmware_shows_its_drive() {
    let mut board = Board::new(Config::default());
    let program = Program::parse(&image().uf2().expect("a file")).expect("it is a UF2 file");
    board.load(&program).expect("it fits");
    board
        .write_memory(PICO_W.slots[0].address(), &[0xff; SECTOR])
        .expect("there is flash");
    board.power_on();
    assert_eq!(
        board.run_until(Time::from_millis(500)),
        Stop::UsbBoot { bootable: true }
    );
}

#[test]
fn trial_ends_when_an_image_is_dragged_onto_the_board() {
    let mut bench = Bench::on_trial();
    bench
        .board
        .load(&Program::parse(&image().uf2().expect("a file")).expect("a UF2 file"))
        .expect("it fits");
    bench.power_cycle("firmware one A confirmed 0");
}

/// What tests of firmware in slot B start from.
#[test]
fn file_for_slot_b_leaves_firmware_confirmed_there() {
    let mut board = Board::new(Config::default());
    let file = image().uf2_in(Slot::B).expect("a file");
    board
        .load(&Program::parse(&file).expect("a UF2 file"))
        .expect("it fits");
    board.power_on();
    let mut bench = Bench {
        board,
        log: String::new(),
    };
    bench.expect("firmware  B confirmed 0", START);
}

#[test]
fn bootloader_is_within_its_budget() {
    let length = image().bootloader().len();
    println!("{length} bytes");
    assert!(length <= 8192, "{length}");
}

/// The ELF file has the same flash as the UF2, and the application's symbols.
#[test]
fn both_files_hold_the_same() {
    let [uf2, elf] = [
        image().uf2().expect("a file"),
        image().elf().expect("an ELF file"),
    ]
    .map(|file| {
        let program = Program::parse(&file).expect("it can be read");
        let mut board = Board::new(Config::default());
        board.load(&program).expect("it fits");
        (board.flash().to_vec(), program.symbols().len())
    });
    assert!(uf2.0 == elf.0, "the files differ");
    assert!(elf.1 > 10);
}

/// picotool looks for a header in the first kilobyte, and follows it to entries with text.
#[test]
fn picotool_finds_what_the_board_is() {
    let mut board = Board::new(Config::default());
    board
        .load(&Program::parse(&image().uf2().expect("a file")).expect("a UF2 file"))
        .expect("it fits");
    let flash = board.flash();
    let word = |at: usize| u32::from_le_bytes(flash[at..at + 4].try_into().expect("four bytes"));
    let text = |address: u32| {
        let bytes = &flash[address as usize & 0xff_ffff..];
        let length = bytes.iter().position(|byte| *byte == 0).expect("an end");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let header = (0x100..0x200)
        .step_by(4)
        .find(|at| word(*at) == 0x7188_ebf2)
        .expect("a header");
    assert_eq!(word(header + 16), 0xe71a_a390);
    let (start, end) = (word(header + 4), word(header + 8));
    let texts: Vec<(u32, String)> = (start..end)
        .step_by(4)
        .map(|entry| word(entry as usize & 0xff_ffff) as usize & 0xff_ffff)
        .map(|entry| (word(entry + 4), text(word(entry + 8))))
        .collect();
    let of = |id: u32| {
        texts
            .iter()
            .find(|(found, _)| *found == id)
            .map(|(_, text)| text.as_str())
    };
    assert_eq!(of(0x0203_1c86), Some("picolet"), "{texts:x?}");
    assert_eq!(of(0xb63c_ffbb), Some("pico_w"), "{texts:x?}");
    assert_eq!(of(0x11a9_bc3a), Some("0.0.1-test"), "{texts:x?}");
}
