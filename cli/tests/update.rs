//! `picolet update` as the built program, and a board in memory at the other end of a pseudo-terminal.

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use picolet_boot::{Reason, ResetCause, Slot};
use picolet_platform::FirmwareSlots;
use picolet_store::serial::{Console, Then};
use picolet_update::console::{self, Console as FirmwareConsole};
use picolet_update::testing::{MemoryBoard, Release};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// No settings are written here.
struct NoFlash;

impl ErrorType for NoFlash {
    type Error = Infallible;
}

impl ReadNorFlash for NoFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn capacity(&self) -> usize {
        0
    }
}

impl NorFlash for NoFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, _: u32, _: u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn write(&mut self, _: u32, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What becomes of firmware on trial, at the second look at it.
#[derive(Clone, Copy)]
enum Trial {
    Confirmed,
    Reverted(Reason),
}

/// What goes wrong on the line: after so many requests one is lost, or the board restarts.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Lost(u32),
    Restart(u32),
}

/// Serves a board until `done`.
fn serve(board: &MemoryBoard, mut line: File, trial: Trial, trouble: Trouble, done: &AtomicBool) {
    let mut requests = 0;
    'restarted: loop {
        let updater = board.updater(&[1]);
        let mut firmware = FirmwareConsole::new(&updater);
        let mut settings = Console::new("pico-w");
        let mut looks = 0;
        let mut bytes = [0; 64];
        while !done.load(Ordering::Relaxed) {
            let length = match line.read(&mut bytes) {
                Ok(length) => length,
                // Nobody has the other end open.
                Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(5) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            for byte in &bytes[..length] {
                let Some(answer) = block_on(settings.take(*byte, &mut NoFlash)) else {
                    continue;
                };
                if answer.then != Then::Firmware {
                    line.write_all(answer.line.as_bytes()).expect("written");
                    continue;
                }
                requests += 1;
                if trouble == Trouble::Lost(requests) {
                    continue;
                }
                if trouble == Trouble::Restart(requests) {
                    board.boot(ResetCause::External);
                    continue 'restarted;
                }
                let (answered, then) = firmware.answer(&answer.line);
                let text = format!("1.234 INFO a line of the log\r\n{answered}");
                line.write_all(text.as_bytes()).expect("written");
                let slots: &dyn FirmwareSlots = board;
                if then == console::Then::Restart {
                    board.boot(ResetCause::Forced);
                    continue 'restarted;
                }
                looks += u32::from(&*answer.line == "state" && slots.is_on_trial());
                if looks == 2 {
                    match trial {
                        Trial::Confirmed => slots.confirm().expect("it is on trial"),
                        Trial::Reverted(reason) => {
                            slots.revert(reason).expect("it is on trial");
                            board.boot(ResetCause::Forced);
                            continue 'restarted;
                        }
                    }
                    looks = 0;
                }
            }
        }
        return;
    }
}

/// Runs `picolet update` with these options and firmware. Returns whether it succeeded, what it printed, and the slot that runs then.
fn update(release: &Release, options: &[&str], trial: Trial, trouble: Trouble) -> (bool, String, Slot) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("new.pfw");
    fs::write(&file, release.file()).expect("a file");
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let path = PathBuf::from(name.into_string().expect("a name"));
    let flags = rustix::fs::fcntl_getfl(&master).expect("flags");
    rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK).expect("set");
    // As a cable: it is there whether anybody has it open or not.
    let held = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("the other end");
    let mut settings = rustix::termios::tcgetattr(&held).expect("a terminal");
    settings.make_raw();
    rustix::termios::tcsetattr(&held, rustix::termios::OptionalActions::Now, &settings).expect("set");
    let done = AtomicBool::new(false);
    let (output, running) = std::thread::scope(|scope| {
        let done = &done;
        let board = scope.spawn(move || {
            let board = MemoryBoard::new("0.1.5");
            serve(&board, File::from(master), trial, trouble, done);
            board.running()
        });
        let output = run(&path, &file, options);
        done.store(true, Ordering::Relaxed);
        (output, board.join().expect("the board"))
    });
    drop(held);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    (output.status.success(), said, running)
}

fn run(line: &Path, file: &Path, options: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_picolet"))
        .arg("update")
        .arg("--serial")
        .arg(line)
        .arg(file)
        .args(options)
        .output()
        .expect("the program")
}

#[test]
fn board_is_updated_over_its_line_and_the_firmware_confirmed() {
    let release = Release::new("0.2.0");
    let (is_done, said, running) = update(&release, &[], Trial::Confirmed, Trouble::None);
    assert!(is_done && running == Slot::B, "{said}");
    for words in [
        "pico-w runs 0.1.5 in slot A",
        "100 %",
        "0.2.0 runs in slot B, on trial",
        "0.2.0 is confirmed in slot B",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn update_goes_on_when_the_line_loses_bytes_or_the_board_restarts() {
    let release = Release::new("0.2.0");
    for trouble in [Trouble::Lost(100), Trouble::Restart(60)] {
        let (is_done, said, running) = update(&release, &["--no-wait"], Trial::Confirmed, trouble);
        assert!(is_done && running == Slot::B, "{said}");
        assert!(said.contains("interrupted: "), "{said}");
    }
}

#[test]
fn refusal_of_the_board_is_printed() {
    let (is_done, said, running) = update(&Release::new("0.1.4"), &[], Trial::Confirmed, Trouble::None);
    assert!(!is_done && running == Slot::A, "{said}");
    assert!(
        said.contains(": firmware 0.1.4 is older than 0.1.5: allow the downgrade explicitly"),
        "{said}"
    );
    let older = Release::new("0.1.4");
    let (is_done, said, running) = update(
        &older,
        &["--allow-downgrade", "--no-wait"],
        Trial::Confirmed,
        Trouble::None,
    );
    assert!(is_done && running == Slot::B, "{said}");
    let mut other = Release::new("0.2.0");
    other.key = 2;
    let (is_done, said, _) = update(&other, &[], Trial::Confirmed, Trouble::None);
    assert!(
        !is_done && said.contains("which this board does not trust"),
        "{said}"
    );
}

#[test]
fn reason_of_a_revert_is_printed() {
    let release = Release::new("0.2.0");
    for (reason, words) in [
        (
            Reason::CRASHED,
            "0.2.0 was reverted: crashed; the board runs 0.1.5 again",
        ),
        (
            Reason::NOT_READY,
            "0.2.0 was reverted: not ready; the board runs 0.1.5 again; if the node",
        ),
    ] {
        let (is_done, said, running) = update(&release, &[], Trial::Reverted(reason), Trouble::None);
        assert!(!is_done && running == Slot::A && said.contains(words), "{said}");
    }
}
