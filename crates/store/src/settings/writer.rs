//! Makes a block. Done on a computer, and wherever settings are written without one: in tests.

use super::{CAPACITY, Field, HEADER, Header, Settings, SettingsError, VERSION, check, checksum};

/// Puts entries behind each other, in a buffer of its caller.
pub struct Writer<'b> {
    /// A slot's length: the header's page, then entries.
    block: &'b mut [u8; super::SLOT],
    length: usize,
}

impl<'b> Writer<'b> {
    /// Starts a block.
    pub fn new(block: &'b mut [u8; super::SLOT]) -> Self {
        block.fill(0xff);
        Self { block, length: 0 }
    }

    /// Adds a value. A field that may repeat keeps the order of its values.
    ///
    /// # Errors
    /// Says what the field takes, or that the block is full.
    pub fn put(&mut self, field: Field, value: &[u8]) -> Result<(), SettingsError> {
        check::check(field, value).map_err(|what| SettingsError::Field(field, what))?;
        let full = SettingsError::Field(
            field,
            "all settings together have more than 7.9 KB; leave certificates out that nobody needs",
        );
        let [low, high] = u16::try_from(value.len()).map_err(|_| full)?.to_le_bytes();
        let end = self.length + 3 + value.len();
        if end > CAPACITY {
            return Err(full);
        }
        let entry = &mut self.block[HEADER + self.length..HEADER + end];
        entry[..3].copy_from_slice(&[field as u8, low, high]);
        entry[3..].copy_from_slice(value);
        self.length = end;
        Ok(())
    }

    /// Ends the block and returns it whole, as long as a slot.
    ///
    /// # Errors
    /// Names the first field that is missing or wrong beside another.
    pub fn finish(self) -> Result<&'b [u8; super::SLOT], SettingsError> {
        let entries = &self.block[HEADER..HEADER + self.length];
        Settings::read_entries(entries)?;
        let header = Header {
            version: VERSION,
            length: self.length,
            checksum: checksum(entries),
        };
        self.block[..Header::BYTES].copy_from_slice(&header.bytes());
        Ok(self.block)
    }
}
