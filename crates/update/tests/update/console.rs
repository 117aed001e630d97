//! The lines of an update over a serial port.

use picolet_boot::{ResetCause, Slot};
use picolet_platform::FirmwareSlots;
use picolet_update::console::{Console, Then};
use picolet_update::testing::{MemoryBoard, Release};
use proptest::prelude::*;
use std::fmt::Write as _;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// All requests of an update of a board that runs the other slot.
pub(crate) fn requests(release: &Release, slot: Slot, downgrade: bool) -> Vec<String> {
    let bytes = release.slot(slot);
    let name = hex(&release.header.name().to_bytes());
    let mut requests = vec![format!(
        "begin {name}{}",
        if downgrade { " downgrade" } else { "" }
    )];
    for (number, piece) in bytes.chunks(128).enumerate() {
        requests.push(format!("data {} {}", 128 * number, hex(piece)));
    }
    requests.push("verify".to_owned());
    requests.push("start".to_owned());
    requests
}

#[test]
fn console_updates_a_board() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let mut console = Console::new(&updater);
    let release = Release::new("0.2.0");
    let (state, _) = console.answer("state");
    let name = hex(&Release::new("0.1.0").header.name().to_bytes());
    assert_eq!(
        state,
        format!("% ok firmware state A {name} confirmed 0 0.1.0\r\n").as_str()
    );
    let requests = requests(&release, Slot::B, false);
    let (last, requests) = requests.split_last().expect("some");
    for (number, request) in requests.iter().enumerate() {
        let (line, then) = console.answer(request);
        assert!(
            line.starts_with("% ok firmware ") && line.ends_with("\r\n"),
            "{line}"
        );
        assert_eq!(then, Then::Nothing);
        if number == 0 {
            assert_eq!(line, "% ok firmware begin B 0\r\n");
        }
    }
    assert!(console.is_busy());
    assert_eq!(console.answer(last).1, Then::Restart);
    assert!(!console.is_busy());
    assert_eq!(board.boot(ResetCause::Forced), Slot::B);
    let updater = board.updater(&[1]);
    let (state, _) = Console::new(&updater).answer("state");
    assert!(state.ends_with(" trial 0 0.2.0\r\n"), "{state}");
}

#[test]
fn update_goes_on_where_it_was_when_the_sender_begins_again() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let mut console = Console::new(&updater);
    let requests = requests(&Release::new("0.2.0"), Slot::B, false);
    for request in &requests[..50] {
        console.answer(request);
    }
    let (line, _) = console.answer(&requests[55]);
    assert_eq!(line, "% error a piece is missing or came twice: begin again\r\n");
    let (line, _) = console.answer(&requests[0]);
    assert_eq!(line, format!("% ok firmware begin B {}\r\n", 49 * 128).as_str());
    // With other words it is another update.
    let (line, _) = console.answer(&format!("{} downgrade", requests[0]));
    assert_eq!(line, "% ok firmware begin B 0\r\n");
    console.answer(&requests[1]);
    console.abandon();
    let (line, _) = console.answer(&requests[2]);
    assert_eq!(line, "% error no firmware update was begun\r\n");
    for request in &requests {
        let (line, _) = console.answer(request);
        assert!(line.starts_with("% ok"), "{line}");
    }
    assert_eq!(board.boot(ResetCause::Forced), Slot::B);
}

#[test]
fn refusal_is_answered_in_words() {
    let board = MemoryBoard::new("0.2.0");
    let release = Release::new("0.1.0");
    for (keys, downgrade, words) in [
        (&[][..], false, "this board trusts no firmware key"),
        (&[2], false, "which this board does not trust"),
        (
            &[1],
            false,
            "firmware 0.1.0 is older than 0.2.0: allow the downgrade explicitly",
        ),
        (&[1], true, ""),
    ] {
        let updater = board.updater(keys);
        let mut console = Console::new(&updater);
        let answers: Vec<_> = requests(&release, Slot::B, downgrade)
            .iter()
            .map(|request| console.answer(request))
            .collect();
        let refused = answers.iter().find(|(_, then)| *then == Then::Refused);
        assert_eq!(refused.is_none(), words.is_empty());
        if let Some((line, _)) = refused {
            assert!(
                line.starts_with("% error ") && line.trim_end().ends_with(words),
                "{line}"
            );
            assert_eq!(board.state(), picolet_boot::State::INITIAL);
            assert!(!console.is_busy());
        }
    }
}

#[test]
fn name_that_was_announced_is_that_of_the_header() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let mut console = Console::new(&updater);
    let mut requests = requests(&Release::new("0.2.0"), Slot::B, false);
    requests[0] = "begin 01020304".to_owned();
    let answers: Vec<_> = requests.iter().map(|request| console.answer(request)).collect();
    assert_eq!(
        answers[4].0,
        "% error firmware file is damaged: transfer it again\r\n"
    );
    assert_eq!(board.boot(ResetCause::External), Slot::A);
}

/// Something like a request.
fn any_request() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("state".to_owned()),
        Just("verify".to_owned()),
        Just("start".to_owned()),
        "begin [0-9a-f]{8}( downgrade)?",
        "data [0-9]{1,7} ([0-9a-f]{2}){0,140}",
        "[ -~]{0,300}",
    ]
}

proptest! {
    #[test]
    fn console_answers_one_line_to_any_request(lines in proptest::collection::vec(any_request(), 0..40)) {
        let board = MemoryBoard::new("0.1.0");
        let updater = board.updater(&[1]);
        let mut console = Console::new(&updater);
        let requests = requests(&Release::new("0.2.0"), Slot::B, false);
        for (line, request) in lines.iter().zip(requests.iter().cycle()) {
            for request in [line, request] {
                let (answer, _) = console.answer(request);
                let is_answer = answer.starts_with("% ok firmware ") || answer.starts_with("% error ");
                prop_assert!(is_answer && answer.ends_with("\r\n") && answer.matches('\n').count() == 1);
            }
        }
        prop_assert_eq!(board.boot(ResetCause::External), Slot::A);
    }
}
