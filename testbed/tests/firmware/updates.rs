//! Firmware updates over USB, and what becomes of firmware on trial.

use crate::{Bench, NODE, READY, image};
use picolet_boot::Slot;
use picolet_ec::p256::SecretKey;
use picolet_firmware::{HEADER, IMAGE_OFFSET, SignatureBlock, SignedHeader, Text};
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

/// A firmware file of the shipped image that says that it has this version, by a key.
fn file_by(version: &str, key: &SecretKey) -> Vec<u8> {
    let mut file = image().firmware_file();
    let (block, _) = file.split_first_chunk_mut::<IMAGE_OFFSET>().expect("a header");
    let mut header = SignedHeader::parse(block).expect("a header").header;
    header.version = Text::new(version).expect("a version");
    let header = header.to_bytes();
    block[..HEADER].copy_from_slice(&header);
    block[HEADER..].copy_from_slice(&SignatureBlock::sign(&header, key).to_bytes());
    file
}

fn file(version: &str) -> Vec<u8> {
    file_by(version, &key())
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
    assert_eq!(
        bench.expect_condition("Confirmed", READY),
        "firmware 0.1.0 in slot A"
    );
    for (version, slot, downgrade) in [("0.2.0", 'B', false), ("0.3.0", 'A', false), ("0.1.0", 'B', true)] {
        let outage = bench.update(&file(version), downgrade);
        println!("{version}: Ready {outage:?} after the last request");
        assert!(outage < Duration::from_secs(5));
        let message = bench.expect_condition("OnTrial", READY);
        assert_eq!(
            message,
            format!("firmware {version} in slot {slot}, attempt 1 of 3")
        );
        let message = bench.expect_condition("Confirmed", Duration::from_secs(60));
        assert_eq!(message, format!("firmware {version} in slot {slot}"));
        let info = bench.metric("picolet_firmware_info");
        assert!(
            info.contains(&format!("version=\"{version}\"")) && info.contains("confirmed"),
            "{info}"
        );
    }
}
