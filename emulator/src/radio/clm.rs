//! The country locale matrix (CLM) that a driver uploads: which countries the firmware has rules for.
//!
//! The format is not documented. What is read of it was found in the matrix of the CYW43439 as it is released: a header with a table
//! of parts, each with a CRC-32; the first part begins with `CLM DATA` and has, at 0x30, the offset of a table of pointers, whose
//! eleventh leads to the number of countries and the offset of their list, nine bytes each: code, revision, and six bytes of rules.

/// A country by its ISO 3166-1 code, and the revision of its rules.
pub type Country = ([u8; 2], u8);

const HEADER_WORDS: usize = 5;
const PART_WORDS: usize = 5;
const POINTERS: usize = 0x30;
const COUNTRIES: usize = 10;
const ENTRY: usize = 9;

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        data.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn offset(data: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(data, at)?).ok()
}

/// The CRC-32 of ISO-HDLC.
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

/// The countries that a matrix has rules for, in its order. `None` if it is damaged or not a matrix.
#[must_use]
pub fn countries(blob: &[u8]) -> Option<Vec<Country>> {
    let header = blob.get(..offset(blob, 4)?)?;
    if !header.starts_with(b"BLOB") || word(header, 8)? != crc(header.get(12..)?) {
        return None;
    }
    let parts = header.get(4 * HEADER_WORDS..)?.chunks_exact(4 * PART_WORDS);
    let mut first = None;
    for part in parts.take(offset(header, 16)?) {
        let begin = offset(part, 4)?;
        let data = blob.get(begin..begin.checked_add(offset(part, 8)?)?)?;
        if word(part, 12)? != crc(data) {
            return None;
        }
        first = first.or(Some(data));
    }
    let data = first.filter(|data| data.starts_with(b"CLM DATA"))?;
    let pointer = offset(data, POINTERS)?.checked_add(4 * COUNTRIES)?;
    let table = offset(data, pointer)?;
    let (count, list) = (offset(data, table)?, offset(data, table.checked_add(4)?)?);
    let end = list.checked_add(count.checked_mul(ENTRY)?)?;
    let entries = data.get(list..end)?.chunks_exact(ENTRY);
    Some(entries.map(|entry| ([entry[0], entry[1]], entry[2])).collect())
}

/// A matrix with these countries and no rules: enough for [`countries`].
#[must_use]
pub fn build(countries: &[Country]) -> Vec<u8> {
    let mut data = b"CLM DATA".to_vec();
    data.resize(POINTERS, 0);
    let pointers = POINTERS + 4;
    let table = pointers + 4 * (COUNTRIES + 1);
    data.extend((pointers as u32).to_le_bytes());
    data.resize(table - 4, 0);
    for number in [table, countries.len(), table + 8] {
        data.extend((number as u32).to_le_bytes());
    }
    for (code, revision) in countries {
        data.extend(code);
        data.extend([*revision, 0, 0, 0, 0, 0, 0]);
    }
    let begin = 4 * (HEADER_WORDS + PART_WORDS);
    let mut header = Vec::new();
    for number in [1, 1, 0, begin as u32, data.len() as u32, crc(&data), 0] {
        header.extend(number.to_le_bytes());
    }
    let mut blob = b"BLOB".to_vec();
    blob.extend((begin as u32).to_le_bytes());
    blob.extend(crc(&header).to_le_bytes());
    [blob, header, data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn countries_are_read_from_a_matrix() {
        let list = [(*b"DE", 0), (*b"US", 0), (*b"XX", 3)];
        assert_eq!(countries(&build(&list)).as_deref(), Some(&list[..]));
    }

    #[test]
    fn matrix_is_rejected_when_any_bit_is_flipped() {
        let blob = build(&[(*b"DE", 0), (*b"XX", 3)]);
        for bit in 0..8 * blob.len() {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(countries(&damaged), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_matrix_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = countries(&bytes);
        }
    }
}
