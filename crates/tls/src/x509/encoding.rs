//! DER (X.690) as far as certificates need it: walking through fields, and wrapping them.

use alloc::vec::Vec;
use der::asn1::AnyRef;
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber, Tagged};

/// The fields of a constructed value, one after the other.
pub(super) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// The fields of the one value with this tag that `der` is.
    pub(super) fn only(der: &'a [u8], tag: Tag) -> Option<Self> {
        let mut outer = Self(SliceReader::new(der).ok()?);
        let fields = outer.nested(tag)?;
        outer.end()?;
        Some(fields)
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Option<AnyRef<'a>> {
        let header = Header::decode(&mut self.0).ok()?;
        AnyRef::new(header.tag(), self.0.read_slice(header.length()).ok()?).ok()
    }

    /// The next value, which has this tag.
    pub(super) fn expect(&mut self, tag: Tag) -> Option<AnyRef<'a>> {
        self.any().filter(|value| value.tag() == tag)
    }

    /// The fields of the next value, which has this tag.
    pub(super) fn nested(&mut self, tag: Tag) -> Option<Self> {
        Some(Self(SliceReader::new(self.expect(tag)?.value()).ok()?))
    }

    /// The next value, if its tag is this context-specific one; else it stays.
    pub(super) fn tagged(&mut self, number: u32) -> Option<AnyRef<'a>> {
        match self.peek()? {
            Tag::ContextSpecific { number: found, .. } if found == TagNumber(number) => self.any(),
            _ => None,
        }
    }

    /// The content of an object identifier.
    pub(super) fn identifier(&mut self) -> Option<&'a [u8]> {
        Some(self.expect(Tag::ObjectIdentifier)?.value())
    }

    /// The next value's tag.
    pub(super) fn peek(&self) -> Option<Tag> {
        Tag::peek(&self.0).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// `None` if something follows.
    pub(super) fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// The first value of `der`, its tag and length included, and what is behind it.
pub(crate) fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    reader.read_slice(header.length()).ok()?;
    der.split_at_checked(usize::try_from(reader.position()).ok()?)
}

/// Tags as they are written.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// A primitive context-specific tag.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}
/// A constructed context-specific tag.
pub(super) const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// A value of `tag` whose content is `parts` in a row. `None` from 64 KiB on.
pub(super) fn wrap(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length = u16::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).ok()?;
    let mut der = Vec::with_capacity(4 + usize::from(length));
    der.push(tag);
    match length.to_be_bytes() {
        [0, low @ ..128] => der.push(low),
        [0, low] => der.extend([0x81, low]),
        [high, low] => der.extend([0x82, high, low]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lengths_are_as_short_as_can_be() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_535, &[4, 0x82, 255, 255]),
        ] {
            let der = wrap(OCTET_STRING, &[&vec![0; length]]).unwrap();
            assert_eq!((&der[..head.len()], der.len()), (head, head.len() + length));
        }
        assert_eq!(wrap(OCTET_STRING, &[&vec![0; 65_536]]), None);
    }
}
