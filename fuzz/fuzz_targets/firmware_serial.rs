//! Firmware over the serial line of a board: any lines, between those of an update that is right. Each request has one answer of one line, the board
//! always starts, and what is on trial is the signed firmware.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_boot::{ResetCause, Slot};
use picolet_platform::FirmwareSlots;
use picolet_update::console::{Console, Then};
use picolet_update::testing::{MemoryBoard, Release};
use std::sync::LazyLock;

static RELEASE: LazyLock<Release> = LazyLock::new(|| Release::new("0.2.0"));

/// The requests of an update.
static REQUESTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut requests = vec![format!("begin {}", hex(&RELEASE.header.name().to_bytes()))];
    for (number, piece) in RELEASE.slot(Slot::B).chunks(128).enumerate() {
        requests.push(format!("data {} {}", 128 * number, hex(piece)));
    }
    requests.extend(["verify".to_owned(), "start".to_owned()]);
    requests
});

fuzz_target!(|data: &[u8]| {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let mut console = Console::new(&updater);
    let mut on_trial = false;
    let mut ask = |request: &str| {
        let (line, then) = console.answer(request);
        assert!(line.starts_with("% ok firmware ") || line.starts_with("% error "));
        assert!(line.ends_with("\r\n") && line.matches('\n').count() == 1);
        on_trial |= then == Then::Restart;
    };
    let mut next = 0;
    for line in data.split(|byte| *byte == b'\n') {
        // A byte of 0x80 and more stands for so many requests of the update, from where it is, or from its begin.
        match line {
            &[count] if count >= 0x80 => {
                for _ in 0..2 * (count - 0x80) {
                    ask(&REQUESTS[next]);
                    next = (next + 1) % REQUESTS.len();
                }
            }
            [0x7f] => next = 0,
            line => ask(&String::from_utf8_lossy(line)),
        }
    }
    assert_eq!(on_trial, board.state().trial.is_some());
    let started = board.boot(ResetCause::Forced);
    assert_eq!(started == Slot::B, on_trial);
    if on_trial {
        let expected = RELEASE.slot(Slot::B);
        assert_eq!(board.slot(Slot::B)[..expected.len()], expected);
    }
});
