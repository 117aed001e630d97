//! What the shipped image of a Pico W does beside being a node: it takes settings over USB, tells its log, shows by its LED how it
//! is, and keeps in flash what the next run must know.

mod identity;

use picolet_emulator::Image as Program;
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_store::layout::IMAGE_OFFSET;
use picolet_store::layout::{PICO_W, Region};
use picolet_store::serial::{PIECE, VERSION};
use picolet_store::settings::{Field, SLOT, Settings, checksum};
use picolet_testbed::{Options, PASSPHRASE, SERVER, SERVER_PORT, Testbed};
use std::sync::OnceLock;
use std::time::Duration;

const NODE: &str = "pico-1";
/// Many times what it takes.
const READY: Duration = Duration::from_secs(15);
/// Nanoseconds at which the board gets power, by the cluster's clock: 2030-01-01T00:00:00Z.
const EPOCH: u128 = 1_893_456_000_000_000_000;
/// The entry of the interrupt of the timer's first alarm, by which embassy keeps time: RP2040 datasheet 2.3.2.
const TIMER_VECTOR: u32 = PICO_W.slots[0].address() + IMAGE_OFFSET + 4 * 16;

/// A board with the file that a user drags onto it. One at a time, as testbeds are.
struct Bench {
    testbed: Testbed,
    image: &'static [u8],
    /// What came over UART 0 and over USB since the board got power.
    uart: String,
    usb: String,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
        let image = IMAGE.get_or_init(|| {
            let image = Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here);
            image.expect("the image is built").uf2().expect("a UF2 file")
        });
        let testbed = Testbed::new(options).expect("certificates");
        let mut bench = Self {
            testbed,
            image,
            uart: String::new(),
            usb: String::new(),
        };
        bench.flash();
        bench
    }

    /// Has the image dragged onto it.
    fn flash(&mut self) {
        let firmware = Program::parse(self.image).expect("it is a UF2 file");
        self.testbed.board.load(&firmware).expect("it fits");
    }

    /// One with settings that are dragged onto it, `more` beside what every node needs.
    fn with_settings(more: &[(Field, &[u8])]) -> Self {
        let mut bench = Self::new();
        let settings = bench.testbed.settings(NODE, more).expect("settings");
        bench.testbed.board.load(&settings).expect("they fit");
        bench
    }

    /// Runs until `done`, which must be within `limit`.
    fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&mut Testbed, &str, &str) -> bool) {
        let Self {
            testbed, uart, usb, ..
        } = self;
        let result = testbed.until(limit, |testbed| {
            uart.push_str(&String::from_utf8_lossy(&testbed.board.take_uart(0)));
            usb.push_str(&String::from_utf8_lossy(&testbed.board.take_usb()));
            done(testbed, uart, usb)
        });
        assert!(
            result.as_ref().is_ok_and(Option::is_some),
            "{what}: not within {limit:?} ({result:?})\nUART 0:\n{uart}\nUSB:\n{usb}"
        );
    }

    fn expect_ready(&mut self) {
        let before = self.testbed.connections();
        self.until(READY, "Ready", |testbed, _, _| {
            testbed.connections() > before && testbed.is_ready(NODE)
        });
    }

    fn expect_on_uart(&mut self, words: &str) {
        self.until(READY, words, |_, uart, _| uart.contains(words));
    }

    /// How often the LED goes on in so many milliseconds.
    fn flashes(&mut self, millis: u64) -> u32 {
        let (mut count, mut before) = (0, true);
        let end = self.testbed.now() + Duration::from_millis(millis);
        self.until(Duration::from_millis(2 * millis), "it runs", |testbed, _, _| {
            let lit = testbed.board.radio().status().gpio & 1 != 0;
            count += u32::from(lit && !before);
            before = lit;
            testbed.now() >= end
        });
        count
    }

    /// Types a request and returns the answer.
    fn ask(&mut self, request: &str) -> String {
        let told = self.usb.len();
        self.testbed.board.feed_usb(format!("{request}\n").as_bytes());
        let mut answer = None;
        self.until(READY, request, |_, _, usb| {
            let mut lines = usb[told..].split_inclusive('\n');
            answer = lines.find_map(|line| line.strip_prefix("% ")?.strip_suffix("\r\n").map(str::to_owned));
            answer.is_some()
        });
        answer.expect("it was waited for")
    }

    fn region(&self, region: Region) -> &[u8] {
        &self.testbed.board.flash()[region.offset as usize..][..region.length as usize]
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.testbed
            .board
            .write_memory(address, bytes)
            .expect("there is flash");
    }
}

/// The entries of settings, as `picolet provision --serial` sends them.
fn entries(bench: &mut Bench) -> Vec<u8> {
    let settings = bench.testbed.settings(NODE, &[]).expect("settings");
    bench.testbed.board.load(&settings).expect("they fit");
    let entries = Settings::read(bench.region(PICO_W.settings))
        .expect("settings")
        .entries()
        .to_vec();
    bench.write(
        PICO_W.settings.address(),
        &vec![0xff; PICO_W.settings.length as usize],
    );
    entries
}

#[test]
fn a_board_without_settings_says_so_and_is_told_over_usb() {
    let mut bench = Bench::new();
    let entries = entries(&mut bench);
    bench.testbed.board.power_on();
    let advice = "there are no settings; send some with `picolet provision --serial`";
    bench.until(READY, advice, |_, uart, usb| {
        uart.contains(advice) && usb.contains(advice)
    });
    bench
        .testbed
        .run_for(Duration::from_secs(2))
        .expect("the radio starts");
    assert_eq!(bench.flashes(10_000), 10, "two flashes in two seconds");
    assert_eq!(bench.testbed.connections(), 0);

    assert_eq!(bench.ask("hello"), format!("ok picolet {VERSION} pico-w"));
    assert!(bench.ask("show passphrase").starts_with("error unknown request"));
    let begin = format!("begin {} {:08x}", entries.len(), checksum(&entries));
    assert_eq!(bench.ask(&begin), "ok begin");
    let mut offset = 0;
    for piece in entries.chunks(PIECE) {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = bench.ask(&format!("data {offset} {hex}"));
        offset += piece.len();
        assert_eq!(said, format!("ok data {offset}"));
    }
    assert_eq!(bench.ask("commit"), "ok commit");
    for slot in bench.region(PICO_W.settings).chunks(SLOT) {
        assert_eq!(Settings::read_block(slot).expect("settings").entries(), entries);
    }
    assert_eq!(bench.ask("restart"), "ok restart");
    bench.expect_ready();
    assert!(bench.uart.contains("started by software"));
    bench.testbed.run_for(Duration::from_secs(2)).expect("it runs");
    assert_eq!(
        bench.flashes(2_000),
        0,
        "the configuration's, of which there is none"
    );

    // Nothing that was typed came back, on whatever way.
    for (name, told) in [("UART 0", &bench.uart), ("USB", &bench.usb)] {
        for secret in [
            PASSPHRASE.to_owned(),
            PASSPHRASE.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ] {
            assert!(!told.contains(&secret), "{name} tells {secret}:\n{told}");
        }
        assert!(
            !told.contains("data 0 "),
            "{name} repeats what was typed:\n{told}"
        );
    }

    // The API server is gone.
    bench.testbed.network.stop_serving(SERVER_PORT);
    bench.testbed.cluster.cut_connections();
    bench.testbed.run_for(Duration::from_secs(60)).expect("it runs");
    assert!(
        (12..=20).contains(&bench.flashes(2_000)),
        "trouble: eight times a second"
    );
}

#[test]
fn a_crash_is_told_with_its_place_and_the_log_outlives_it() {
    let mut bench = Bench::with_settings(&[]);
    // On a charger: there is nobody who reads.
    bench.testbed.board.set_usb_attached(false);
    bench.testbed.board.power_on();
    bench.expect_ready();
    assert!(bench.uart.contains("started by power-on") && bench.usb.is_empty());
    // The settings were dragged into the first slot alone, and are in both since.
    let (first, second) = bench.region(PICO_W.settings).split_at(SLOT);
    assert_eq!(
        Settings::read_block(first).expect("settings").entries(),
        Settings::read_block(second).expect("settings").entries()
    );

    // A handler that is where no memory is.
    let good = bench.testbed.board.read_memory(TIMER_VECTOR, 4).expect("flash");
    bench.testbed.board.set_usb_attached(true);
    bench.write(TIMER_VECTOR, &0xf000_0001_u32.to_le_bytes());
    let resets = bench.testbed.board.figures().resets;
    bench.until(Duration::from_secs(5), "a reset", |testbed, _, _| {
        testbed.board.figures().resets > resets
    });
    bench.write(TIMER_VECTOR, &good);
    let place = "the run before ended: fault at 0xf0000000";
    bench.usb.clear();
    bench.until(READY, place, |_, uart, usb| {
        uart.contains(place) && usb.contains(place)
    });
    assert!(
        bench.usb.contains("started by power-on") && bench.usb.contains("started by panic"),
        "the console has the log of both runs:\n{}",
        bench.usb
    );
    bench.expect_ready();
    bench.until(READY, "an Event", |testbed, _, _| {
        let events = testbed.cluster.list("events", "", "", "").expect("events");
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "Crashed" && message.starts_with("The run before ended: fault at 0xf0000000")
        })
    });
    let (_, metrics) = bench.testbed.get("/metrics").expect("metrics");
    assert!(metrics.contains("picolet_reset_info{reason=\"panic\"}"));
}

#[test]
fn the_radio_keeps_the_rules_of_the_country_in_the_settings() {
    for (settings, country) in [
        (None, "XX"),
        (Some("DE"), "DE"),
        // There are rules for Korea in revision 0 alone, and none for Finland.
        (Some("KR"), "KR"),
        (Some("FI"), "XX"),
    ] {
        let more = settings.map(|country| (Field::Country, country.as_bytes()));
        let mut bench = Bench::with_settings(more.as_slice());
        bench.testbed.board.power_on();
        bench.expect_on_uart("joined");
        assert_eq!(bench.testbed.country().as_deref(), Some(country), "{settings:?}");
        let known = !bench.uart.contains("the radio does not know the country");
        assert_eq!(known, settings != Some("FI"), "{}", bench.uart);
    }
}

#[test]
fn what_was_certain_once_is_kept_over_a_reset() {
    let number = 7_u64.to_le_bytes();
    let gateway = SERVER.octets();
    let more: [(Field, &[u8]); 4] = [
        (Field::ResetIdentity, &number),
        (Field::Address, &[10, 0, 2, 15, 24]),
        (Field::Gateway, &gateway),
        (Field::Dns, &[10, 0, 2, 3]),
    ];
    let mut bench = Bench::with_settings(&more);
    bench.testbed.board.power_on();
    bench.expect_ready();
    assert!(bench.uart.contains("the device has forgotten who it is"));
    assert!(bench.uart.contains("address 10.0.2.15"), "{}", bench.uart);
    // The time is kept after a minute.
    bench.testbed.run_for(Duration::from_secs(70)).expect("it runs");
    assert!(bench.testbed.is_ready(NODE));
    bench.expect_on_uart("stack at most ");
    let figures = bench.uart.split("stack at most ").last().expect("figures");
    let mut figures = figures
        .split(|other: char| !other.is_ascii_digit())
        .filter_map(|one| one.parse().ok());
    let (used, whole): (u32, u32) = figures.next().zip(figures.next()).expect("two figures");
    println!("stack at most {used} of {whole}");
    assert!(
        8 * used <= 7 * whole,
        "an eighth of the stack is kept for longer certificates: {used} of {whole}"
    );

    // A time server that lies by a day, though not by years.
    let day = 24 * 3600 * 1_000_000_000;
    bench.testbed.network.set_clock(EPOCH - day);
    bench.uart.clear();
    bench.testbed.board.reset();
    bench.expect_on_uart("refused: it is before a time that was confirmed");
    bench.expect_on_uart("from the API server");
    bench.testbed.run_for(READY).expect("it runs");
    assert!(!bench.uart.contains("no time server answers"), "{}", bench.uart);
    let node = bench.testbed.cluster.get("nodes", "", NODE).expect("the node");
    let conditions = node["status"]["conditions"].as_array().expect("conditions");
    let synced = conditions
        .iter()
        .find(|condition| condition["type"] == "TimeSynced");
    assert!(bench.testbed.is_ready(NODE) && synced.is_some(), "{conditions:?}");
    assert!(
        !bench.uart.contains("forgotten"),
        "once for a number:\n{}",
        bench.uart
    );
}
