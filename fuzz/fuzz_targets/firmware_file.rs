//! A firmware file in pieces of any length: nothing comes out before the checks, all of it lies in the slot, and what the reader
//! takes is verified in flash too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_boot::Slot;
use picolet_ec::p256::SecretKey;
use picolet_firmware::{
    Board, HEADER, Header, IMAGE_OFFSET, Piece, Policy, Reader, SignatureBlock, SlotCheck, SlotSpace, Text,
    TrustedKey, Variant, check_file,
};
use std::sync::LazyLock;

const SLOT: usize = 8192;

static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::generate(&[7; 48]));
static TRUSTED: LazyLock<[TrustedKey; 1]> = LazyLock::new(|| [TrustedKey::new(KEY.public_key())]);

/// The header in `data`, with the digests of what follows and signed, if it is one otherwise.
fn signed(data: &[u8]) -> Option<Vec<u8>> {
    let mut header = Header::parse(data.first_chunk::<HEADER>()?).ok()?;
    let mut file = data.to_vec();
    for slot in [Slot::A, Slot::B] {
        let start = usize::try_from(header.variant_offset(slot)).ok()?;
        let variant = &mut header.variants[slot.index()];
        let image = data.get(start..start.checked_add(variant.length as usize)?)?;
        *variant = Variant::of(variant.address, image);
    }
    let bytes = header.to_bytes();
    file[..HEADER].copy_from_slice(&bytes);
    file[HEADER..IMAGE_OFFSET].copy_from_slice(&SignatureBlock::sign(&bytes, &KEY).to_bytes());
    Some(file)
}

fn read(file: &[u8], lengths: &[u8]) {
    let board = Board {
        name: "pico-w",
        slots: [0x1000_6000, 0x100d_2000].map(|address| SlotSpace {
            address,
            length: SLOT as u32,
        }),
        settings: 1,
        records: 1,
        radio: [1; 4],
        version: Text::new("0.1.0").expect("a text"),
        security_floor: 1,
    };
    let policy = Policy {
        keys: &*TRUSTED,
        board: &board,
        allow_downgrade: false,
    };
    for slot in [Slot::A, Slot::B] {
        let mut reader = Reader::new(policy, slot);
        let mut flash = vec![0xff; SLOT];
        let (mut rest, mut lengths) = (file, lengths.iter().cycle());
        while !rest.is_empty() {
            let length = lengths
                .next()
                .map_or(rest.len(), |length| usize::from(*length) * 4 + 1);
            let Ok((count, piece)) = reader.push(&rest[..length.min(rest.len())]) else {
                break;
            };
            assert!(count > 0, "no progress");
            match piece {
                Piece::Nothing => {}
                Piece::Block => {
                    flash[..IMAGE_OFFSET].copy_from_slice(reader.block().expect("it was checked"))
                }
                Piece::Image { offset, bytes } => {
                    assert!(
                        reader
                            .header()
                            .is_some_and(|header| policy.board.check(header, false).is_ok())
                    );
                    flash[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            rest = &rest[count..];
        }
        let block = flash.first_chunk().expect("a slot is longer");
        let is_verified = SlotCheck::new(block, slot, &policy).is_ok_and(|mut check| {
            check.push(&flash[IMAGE_OFFSET..]);
            check.finish().is_ok()
        });
        assert!(is_verified || !reader.is_complete());
    }
}

fuzz_target!(|data: &[u8]| {
    let (lengths, file) = data.split_at(data.len().min(8));
    let _ = check_file(file);
    read(file, lengths);
    if let Some(file) = signed(file) {
        read(&file, lengths);
    }
});
