//! Power is lost while a board takes new settings and starts over with them: it has the old ones or the new ones then, and runs.

use crate::{Bench, image};
use picolet_emulator::net::Local;
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Image as Program, PowerCut, Stop};
use picolet_store::layout::PICO_W;
use picolet_store::serial::PIECE;
use picolet_store::settings::{Settings, checksum};
use picolet_testbed::{PASSPHRASE, SSID};
use std::time::Duration;

/// The node's name in the settings before, and in those that are sent.
const OLD: &str = "old-1";
const NEW: &str = "new-1";
/// Cuts in the short form, and in the long one.
const FEW: u32 = 24;
const MANY: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(15);

/// A board, with what it said so far.
struct Desk {
    board: Board,
    uart: String,
    usb: String,
}

impl Desk {
    fn new(settings: &Program) -> Self {
        let air = Air::new(vec![AccessPoint::new(
            SSID,
            Security::Wpa2(PASSPHRASE.to_owned()),
        )]);
        let radio = Cyw43439::new(RadioConfig::default(), air, Local::new(1).link());
        let mut board = Board::new(Config {
            radio: Box::new(radio),
            ..Config::default()
        });
        let firmware = Program::parse(&image().uf2()).expect("it is a UF2 file");
        board.load(&firmware).expect("it fits");
        board.load(settings).expect("they fit");
        board.power_on();
        Self {
            board,
            uart: String::new(),
            usb: String::new(),
        }
    }

    /// Runs until `done`, at most until power is lost; whether it was done.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.board.time() + PATIENCE;
        while !done(self) {
            assert!(
                self.board.time() < end,
                "not within {PATIENCE:?}: {what}\nUART:\n{}\nUSB:\n{}",
                self.uart,
                self.usb
            );
            let stop = self.board.run_until(self.board.time() + Duration::from_millis(2));
            self.uart
                .push_str(&String::from_utf8_lossy(&self.board.take_uart(0)));
            self.usb
                .push_str(&String::from_utf8_lossy(&self.board.take_usb()));
            match stop {
                Stop::Reached => {}
                Stop::PowerLost => return false,
                stop => panic!("{what}: the board stopped: {stop}"),
            }
        }
        true
    }

    /// Types a request; whether it was answered before power was lost.
    fn ask(&mut self, request: &str) -> bool {
        let told = self.usb.len();
        self.board.feed_usb(format!("{request}\n").as_bytes());
        let answered = self.until(request, |desk| desk.usb[told..].contains("% ok"));
        assert!(!self.usb[told..].contains("% error"), "{}", self.usb);
        answered
    }

    /// Forgets what was said, and runs until the board has joined.
    fn expect_joined(&mut self) -> bool {
        self.uart.clear();
        self.until("joined", |desk| desk.uart.contains("joined"))
    }

    /// What is in flash; whole, or this fails.
    fn node_name(&self) -> String {
        let region = PICO_W.settings;
        let flash = &self.board.flash()[region.offset as usize..][..region.length as usize];
        let settings = Settings::read(flash).expect("settings that a board can read");
        settings.node_name().to_owned()
    }

    /// The last of what is done to a board with new settings: `commit` and `restart`, until it has joined with them.
    fn commit(&mut self) -> bool {
        self.ask("commit") && self.ask("restart") && self.expect_joined()
    }
}

#[test]
fn power_cuts_leave_old_settings_or_new_ones() {
    let bench = Bench::new();
    let settings = |name| bench.testbed.settings(name, &[]).expect("settings");
    let mut desk = Desk::new(&settings(NEW));
    let region = PICO_W.settings;
    let flash = desk.board.flash()[region.offset as usize..][..region.length as usize].to_vec();
    let entries = Settings::read(&flash).expect("settings").entries().to_vec();

    // A board with the old settings, and all of the new ones but their end.
    desk = Desk::new(&settings(OLD));
    assert!(desk.expect_joined() && desk.ask("hello"));
    assert!(desk.ask(&format!("begin {} {:08x}", entries.len(), checksum(&entries))));
    let mut offset = 0;
    for piece in entries.chunks(PIECE) {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(desk.ask(&format!("data {offset} {hex}")));
        offset += piece.len();
    }
    assert_eq!(desk.node_name(), OLD);
    let snapshot = desk.board.snapshot();
    let figures = |desk: &Desk| (desk.board.figures().instructions, desk.board.flash_operations());
    let begin = figures(&desk);
    assert!(desk.commit());
    assert_eq!(desk.node_name(), NEW);
    let end = figures(&desk);
    println!(
        "{} instructions and {} operations of the flash",
        end.0 - begin.0,
        end.1 - begin.1
    );
    assert!(end.1 > begin.1, "settings are written");

    let all = std::env::var_os("PICOLET_LONG_TESTS").is_some();
    let mut random = fastrand::Rng::with_seed(6);
    let (mut old, mut new) = (0, 0);
    for number in 0..if all { MANY } else { FEW } {
        desk.board
            .restore_with(&snapshot, Local::new(u64::from(number)).link());
        // A program or an erase takes few instructions and much time: half of the cuts are within one.
        desk.board.cut_power_at(if number % 2 == 0 {
            PowerCut::Instruction(random.u64(begin.0..end.0))
        } else {
            PowerCut::FlashOperation {
                number: random.u64(begin.1 + 1..=end.1),
                fraction: random.u8(..),
            }
        });
        assert!(!desk.commit(), "cut {number} did not happen");
        // Power comes back.
        desk.board.power_cycle();
        assert!(desk.expect_joined(), "cut {number}");
        match &*desk.node_name() {
            OLD => old += 1,
            NEW => new += 1,
            name => panic!("cut {number}: {name}"),
        }
    }
    println!("old settings after {old} cuts, new ones after {new}");
    assert!(
        old > 0 && new > 0,
        "cuts before and after the settings are written"
    );
}
