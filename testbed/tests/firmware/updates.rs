//! Firmware updates over USB, and what becomes of firmware on trial.

use crate::life::{FailedCheck, TIMER};
use crate::{Bench, NODE, READY, image, slot};
use picolet_boot::Slot;
use picolet_ec::p256::SecretKey;
use picolet_firmware::{Header, IMAGE_OFFSET, SignatureBlock, SignedHeader, Text, Variant, assemble};
use picolet_store::layout::PICO_W;
use picolet_store::settings::Field;
use picolet_testbed::Options;
use std::fmt::Write as _;
use std::time::Duration;

/// How long an answer of the console may take. A sector takes 51 ms to erase and program.
const ANSWER: Duration = Duration::from_secs(2);
/// Requests that are sent before the first is answered.
const WINDOW: usize = 8;

fn key() -> SecretKey {
    SecretKey::generate(&[1; 48])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A firmware file of the shipped image after a change, signed by a key.
fn file_with(key: &SecretKey, change: impl FnOnce(&mut Header, &mut [Vec<u8>; 2])) -> Vec<u8> {
    let file = image().firmware_file();
    let (block, _) = file.split_first_chunk::<IMAGE_OFFSET>().expect("a header");
    let mut header = SignedHeader::parse(block).expect("a header").header;
    let mut images = [Slot::A, Slot::B].map(|slot| image().application(slot).to_vec());
    change(&mut header, &mut images);
    for (variant, image) in header.variants.iter_mut().zip(&images) {
        *variant = Variant {
            length: variant.length,
            ..Variant::of(variant.address, image)
        };
    }
    let signature = SignatureBlock::sign(&header.to_bytes(), key);
    assemble(&header, &signature, [&images[0], &images[1]])
}

/// Firmware 0.2.0 that reaches `handler` at its first timer interrupt.
fn file_with_timer(handler: u32) -> Vec<u8> {
    file_with(&key(), |header, images| {
        header.version = Text::new("0.2.0").expect("a version");
        for image in images {
            image[TIMER as usize..][..4].copy_from_slice(&handler.to_le_bytes());
        }
    })
}

fn file(version: &str) -> Vec<u8> {
    file_with(&key(), |header, _| {
        header.version = Text::new(version).expect("a version")
    })
}

/// A board that trusts the key, as it is flashed.
fn bench() -> Bench {
    let spki = key().public_key().to_spki_der();
    let mut bench = Bench::with(Options::default(), &[(Field::FirmwareKey, &spki)]);
    bench.testbed.board.power_on();
    bench.expect_ready();
    bench
}

impl Bench {
    /// The next answers of the console.
    fn answers(&mut self, count: usize) -> Vec<String> {
        let (mut received, mut answers) = (String::new(), Vec::new());
        let took = self.until(ANSWER, |testbed| {
            received.push_str(&String::from_utf8_lossy(&testbed.board.take_usb()));
            while let Some(end) = received.find('\n') {
                let line: String = received.drain(..=end).collect();
                answers.extend(line.trim_end().strip_prefix("% ").map(str::to_owned));
            }
            answers.len() >= count
        });
        assert!(took.is_some(), "{answers:?} of {count}: {}", self.log);
        answers
    }

    fn ask(&mut self, request: &str) -> String {
        self.testbed
            .board
            .feed_usb(format!("firmware {request}\n").as_bytes());
        self.answers(1).remove(0)
    }

    /// Sends a firmware file up to its last request. Returns the first error.
    fn send(&mut self, file: &[u8], downgrade: bool) -> Result<(), String> {
        let (block, _) = file.split_first_chunk::<IMAGE_OFFSET>().expect("a header");
        let header = SignedHeader::parse(block).expect("a header").header;
        let option = if downgrade { " downgrade" } else { "" };
        let begun = self.ask(&format!("begin {}{option}", hex(&header.name().to_bytes())));
        let slot = match begun.strip_prefix("ok firmware begin ") {
            Some(rest) if rest.starts_with('A') => Slot::A,
            Some(_) => Slot::B,
            None => return Err(begun),
        };
        let start = usize::try_from(header.variant_offset(slot)).expect("a file");
        let variant = &file[start..start + header.variant(slot).length as usize];
        let bytes = [&block[..], variant].concat();
        let requests: Vec<String> = bytes
            .chunks(128)
            .enumerate()
            .map(|(number, piece)| format!("firmware data {} {}\n", 128 * number, hex(piece)))
            .collect();
        for requests in requests.chunks(WINDOW) {
            self.testbed.board.feed_usb(requests.concat().as_bytes());
            for answer in self.answers(requests.len()) {
                if !answer.starts_with("ok") {
                    return Err(answer);
                }
            }
        }
        loop {
            let answer = self.ask("verify");
            match answer.strip_prefix("ok firmware verify ") {
                Some("0") => return Ok(()),
                Some(_) => {}
                None => return Err(answer),
            }
        }
    }

    /// Updates the board, and waits until the trial runs. Returns how long it was not Ready.
    fn update(&mut self, file: &[u8], downgrade: bool) -> Duration {
        self.send(file, downgrade).expect("it is taken");
        assert_eq!(self.ask("start"), "ok firmware start");
        self.expect_restart()
    }

    /// Runs until the board is Ready after a restart. Returns how long that took.
    fn expect_restart(&mut self) -> Duration {
        let before = self.testbed.connections();
        let took = self.within(READY, "Ready", |testbed| {
            testbed.connections() > before && testbed.is_ready(NODE)
        });
        // A host enumerates anew when its first requests were not answered; this one does it when it is told.
        self.testbed.board.set_usb_attached(false);
        self.run(Duration::from_secs(1));
        self.testbed.board.set_usb_attached(true);
        self.run(Duration::from_secs(1));
        took
    }

    /// The condition `FirmwareConfirmed` has this reason, and its message.
    fn expect_condition(&mut self, reason: &str, limit: Duration) -> String {
        let mut message = String::new();
        self.within(limit, reason, |testbed| {
            let node = testbed.cluster.get("nodes", "", NODE).unwrap_or_default();
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            conditions.iter().any(|one| {
                message = one["message"].as_str().unwrap_or_default().to_owned();
                one["type"] == "FirmwareConfirmed" && one["reason"] == reason
            })
        });
        message
    }
}

#[test]
fn board_is_updated_twice_and_goes_back() {
    let mut bench = bench();
    let message = bench.expect_condition("Confirmed", READY);
    assert_eq!(message, format!("firmware 0.1.0 in slot {:?}", slot()));
    let (first, other) = (slot(), slot().other());
    for (version, slot, downgrade) in [
        ("0.2.0", other, false),
        ("0.3.0", first, false),
        ("0.1.0", other, true),
    ] {
        let outage = bench.update(&file(version), downgrade);
        println!("{version}: Ready {outage:?} after the last request");
        assert!(outage < Duration::from_secs(5));
        let message = bench.expect_condition("OnTrial", READY);
        assert_eq!(
            message,
            format!("firmware {version} in slot {slot:?}, attempt 1 of 3")
        );
        let message = bench.expect_condition("Confirmed", Duration::from_secs(60));
        assert_eq!(message, format!("firmware {version} in slot {slot:?}"));
        let info = bench.metric("picolet_firmware_info");
        assert!(
            info.contains(&format!("version=\"{version}\"")) && info.contains("confirmed"),
            "{info}"
        );
    }
}

/// What the old firmware says of a trial that was reverted.
fn reverted(why: &str) -> String {
    format!("firmware 0.2.0 was reverted: {why}")
}

impl Bench {
    /// The board is Ready with the old firmware, which reports why.
    fn expect_reverted(&mut self, why: &str, limit: Duration) {
        let message = self.expect_condition("Reverted", limit);
        assert!(message.starts_with(&reverted(why)), "{message}");
        assert!(message.ends_with("; 0.1.0 runs again"), "{message}");
        let event = self.within(READY, "an event", |testbed| {
            let events = testbed.cluster.list("events", "", "", "").expect("events");
            events
                .iter()
                .any(|event| event["reason"] == "FirmwareReverted" && event["message"] == *message)
        });
        assert!(event < READY);
        let count = self.metric("picolet_firmware_updates_total{result=\"reverted\"}");
        assert!(count.ends_with(" 1"), "{count}");
        assert!(self.metric("picolet_firmware_info").contains("version=\"0.1.0\""));
    }
}

#[test]
fn firmware_that_breaks_a_rule_is_refused_and_the_node_goes_on() {
    let mut bench = bench();
    let text = |text| Text::new(text).expect("a text");
    let newer = |header: &mut Header| header.version = Text::new("0.2.0").expect("a version");
    let other = SecretKey::generate(&[2; 48]);
    let files = [
        (
            file_with(&other, |header, _| newer(header)),
            "which this board does not trust",
        ),
        (
            file_with(&key(), |header, _| {
                header.version = Text::new("0.0.9").expect("a version")
            }),
            "firmware 0.0.9 is older than 0.1.0: allow the downgrade explicitly",
        ),
    ];
    let board = file_with(&key(), |header, _| {
        newer(header);
        header.board = text("pico-2-w");
    });
    let large = file_with(&key(), |header, images| {
        newer(header);
        let length = PICO_W.slots[0].length;
        images[0].resize(length as usize, 0xff);
        header.variants[0].length = length;
    });
    let mut damaged = file("0.2.0");
    damaged[60_000] ^= 1;
    let at = damaged.len() - 1000;
    damaged[at] ^= 1;
    let mut forged = file("0.2.0");
    forged[40] ^= 1;
    let files = files.into_iter().chain([
        (board, "firmware is for pico-2-w, this board is a pico-w"),
        (large, "firmware has 836096 bytes, a slot has 835584"),
        (forged, "firmware was changed after it was signed"),
        (damaged, "firmware file is damaged: transfer it again"),
    ]);
    for (file, words) in files {
        let refused = bench.send(&file, false).expect_err(words);
        assert!(
            refused.starts_with("error ") && refused.ends_with(words),
            "{refused}"
        );
        assert!(bench.ask("state").contains(" confirmed 0 0.1.0"));
    }
    let count = bench.metric("picolet_firmware_updates_total{result=\"refused\"}");
    assert!(count.ends_with(" 6"), "{count}");
    assert!(bench.testbed.is_ready(NODE));
}

#[test]
fn firmware_that_faults_at_its_start_is_reverted() {
    let mut bench = bench();
    bench
        .send(&file_with_timer(0xf000_0001), false)
        .expect("it is taken");
    bench.ask("start");
    bench.expect_restart();
    bench.expect_reverted("fault at 0xf0000000, called from ", READY);
}

#[test]
fn firmware_that_panics_is_reverted_and_the_place_reported() {
    let check = FailedCheck::find();
    // The same code is linked for either slot.
    let [a, b] = PICO_W.slots.map(|slot| slot.address());
    let distance = if slot() == Slot::A {
        b - a
    } else {
        a.wrapping_sub(b)
    };
    let handler = check.address.wrapping_add(distance) | 1;
    let mut bench = bench();
    bench.send(&file_with_timer(handler), false).expect("it is taken");
    bench.ask("start");
    bench.expect_restart();
    bench.expect_reverted(&format!("panic at {} after 0 s", check.place), READY);
}

#[test]
fn firmware_that_hangs_with_interrupts_off_is_reverted() {
    let mut bench = bench();
    // CPSID i, and a branch to itself, in flash that nothing else has.
    let idle = PICO_W.modules.address();
    let code = 0xe7fe_b672_u32.to_le_bytes();
    bench.testbed.board.write_memory(idle, &code).expect("flash");
    bench
        .send(&file_with_timer(idle | 1), false)
        .expect("it is taken");
    bench.ask("start");
    bench.run(Duration::from_secs(9));
    bench.expect_restart();
    bench.expect_reverted("watchdog", READY);
}

#[test]
fn firmware_that_dies_29_s_after_it_was_ready_is_reverted() {
    let mut bench = bench();
    bench.update(&file("0.2.0"), false);
    bench.run(Duration::from_secs(26));
    bench.expect_condition("OnTrial", READY);
    let vector = PICO_W.slots[slot().other().index()].address() + IMAGE_OFFSET as u32 + TIMER;
    bench
        .testbed
        .board
        .write_memory(vector, &0xf000_0001_u32.to_le_bytes())
        .expect("flash");
    bench.expect_restart();
    bench.expect_reverted("fault at 0xf0000000, called from ", READY);
}

#[test]
fn trial_is_repeated_when_the_api_server_was_away_with_either_firmware() {
    let mut bench = bench();
    bench.send(&file("0.2.0"), false).expect("it is taken");
    bench.testbed.cluster.set_down(Duration::from_secs(620).into());
    bench.ask("start");
    // Five minutes with the new firmware, five with the old one, and the API server is back.
    bench.expect(
        "firmware 0.2.0 is reverted: the node was not Ready",
        Duration::from_secs(310),
    );
    bench.expect(
        "the node is not Ready with firmware 0.1.0 either",
        Duration::from_secs(310),
    );
    bench.expect("trial 2 of 3 begins", Duration::from_secs(60));
    let message = bench.expect_condition("Confirmed", Duration::from_secs(60));
    assert_eq!(message, format!("firmware 0.2.0 in slot {:?}", slot().other()));
}

#[test]
fn firmware_that_is_never_ready_is_reverted() {
    let mut bench = bench();
    bench.send(&file("0.2.0"), false).expect("it is taken");
    bench.testbed.cluster.set_down(Duration::from_secs(301).into());
    bench.ask("start");
    bench.expect(
        "firmware 0.2.0 is reverted: the node was not Ready",
        Duration::from_secs(310),
    );
    bench.expect_reverted("not ready", Duration::from_secs(30));
}
