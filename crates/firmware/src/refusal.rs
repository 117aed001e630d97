//! Why firmware is refused.

use crate::values::{Formats, KeyId, Text};
use core::fmt;

/// The class of a refusal: the exit code of an update's container, and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The file is no firmware, or of a later format.
    NotFirmware = 40,
    /// It is for another board.
    WrongBoard = 41,
    /// It does not fit into a slot.
    TooLarge = 42,
    /// It is not signed by a key that the board trusts.
    BadSignature = 43,
    /// It is older than what the board runs, or than what it accepts.
    Older = 44,
    /// It does not read what is on the board.
    Formats = 46,
    /// Bytes were lost or changed.
    Damaged = 47,
}

/// Why firmware is refused. Displays as one sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The magic is another one.
    NotFirmware,
    /// The header has this format.
    OtherFormat(u16),
    /// Header, signature block, length or digest are not as they must be.
    Damaged,
    /// The board has no key.
    NoTrustedKey,
    /// The signature block is blank.
    NotSigned,
    /// The key is not one of the board's.
    UnknownKey(KeyId),
    /// The signature by this key is wrong.
    WrongSignature(KeyId),
    /// The firmware is for another board.
    WrongBoard {
        /// The firmware's board.
        firmware: Text<16>,
        /// This board.
        board: &'static str,
    },
    /// A variant is linked for another address than that of its slot.
    WrongAddress {
        /// What it is linked for.
        firmware: u32,
        /// Where the slot is.
        slot: u32,
    },
    /// A variant and the header do not fit into the slot.
    TooLarge {
        /// Bytes of both.
        firmware: u64,
        /// Bytes of the slot.
        slot: u32,
    },
    /// The settings on the board are not read.
    SettingsFormat {
        /// What the firmware reads.
        firmware: Formats,
        /// What the board has.
        board: u16,
    },
    /// The device records on the board are not read.
    RecordsFormat {
        /// What the firmware reads.
        firmware: Formats,
        /// What the board has.
        board: u16,
    },
    /// Another radio firmware is needed.
    RadioFirmware {
        /// What the firmware needs.
        firmware: [u8; 4],
        /// What the board has.
        board: [u8; 4],
    },
    /// The version is older, and no downgrade was asked for.
    Older {
        /// The firmware's version.
        firmware: Text<32>,
        /// The version that runs.
        running: Text<32>,
    },
    /// The security number is below the lowest that the board accepts.
    SecurityNumber {
        /// The firmware's number.
        firmware: u32,
        /// The lowest that the board accepts.
        floor: u32,
    },
}

impl Refusal {
    /// The class of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotFirmware | Self::OtherFormat(_) => Code::NotFirmware,
            Self::Damaged => Code::Damaged,
            Self::NoTrustedKey | Self::NotSigned | Self::UnknownKey(_) | Self::WrongSignature(_) => {
                Code::BadSignature
            }
            Self::WrongBoard { .. } | Self::WrongAddress { .. } => Code::WrongBoard,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::SettingsFormat { .. } | Self::RecordsFormat { .. } | Self::RadioFirmware { .. } => {
                Code::Formats
            }
            Self::Older { .. } | Self::SecurityNumber { .. } => Code::Older,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats = |f: &mut fmt::Formatter<'_>, what, firmware: &Formats, board| {
            let Formats { oldest, newest } = firmware;
            write!(
                f,
                "firmware reads {what} of formats {oldest} to {newest}, this board has format {board}"
            )
        };
        match self {
            Self::NotFirmware => f.write_str("not a firmware file"),
            Self::OtherFormat(format) => write!(
                f,
                "firmware file has format {format}; this firmware reads format 1"
            ),
            Self::Damaged => f.write_str("firmware file is damaged: transfer it again"),
            Self::NoTrustedKey => f.write_str("this board trusts no firmware key"),
            Self::NotSigned => f.write_str("firmware is not signed"),
            Self::UnknownKey(key) => write!(
                f,
                "firmware is signed by key {key}, which this board does not trust"
            ),
            Self::WrongSignature(key) => write!(
                f,
                "signature by key {key} is wrong: firmware was changed after it was signed"
            ),
            Self::WrongBoard { firmware, board } => {
                write!(f, "firmware is for {firmware}, this board is a {board}")
            }
            Self::WrongAddress { firmware, slot } => write!(
                f,
                "firmware is linked for {firmware:#010x}, the slot is at {slot:#010x}"
            ),
            Self::TooLarge { firmware, slot } => {
                write!(f, "firmware has {firmware} bytes, a slot has {slot}")
            }
            Self::SettingsFormat { firmware, board } => formats(f, "settings", firmware, *board),
            Self::RecordsFormat { firmware, board } => formats(f, "records", firmware, *board),
            Self::RadioFirmware { firmware, board } => {
                let (firmware, board) = (u32::from_be_bytes(*firmware), u32::from_be_bytes(*board));
                write!(
                    f,
                    "firmware needs radio firmware {firmware:08x}, this board has {board:08x}"
                )
            }
            Self::Older { firmware, running } => write!(
                f,
                "firmware {firmware} is older than {running}: allow the downgrade explicitly"
            ),
            Self::SecurityNumber { firmware, floor } => write!(
                f,
                "security number {firmware} is below {floor}, the lowest that this board installs"
            ),
        }
    }
}

impl core::error::Error for Refusal {}
