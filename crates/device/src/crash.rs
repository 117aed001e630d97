//! What a crash leaves behind for the run after it: why, and where.
//!
//! The record lies in memory that a reset leaves alone. Writing it needs no stack to speak of, no heap and no formatting,
//! so that it works when nothing else does. It holds places in the program and never values.
//!
//! The record lies at a fixed address, so that the firmware before it finds what new firmware left there. Its bytes are those of
//! [`FORMAT`]: firmware passes over a record of another format. Addresses in the firmware count from the start of its slot,
//! since the reader runs in the other one.

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::recovery::RadioFailure;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Bytes of a file's name; of a longer one the end is kept.
pub const FILE: usize = 60;

const MAGIC: u32 = 0x6873_7263;
/// The format of the record. Another layout or meaning of its words is another format.
pub const FORMAT: u32 = 2;
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Where an instruction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Bytes from the start of the slot of the firmware that ran.
    Slot(u32),
    /// Somewhere else, such as in the boot ROM or in RAM.
    Memory(u32),
}

impl Address {
    /// The place of an address while the firmware in `slot` runs, which is a range of addresses.
    pub fn new(address: u32, slot: &Range<u32>) -> Self {
        if slot.contains(&address) {
            Self::Slot(address - slot.start)
        } else {
            Self::Memory(address)
        }
    }

    const fn read(word: u32, is_in_slot: bool) -> Self {
        if is_in_slot {
            Self::Slot(word)
        } else {
            Self::Memory(word)
        }
    }

    const fn word(self) -> (u32, bool) {
        match self {
            Self::Slot(offset) => (offset, true),
            Self::Memory(address) => (address, false),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(offset) => write!(f, "slot+{offset:#x}"),
            Self::Memory(address) => write!(f, "{address:#010x}"),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The program found that something cannot be.
    Panic {
        /// The line in the file.
        line: u32,
    },
    /// The processor could not go on.
    Fault {
        /// The instruction.
        at: Address,
        /// Where it was called from, as far as that is known.
        from: Address,
    },
    /// It was asked to start over.
    Restart,
    /// The radio failed.
    Radio(RadioFailure),
}

/// A record as it lies in memory.
#[derive(Clone, Copy)]
#[repr(C)]
struct Record {
    magic: u32,
    format: u32,
    cause: u32,
    words: [u32; 2],
    /// Bits 0 and 1: the first and the second word count from the start of the slot.
    in_slot: u32,
    millis: u32,
    length: u32,
    file: [u8; FILE],
    check: u32,
}

impl Record {
    fn sum(&self) -> u32 {
        let mut digest = CRC.digest();
        for word in [
            self.magic,
            self.format,
            self.cause,
            self.words[0],
            self.words[1],
            self.in_slot,
            self.millis,
            self.length,
        ] {
            digest.update(&word.to_le_bytes());
        }
        digest.update(&self.file);
        digest.finalize()
    }
}

/// What a run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Why it ended.
    pub cause: Cause,
    /// Milliseconds that it had run.
    pub millis: u32,
    file: [u8; FILE],
    length: usize,
}

impl Crash {
    /// The file of a panic.
    pub fn file(&self) -> &str {
        core::str::from_utf8(&self.file[..self.length]).unwrap_or_default()
    }
}

/// A sentence for the log and for an Event.
impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.millis / 1000;
        match self.cause {
            Cause::Panic { line } => write!(f, "panic at {}:{line}", self.file())?,
            Cause::Fault { at, from } => write!(f, "fault at {at}, called from {from}")?,
            Cause::Restart => f.write_str("asked to restart")?,
            Cause::Radio(failure) => failure.fmt(f)?,
        }
        write!(f, " after {seconds} s")
    }
}

/// Room for one record, in memory that is not cleared at a reset.
#[repr(transparent)]
pub struct Slot(MaybeUninit<Record>);

impl Slot {
    /// Room with nothing in it, or with what a reset left there.
    pub const fn uninit() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Leaves a record behind. The first one counts: what goes wrong afterwards, on the way to the reset, does not.
    pub fn leave(&mut self, cause: Cause, file: &str, millis: u32) {
        if self.read().is_some() {
            return;
        }
        let bytes = file.as_bytes();
        let bytes = &bytes[bytes.len().saturating_sub(FILE)..];
        let mut record = Record {
            magic: MAGIC,
            format: FORMAT,
            cause: 0,
            words: [0; 2],
            in_slot: 0,
            millis,
            length: bytes.len() as u32,
            file: [0; FILE],
            check: 0,
        };
        record.file[..bytes.len()].copy_from_slice(bytes);
        (record.cause, record.words) = match cause {
            Cause::Panic { line } => (0, [line, 0]),
            Cause::Fault { at, from } => {
                let ((at, at_slot), (from, from_slot)) = (at.word(), from.word());
                record.in_slot = u32::from(at_slot) | u32::from(from_slot) << 1;
                (1, [at, from])
            }
            Cause::Restart => (2, [0, 0]),
            Cause::Radio(failure) => (3 + failure as u32, [0, 0]),
        };
        record.check = record.sum();
        // SAFETY: the place is a `Record`'s, and ours.
        unsafe { (&raw mut self.0).cast::<Record>().write_volatile(record) };
    }

    /// Takes what the run before left behind, so that it is told once.
    pub fn take(&mut self) -> Option<Crash> {
        let crash = self.read();
        self.0 = MaybeUninit::zeroed();
        crash
    }

    fn read(&self) -> Option<Crash> {
        // SAFETY: every pattern of bits is a `Record`. The memory has a content, though the compiler was not told which:
        // a volatile read takes what is there.
        let record = unsafe { (&raw const self.0).cast::<Record>().read_volatile() };
        let is_known = record.magic == MAGIC && record.format == FORMAT;
        if !is_known || record.length as usize > FILE || record.check != record.sum() {
            return None;
        }
        let [first, second] = record.words;
        let at = Address::read(first, record.in_slot & 1 != 0);
        let from = Address::read(second, record.in_slot & 2 != 0);
        let cause = match record.cause {
            0 => Cause::Panic { line: first },
            1 => Cause::Fault { at, from },
            2 => Cause::Restart,
            3 => Cause::Radio(RadioFailure::NotStarted),
            4 => Cause::Radio(RadioFailure::NotAnswering),
            5 => Cause::Radio(RadioFailure::NoFrames),
            _ => return None,
        };
        Some(Crash {
            cause,
            millis: record.millis,
            file: record.file,
            length: record.length as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    fn slot(fill: u8) -> Slot {
        let mut slot = Slot::uninit();
        // SAFETY: within the record, of which every pattern of bits is one.
        unsafe {
            (&raw mut slot.0)
                .cast::<[u8; size_of::<Record>()]>()
                .write([fill; size_of::<Record>()])
        };
        slot
    }

    /// A fault of firmware in slot A of a Pico W.
    fn fault(at: u32, from: u32) -> Cause {
        let slot = 0x1000_6000..0x100d_2000;
        Cause::Fault {
            at: Address::new(at, &slot),
            from: Address::new(from, &slot),
        }
    }

    /// Firmware of another version reads it.
    #[test]
    fn record_has_the_bytes_of_its_format() {
        let mut slot = slot(0);
        slot.leave(fault(0x1000_9f01, 0xffff_fff9), "a.rs", 0x0102_0304);
        // SAFETY: all of a record is bytes.
        let bytes = unsafe { (&raw const slot.0).cast::<[u8; size_of::<Record>()]>().read() };
        let mut expected = std::vec::Vec::new();
        for word in [0x6873_7263_u32, 2, 1, 0x3f01, 0xffff_fff9, 1, 0x0102_0304, 4] {
            expected.extend(word.to_le_bytes());
        }
        expected.extend(*b"a.rs");
        expected.resize(92, 0);
        assert_eq!(bytes[..92], expected);
        assert_eq!(bytes.len(), 96);
    }

    #[test]
    fn record_of_another_format_is_passed_over() {
        let mut slot = slot(0);
        slot.leave(Cause::Restart, "", 5);
        // SAFETY: it is a record.
        let record = unsafe { &mut *(&raw mut slot.0).cast::<Record>() };
        record.format += 1;
        record.check = record.sum();
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn a_crash_is_told_once_with_its_place() {
        let mut slot = slot(0x5a);
        assert_eq!(slot.take(), None, "memory of a cold start");
        slot.leave(Cause::Panic { line: 42 }, "crates/kubelet/src/status.rs", 61_500);
        slot.leave(fault(4, 8), "", 61_501);
        let crash = slot.take().expect("the first");
        assert_eq!(
            crash.to_string(),
            "panic at crates/kubelet/src/status.rs:42 after 61 s"
        );
        assert_eq!(slot.take(), None);
        for (at, from, words) in [
            (
                0x1000_9f00,
                0x1001_0002,
                "fault at slot+0x3f00, called from slot+0xa002 after 0 s",
            ),
            (
                0xf000_0000,
                0x1000_6000,
                "fault at 0xf0000000, called from slot+0x0 after 0 s",
            ),
            (
                0x1000_6200,
                0x2000_0001,
                "fault at slot+0x200, called from 0x20000001 after 0 s",
            ),
            (
                0x1000_5fff,
                0x100d_2000,
                "fault at 0x10005fff, called from 0x100d2000 after 0 s",
            ),
        ] {
            slot.leave(fault(at, from), "", 9);
            assert_eq!(slot.take().expect("a fault").to_string(), words);
        }
        for (failure, words) in [
            (RadioFailure::NotStarted, "radio did not start after 12 s"),
            (RadioFailure::NotAnswering, "radio stopped answering after 12 s"),
            (RadioFailure::NoFrames, "radio received no frame after 12 s"),
        ] {
            slot.leave(Cause::Radio(failure), "", 12_000);
            assert_eq!(slot.take().expect("a failure of the radio").to_string(), words);
        }
    }

    #[test]
    fn of_a_long_name_the_end_is_kept() {
        let mut slot = slot(0);
        let name = "x/".repeat(40) + "end.rs";
        slot.leave(Cause::Panic { line: 1 }, &name, 0);
        let crash = slot.take().expect("it was left");
        assert_eq!(crash.file().len(), FILE);
        assert!(crash.file().ends_with("x/end.rs"));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..8 * size_of::<Record>() {
            let mut slot = slot(0);
            slot.leave(Cause::Restart, "", 5);
            // SAFETY: within the record.
            unsafe { *(&raw mut slot.0).cast::<u8>().add(bit / 8) ^= 1 << (bit % 8) };
            assert_eq!(slot.take(), None, "bit {bit}");
        }
    }
}
