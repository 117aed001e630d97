//! The serial protocol as a board speaks it.

use crate::flash::{Flash, SECTOR, Tear};
use embassy_futures::block_on;
use picolet_store::serial::{Console, LINE, PIECE, Then};
use picolet_store::settings::{
    CAPACITY, Field, HEADER, REGION, SLOT, Settings, SettingsError, Writer, checksum,
};
use proptest::prelude::*;

fn entries() -> Vec<u8> {
    let mut block = [0; SLOT];
    let mut writer = Writer::new(&mut block);
    for (field, value) in [
        (Field::Ssid, b"attic".as_slice()),
        (Field::Passphrase, b"correct horse"),
        (Field::Server, b"http://10.0.2.2:8080"),
        (Field::LabMode, b""),
        (Field::NodeName, b"pico-1"),
        (
            Field::Taint,
            b"a-taint-so-that-there-are-two-pieces-and-more-than-that.example.org/key=value:NoSchedule",
        ),
    ] {
        writer.put(field, value).expect("in order");
    }
    let block = writer.finish().expect("in order");
    let length = u32::from_le_bytes(block[12..16].try_into().expect("four bytes")) as usize;
    block[HEADER..HEADER + length].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A board with its flash.
struct Board {
    console: Console,
    flash: Flash,
}

impl Board {
    fn new() -> Self {
        Self {
            console: Console::new("pico-w"),
            flash: Flash::new(REGION / SECTOR),
        }
    }

    fn type_in(&mut self, bytes: &[u8]) -> Vec<(String, Then)> {
        let answers = bytes
            .iter()
            .filter_map(|byte| block_on(self.console.take(*byte, &mut self.flash)));
        answers
            .map(|answer| (answer.line.as_str().to_owned(), answer.then))
            .collect()
    }

    /// What the board says to one line.
    fn ask(&mut self, line: &str) -> String {
        let answers = self.type_in(format!("{line}\r\n").as_bytes());
        let [(answer, _)] = answers.as_slice() else {
            panic!("{line}: {answers:?}")
        };
        let answer = answer.strip_suffix("\r\n").expect("an end of line");
        answer.strip_prefix("% ").expect("an answer").to_owned()
    }

    fn send(&mut self, entries: &[u8]) {
        let begin = format!("begin {} {:08x}", entries.len(), checksum(entries));
        assert_eq!(self.ask(&begin), "ok begin");
        let mut offset = 0;
        for piece in entries.chunks(PIECE) {
            let next = offset + piece.len();
            assert_eq!(
                self.ask(&format!("data {offset} {}", hex(piece))),
                format!("ok data {next}")
            );
            offset = next;
        }
    }

    fn name(&self) -> Result<String, SettingsError> {
        Settings::read(&self.flash.bytes).map(|settings| settings.node_name().to_owned())
    }
}

#[test]
fn settings_are_written() {
    let mut board = Board::new();
    assert_eq!(board.ask("hello"), "ok picolet 1 pico-w");
    board.send(&entries());
    assert_eq!(board.name(), Err(SettingsError::Missing), "not before commit");
    let answers = board.type_in(b"\n\r\ncommit\n");
    assert_eq!(answers, [("% ok commit\r\n".to_owned(), Then::Written)]);
    assert_eq!(board.name().as_deref(), Ok("pico-1"));
    assert_eq!(
        board.type_in(b"restart\n"),
        [("% ok restart\r\n".to_owned(), Then::Restart)]
    );
    assert_eq!(board.ask("commit"), "error nothing was begun");
}

#[test]
fn what_goes_wrong_is_said() {
    let mut board = Board::new();
    let cases = [
        ("commit", "nothing was begun"),
        ("data 0 00", "nothing was begun"),
        ("begin 0 00000000", "1 to 7936"),
        ("begin 7937 00000000", "1 to 7936"),
        ("begin 4294967297 00000000", "1 to 7936"),
        ("begin 10 123", "8 hexadecimal"),
        ("begin 10", "unknown request"),
        ("hello you", "unknown request"),
        ("hello  ", "unknown request"),
        ("AT", "picolet provision --serial"),
    ];
    for (line, words) in cases {
        let said = board.ask(line);
        assert!(
            said.starts_with("error ") && said.contains(words),
            "{line}: {said}"
        );
    }
    assert_eq!(CAPACITY, 7936);
    assert!(board.ask(&"x".repeat(LINE + 1)).contains("too long"));
    assert_eq!(board.ask("begin 4 00000000"), "ok begin");
    let cases = [
        ("data 1 00", "missing"),
        ("data 0 0", "hexadecimal"),
        ("data 0 0g", "hexadecimal"),
        ("data 0 ", "hexadecimal"),
        ("data 0 0102030405", "more came"),
        ("commit", "pieces are missing"),
    ];
    for (line, words) in cases {
        let said = board.ask(line);
        assert!(
            said.starts_with("error ") && said.contains(words),
            "{line}: {said}"
        );
    }
    assert_eq!(board.ask("data 0 01020304"), "ok data 4");
    assert!(board.ask("commit").contains("damaged"));
    assert_eq!(board.flash.operations, 0);
}

#[test]
fn what_is_not_in_order_is_refused_with_its_remedy() {
    let mut board = Board::new();
    // A passphrase alone.
    board.send(&[2, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(
        board
            .ask("commit")
            .contains("--passphrase-file: a passphrase has")
    );
    assert_eq!(board.flash.operations, 0);
    // The next attempt is not in its way.
    board.send(&entries());
    assert_eq!(board.ask("commit"), "ok commit");
}

#[test]
fn a_flash_that_fails_is_said() {
    let mut board = Board::new();
    board.flash.cut = Some((3, Tear::Before));
    board.send(&entries());
    assert!(board.ask("commit").starts_with("error the flash failed"));
}

#[test]
fn request_about_firmware_is_handed_on() {
    let mut board = Board::new();
    assert_eq!(
        board.type_in(b"firmware data 0 0102\r\nfirmware \n"),
        [
            ("data 0 0102".to_owned(), Then::Firmware),
            (String::new(), Then::Firmware)
        ]
    );
    // The longest there is.
    let longest = format!("firmware data 1000000 {}", "0".repeat(2 * PIECE));
    let handed_on = board.type_in(format!("{longest}\n").as_bytes());
    assert_eq!(format!("firmware {}", handed_on[0].0), longest);
    assert!(board.ask("firmware").contains("unknown request"));
}

proptest! {
    /// Whatever is typed: no panic, answers of one line each, and no write without a commit that was in order.
    #[test]
    fn anything_may_be_typed(
        lines in prop::collection::vec(prop_oneof![
            "[ -~]{0,300}",
            "(begin|data|commit|hello) [0-9]{0,5} ?[0-9a-f]{0,9}",
            Just("commit".to_owned()),
        ], 0..20),
        noise in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut board = Board::new();
        let mut typed: Vec<u8> = lines.join("\n").into_bytes();
        typed.extend(noise);
        let ends = typed.iter().filter(|byte| **byte == b'\n').count();
        let answers = board.type_in(&typed);
        prop_assert!(answers.len() <= ends);
        for (line, then) in answers {
            if then == Then::Firmware {
                prop_assert!(!line.contains('\n'));
                continue;
            }
            prop_assert!(line.starts_with("% ") && line.ends_with("\r\n") && line.len() <= LINE);
            prop_assert_ne!(then, Then::Written);
        }
        prop_assert_eq!(board.flash.operations, 0);
        // After the end of the line it is as new.
        board.type_in(b"\n");
        prop_assert_eq!(board.ask("hello"), "ok picolet 1 pico-w");
    }
}
