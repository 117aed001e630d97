//! `picolet update`: new firmware for a board, over its serial line.
//!
//! The file is checked here as far as a computer can; what counts are the checks of the board. The requests are those of
//! `picolet_update::console`. An interrupted update goes on where it was: the board keeps what it has for a minute, and
//! after that finds what lies in flash already.

use crate::serial_line::Line;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use picolet_boot::{Reason, Slot};
use picolet_firmware::{Header, IMAGE_OFFSET, SignatureBlock, SignedHeader};
use picolet_update::console::PIECE;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Update the firmware of a board over its serial line.
///
/// The board checks signature, board, size, formats and version, and writes the firmware to the slot that does not run. It then restarts
/// with it, on trial: firmware that is not Ready within five minutes, or crashes, is reverted.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Firmware file (.pfw), signed by a key that the board trusts.
    file: PathBuf,
    /// Serial line of the board, such as /dev/ttyACM0.
    #[arg(long, value_name = "DEVICE")]
    serial: PathBuf,
    /// Install firmware that is older than what the board runs.
    #[arg(long)]
    allow_downgrade: bool,
    /// Return when the board restarts, without waiting for the result of the trial.
    #[arg(long)]
    no_wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  Update a board, and wait until the firmware is confirmed or reverted:
    picolet update --serial /dev/ttyACM0 picolet-pico-w-0.2.0.pfw
  Go back to the version before:
    picolet update --serial /dev/ttyACM0 picolet-pico-w-0.1.0.pfw --allow-downgrade";

/// Requests that are sent before the first of them is answered. Together they fit into the buffer of any terminal.
const WINDOW: usize = 8;
/// Attempts to send a file over a line that breaks or loses bytes.
const ATTEMPTS: u32 = 5;
/// How long a board that was unplugged or restarts may be away.
const ABSENCE: Duration = Duration::from_secs(60);
/// How long a trial may take until it is confirmed or reverted: five minutes in each of three attempts, and starts.
const TRIAL: Duration = Duration::from_secs(16 * 60);
/// How often the state of a trial is read.
const POLL: Duration = Duration::from_secs(2);

/// Why a transfer ended.
enum Failure {
    /// The board refuses the firmware, in its words.
    Refused(String),
    /// The line broke, or bytes were lost.
    Line(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Line(error)
    }
}

/// Firmware that a board runs.
struct Running {
    slot: Slot,
    name: String,
    is_on_trial: bool,
    reason: Reason,
    version: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (file, signed) = crate::firmware::read(&arguments.file)?;
    let device = &arguments.serial;
    update(arguments, &file, &signed).with_context(|| format!("--serial {}", device.display()))
}

fn update(arguments: &Arguments, file: &[u8], signed: &SignedHeader) -> Result<()> {
    let header = &signed.header;
    let (mut line, board) = Line::greet(&arguments.serial)?;
    ensure!(
        board == header.board.as_str(),
        "firmware is for {}, this board is a {board}",
        header.board
    );
    let before = state(&mut line)?;
    let name = hex(&header.name().to_bytes());
    if before.name == name && !before.is_on_trial {
        println!("the board runs {} already", header.version);
        return Ok(());
    }
    ensure!(
        !before.is_on_trial,
        "{} is on trial: wait until it is confirmed or reverted",
        before.version
    );
    let slot = before.slot.other();
    let variant = header.variant(slot);
    let start = usize::try_from(header.variant_offset(slot))?;
    let bytes = [
        &file[..IMAGE_OFFSET],
        &file[start..start + variant.length as usize],
    ]
    .concat();
    let key = match signed.signature {
        SignatureBlock::Blank => "not signed".to_owned(),
        SignatureBlock::Signed { key, .. } => format!("signed by key {key}"),
    };
    println!(
        "{board} runs {} in slot {:?}; {} for slot {slot:?}: {} bytes, {key}",
        before.version,
        before.slot,
        header.version,
        bytes.len()
    );
    let begin = format!(
        "firmware begin {name}{}",
        if arguments.allow_downgrade {
            " downgrade"
        } else {
            ""
        }
    );
    line = transfer(&arguments.serial, line, &begin, &bytes)?;
    // A board restarts with firmware on trial in any case, and its line may break before it answers.
    if let Ok(Err(words)) = line
        .send("firmware start")
        .and_then(|()| line.receive_answer("firmware start"))
    {
        bail!("{words}");
    }
    drop(line);
    println!(
        "{} is on trial; the board restarts. It is confirmed when the node was Ready for 30 s",
        header.version
    );
    if arguments.no_wait {
        return Ok(());
    }
    wait(&arguments.serial, header, &name, &before)
}

/// Sends and verifies the firmware, over a line that may break. Returns the line.
fn transfer(device: &Path, mut line: Line, begin: &str, bytes: &[u8]) -> Result<Line> {
    let mut progress = Progress::new(bytes.len());
    let mut attempt = 1;
    loop {
        let sent = send(&mut line, begin, bytes, &mut progress).and_then(|()| verify(&mut line));
        let error = match sent {
            Ok(()) => {
                progress.end();
                return Ok(line);
            }
            Err(Failure::Refused(words)) => {
                progress.end();
                bail!("{words}");
            }
            Err(Failure::Line(error)) if attempt == ATTEMPTS => return Err(error),
            Err(Failure::Line(error)) => error,
        };
        progress.end();
        eprintln!("interrupted: {error:#}; going on");
        attempt += 1;
        drop(line);
        line = reconnect(device)?;
    }
}

/// Opens the line of a board that is away for a while.
fn reconnect(device: &Path) -> Result<Line> {
    let end = Instant::now() + ABSENCE;
    loop {
        match Line::greet(device) {
            Ok((line, _)) => return Ok(line),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(Duration::from_millis(200)),
        }
    }
}

/// Sends what the board has not received yet.
fn send(line: &mut Line, begin: &str, bytes: &[u8], progress: &mut Progress) -> Result<(), Failure> {
    let begun = ask(line, begin)?;
    let offset = begun.rsplit(' ').next().and_then(|offset| offset.parse().ok());
    let mut received: usize = offset
        .filter(|offset| *offset <= bytes.len())
        .with_context(|| format!("unexpected answer \"{begun}\""))?;
    let mut pieces = bytes[received..].chunks(PIECE);
    let (mut sent, mut waiting) = (received, 0);
    loop {
        while waiting < WINDOW
            && let Some(piece) = pieces.next()
        {
            line.send(&format!("firmware data {sent} {}", hex(piece)))?;
            sent += piece.len();
            waiting += 1;
        }
        if waiting == 0 {
            return Ok(());
        }
        match line.receive_answer("firmware data")? {
            Ok(words) => {
                let next = words.rsplit(' ').next().and_then(|next| next.parse().ok());
                received = next.with_context(|| format!("unexpected answer \"{words}\""))?;
                progress.show(received);
                waiting -= 1;
            }
            Err(words) => {
                // The answers to what was sent ahead mean nothing.
                line.settle()?;
                return Err(if is_transient(&words) {
                    Failure::Line(anyhow!("{words}"))
                } else {
                    Failure::Refused(words)
                });
            }
        }
    }
}

/// Whether an error is of the line and not of the firmware.
fn is_transient(words: &str) -> bool {
    [
        "a piece is missing",
        "no firmware update was begun",
        "the line is too long",
        "unknown request",
        "data is up to",
    ]
    .iter()
    .any(|start| words.starts_with(start))
}

fn verify(line: &mut Line) -> Result<(), Failure> {
    loop {
        let answer = ask(line, "firmware verify")?;
        match answer
            .rsplit(' ')
            .next()
            .and_then(|rest| rest.parse::<u32>().ok())
        {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => return Err(anyhow!("unexpected answer \"{answer}\"").into()),
        }
    }
}

fn ask(line: &mut Line, request: &str) -> Result<String, Failure> {
    line.send(request)?;
    line.receive_answer("firmware")?.map_err(|words| {
        if is_transient(&words) {
            Failure::Line(anyhow!("{words}"))
        } else {
            Failure::Refused(words)
        }
    })
}

/// What the board runs.
fn state(line: &mut Line) -> Result<Running> {
    let answer = match ask(line, "firmware state") {
        Ok(answer) => answer,
        Err(Failure::Refused(words)) => bail!("{words}"),
        Err(Failure::Line(error)) => {
            return Err(error.context("the board does not tell what firmware it runs"));
        }
    };
    let words: Vec<&str> = answer.split(' ').collect();
    let ["firmware", "state", slot, name, state, reason, version] = words[..] else {
        bail!("unexpected answer \"{answer}\"");
    };
    Ok(Running {
        slot: match slot {
            "A" => Slot::A,
            "B" => Slot::B,
            _ => bail!("unexpected answer \"{answer}\""),
        },
        name: name.to_owned(),
        is_on_trial: state == "trial",
        reason: Reason(reason.parse().context("unexpected reason")?),
        version: version.to_owned(),
    })
}

/// Waits until the firmware is confirmed or reverted.
fn wait(device: &Path, header: &Header, name: &str, before: &Running) -> Result<()> {
    let end = Instant::now() + TRIAL;
    let mut is_said = false;
    while Instant::now() < end {
        sleep(POLL);
        let mut line = reconnect(device)?;
        // It may restart at any moment.
        let Ok(now) = state(&mut line) else { continue };
        if now.name == name {
            if !now.is_on_trial {
                println!("{} is confirmed in slot {:?}", header.version, now.slot);
                return Ok(());
            }
            if !std::mem::replace(&mut is_said, true) {
                println!("{} runs in slot {:?}, on trial", header.version, now.slot);
            }
        } else if now.reason != Reason::NONE && (is_said || now.reason != before.reason) {
            let repeats = if now.reason == Reason::NOT_READY {
                "; if the node is not Ready with it either, the trial is repeated when the API server answers"
            } else {
                ""
            };
            bail!(
                "{} was reverted: {}; the board runs {} again{repeats}",
                header.version,
                now.reason.as_str(),
                now.version
            );
        }
    }
    bail!(
        "{} is neither confirmed nor reverted after {} minutes",
        header.version,
        TRIAL.as_secs() / 60
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A bar on a terminal, a line for each tenth elsewhere.
struct Progress {
    total: usize,
    shown: usize,
    is_terminal: bool,
}

/// Characters of the bar.
const BAR: usize = 40;

impl Progress {
    fn new(total: usize) -> Self {
        Self {
            total,
            shown: 0,
            is_terminal: stderr().is_terminal(),
        }
    }

    fn show(&mut self, received: usize) {
        let percent = 100 * received / self.total;
        let step = if self.is_terminal { 1 } else { 10 };
        if percent / step == self.shown / step {
            return;
        }
        self.shown = percent;
        if self.is_terminal {
            let full = BAR * percent / 100;
            let (full, empty) = ("#".repeat(full), " ".repeat(BAR - full));
            eprint!(
                "\r{percent:3} % [{full}{empty}] {received} of {} bytes",
                self.total
            );
            // It is only shown later.
            let _ = stderr().flush();
        } else {
            eprintln!("{percent} %");
        }
    }

    /// Ends the line of the bar.
    fn end(&self) {
        if self.is_terminal && self.shown > 0 {
            eprintln!();
        }
    }
}
