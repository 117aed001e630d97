//! Power is lost while a board takes new settings and starts over with them: it has the old ones or the new ones then, and runs.
//!
//! All that a loss of power leaves is what is in flash, and that is the same from the end of one operation of the flash to the next, at
//! whatever instruction power goes. So the board goes through it once, undisturbed; each cut is made in a copy of it, taken at most a
//! step before; and of all cuts that leave the same in flash one boot tells, of a board that has this flash and nothing else.
//! What this rests on is checked: the board is found where it was in the run before at each step, and every tenth of the boards that lost
//! their power gets it back, whatever others have told of the same flash.

use crate::{Bench, image_file};
use picolet_emulator::net::Local;
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Image as Program, PowerCut, Stop};
use picolet_store::layout::PICO_W;
use picolet_store::serial::PIECE;
use picolet_store::settings::{Settings, checksum};
use picolet_testbed::{PASSPHRASE, SSID};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The node's name in the settings before, and in those that are sent.
const OLD: &str = "old-1";
const NEW: &str = "new-1";
/// Cuts in the short form, and in the long one.
const FEW: usize = 24;
const MANY: usize = 1000;
/// How many cuts there are to a line of progress, and to one whose own board boots too.
const LINE: usize = 50;
const AGAIN: usize = 10;
const PATIENCE: Duration = Duration::from_secs(15);
/// How far a board runs at once.
const STEP: Duration = Duration::from_millis(2);
const SECTOR: usize = 4096;

/// A loss of power, as it can be made again.
struct Cut {
    number: usize,
    at: PowerCut,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut {}: ", self.number)?;
        match self.at {
            PowerCut::Instruction(number) => write!(f, "before instruction {number}"),
            PowerCut::FlashOperation { number, fraction } => {
                write!(f, "after {fraction}/256 of operation {number} of the flash")
            }
        }
    }
}

/// How far a board has come.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    instructions: u64,
    operations: u64,
}

impl Place {
    fn of(board: &Board) -> Self {
        Self {
            instructions: board.figures().instructions,
            operations: board.flash_operations(),
        }
    }

    /// Whether power is still there at this place.
    fn is_before(self, cut: PowerCut) -> bool {
        match cut {
            PowerCut::Instruction(number) => self.instructions <= number,
            PowerCut::FlashOperation { number, .. } => self.operations < number,
        }
    }
}

/// A board, with what it said so far.
struct Desk {
    /// What has happened to it, for a person who reads that it failed.
    story: String,
    board: Board,
    uart: String,
    usb: String,
}

impl Desk {
    /// A board without power, and with nothing in its flash.
    fn new(story: String) -> Self {
        let air = Air::new(vec![AccessPoint::new(
            SSID,
            Security::Wpa2(PASSPHRASE.to_owned()),
        )]);
        let radio = Cyw43439::new(RadioConfig::default(), air, Local::new(1).link());
        Self {
            story,
            board: Board::new(Config {
                radio: Box::new(radio),
                ..Config::default()
            }),
            uart: String::new(),
            usb: String::new(),
        }
    }

    fn with_settings(story: &str, settings: &Program) -> Self {
        let mut desk = Self::new(story.to_owned());
        let firmware = Program::parse(&image_file()).expect("it is a UF2 file");
        desk.board.load(&firmware).expect("it fits");
        desk.board.load(settings).expect("they fit");
        desk.board.power_on();
        desk
    }

    fn with_flash(story: String, flash: &[u8]) -> Self {
        let mut desk = Self::new(story);
        desk.board.set_flash(flash).expect("it is as large");
        desk.board.power_on();
        desk
    }

    /// Runs until `done`; `look` is shown the board before each step.
    fn until(&mut self, what: &str, look: &mut dyn FnMut(&Board), mut done: impl FnMut(&Self) -> bool) {
        let end = self.board.time() + PATIENCE;
        while !done(self) {
            look(&self.board);
            let stop = self.board.run_until(self.board.time() + STEP);
            self.uart
                .push_str(&String::from_utf8_lossy(&self.board.take_uart(0)));
            self.usb
                .push_str(&String::from_utf8_lossy(&self.board.take_usb()));
            assert!(
                stop == Stop::Reached && self.board.time() < end,
                "{}: not within {PATIENCE:?}: {what} ({stop})\nUART:\n{}\nUSB:\n{}",
                self.story,
                self.uart,
                self.usb
            );
        }
    }

    /// Types a request, and waits for the answer.
    fn ask(&mut self, request: &str, look: &mut dyn FnMut(&Board)) {
        let told = self.usb.len();
        self.board.feed_usb(format!("{request}\n").as_bytes());
        self.until(request, look, |desk| {
            let answer = &desk.usb[told..];
            assert!(!answer.contains("% error"), "{request}: {answer}");
            answer.contains("% ok")
        });
    }

    /// Forgets what was said, and runs until the board has joined.
    fn join(&mut self, look: &mut dyn FnMut(&Board)) {
        self.uart.clear();
        self.until("joined", look, |desk| desk.uart.contains("joined"));
    }

    /// The last of what is done to a board with new settings: `commit` and `restart`, until it has joined with them. Returns where
    /// the board had said that they are written.
    fn commit(&mut self, look: &mut dyn FnMut(&Board)) -> Place {
        self.ask("commit", look);
        let committed = Place::of(&self.board);
        self.ask("restart", look);
        self.join(look);
        committed
    }

    /// Whose settings are in flash; whole, or this fails.
    fn node_name(&self) -> String {
        let region = PICO_W.settings;
        let flash = &self.board.flash()[region.offset as usize..][..region.length as usize];
        match Settings::read(flash) {
            Ok(settings) => settings.node_name().to_owned(),
            Err(error) => panic!("{}: {error}", self.story),
        }
    }
}

fn ignore(_: &Board) {}

/// The sectors that are not as they were.
fn changes(before: &[u8], after: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let sectors = before.chunks(SECTOR).zip(after.chunks(SECTOR)).enumerate();
    let changed = sectors.filter(|(_, (before, after))| before != after);
    changed
        .map(|(number, (_, after))| (number, after.to_vec()))
        .collect()
}

/// What the cuts have come to so far.
#[derive(Default)]
struct Tally {
    /// What was found in flash after a cut, as its [`changes`].
    contents: HashMap<Vec<(usize, Vec<u8>)>, usize>,
    /// Whose settings a board had that started with it.
    names: Vec<Option<String>>,
    /// The numbers of the cuts, and what each left.
    cuts: Vec<(usize, usize)>,
}

impl Tally {
    /// Returns the number of this content, and whether it is the first time that it is seen.
    fn add(&mut self, cut: &Cut, changes: Vec<(usize, Vec<u8>)>) -> (usize, bool) {
        let number = self.names.len();
        let content = *self.contents.entry(changes).or_insert(number);
        if content == number {
            self.names.push(None);
        }
        self.cuts.push((cut.number, content));
        (content, content == number)
    }

    fn learn(&mut self, (name, story, content): (String, String, usize)) {
        assert!([OLD, NEW].contains(&&*name), "{story}: the settings of {name}");
        let known = self.names[content].get_or_insert_with(|| name.clone());
        assert_eq!(*known, name, "{story}: what another board made of the same flash");
    }

    /// After how many cuts there were old settings, and after how many new ones.
    fn settings(&self) -> (usize, usize) {
        let count = |name| {
            let is = |cut: &&(usize, usize)| self.names[cut.1].as_deref() == Some(name);
            self.cuts.iter().filter(is).count()
        };
        (count(OLD), count(NEW))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = self.settings();
        write!(
            f,
            "{} cuts, {} different contents of the flash: old settings after {old} cuts, new ones after {new}",
            self.cuts.len(),
            self.names.len()
        )
    }
}

#[test]
fn power_cuts_leave_old_settings_or_new_ones() {
    let bench = Bench::new();
    let settings = |name| bench.testbed.settings(name, &[]).expect("settings");
    let region = PICO_W.settings;
    let new = Desk::with_settings("new settings", &settings(NEW));
    let flash = &new.board.flash()[region.offset as usize..][..region.length as usize];
    let entries = Settings::read(flash).expect("settings").entries().to_vec();

    // A board with the old settings, and all of the new ones but their end.
    let mut desk = Desk::with_settings("no cut", &settings(OLD));
    desk.join(&mut ignore);
    desk.ask("hello", &mut ignore);
    let begin = format!("begin {} {:08x}", entries.len(), checksum(&entries));
    desk.ask(&begin, &mut ignore);
    for (number, piece) in entries.chunks(PIECE).enumerate() {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        desk.ask(&format!("data {} {hex}", number * PIECE), &mut ignore);
    }
    assert_eq!(desk.node_name(), OLD);
    let snapshot = desk.board.snapshot();
    let flash = desk.board.flash().to_vec();

    // Where it comes by, step by step.
    let mut places = Vec::new();
    desk.board.restore_with(&snapshot, Local::new(1).link());
    let committed = desk.commit(&mut |board| places.push(Place::of(board)));
    places.push(Place::of(&desk.board));
    assert_eq!(desk.node_name(), NEW);
    let (begin, end) = (places[0], places[places.len() - 1]);
    println!(
        "{} instructions and {} operations of the flash",
        end.instructions - begin.instructions,
        end.operations - begin.operations
    );
    assert!(
        committed.operations > begin.operations,
        "settings are written before that is said"
    );

    let all = std::env::var_os("PICOLET_LONG_TESTS").is_some();
    let mut random = fastrand::Rng::with_seed(6);
    let cuts: Vec<Cut> = (0..if all { MANY } else { FEW })
        .map(|number| Cut {
            number,
            // A program or an erase takes few instructions and much time: half of the cuts are within one.
            at: if number % 2 == 0 {
                PowerCut::Instruction(random.u64(begin.instructions..end.instructions))
            } else {
                PowerCut::FlashOperation {
                    number: random.u64(begin.operations + 1..=end.operations),
                    fraction: random.u8(..),
                }
            },
        })
        .collect();

    let mut tally = Tally::default();
    let start = Instant::now();
    let (boards, waiting) = mpsc::sync_channel::<(Desk, usize)>(2);
    let (told, names) = mpsc::channel();
    let waiting = Arc::new(Mutex::new(waiting));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            let (waiting, told) = (Arc::clone(&waiting), told.clone());
            scope.spawn(move || {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((mut desk, content)) = next() {
                    desk.join(&mut ignore);
                    let told = told.send((desk.node_name(), desk.story, content));
                    told.expect("the test waits for it");
                }
            });
        }
        // They are the workers' alone: when all of these have failed, the test ends too.
        drop((waiting, told));
        let boot = |desk, content| boards.send((desk, content)).expect("a board has joined");

        let mut steps = places.windows(2);
        desk.board.restore_with(&snapshot, Local::new(1).link());
        desk.commit(&mut |board| {
            let Some(&[here, next]) = steps.next() else {
                panic!("this run is longer than the one before");
            };
            assert_eq!(Place::of(board), here, "each run is the same");
            let within = |cut: &&Cut| here.is_before(cut.at) && !next.is_before(cut.at);
            let mut due = cuts.iter().filter(within).peekable();
            let Some(_) = due.peek() else { return };
            let copy = board.snapshot();
            for cut in due {
                let mut probe = Desk::new(format!("{cut}, its own board"));
                probe.board.restore_with(&copy, Local::new(1).link());
                probe.board.cut_power_at(cut.at);
                let stop = probe.board.run_until(board.time() + PATIENCE);
                assert_eq!(stop, Stop::PowerLost, "{cut}");
                let (content, first) = tally.add(cut, changes(&flash, probe.board.flash()));
                if first {
                    let flash = probe.board.flash();
                    boot(
                        Desk::with_flash(format!("{cut}, a board with its flash"), flash),
                        content,
                    );
                }
                if cut.number % AGAIN == 0 {
                    probe.board.power_cycle();
                    boot(probe, content);
                }
                if tally.cuts.len() % LINE == 0 {
                    names.try_iter().for_each(|name| tally.learn(name));
                    println!("{tally}, {} s", start.elapsed().as_secs());
                }
            }
        });
        drop(boards);
        names.iter().for_each(|name| tally.learn(name));
    });
    println!("{tally}, {} s", start.elapsed().as_secs());
    assert_eq!(tally.cuts.len(), cuts.len(), "all were made");
    for &(number, content) in &tally.cuts {
        let cut = &cuts[number];
        let name = tally.names[content].as_deref();
        assert!(name.is_some(), "{cut}: nobody has tried its flash");
        assert!(
            name == Some(NEW) || !committed.is_before(cut.at),
            "{cut}: the board had said that the new settings are written"
        );
    }
    let (old, new) = tally.settings();
    assert!(
        old > 0 && new > 0,
        "cuts before and after the settings are written"
    );
}
