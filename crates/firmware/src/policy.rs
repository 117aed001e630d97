//! Whether a board takes firmware.

use crate::header::{Header, IMAGE_OFFSET, parse_version};
use crate::refusal::Refusal;
use crate::signature::{SignedHeader, TrustedKey};
use crate::values::{KeyId, Text};

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSpace {
    /// The address of its first byte, as the processor sees it.
    pub address: u32,
    /// Bytes.
    pub length: u32,
}

/// What a board is and has.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Its name, such as `pico-w`.
    pub name: &'static str,
    /// Slots A and B.
    pub slots: [SlotSpace; 2],
    /// The format of the settings on the board.
    pub settings: u16,
    /// The format of the device records on the board.
    pub records: u16,
    /// First bytes of the SHA-256 of its radio firmware.
    pub radio: [u8; 4],
    /// The version of the firmware that runs.
    pub version: Text<32>,
    /// The highest security number of firmware that was confirmed.
    pub security_floor: u32,
}

impl Board {
    /// Checks everything about a header but its signature.
    ///
    /// # Errors
    /// The first rule of `docs/firmware-format.md` that the header breaks.
    pub fn check(&self, header: &Header, allow_downgrade: bool) -> Result<(), Refusal> {
        if header.board.as_str() != self.name {
            return Err(Refusal::WrongBoard {
                firmware: header.board,
                board: self.name,
            });
        }
        for (variant, slot) in header.variants.iter().zip(&self.slots) {
            if variant.address != slot.address {
                return Err(Refusal::WrongAddress {
                    firmware: variant.address,
                    slot: slot.address,
                });
            }
        }
        for (variant, slot) in header.variants.iter().zip(&self.slots) {
            let firmware = IMAGE_OFFSET as u64 + u64::from(variant.length);
            if firmware > u64::from(slot.length) {
                return Err(Refusal::TooLarge {
                    firmware,
                    slot: slot.length,
                });
            }
        }
        let (settings, records) = (header.settings, header.records);
        if !(settings.oldest..=settings.newest).contains(&self.settings) {
            return Err(Refusal::SettingsFormat {
                firmware: settings,
                board: self.settings,
            });
        }
        if !(records.oldest..=records.newest).contains(&self.records) {
            return Err(Refusal::RecordsFormat {
                firmware: records,
                board: self.records,
            });
        }
        if header.radio != [0; 4] && header.radio != self.radio {
            return Err(Refusal::RadioFirmware {
                firmware: header.radio,
                board: self.radio,
            });
        }
        if !allow_downgrade && self.is_older(header) {
            return Err(Refusal::Older {
                firmware: header.version,
                running: self.version,
            });
        }
        if header.security < self.security_floor {
            return Err(Refusal::SecurityNumber {
                firmware: header.security,
                floor: self.security_floor,
            });
        }
        Ok(())
    }

    fn is_older(&self, header: &Header) -> bool {
        let versions = (parse_version(&header.version), parse_version(&self.version));
        // A version that cannot be read is older than any other; the parser lets none through.
        let (Some(firmware), Some(running)) = versions else {
            return true;
        };
        firmware.cmp_precedence(&running).is_lt()
    }
}

/// What a board checks firmware by.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The keys that it trusts.
    pub keys: &'a [TrustedKey],
    /// What the board is and has.
    pub board: &'a Board,
    /// Whether an older version was asked for.
    pub allow_downgrade: bool,
}

impl Policy<'_> {
    /// Checks signature and header, and returns the key that signed it.
    ///
    /// # Errors
    /// The first rule of `docs/firmware-format.md` that is broken.
    pub fn check(&self, signed: &SignedHeader) -> Result<KeyId, Refusal> {
        let key = signed.verify(self.keys)?;
        self.board.check(&signed.header, self.allow_downgrade)?;
        Ok(key)
    }
}
