//! A model check: every state that a board can reach, with every reset and the power cut at every flash operation.
//!
//! A [`World`] is the boot log, what lies in both slots, what runs, and a record of what happened that the log does not have.
//! From each world every action is tried: what firmware may do, resets of all causes, and for whatever writes to the log a cut of
//! the power in each of its operations, torn in all ways. A world without power starts by power-on, where the power is cut again, so any
//! number of cuts in a row is covered. The log's sectors have [`PLACES`] entries here instead of 256, so that every second entry erases.
//!
//! Worlds that differ in what cannot matter are one: sequence numbers count from the last entry, a torn place is a torn place,
//! superseded entries say the worst that they could say, and of the two firmwares the confirmed one has the number 0.

use crate::flash::{Flash, Tear};
use crate::format::encode;
use picolet_boot::{
    BootLog, ContentName, ENTRY, MAX_ATTEMPTS, MAX_RESTARTS, Reason, ResetCause, Slot, Start, State, start,
};
use std::collections::HashSet;

const PLACES: usize = 2;
const SECTOR: usize = PLACES * ENTRY;

/// What lies in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Content {
    /// Nothing that looks like an image.
    Erased,
    /// A header and a vector table, and anything else: a slot half written, or an attacker's.
    Hostile,
    /// Verified firmware, by a number.
    Firmware(u8),
}

impl Content {
    const ALL: [Self; 4] = [Self::Erased, Self::Hostile, Self::Firmware(0), Self::Firmware(1)];

    fn name(self) -> Option<ContentName> {
        match self {
            Self::Firmware(number) => Some(ContentName::from_digest(&[0xa0 + number; 32])),
            _ => None,
        }
    }

    /// The same with the numbers of both firmwares exchanged.
    fn renamed(self) -> Self {
        match self {
            Self::Firmware(number) => Self::Firmware(1 - number),
            content => content,
        }
    }
}

/// What is in a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Blank,
    Torn,
    /// A whole entry before the last one.
    Superseded,
    Last,
}

/// What happened, as an observer of all writes knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct History {
    /// The slot holds what the UF2 file or a trial entry put there, unchanged since.
    approved: [bool; 2],
    /// The same, and it was confirmed.
    proven: [bool; 2],
    /// Reverts since the last trial entry.
    reverts: u8,
    /// Somebody erased a slot past the firmware.
    is_damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    places: [[Place; PLACES]; 2],
    /// What the last entry says.
    state: State,
    content: [Content; 2],
    /// The slot that runs; `None` without power.
    running: Option<Slot>,
    history: History,
}

/// What writes to the log.
#[derive(Clone, Copy, Debug)]
enum Write {
    Scratch,
    Trial(ContentName),
    Repeat(ContentName),
    Restart,
    Confirm,
    Revert,
    Boot(ResetCause),
}

/// What superseded entries could do the most harm with, were one taken for the last one.
fn worst(state: State) -> State {
    State {
        confirmed: state.confirmed.other(),
        trial: None,
        scratch: [false; 2],
        reason: Reason::NONE,
        round: 0,
        name: None,
    }
}

impl World {
    /// The sequence number of the last entry, 0 without one, and that of each place.
    fn sequences(&self) -> (u32, [[u32; PLACES]; 2]) {
        let is_last = |sector: usize| self.places[sector].contains(&Place::Last);
        let mut sequences = [[0; PLACES]; 2];
        let mut last = 0;
        for (sector, places) in self.places.iter().enumerate() {
            let first = if is_last(sector) { 200 } else { 100 };
            for (place, kind) in places.iter().enumerate() {
                sequences[sector][place] = first + place as u32;
                if *kind == Place::Last {
                    last = first + place as u32;
                }
            }
        }
        (last, sequences)
    }

    fn flash(&self) -> Flash<SECTOR> {
        let (_, sequences) = self.sequences();
        let mut flash = Flash::blank();
        for (index, bytes) in flash.bytes.chunks_mut(ENTRY).enumerate() {
            let (sector, place) = (index / PLACES, index % PLACES);
            let sequence = sequences[sector][place];
            bytes.copy_from_slice(&match self.places[sector][place] {
                Place::Blank => [0xff; ENTRY],
                Place::Torn => [0x55; ENTRY],
                Place::Superseded => encode(sequence, &worst(self.state)),
                Place::Last => encode(sequence, &self.state),
            });
        }
        flash
    }

    /// All that may happen next.
    fn successors(&self, found: &mut Vec<World>) {
        let Some(running) = self.running else {
            self.write(Write::Boot(ResetCause::External), found);
            return;
        };
        for cause in [ResetCause::External, ResetCause::Watchdog, ResetCause::Forced] {
            self.write(Write::Boot(cause), found);
        }
        for write in [Write::Scratch, Write::Restart, Write::Confirm, Write::Revert] {
            self.write(write, found);
        }
        // Firmware verifies the other slot from flash before it asks for a trial.
        let other = running.other();
        if let Some(name) = self.content[other.index()].name() {
            self.write(Write::Trial(name), found);
            self.write(Write::Repeat(name), found);
        }
        if let Some(slot) = self.state.writable(running) {
            assert_eq!(slot, other, "firmware never writes to the slot that it runs in");
            for content in Content::ALL {
                found.push(self.with_content(slot, content));
            }
        }
        if !self.history.is_damaged {
            for slot in [Slot::A, Slot::B] {
                let mut world = self.with_content(slot, Content::Erased);
                world.history.is_damaged = true;
                found.push(world);
            }
        }
    }

    fn with_content(&self, slot: Slot, content: Content) -> World {
        let mut world = *self;
        world.content[slot.index()] = content;
        world.history.approved[slot.index()] = false;
        world.history.proven[slot.index()] = false;
        world
    }

    /// What the firmware that runs would append, if the rules let it.
    fn next(&self, write: Write) -> Option<State> {
        let running = self.running?;
        let state = self.state;
        let next = match write {
            Write::Scratch => state.mark_scratch(running),
            Write::Trial(name) => state.start_trial(running, name),
            Write::Repeat(name) => state.repeat_trial(running, name),
            Write::Restart => state.request_restart(running),
            Write::Confirm => state.confirm(running),
            Write::Revert => state.revert(running, Reason::NOT_READY),
            Write::Boot(_) => return None,
        };
        next.ok()
    }

    /// Writes to the log without a power cut, and with a cut in each operation.
    fn write(&self, write: Write, found: &mut Vec<World>) {
        let next = self.next(write);
        if next.is_none() && !matches!(write, Write::Boot(_)) {
            return;
        }
        let flash = self.flash();
        let (world, operations) = self.attempt(write, next, flash.clone(), None);
        found.push(world);
        for operation in 0..operations {
            for tear in Tear::ALL {
                let cut = Some((operation, tear));
                found.push(self.attempt(write, next, flash.clone(), cut).0);
            }
        }
    }

    /// Writes to the log and checks what came of it. Returns the world afterwards and the number of operations.
    fn attempt(
        &self,
        write: Write,
        next: Option<State>,
        mut flash: Flash<SECTOR>,
        cut: Option<(usize, Tear)>,
    ) -> (World, usize) {
        let context = || format!("{write:?}, cut {cut:?}, {self:#?}");
        flash.cut = cut;
        let mut started = None;
        if let Write::Boot(cause) = write {
            let has_image = self.content.map(|content| content != Content::Erased);
            started = start(&mut flash, cause, has_image).ok();
        } else if let Some(next) = next {
            let log = BootLog::open(&mut flash);
            let result = log.expect("the flash can be read").append(next);
            assert_eq!(result.is_ok(), cut.is_none(), "{}", context());
        }
        let operations = flash.operations;
        assert!(operations <= 2, "more than an erase and an entry: {}", context());
        (flash.cut, flash.is_off) = (None, false);
        let log = BootLog::open(&mut flash).expect("the flash can be read");
        let (after, last) = (log.state(), log.sequence());

        // The entry was written or it was not, and the sequence number grows by one.
        let (before, sequence) = (self.state, self.sequences().0);
        let is_new = last != sequence;
        assert!(
            last == sequence && after == before || last == sequence + 1,
            "an entry is lost: {}",
            context()
        );
        if let Some(next) = next {
            assert!(after == before || after == next, "{}", context());
            assert!(cut.is_some() || after == next, "{}", context());
        }
        let mut world = *self;
        world.state = after;
        world.update_places(&flash.bytes, is_new.then_some(last), &context);
        if is_new {
            world.record(write, before);
            assert!(
                world.history.reverts <= 1,
                "two reverts of one trial: {}",
                context()
            );
        }
        world.running = match (cut, write, started) {
            (Some(_), ..) => None,
            (None, Write::Boot(cause), Some(start)) => self.check_start(&world, cause, is_new, start),
            (None, Write::Boot(_), None) => panic!("the flash can be read"),
            (None, ..) => self.running,
        };
        (world.renumbered(), operations)
    }

    /// Finds out what is in each place now. `last` is the sequence number of a new last entry.
    fn update_places(&mut self, flash: &[u8], last: Option<u32>, context: &impl Fn() -> String) {
        let before = self.places;
        let (_, sequences) = self.sequences();
        let new = last.map(|last| encode(last, &self.state));
        let mut is_found = new.is_none();
        for (index, bytes) in flash.chunks(ENTRY).enumerate() {
            let (sector, place) = (index / PLACES, index % PLACES);
            let is_whole = bytes[12..] == crate::format::crc32(&bytes[..12]).to_le_bytes();
            self.places[sector][place] = if new.is_some_and(|new| new == bytes) {
                is_found = true;
                Place::Last
            } else if bytes.iter().all(|byte| *byte == 0xff) {
                Place::Blank
            } else if !is_whole {
                Place::Torn
            } else {
                let number = sequences[sector][place].to_le_bytes();
                assert_eq!(bytes[..4], number, "{}", context());
                match before[sector][place] {
                    Place::Last if new.is_some() => Place::Superseded,
                    kind => kind,
                }
            };
        }
        assert!(is_found, "the last entry is nowhere: {}", context());
    }

    /// Takes note of a new entry after `before`.
    fn record(&mut self, write: Write, before: State) {
        let after = self.state;
        let history = &mut self.history;
        if let (Write::Trial(name) | Write::Repeat(name), Some(slot)) = (write, after.trial_slot()) {
            assert_eq!(self.content[slot.index()].name(), Some(name));
            assert_eq!(after.name, Some(name));
            history.approved[slot.index()] = true;
            history.reverts = 0;
        }
        if before.trial.is_some() && after.trial.is_none() {
            if after.confirmed == before.confirmed {
                history.reverts += 1;
            } else {
                history.proven[after.confirmed.index()] = true;
            }
        }
    }

    /// Checks what the bootloader starts in this world, with `after` as the outcome, and returns the slot that runs.
    fn check_start(&self, after: &World, cause: ResetCause, is_new: bool, started: Start) -> Option<Slot> {
        let context = || format!("{cause:?} starts {started:?} in {self:#?}");
        let before = self.state;
        let (state, history) = (after.state, after.history);
        let slot = match started {
            Start::Slot(slot) => slot,
            Start::UsbDrive => {
                assert!(
                    history.is_damaged,
                    "a slot with valid firmware starts: {}",
                    context()
                );
                let content = self.content[before.confirmed.index()];
                assert_eq!(content, Content::Erased, "{}", context());
                let other = before.confirmed.other();
                let is_good =
                    history.proven[other.index()] && before.trial.is_none() && !before.is_scratch(other);
                assert!(!is_good, "a slot with confirmed firmware starts: {}", context());
                return None;
            }
        };
        assert!(
            matches!(self.content[slot.index()], Content::Firmware(_)),
            "only firmware starts: {}",
            context()
        );
        assert!(
            history.approved[slot.index()],
            "nothing starts but what a trial entry named: {}",
            context()
        );
        assert!(
            !state.is_scratch(slot) && !before.is_scratch(slot),
            "a scratch slot never starts: {}",
            context()
        );
        if slot == state.confirmed {
            assert!(
                history.proven[slot.index()],
                "a slot that is not on trial was confirmed: {}",
                context()
            );
            return Some(slot);
        }
        let (Some(trial), Some(earlier)) = (state.trial, before.trial) else {
            panic!("a slot that is not confirmed is on trial: {}", context());
        };
        assert_eq!(
            history.reverts,
            0,
            "what was reverted needs another trial entry: {}",
            context()
        );
        assert!(
            is_new && trial.attempts + trial.restarts == earlier.attempts + earlier.restarts + 1,
            "every start of a trial is counted: {}",
            context()
        );
        assert!(
            trial.attempts <= MAX_ATTEMPTS && trial.restarts <= MAX_RESTARTS && !trial.restart_requested,
            "{}",
            context()
        );
        let is_planned = cause == ResetCause::Forced && earlier.restart_requested;
        assert!(
            self.running != Some(slot) || cause == ResetCause::External || is_planned,
            "firmware that fails on trial is reverted: {}",
            context()
        );
        Some(slot)
    }

    /// The same world with the number 0 for the confirmed firmware.
    fn renumbered(mut self) -> Self {
        if self.content[self.state.confirmed.index()] == Content::Firmware(1) {
            self.content = self.content.map(Content::renamed);
            let other = [Content::Firmware(0), Content::Firmware(1)];
            let found = other
                .into_iter()
                .find(|content| self.state.name.is_some() && content.name() == self.state.name);
            self.state.name = found.and_then(|content| content.renamed().name());
        }
        self
    }
}

#[test]
fn board_starts_what_it_may_after_any_cut_and_reset() {
    let fresh = |content_of_b| World {
        places: [[Place::Blank; PLACES]; 2],
        state: State::INITIAL,
        content: [Content::Firmware(0), content_of_b],
        running: None,
        history: History {
            approved: [true, false],
            proven: [true, false],
            reverts: 0,
            is_damaged: false,
        },
    };
    let mut open: Vec<World> = Content::ALL.map(fresh).to_vec();
    let mut seen: HashSet<World> = open.iter().copied().collect();
    let mut states = HashSet::new();
    let mut transitions = 0_u64;
    let mut found = Vec::new();
    while let Some(world) = open.pop() {
        states.insert(world.state);
        world.successors(&mut found);
        transitions += found.len() as u64;
        for next in found.drain(..) {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    println!(
        "{} worlds, {} states of the log, {transitions} transitions",
        seen.len(),
        states.len()
    );
    // The search reaches what it is to check.
    let is_reached = |what: &str, is_it: fn(&State) -> bool| assert!(states.iter().any(is_it), "{what}");
    is_reached("trial of A", |state| {
        state.confirmed == Slot::B && state.trial.is_some()
    });
    is_reached("last attempt", |state| {
        state.trial.is_some_and(|trial| trial.attempts == MAX_ATTEMPTS)
    });
    is_reached("last restart", |state| {
        state.trial.is_some_and(|trial| trial.restarts == MAX_RESTARTS)
    });
    is_reached("last round", |state| state.round == 3 && state.trial.is_none());
    for reason in [1, 2, 3, 4, 6, 8] {
        let is_it = |state: &State| state.reason == Reason(reason);
        assert!(states.iter().any(is_it), "reason {reason}");
    }
}
