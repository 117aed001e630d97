//! The signed header.

use crate::refusal::Refusal;
use crate::values::{Formats, Text};
use picolet_boot::{ContentName, Slot};
use semver::Version;
use sha2::{Digest, Sha256};

/// Bytes of the header, and of the signature block behind it.
pub const HEADER: usize = 256;
/// Where the image begins in a slot, and the first variant in a file.
pub const IMAGE_OFFSET: usize = 2 * HEADER;
/// A variant's length is a multiple of this many bytes.
pub const PAGE: usize = 256;

const MAGIC: &[u8; 16] = b"picolet firmware";
const FORMAT: u16 = 1;

/// The image as linked for one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The address of the slot, as the processor sees it.
    pub address: u32,
    /// Bytes: a multiple of [`PAGE`], not 0.
    pub length: u32,
    /// SHA-256.
    pub digest: [u8; 32],
}

impl Variant {
    /// Describes `image`, whose length is a multiple of [`PAGE`], linked for the slot at `address`.
    pub fn of(address: u32, image: &[u8]) -> Self {
        Self {
            address,
            length: image.len() as u32,
            digest: Sha256::digest(image).into(),
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A board never installs firmware with a lower number than it had confirmed.
    pub security: u32,
    /// The board that it runs on.
    pub board: Text<16>,
    /// Its version, as Semantic Versioning 2.0.0 has it.
    pub version: Text<32>,
    /// The git commit, zeros if unknown.
    pub commit: [u8; 20],
    /// Settings that it reads.
    pub settings: Formats,
    /// Device records that it reads.
    pub records: Formats,
    /// First bytes of the SHA-256 of the radio firmware that it needs; zeros for any.
    pub radio: [u8; 4],
    /// By [`Slot::index`].
    pub variants: [Variant; 2],
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn zeros<const N: usize>(&mut self) -> Result<(), Refusal> {
        check(self.bytes::<N>()? == [0; N])
    }

    fn text<const N: usize>(&mut self) -> Result<Text<N>, Refusal> {
        Text::from_bytes(self.bytes()?).ok_or(Refusal::Damaged)
    }

    fn formats(&mut self) -> Result<Formats, Refusal> {
        let (oldest, newest) = (self.u16()?, self.u16()?);
        check(oldest <= newest)?;
        Ok(Formats { oldest, newest })
    }

    fn variant(&mut self) -> Result<Variant, Refusal> {
        let (address, length) = (self.u32()?, self.u32()?);
        check(length > 0 && length % PAGE as u32 == 0)?;
        self.zeros::<4>()?;
        let digest = self.bytes()?;
        Ok(Variant {
            address,
            length,
            digest,
        })
    }
}

fn check(holds: bool) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Damaged) }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// It is not a header, of another format, or damaged.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, Refusal> {
        let mut fields = Fields(bytes);
        if &fields.bytes::<16>()? != MAGIC {
            return Err(Refusal::NotFirmware);
        }
        match fields.u16()? {
            FORMAT => {}
            format => return Err(Refusal::OtherFormat(format)),
        }
        check(usize::from(fields.u16()?) == HEADER)?;
        let security = fields.u32()?;
        let (board, version) = (fields.text()?, fields.text()?);
        check(parse_version(&version).is_some())?;
        let commit = fields.bytes()?;
        let (settings, records) = (fields.formats()?, fields.formats()?);
        let radio = fields.bytes()?;
        fields.zeros::<8>()?;
        let variants = [fields.variant()?, fields.variant()?];
        fields.zeros::<56>()?;
        Ok(Self {
            security,
            board,
            version,
            commit,
            settings,
            records,
            radio,
            variants,
        })
    }

    /// The bytes of the header: what is signed.
    ///
    /// Values that [`Self::parse`] refuses are written as they are.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(MAGIC);
        put(&FORMAT.to_le_bytes());
        put(&(HEADER as u16).to_le_bytes());
        put(&self.security.to_le_bytes());
        put(self.board.as_bytes());
        put(self.version.as_bytes());
        put(&self.commit);
        for Formats { oldest, newest } in [self.settings, self.records] {
            put(&oldest.to_le_bytes());
            put(&newest.to_le_bytes());
        }
        put(&self.radio);
        put(&[0; 8]);
        for variant in &self.variants {
            put(&variant.address.to_le_bytes());
            put(&variant.length.to_le_bytes());
            put(&[0; 4]);
            put(&variant.digest);
        }
        bytes
    }

    /// The image for a slot.
    pub fn variant(&self, slot: Slot) -> &Variant {
        &self.variants[slot.index()]
    }

    /// Where the variant for a slot begins in a file.
    pub fn variant_offset(&self, slot: Slot) -> u64 {
        let before = match slot {
            Slot::A => 0,
            Slot::B => self.variants[0].length,
        };
        IMAGE_OFFSET as u64 + u64::from(before)
    }

    /// Bytes of the whole file.
    pub fn file_length(&self) -> u64 {
        self.variant_offset(Slot::B) + u64::from(self.variants[1].length)
    }

    /// The name in the boot log of firmware with this header.
    pub fn name(&self) -> ContentName {
        ContentName::from_digest(&Sha256::digest(self.to_bytes()).into())
    }
}

/// `version` in a form that compares.
pub(crate) fn parse_version(version: &Text<32>) -> Option<Version> {
    Version::parse(version.as_str()).ok()
}
