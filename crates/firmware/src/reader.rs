//! Reading a file as it arrives, and a slot as it lies in flash.

use crate::header::{Header, IMAGE_OFFSET, Variant};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::signature::{SignatureBlock, SignedHeader};
use alloc::vec::Vec;
use core::ops::Range;
use picolet_boot::Slot;
use sha2::{Digest, Sha256};

/// What [`Reader::push`] made of the bytes that it took.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// They belong to the header, or to the variant for the other slot.
    Nothing,
    /// Header and signature block are complete and were checked: [`Reader::block`] has them for the start of the slot.
    Block,
    /// They belong to the slot.
    Image {
        /// Where, from the start of the slot.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// Reads a firmware file of which one variant is to be staged. Nothing of a variant comes out before header and signature were checked.
pub struct Reader<'a> {
    policy: Policy<'a>,
    slot: Slot,
    block: [u8; IMAGE_OFFSET],
    signed: Option<SignedHeader>,
    received: u64,
    hash: Sha256,
    is_complete: bool,
}

impl<'a> Reader<'a> {
    /// Reads a file for `slot` of a board.
    pub fn new(policy: Policy<'a>, slot: Slot) -> Self {
        Self {
            policy,
            slot,
            block: [0; IMAGE_OFFSET],
            signed: None,
            received: 0,
            hash: Sha256::new(),
            is_complete: false,
        }
    }

    /// Takes bytes of the file, as many as belong together, and returns how many and what they are. Call it until all are taken.
    ///
    /// # Errors
    /// The firmware is refused. The reader is of no use then.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<(usize, Piece<'b>), Refusal> {
        let Some(signed) = &self.signed else {
            return self.push_block(bytes);
        };
        let header = &signed.header;
        let Range { start, end } = variant_range(header, self.slot);
        let (next, is_wanted) = match self.received {
            at if at < start => (start, false),
            at if at < end => (end, true),
            _ => (header.file_length(), false),
        };
        let room = usize::try_from(next - self.received).unwrap_or(usize::MAX);
        if room == 0 && !bytes.is_empty() {
            return Err(Refusal::Damaged);
        }
        let taken = &bytes[..bytes.len().min(room)];
        let offset = self.received.wrapping_sub(start);
        self.received += taken.len() as u64;
        if !is_wanted || taken.is_empty() {
            return Ok((taken.len(), Piece::Nothing));
        }
        self.hash.update(taken);
        if self.received == end {
            check_digest(&mut self.hash, header.variant(self.slot))?;
            self.is_complete = true;
        }
        let piece = Piece::Image {
            // A variant's length is 32 bits, and it fits into the slot.
            offset: IMAGE_OFFSET as u32 + offset as u32,
            bytes: taken,
        };
        Ok((taken.len(), piece))
    }

    fn push_block<'b>(&mut self, bytes: &'b [u8]) -> Result<(usize, Piece<'b>), Refusal> {
        // `received` is less than the block's length until there is a header.
        let place = &mut self.block[self.received as usize..];
        let count = bytes.len().min(place.len());
        place[..count].copy_from_slice(&bytes[..count]);
        self.received += count as u64;
        if self.received < IMAGE_OFFSET as u64 {
            return Ok((count, Piece::Nothing));
        }
        let signed = match SignedHeader::parse(&self.block).and_then(|signed| {
            self.policy.check(&signed)?;
            Ok(signed)
        }) {
            Ok(signed) => signed,
            Err(refusal) => {
                // Another call is refused in the same way.
                self.received -= count as u64;
                return Err(refusal);
            }
        };
        self.signed = Some(signed);
        Ok((count, Piece::Block))
    }

    /// Has the next bytes be those of the variant for this slot, from its first on: what a sender knows that sends nothing else. Call it
    /// after [`Piece::Block`].
    pub fn skip_other_variant(&mut self) {
        if let Some(signed) = &self.signed {
            let start = variant_range(&signed.header, self.slot).start;
            self.received = self.received.max(start);
        }
    }

    /// Header and signature block, once they were checked.
    pub fn block(&self) -> Option<&[u8; IMAGE_OFFSET]> {
        self.signed.as_ref().map(|_| &self.block)
    }

    /// The header, once it was checked.
    pub fn header(&self) -> Option<&Header> {
        self.signed.as_ref().map(|signed| &signed.header)
    }

    /// Whether the whole variant was received and has the digest of the header. What follows need not be received.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

/// Where the variant for a slot is in a file.
fn variant_range(header: &Header, slot: Slot) -> Range<u64> {
    let start = header.variant_offset(slot);
    start..start + u64::from(header.variant(slot).length)
}

fn check_digest(hash: &mut Sha256, variant: &Variant) -> Result<(), Refusal> {
    let digest: [u8; 32] = hash.finalize_reset().into();
    if digest == variant.digest {
        Ok(())
    } else {
        Err(Refusal::Damaged)
    }
}

/// Verifies the firmware in a slot as it is read from flash, a piece at a time.
pub struct SlotCheck {
    header: Header,
    variant: Variant,
    rest: u32,
    hash: Sha256,
}

impl SlotCheck {
    /// Checks header and signature. `block` is the first [`IMAGE_OFFSET`] bytes of the slot.
    ///
    /// # Errors
    /// There is no firmware, or the board does not take it.
    pub fn new(block: &[u8; IMAGE_OFFSET], slot: Slot, policy: &Policy<'_>) -> Result<Self, Refusal> {
        let signed = SignedHeader::parse(block)?;
        policy.check(&signed)?;
        let variant = *signed.header.variant(slot);
        Ok(Self {
            header: signed.header,
            variant,
            rest: variant.length,
            hash: Sha256::new(),
        })
    }

    /// Bytes of the image that were not pushed yet.
    pub fn rest(&self) -> u32 {
        self.rest
    }

    /// Hashes the next bytes of the image, which begins at [`IMAGE_OFFSET`]. Bytes behind its end are not looked at.
    pub fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.rest as usize);
        self.hash.update(&bytes[..count]);
        self.rest -= count as u32;
    }

    /// The header, once the whole image was pushed.
    ///
    /// # Errors
    /// The image is not complete, or its digest is not that of the header.
    pub fn finish(&self) -> Result<&Header, Refusal> {
        if self.rest > 0 {
            return Err(Refusal::Damaged);
        }
        check_digest(&mut self.hash.clone(), &self.variant)?;
        Ok(&self.header)
    }
}

/// Checks that a whole file is one: length and the digests of both variants. Verifies no signature.
///
/// # Errors
/// It is not a firmware file, of another format, or damaged.
pub fn check_file(file: &[u8]) -> Result<SignedHeader, Refusal> {
    let (block, _) = file
        .split_first_chunk::<IMAGE_OFFSET>()
        .ok_or(Refusal::NotFirmware)?;
    let signed = SignedHeader::parse(block)?;
    if signed.header.file_length() != file.len() as u64 {
        return Err(Refusal::Damaged);
    }
    for slot in [Slot::A, Slot::B] {
        let Range { start, end } = variant_range(&signed.header, slot);
        let image = file.get(start as usize..end as usize).ok_or(Refusal::Damaged)?;
        let mut hash = Sha256::new();
        hash.update(image);
        check_digest(&mut hash, signed.header.variant(slot))?;
    }
    Ok(signed)
}

/// Puts a file together. `images` are what `header` describes.
pub fn assemble(header: &Header, signature: &SignatureBlock, images: [&[u8]; 2]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(header.to_bytes());
    file.extend(signature.to_bytes());
    for image in images {
        file.extend(image);
    }
    file
}
