//! The file format byte by byte, every refusal, and a reader that trusts nothing.

use picolet_boot::Slot;
use picolet_ec::p256::SecretKey;
use picolet_firmware::{
    Board, Code, Formats, HEADER, Header, IMAGE_OFFSET, KeyId, Piece, Policy, Reader, Refusal,
    SignatureBlock, SignedHeader, SlotCheck, SlotSpace, Text, TrustedKey, Variant, assemble, check_file,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("../../../docs/firmware-format.md");

fn key(number: u8) -> SecretKey {
    SecretKey::generate(&[number; 48])
}

fn trusted(number: u8) -> TrustedKey {
    TrustedKey::new(key(number).public_key())
}

/// Two images that differ, of different lengths.
fn images() -> [Vec<u8>; 2] {
    [(5 * 256, 1_u32), (7 * 256, 2)].map(|(length, seed)| {
        (0..length as u32)
            .map(|at| (at.wrapping_mul(seed + 0x9e37) >> 5) as u8)
            .collect()
    })
}

fn header() -> Header {
    let [a, b] = images();
    Header {
        security: 3,
        board: Text::new("pico-w").expect("a text"),
        version: Text::new("0.2.0-rc.1+git").expect("a text"),
        commit: *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14",
        settings: Formats { oldest: 1, newest: 2 },
        records: Formats { oldest: 3, newest: 4 },
        radio: [0x0a, 0x0b, 0x0c, 0x0d],
        variants: [Variant::of(0x1000_6000, &a), Variant::of(0x100d_2000, &b)],
    }
}

fn board() -> Board {
    Board {
        name: "pico-w",
        slots: [0x1000_6000, 0x100d_2000].map(|address| SlotSpace {
            address,
            length: 835_584,
        }),
        settings: 2,
        records: 3,
        radio: [0x0a, 0x0b, 0x0c, 0x0d],
        version: Text::new("0.1.9").expect("a text"),
        security_floor: 3,
    }
}

fn file_of(header: &Header) -> Vec<u8> {
    let [a, b] = images();
    let signature = SignatureBlock::sign(&header.to_bytes(), &key(1));
    assemble(header, &signature, [&a, &b])
}

fn file() -> Vec<u8> {
    file_of(&header())
}

fn block(file: &[u8]) -> &[u8; IMAGE_OFFSET] {
    file.first_chunk().expect("a file is longer")
}

/// Reads a file in pieces of this many bytes into a slot of erased flash.
fn stage(file: &[u8], slot: Slot, policy: Policy<'_>, piece: usize) -> Result<(Vec<u8>, bool), Refusal> {
    let mut reader = Reader::new(policy, slot);
    let mut flash = vec![0xff; 16 * 256];
    for mut bytes in file.chunks(piece) {
        while !bytes.is_empty() {
            let (count, piece) = reader.push(bytes)?;
            assert!(count > 0, "the reader makes progress");
            match piece {
                Piece::Nothing => {}
                Piece::Block => {
                    flash[..IMAGE_OFFSET].copy_from_slice(reader.block().expect("it is complete"));
                }
                Piece::Image { offset, bytes } => {
                    assert!(reader.header().is_some(), "nothing comes out before the checks");
                    flash[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            bytes = &bytes[count..];
        }
    }
    Ok((flash, reader.is_complete()))
}

/// Verifies a slot with this content.
fn check_slot(flash: &[u8], slot: Slot, policy: &Policy<'_>) -> Result<Header, Refusal> {
    let mut check = SlotCheck::new(block(flash), slot, policy)?;
    check.push(&flash[IMAGE_OFFSET..]);
    check.finish().copied()
}

#[test]
fn reader_takes_one_variant_alone_when_the_sender_leaves_out_the_other() {
    let (file, board, keys) = (file(), board(), [trusted(1)]);
    let policy = Policy {
        keys: &keys,
        board: &board,
        allow_downgrade: false,
    };
    for slot in [Slot::A, Slot::B] {
        let mut reader = Reader::new(policy, slot);
        reader.skip_other_variant();
        assert_eq!(reader.push(&file[..600]), Ok((512, Piece::Block)));
        reader.skip_other_variant();
        let start = header().variant_offset(slot) as usize;
        let image = &file[start..start + header().variant(slot).length as usize];
        let (begin, end) = image.split_at(100);
        for (offset, bytes) in [(512, begin), (612, end)] {
            assert_eq!(
                reader.push(bytes),
                Ok((bytes.len(), Piece::Image { offset, bytes }))
            );
            // It does not go back.
            reader.skip_other_variant();
        }
        assert!(reader.is_complete());
    }
}

#[test]
fn header_has_the_documented_bytes() {
    let header = header();
    let mut bytes = [0; HEADER];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"picolet firmware");
    put(16, &[1, 0, 0, 1]);
    put(20, &[3, 0, 0, 0]);
    put(24, b"pico-w");
    put(40, b"0.2.0-rc.1+git");
    put(72, &header.commit);
    put(92, &[1, 0, 2, 0, 3, 0, 4, 0]);
    put(100, &[0x0a, 0x0b, 0x0c, 0x0d]);
    for (at, address, image) in [
        (112, [0x00, 0x60, 0x00, 0x10], &images()[0]),
        (156, [0x00, 0x20, 0x0d, 0x10], &images()[1]),
    ] {
        put(at, &address);
        put(at + 4, &(image.len() as u32).to_le_bytes());
        put(at + 12, &Sha256::digest(image));
    }
    assert_eq!(header.to_bytes(), bytes);
    assert_eq!(Header::parse(&bytes), Ok(header));
    assert_eq!(header.name().to_bytes(), Sha256::digest(bytes)[..4]);
}

#[test]
fn file_has_the_documented_bytes() {
    let file = file();
    let [a, b] = images();
    assert_eq!(file.len(), 512 + a.len() + b.len());
    assert_eq!(file[..256], header().to_bytes());
    let id = Sha256::digest(key(1).public_key().to_spki_der());
    assert_eq!(file[256..264], id[..8]);
    assert!(file[328..512].iter().all(|byte| *byte == 0xff));
    assert_eq!(file[512..512 + a.len()], a);
    assert_eq!(file[512 + a.len()..], b);
    assert!(check_file(&file).is_ok());
    let unsigned = assemble(&header(), &SignatureBlock::Blank, [&a, &b]);
    assert!(unsigned[256..512].iter().all(|byte| *byte == 0xff));
}

#[test]
fn header_is_refused_when_any_bit_flips() {
    let (file, board, keys) = (file(), board(), [trusted(1)]);
    let policy = Policy {
        keys: &keys,
        board: &board,
        allow_downgrade: true,
    };
    let check =
        |block: &[u8; IMAGE_OFFSET]| SignedHeader::parse(block).and_then(|signed| policy.check(&signed));
    assert_eq!(check(block(&file)), Ok(keys[0].id()));
    for bit in 0..8 * IMAGE_OFFSET {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(check(block(&file)).is_err(), "bit {bit}");
    }
    // The same by the reader, for each byte, and nothing comes out.
    for at in 0..IMAGE_OFFSET {
        let mut file = file.clone();
        file[at] ^= 0x81;
        assert!(stage(&file, Slot::A, policy, 700).is_err(), "byte {at}");
    }
}

#[test]
fn signature_is_refused_when_it_cannot_be_one() {
    let keys = [trusted(1), trusted(2)];
    let signed = |signature| {
        let bytes = assemble(&header(), &signature, [&[], &[]]);
        SignedHeader::parse(block(&bytes)).and_then(|signed| signed.verify(&keys))
    };
    let id = keys[0].id();
    let SignatureBlock::Signed { signature, .. } = SignatureBlock::sign(&header().to_bytes(), &key(1)) else {
        panic!("it is signed");
    };
    let with = |signature| SignatureBlock::Signed { key: id, signature };
    assert_eq!(signed(with(signature)), Ok(id));
    assert_eq!(signed(with([0; 64])), Err(Refusal::WrongSignature(id)));
    assert_eq!(signed(with([0xff; 64])), Err(Refusal::WrongSignature(id)));
    let mut zero_s = signature;
    zero_s[32..].fill(0);
    assert_eq!(signed(with(zero_s)), Err(Refusal::WrongSignature(id)));
    // Another key's signature, and the right one under another trusted key's ID.
    let SignatureBlock::Signed { signature: other, .. } = SignatureBlock::sign(&header().to_bytes(), &key(3))
    else {
        panic!("it is signed");
    };
    assert_eq!(signed(with(other)), Err(Refusal::WrongSignature(id)));
    let second = keys[1].id();
    let mixed = SignatureBlock::Signed {
        key: second,
        signature,
    };
    assert_eq!(signed(mixed), Err(Refusal::WrongSignature(second)));
    // Of another header.
    let other = Header {
        security: 4,
        ..header()
    };
    assert_eq!(
        signed(SignatureBlock::sign(&other.to_bytes(), &key(1))),
        Err(Refusal::WrongSignature(id))
    );
}

#[test]
fn refusals_have_the_documented_codes_and_texts() {
    let (header, board) = (header(), board());
    let id = KeyId([0x9f, 0x31, 0xc2, 0xd0, 0x77, 0xaa, 0x01, 0xbc]);
    let text = |version| Text::new(version).expect("a text");
    let formats = Formats { oldest: 1, newest: 1 };
    let cases = [
        (Refusal::NotFirmware, 40, "not a firmware file"),
        (
            Refusal::OtherFormat(2),
            40,
            "firmware file has format 2; this firmware reads format 1",
        ),
        (
            Refusal::Damaged,
            47,
            "firmware file is damaged: transfer it again",
        ),
        (Refusal::NoTrustedKey, 43, "this board trusts no firmware key"),
        (Refusal::NotSigned, 43, "firmware is not signed"),
        (
            Refusal::UnknownKey(KeyId([0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77])),
            43,
            "firmware is signed by key 0011223344556677, which this board does not trust",
        ),
        (
            Refusal::WrongSignature(id),
            43,
            "signature by key 9f31c2d077aa01bc is wrong: firmware was changed after it was signed",
        ),
        (
            Refusal::WrongBoard {
                firmware: Text::new("pico-2-w").expect("a text"),
                board: "pico-w",
            },
            41,
            "firmware is for pico-2-w, this board is a pico-w",
        ),
        (
            Refusal::WrongAddress {
                firmware: 0x1000_9000,
                slot: 0x1000_6000,
            },
            41,
            "firmware is linked for 0x10009000, the slot is at 0x10006000",
        ),
        (
            Refusal::TooLarge {
                firmware: 901_120,
                slot: 835_584,
            },
            42,
            "firmware has 901120 bytes, a slot has 835584",
        ),
        (
            Refusal::SettingsFormat {
                firmware: formats,
                board: 2,
            },
            46,
            "firmware reads settings of formats 1 to 1, this board has format 2",
        ),
        (
            Refusal::RecordsFormat {
                firmware: formats,
                board: 2,
            },
            46,
            "firmware reads records of formats 1 to 1, this board has format 2",
        ),
        (
            Refusal::RadioFirmware {
                firmware: header.radio,
                board: [1, 2, 3, 4],
            },
            46,
            "firmware needs radio firmware 0a0b0c0d, this board has 01020304",
        ),
        (
            Refusal::Older {
                firmware: text("0.1.0"),
                running: text("0.2.0"),
            },
            44,
            "firmware 0.1.0 is older than 0.2.0: allow the downgrade explicitly",
        ),
        (
            Refusal::SecurityNumber {
                firmware: 3,
                floor: 4,
            },
            44,
            "security number 3 is below 4, the lowest that this board installs",
        ),
    ];
    for (refusal, code, text) in cases {
        assert_eq!((refusal.to_string(), refusal.code() as u8), (text.into(), code));
        assert!(DOCUMENT.contains(text), "not documented: {text}");
        let row = DOCUMENT
            .lines()
            .find(|line| line.ends_with(&format!("| {text} |")));
        let row = row.expect("a row");
        assert!(
            row.starts_with(&format!("| {code} | `{:?}` |", refusal.code())),
            "{row}"
        );
    }
    assert_eq!(Code::Damaged as u8, 47);
    assert_eq!(board.check(&header, false), Ok(()));
}

#[test]
fn board_refuses_what_breaks_a_rule() {
    let (good, board) = (header(), board());
    let refusal = |change: fn(&mut Header)| {
        let mut header = good;
        change(&mut header);
        board
            .check(&header, false)
            .expect_err("a broken rule")
            .to_string()
    };
    let text = refusal(|header| header.board = Text::new("pico-2-w").expect("a text"));
    assert_eq!(text, "firmware is for pico-2-w, this board is a pico-w");
    let text = refusal(|header| header.variants[1].address = 0x1013_a000);
    assert_eq!(
        text,
        "firmware is linked for 0x1013a000, the slot is at 0x100d2000"
    );
    let text = refusal(|header| header.variants.swap(0, 1));
    assert_eq!(
        text,
        "firmware is linked for 0x100d2000, the slot is at 0x10006000"
    );
    for slot in 0..2 {
        let mut header = good;
        header.variants[slot].length = 835_584 - 512;
        assert_eq!(board.check(&header, false), Ok(()));
        header.variants[slot].length += 256;
        let refusal = board.check(&header, false).expect_err("too large");
        assert_eq!(
            refusal.to_string(),
            "firmware has 835840 bytes, a slot has 835584"
        );
        header.variants[slot].length = 0xffff_ff00;
        assert_eq!(
            board.check(&header, false).map_err(|refusal| refusal.code()),
            Err(Code::TooLarge)
        );
    }
    let text = refusal(|header| header.settings.newest = 1);
    assert_eq!(
        text,
        "firmware reads settings of formats 1 to 1, this board has format 2"
    );
    let text = refusal(|header| header.records.oldest = 4);
    assert_eq!(
        text,
        "firmware reads records of formats 4 to 4, this board has format 3"
    );
    let text = refusal(|header| header.radio = [1, 2, 3, 4]);
    assert_eq!(
        text,
        "firmware needs radio firmware 01020304, this board has 0a0b0c0d"
    );
    assert_eq!(
        board.check(
            &Header {
                radio: [0; 4],
                ..good
            },
            false
        ),
        Ok(())
    );
    let text = refusal(|header| header.version = Text::new("0.1.8").expect("a text"));
    assert_eq!(
        text,
        "firmware 0.1.8 is older than 0.1.9: allow the downgrade explicitly"
    );
    let text = refusal(|header| header.security = 2);
    assert_eq!(
        text,
        "security number 2 is below 3, the lowest that this board installs"
    );
}

#[test]
fn older_version_is_taken_when_it_is_asked_for() {
    let board = board();
    let check = |version, security, allow_downgrade| {
        let version = Text::new(version).expect("a text");
        let header = Header {
            version,
            security,
            ..header()
        };
        board
            .check(&header, allow_downgrade)
            .map_err(|refusal| refusal.code())
    };
    for version in ["0.1.9", "0.1.9+other", "0.1.10", "0.1.10-rc.1", "1.0.0"] {
        assert_eq!(check(version, 3, false), Ok(()), "{version}");
    }
    for version in ["0.1.8", "0.1.9-rc.1", "0.0.99", "0.1.9-0"] {
        assert_eq!(check(version, 3, false), Err(Code::Older), "{version}");
        assert_eq!(check(version, 3, true), Ok(()), "{version}");
    }
    // The security number is not negotiable.
    assert_eq!(check("9.0.0", 2, true), Err(Code::Older));
}

#[test]
fn keys_decide_what_is_trusted() {
    let (file, board) = (file(), board());
    let check = |keys: &[TrustedKey]| {
        let policy = Policy {
            keys,
            board: &board,
            allow_downgrade: false,
        };
        SignedHeader::parse(block(&file)).and_then(|signed| policy.check(&signed))
    };
    let id = trusted(1).id();
    assert_eq!(check(&[]), Err(Refusal::NoTrustedKey));
    assert_eq!(check(&[trusted(2), trusted(3)]), Err(Refusal::UnknownKey(id)));
    assert_eq!(check(&[trusted(2), trusted(1)]), Ok(id));
    let [a, b] = images();
    let unsigned = assemble(&header(), &SignatureBlock::Blank, [&a, &b]);
    let signed = SignedHeader::parse(block(&unsigned)).expect("a header");
    assert_eq!(signed.verify(&[trusted(1)]), Err(Refusal::NotSigned));
}

#[test]
fn reader_stages_the_variant_of_its_slot() {
    let (file, board, keys) = (file(), board(), [trusted(1)]);
    let policy = Policy {
        keys: &keys,
        board: &board,
        allow_downgrade: false,
    };
    for (slot, image) in [Slot::A, Slot::B].into_iter().zip(images()) {
        for piece in [1, 7, 255, 256, 511, 512, 513, 4096, file.len()] {
            let (flash, is_complete) = stage(&file, slot, policy, piece).expect("it is taken");
            assert!(is_complete);
            assert_eq!(flash[..512], file[..512]);
            assert_eq!(flash[512..512 + image.len()], image);
            assert!(flash[512 + image.len()..].iter().all(|byte| *byte == 0xff));
            // As it lies in flash it is verified again.
            let mut check = SlotCheck::new(block(&flash), slot, &policy).expect("it is taken");
            for bytes in flash[IMAGE_OFFSET..].chunks(300) {
                assert!(check.rest() == 0 || check.finish().is_err(), "too early");
                check.push(bytes);
            }
            assert_eq!(check.finish(), Ok(&header()));
            assert_eq!(check.finish(), Ok(&header()), "once more");
        }
    }
}

#[test]
fn damage_is_found_in_each_byte_of_an_image() {
    let (file, board, keys) = (file(), board(), [trusted(1)]);
    let policy = Policy {
        keys: &keys,
        board: &board,
        allow_downgrade: false,
    };
    let [a, b] = images();
    let (flash_a, _) = stage(&file, Slot::A, policy, 4096).expect("it is taken");
    for at in (IMAGE_OFFSET..file.len()).step_by(13) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        assert!(check_file(&damaged).is_err(), "byte {at}");
        let (slot, other) = if at < IMAGE_OFFSET + a.len() {
            (Slot::A, Slot::B)
        } else {
            (Slot::B, Slot::A)
        };
        assert_eq!(
            stage(&damaged, slot, policy, 999),
            Err(Refusal::Damaged),
            "byte {at}"
        );
        assert!(stage(&damaged, other, policy, 999).is_ok(), "byte {at}");
    }
    for at in (IMAGE_OFFSET..IMAGE_OFFSET + a.len()).step_by(7) {
        let mut flash = flash_a.clone();
        flash[at] ^= 0x10;
        let checked = check_slot(&flash, Slot::A, &policy);
        assert_eq!(checked, Err(Refusal::Damaged), "byte {at}");
    }
    // Staged into the other slot it is not what the header says of that slot.
    assert_eq!(check_slot(&flash_a, Slot::B, &policy), Err(Refusal::Damaged));
    assert_eq!(
        check_slot(&flash_a[..600], Slot::A, &policy),
        Err(Refusal::Damaged)
    );
    // Shorter and longer.
    for length in [0, 1, 511, 512, file.len() - 1] {
        assert!(check_file(&file[..length]).is_err(), "{length} bytes");
        let (_, is_complete) = stage(&file[..length], Slot::B, policy, 999).expect("so far it is right");
        assert!(!is_complete, "{length} bytes");
    }
    let mut longer = file.clone();
    longer.push(0xff);
    assert_eq!(check_file(&longer).map(drop), Err(Refusal::Damaged));
    assert_eq!(stage(&longer, Slot::A, policy, 999), Err(Refusal::Damaged));
    // What follows the own variant need not arrive.
    let (_, is_complete) = stage(&file[..512 + a.len()], Slot::A, policy, 999).expect("it is taken");
    assert!(is_complete && !b.is_empty());
}

#[test]
fn reader_gives_nothing_out_when_the_board_refuses() {
    let (board, keys) = (board(), [trusted(1)]);
    let policy = Policy {
        keys: &keys,
        board: &board,
        allow_downgrade: false,
    };
    let other = Header {
        board: Text::new("pico-2-w").expect("a text"),
        ..header()
    };
    let file = file_of(&other);
    let mut reader = Reader::new(policy, Slot::A);
    assert_eq!(reader.push(&file[..100]), Ok((100, Piece::Nothing)));
    for _ in 0..3 {
        let refusal = reader.push(&file[100..]).expect_err("another board");
        assert_eq!(refusal.code(), Code::WrongBoard);
        assert!(reader.block().is_none() && reader.header().is_none() && !reader.is_complete());
    }
}

#[test]
fn text_is_printable_and_padded() {
    assert!(Text::<4>::new("abc").is_some());
    for text in ["", "abcd", "a\n", "ä", "a\0b"] {
        assert!(Text::<4>::new(text).is_none(), "{text:?}");
    }
    for (at, byte) in [
        (24, 0),
        (30, b'x'),
        (30, 0x1f),
        (39, b'x'),
        (40, b'v'),
        (71, 1),
        (44, 0),
    ] {
        let mut bytes = header().to_bytes();
        bytes[at] = byte;
        let is_other = Header::parse(&bytes).is_ok_and(|parsed| parsed.to_bytes() == bytes);
        assert!(
            Header::parse(&bytes).is_err() || is_other && at == 30,
            "byte {at}"
        );
    }
}

proptest! {
    #[test]
    fn header_that_parses_has_one_encoding(
        at in proptest::collection::vec((0..HEADER, any::<u8>()), 0..6),
    ) {
        let mut bytes = header().to_bytes();
        for (at, byte) in at {
            bytes[at] = byte;
        }
        if let Ok(parsed) = Header::parse(&bytes) {
            prop_assert_eq!(parsed.to_bytes(), bytes);
            let _ = (parsed.file_length(), board().check(&parsed, false));
        }
    }

    #[test]
    fn reader_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1..600_usize) {
        let (board, keys) = (board(), [trusted(1)]);
        let policy = Policy { keys: &keys, board: &board, allow_downgrade: true };
        let _ = (stage(&bytes, Slot::B, policy, piece), check_file(&bytes));
        if bytes.len() > IMAGE_OFFSET {
            let _ = check_slot(&bytes, Slot::B, &policy);
        }
    }
}
