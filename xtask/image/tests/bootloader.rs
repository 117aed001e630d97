//! The bootloader in the emulator: firmware is swapped, kept, taken back, and no power cut bricks the board.
//!
//! What runs is the image as it is shipped, with an application that does what it is told by its UART.

use std::ops::Range;
use std::sync::OnceLock;

use picolet_emulator::{Board, Config, Image as Program, PowerCut, Stop, Time};
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_store::layout::{PICO_W, Region};

const SECTOR: usize = 4096;
/// A swap erases and writes twice 186 pages: 20 s of emulated time, and some more.
const SWAP: u64 = 40_000;

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Image::build("pico-w", "test-application", "test-application", Place::Here)
            .expect("the image is built")
    })
}

fn range(region: Region) -> Range<usize> {
    region.offset as usize..region.end() as usize
}

/// The whole slot of a version of the test application: each has other bytes in every page.
fn firmware(name: &str) -> Vec<u8> {
    let mut slot = image().application().to_vec();
    let code = slot.len();
    let seed = name.bytes().map(usize::from).sum::<usize>();
    slot.extend((code..PICO_W.active.length as usize).map(|at| (at / SECTOR * 31 + at * 7 + seed) as u8));
    let end = slot.len() - 16;
    slot[end..].fill(0xff);
    slot[end..end + name.len()].copy_from_slice(name.as_bytes());
    slot
}

/// A board on which firmware `one` runs and `two` is staged, switched on.
struct Bench {
    board: Board,
    log: String,
}

impl Bench {
    fn new() -> Self {
        let mut board = Board::new(Config::default());
        let program = Program::parse(&image().uf2()).expect("it is a UF2 file");
        board.load(&program).expect("it fits");
        for (region, name) in [(PICO_W.active, "one"), (PICO_W.staging, "two")] {
            board
                .write_memory(region.address(), &firmware(name))
                .expect("there is flash");
        }
        board.power_on();
        let mut bench = Self {
            board,
            log: String::new(),
        };
        bench.expect("firmware one booted", 500);
        bench
    }

    /// Runs until a line comes, at most so many emulated milliseconds.
    fn expect(&mut self, line: &str, millis: u64) {
        if let Some(stop) = self.run_until_line(line, millis) {
            panic!("{stop} before {line:?} came:\n{}", self.log);
        }
    }

    /// The same; answers what came in between, if anything did.
    fn run_until_line(&mut self, line: &str, millis: u64) -> Option<Stop> {
        let end = self.board.time() + std::time::Duration::from_millis(millis);
        loop {
            let next = self.board.time() + std::time::Duration::from_millis(10);
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
        self.expect("done", 500);
    }

    /// Asks for the swap, without starting over.
    fn ask_for_swap(&mut self) {
        self.tell_and_expect(b'u');
    }

    fn slot_is(&self, name: &str) {
        assert!(
            self.board.flash()[range(PICO_W.active)] == firmware(name),
            "the slot that runs is not {name}"
        );
    }
}

#[test]
fn new_firmware_that_says_it_is_good_stays() {
    let mut bench = Bench::new();
    bench.ask_for_swap();
    bench.tell(b'r');
    bench.expect("firmware two swapped", SWAP);
    bench.slot_is("two");
    bench.tell_and_expect(b'g');
    bench.tell(b'r');
    bench.expect("firmware two booted", 500);
    bench.slot_is("two");
}

#[test]
fn new_firmware_that_hangs_is_taken_back() {
    let mut bench = Bench::new();
    bench.ask_for_swap();
    bench.tell(b'r');
    bench.expect("firmware two swapped", SWAP);
    // It is told nothing: nobody feeds the watchdog, which the bootloader has started.
    bench.expect("firmware one reverted", SWAP + 9_000);
    bench.slot_is("one");
    // What was taken back stays so.
    bench.tell(b'r');
    bench.expect("firmware one reverted", 500);
}

#[test]
fn new_firmware_that_faults_is_taken_back() {
    let mut bench = Bench::new();
    bench.ask_for_swap();
    bench.tell(b'r');
    bench.expect("firmware two swapped", SWAP);
    bench.tell(b'f');
    bench.expect("firmware one reverted", SWAP + 9_000);
    bench.slot_is("one");
}

/// Power goes dozens of times, in any operation of the flash and at any part of it, all through a swap and the way
/// back: in the end each has happened, whole.
#[test]
fn power_cuts_delay_a_swap_and_nothing_else() {
    let mut bench = Bench::new();
    bench.ask_for_swap();
    bench.tell(b'r');
    let random = &mut fastrand::Rng::with_seed(6);
    let swap = bench.run_with_cuts("firmware two swapped", random);
    bench.slot_is("two");
    let back = bench.run_with_cuts("firmware one reverted", random);
    bench.slot_is("one");
    println!("{swap} power cuts in the swap, {back} on the way back");
    assert!(swap > 25 && back > 25, "{swap} and {back} power cuts");
}

impl Bench {
    /// Runs until a line comes, with power cuts every hundred operations of the flash or so. Returns how many there were.
    fn run_with_cuts(&mut self, line: &str, random: &mut fastrand::Rng) -> u32 {
        let mut cuts = 0;
        loop {
            let number = self.board.flash_operations() + random.u64(1..300);
            let fraction = random.u8(..);
            self.board
                .cut_power_at(PowerCut::FlashOperation { number, fraction });
            match self.run_until_line(line, SWAP + 9_000) {
                None => return cuts,
                Some(Stop::PowerLost) => {
                    cuts += 1;
                    self.board.power_cycle();
                }
                Some(stop) => panic!("{stop} after {cuts} power cuts:\n{}", self.log),
            }
        }
    }
}

/// Power goes in each operation that asks for a swap: afterwards the old firmware runs, or the new one.
#[test]
fn power_cuts_while_a_swap_is_asked_for() {
    let mut bench = Bench::new();
    let snapshot = bench.board.snapshot();
    let before = bench.board.flash_operations();
    bench.ask_for_swap();
    let operations = bench.board.flash_operations() - before;
    assert!(operations > 0);
    for operation in 1..=operations {
        for fraction in [0, 1, 128, 255] {
            bench.board.restore(&snapshot).expect("there is no network");
            let number = before + operation;
            bench
                .board
                .cut_power_at(PowerCut::FlashOperation { number, fraction });
            bench.tell(b'u');
            assert_eq!(bench.run_until_line("done", 500), Some(Stop::PowerLost));
            bench.log.clear();
            bench.board.power_cycle();
            // Whether the swap was asked for shows at the end: a swap takes much longer than a start.
            if bench.run_until_line("firmware one booted", 1_000).is_some() {
                assert_eq!(operation, operations, "only the last one asks");
                bench.expect("firmware two swapped", SWAP);
                bench.slot_is("two");
            } else {
                bench.slot_is("one");
            }
        }
    }
}

#[test]
fn a_board_without_firmware_shows_its_drive() {
    let mut board = Board::new(Config::default());
    let program = Program::parse(&image().uf2()).expect("it is a UF2 file");
    board.load(&program).expect("it fits");
    board
        .write_memory(PICO_W.active.address(), &[0xff; SECTOR])
        .expect("there is flash");
    board.power_on();
    assert_eq!(
        board.run_until(Time::from_millis(500)),
        Stop::UsbBoot { bootable: true }
    );
}

/// New firmware and old: dragging an image onto a board ends a swap that was under way.
#[test]
fn dragging_an_image_ends_a_swap() {
    let mut bench = Bench::new();
    bench.ask_for_swap();
    bench.board.cut_power_at(PowerCut::FlashOperation {
        number: bench.board.flash_operations() + 1000,
        fraction: 9,
    });
    bench.tell(b'r');
    assert_eq!(bench.run_until_line("", SWAP), Some(Stop::PowerLost));
    bench
        .board
        .load(&Program::parse(&image().uf2()).expect("a UF2 file"))
        .expect("it fits");
    bench.board.power_cycle();
    let name = &bench.board.flash()[range(PICO_W.active)][PICO_W.active.length as usize - 16..][..3];
    let line = format!("firmware {} booted", String::from_utf8_lossy(name));
    bench.expect(&line, 500);
}

/// The ELF file has the same flash as the UF2, and the application's symbols.
#[test]
fn both_files_hold_the_same() {
    let [uf2, elf] = [image().uf2(), image().elf().expect("an ELF file")].map(|file| {
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
        .load(&Program::parse(&image().uf2()).expect("a UF2 file"))
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
    assert_eq!(of(0x11a9_bc3a), Some("test-application"), "{texts:x?}");
}
