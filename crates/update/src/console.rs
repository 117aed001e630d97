//! Firmware over a serial line: the board's side of `picolet update --serial`.
//!
//! The lines are those of the console for settings (`picolet_store::serial`), which hands out each request that begins with `firmware `.
//! Each is answered by one line, `% ok firmware …` or `% error …` with words for a person.
//!
//! | request | answer | |
//! |---|---|---|
//! | `firmware state` | `% ok firmware state SLOT NAME STATE REASON VERSION` | slot of the running firmware (`A`, `B`), its name in the boot log (8 hexadecimal digits), `confirmed` or `trial`, code of the last revert's reason (0 for none), its version |
//! | `firmware begin NAME [downgrade]` | `% ok firmware begin SLOT OFFSET` | firmware whose header has this name comes now, for this slot; bytes before the offset were received already |
//! | `firmware data OFFSET HEX` | `% ok firmware data NEXT` | up to 128 bytes, in order: header and signature block, then the variant for the slot |
//! | `firmware verify` | `% ok firmware verify REST` | hashes the next 64 KiB of what lies in flash; so many bytes are left |
//! | `firmware start` | `% ok firmware start` | the firmware is on trial, and the board restarts |
//!
//! A sender need not wait for the answer to each `data` before it sends the next. After an error of `data` it reads what is still on its way, and goes on
//! by `begin`, which says from where.

use crate::{Staging, UpdateError, Updater, Verification, read_header};
use alloc::vec::Vec;
use core::fmt::Write;
use core::str::Split;
use heapless::String;
use picolet_boot::{ContentName, Slot};
use picolet_firmware::{IMAGE_OFFSET, Refusal};

/// The most bytes that one `data` may carry.
pub const PIECE: usize = 128;
/// The longest answer, with its end of line.
pub const LINE: usize = 192;
/// Bytes that one `verify` hashes.
pub const VERIFY: u32 = 64 * 1024;

/// What the board does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing more.
    Nothing,
    /// Firmware was refused.
    Refused,
    /// It restarts: firmware is on trial.
    Restart,
}

/// What the console is in the middle of. In a vector of one, since only that is allocated without a panic.
enum Step<'a> {
    Idle,
    Staging(Vec<Transfer<'a>>),
    Verifying(Vec<Verification<'a>>),
}

struct Transfer<'a> {
    name: ContentName,
    allow_downgrade: bool,
    received: u32,
    staging: Staging<'a>,
}

/// The board's side. Between requests it holds up to 10 KB of heap while firmware is staged, and nothing at rest.
pub struct Console<'a> {
    updater: &'a Updater<'a>,
    step: Step<'a>,
}

enum Failure {
    Words(&'static str),
    Update(UpdateError),
}

impl<T: Into<UpdateError>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Update(error.into())
    }
}

const UNKNOWN: Failure = Failure::Words("unknown request: firmware is sent by `picolet update --serial`");
const NOT_BEGUN: Failure = Failure::Words("no firmware update was begun");

impl<'a> Console<'a> {
    /// Takes updates by the rules of `updater`.
    pub const fn new(updater: &'a Updater<'a>) -> Self {
        Self {
            updater,
            step: Step::Idle,
        }
    }

    /// Whether an update was begun and is not on trial yet.
    pub const fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Gives up an update: its sender is gone. Its memory is freed; what was written is found by the next one.
    pub fn abandon(&mut self) {
        self.step = Step::Idle;
    }

    /// Answers a request: the words behind `firmware `.
    // Called from a large future, which it would be compiled into.
    #[inline(never)]
    pub fn answer(&mut self, request: &str) -> (String<LINE>, Then) {
        let mut line = String::new();
        // What does not fit is left out, except for the end of the line. No answer is as long.
        let _ = line.push_str("% ok firmware ");
        let then = match self.try_answer(request, &mut line) {
            Ok(then) => then,
            Err(failure) => {
                line.clear();
                let _ = line.push_str("% error ");
                match failure {
                    Failure::Words(words) => {
                        let _ = line.push_str(words);
                        Then::Nothing
                    }
                    Failure::Update(error) => {
                        self.step = Step::Idle;
                        let _ = write!(line, "{error}");
                        Then::Refused
                    }
                }
            }
        };
        line.truncate(LINE - 2);
        let _ = line.push_str("\r\n");
        (line, then)
    }

    fn try_answer(&mut self, request: &str, line: &mut String<LINE>) -> Result<Then, Failure> {
        let mut words = request.split(' ');
        let verb = words.next().unwrap_or_default();
        let _ = line.push_str(verb);
        match verb {
            "state" => {
                end(&mut words)?;
                self.state(line);
            }
            "begin" => {
                let (slot, offset) = self.begin(&mut words)?;
                let _ = write!(line, " {} {offset}", letter(slot));
            }
            "data" => {
                let next = self.data(&mut words)?;
                let _ = write!(line, " {next}");
            }
            "verify" => {
                end(&mut words)?;
                let rest = self.verify()?;
                let _ = write!(line, " {rest}");
            }
            "start" => {
                end(&mut words)?;
                self.start()?;
                return Ok(Then::Restart);
            }
            _ => return Err(UNKNOWN),
        }
        Ok(Then::Nothing)
    }

    fn state(&self, line: &mut String<LINE>) {
        let slots = self.updater.slots;
        let (running, state) = (slots.running(), slots.state());
        let name = read_header(slots, running).map_or(0, |header| number(header.name()));
        let word = if slots.is_on_trial() { "trial" } else { "confirmed" };
        let (reason, version) = (state.reason.0, self.updater.board().version.as_str());
        let _ = write!(line, " {} {name:08x} {word} {reason} {version}", letter(running));
    }

    fn begin(&mut self, words: &mut Split<'_, char>) -> Result<(Slot, u32), Failure> {
        let mut name = [0; 4];
        let digits = words.next().unwrap_or_default();
        if digits.len() != 8 || base16ct::mixed::decode(digits, &mut name).is_err() {
            return Err(UNKNOWN);
        }
        let allow_downgrade = match words.next() {
            None => false,
            Some("downgrade") => true,
            Some(_) => return Err(UNKNOWN),
        };
        end(words)?;
        let slot = self.updater.slots.running().other();
        if let Step::Staging(transfers) = &self.step
            && let Some(transfer) = transfers.first()
            && transfer.name.to_bytes() == name
            && transfer.allow_downgrade == allow_downgrade
        {
            return Ok((slot, transfer.received));
        }
        // One update at a time.
        self.step = Step::Idle;
        let mut transfers = Vec::new();
        transfers.try_reserve_exact(1).map_err(|_| UpdateError::Memory)?;
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&name);
        transfers.push(Transfer {
            name: ContentName::from_digest(&digest),
            allow_downgrade,
            received: 0,
            staging: self.updater.stage(allow_downgrade)?,
        });
        self.step = Step::Staging(transfers);
        Ok((slot, 0))
    }

    fn data(&mut self, words: &mut Split<'_, char>) -> Result<u32, Failure> {
        let (offset, digits) = (words.next(), words.next().unwrap_or_default());
        end(words)?;
        let Step::Staging(transfers) = &mut self.step else {
            return Err(NOT_BEGUN);
        };
        let transfer = transfers.first_mut().ok_or(NOT_BEGUN)?;
        if offset.and_then(|offset| offset.parse().ok()) != Some(transfer.received) {
            return Err(Failure::Words("a piece is missing or came twice: begin again"));
        }
        let mut bytes = [0; PIECE];
        let bytes = match base16ct::mixed::decode(digits, &mut bytes) {
            Ok(bytes) if !bytes.is_empty() => bytes,
            _ => {
                return Err(Failure::Words("data is up to 128 bytes in hexadecimal digits"));
            }
        };
        // The header ends where a piece does.
        if (transfer.received as usize) < IMAGE_OFFSET
            && transfer.received as usize + bytes.len() > IMAGE_OFFSET
        {
            return Err(Failure::Words("a piece must end where the header ends"));
        }
        transfer.staging.push(bytes)?;
        transfer.received += bytes.len() as u32;
        if transfer.received as usize == IMAGE_OFFSET {
            if transfer.staging.header().map(|header| header.name()) != Some(transfer.name) {
                return Err(Refusal::Damaged.into());
            }
            transfer.staging.skip_other_variant();
        }
        Ok(transfer.received)
    }

    fn verify(&mut self) -> Result<u32, Failure> {
        if let Step::Staging(transfers) = &self.step
            && !transfers.iter().all(|transfer| transfer.staging.is_complete())
        {
            // The rest may still come.
            return Err(Failure::Words("firmware is not complete: send the rest"));
        }
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Idle => return Err(NOT_BEGUN),
            Step::Staging(transfers) => {
                let transfer = transfers.into_iter().next().ok_or(NOT_BEGUN)?;
                let verification = transfer.staging.verify()?;
                let mut verifications = Vec::new();
                verifications
                    .try_reserve_exact(1)
                    .map_err(|_| UpdateError::Memory)?;
                verifications.push(verification);
                self.step = Step::Verifying(verifications);
            }
            step @ Step::Verifying(_) => self.step = step,
        }
        let Step::Verifying(verifications) = &mut self.step else {
            return Err(NOT_BEGUN);
        };
        let verification = verifications.first_mut().ok_or(NOT_BEGUN)?;
        let rest = verification.step(VERIFY)?;
        if rest == 0 {
            verification.header()?;
        }
        Ok(rest)
    }

    fn start(&mut self) -> Result<(), Failure> {
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Verifying(verifications) => {
                let verification = verifications.into_iter().next().ok_or(NOT_BEGUN)?;
                Ok(verification.start_trial()?)
            }
            step => {
                self.step = step;
                Err(Failure::Words("firmware was not verified"))
            }
        }
    }
}

fn end(words: &mut Split<'_, char>) -> Result<(), Failure> {
    words.next().map_or(Ok(()), |_| Err(UNKNOWN))
}

fn letter(slot: Slot) -> char {
    match slot {
        Slot::A => 'A',
        Slot::B => 'B',
    }
}

fn number(name: ContentName) -> u32 {
    u32::from_be_bytes(name.to_bytes())
}
