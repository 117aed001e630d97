//! gzip against flate2, and tar against the `tar` crate.

use flate2::Compression;
use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use picolet_images::gzip::{Gunzip, GzipError};
use picolet_images::tar::{Entry, EntryKind, Event, NAME_BYTES, Tar, TarError};
use picolet_inflate::{Ring, Window};
use proptest::prelude::*;
use std::io::{Read, Write};

/// Decompresses with pieces of `step` bytes; `None` if the input ends early.
fn gunzip(input: &[u8], step: usize) -> Result<Option<Vec<u8>>, GzipError> {
    let mut gunzip = Gunzip::default();
    let mut window = Box::new(Ring::<32_768>::new());
    let mut output = Vec::new();
    for mut piece in input.chunks(step) {
        loop {
            let taken = gunzip.take(piece, &mut *window)?;
            piece = &piece[taken..];
            let had_room = window.room() > 0;
            gunzip.output(window.output());
            output.extend_from_slice(window.output());
            window.take();
            if piece.is_empty() && had_room {
                break;
            }
        }
    }
    Ok(gunzip.is_complete().then_some(output))
}

fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_decompressed_when_its_header_has_every_part() {
    let content = b"hello hello hello".repeat(5000);
    let mut encoder = GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![7; 300])
        .write(Vec::new(), Compression::best());
    encoder.write_all(&content).unwrap();
    let mut member = encoder.finish().unwrap();
    // flate2 writes no checksum of the header.
    let data = 10 + 2 + 300 + 5 + 8;
    member[3] |= 2;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC)
        .checksum(&member[..data])
        .to_le_bytes();
    member.splice(data..data, checksum[..2].iter().copied());
    let two = [&member[..], &compress(b"second")].concat();
    let expected = [&content[..], b"second"].concat();
    for step in [1, 100, two.len()] {
        assert_eq!(
            gunzip(&two, step).unwrap().as_deref(),
            Some(&expected[..]),
            "in pieces of {step}"
        );
    }
    assert_eq!(gunzip(&member[..member.len() - 1], 64), Ok(None));
    member[data] ^= 1;
    assert_eq!(gunzip(&member, 64), Err(GzipError::Header));
}

#[test]
fn gzip_is_refused_when_its_trailer_is_wrong_or_garbage_follows() {
    let good = compress(b"hello");
    for at in good.len() - 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(gunzip(&bad, 3), Err(GzipError::Checksum), "byte {at}");
    }
    assert_eq!(gunzip(&[&good[..], b"x"].concat(), 3), Err(GzipError::Header));
    assert_eq!(gunzip(b"", 3), Ok(None));
    assert_eq!(
        gunzip(&[0x28, 0xb5, 0x2f, 0xfd], 3),
        Err(GzipError::Header),
        "zstd"
    );
}

type Entries = Vec<(Entry, Vec<u8>)>;

/// Reads an archive: its entries with their content; `None` if it ends early.
fn read(archive: &[u8], step: usize) -> Result<Option<Entries>, TarError> {
    let mut tar = Tar::default();
    let mut entries = Entries::new();
    'all: for mut piece in archive.chunks(step) {
        loop {
            let (taken, event) = tar.take(piece)?;
            piece = &piece[taken..];
            match event {
                Event::More => break,
                Event::End => break 'all,
                Event::Entry(entry) => entries.push((entry, Vec::new())),
                Event::Data(data) => entries.last_mut().unwrap().1.extend_from_slice(data),
            }
        }
    }
    Ok(tar.at_boundary().then_some(entries))
}

fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    if kind.is_hard_link() || kind.is_symlink() {
        header.set_link_name("target").unwrap();
    }
    if header.set_path(name).is_err() {
        header = {
            let mut gnu = tar::Header::new_gnu();
            gnu.set_entry_type(kind);
            gnu.set_size(content.len() as u64);
            gnu.set_mode(0o755);
            gnu
        };
    }
    builder.append_data(&mut header, name, content).unwrap();
}

#[test]
fn archive_is_read_as_the_tar_crate_writes_it() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
    let longer = format!("{}/{}", "d".repeat(90), "f".repeat(150));
    let big = vec![7; 1000];
    append(&mut builder, "bin/", tar::EntryType::Directory, b"");
    append(&mut builder, "app.wasm", tar::EntryType::Regular, b"\0asm");
    append(&mut builder, &long, tar::EntryType::Regular, &big);
    append(&mut builder, &longer, tar::EntryType::Regular, &[1; 512]);
    append(&mut builder, "bin/sh", tar::EntryType::Symlink, b"");
    append(&mut builder, "bin/ls", tar::EntryType::Link, b"");
    append(&mut builder, "empty", tar::EntryType::Regular, b"");
    append(&mut builder, "pipe", tar::EntryType::Fifo, b"");
    builder
        .append_pax_extensions([("path", b"from-pax".as_slice()), ("mtime", b"1.5")])
        .unwrap();
    append(&mut builder, "ignored", tar::EntryType::Regular, b"pax");
    append(&mut builder, "last", tar::EntryType::Regular, b"x");
    let archive = builder.into_inner().unwrap();
    let entries = read(&archive, archive.len()).unwrap().unwrap();
    let found: Vec<(&str, EntryKind, usize)> = entries
        .iter()
        .map(|(entry, data)| (core::str::from_utf8(&entry.name).unwrap(), entry.kind, data.len()))
        .collect();
    assert_eq!(
        found,
        [
            ("bin/", EntryKind::Directory, 0),
            ("app.wasm", EntryKind::File, 4),
            (&*long, EntryKind::File, 1000),
            (&*longer, EntryKind::File, 512),
            ("bin/sh", EntryKind::SymbolicLink, 0),
            ("bin/ls", EntryKind::HardLink, 0),
            ("empty", EntryKind::File, 0),
            ("pipe", EntryKind::Other, 0),
            ("from-pax", EntryKind::File, 3),
            ("last", EntryKind::File, 1),
        ]
    );
    assert_eq!(
        (&*entries[4].0.link, entries[1].0.mode, entries[2].0.size),
        (&b"target"[..], 0o755, 1000)
    );
    assert_eq!(entries[2].1, big);
    for step in [1, 511, 513] {
        assert_eq!(
            read(&archive, step),
            Ok(Some(entries.clone())),
            "in pieces of {step}"
        );
    }
    assert_eq!(read(&archive[..600], 64), Ok(None));
}

#[test]
fn archive_is_refused_when_it_is_malformed() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "a", tar::EntryType::Regular, b"x");
    let good = builder.into_inner().unwrap();
    let mut bad = good.clone();
    bad[0] = b'b';
    assert_eq!(read(&bad, 512), Err(TarError::Header));
    for (records, error) in [
        (b"9 path=x".to_vec(), TarError::Pax),
        (b"x path=x\n".to_vec(), TarError::Pax),
        (b"1 path=x\n".to_vec(), TarError::Pax),
        (b"9 pathxx\n".to_vec(), TarError::Pax),
        (b"9999999 path=x\n".to_vec(), TarError::Pax),
        (b"11 size=-1\n".to_vec(), TarError::Pax),
        (b"29 size=18446744073709551615\n".to_vec(), TarError::Pax),
        (
            format!("{} path={}\n", NAME_BYTES + 11, "x".repeat(NAME_BYTES + 1)).into(),
            TarError::NameTooLong,
        ),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        append(&mut builder, "pax", tar::EntryType::XHeader, &records);
        append(&mut builder, "a", tar::EntryType::Regular, b"x");
        let archive = builder.into_inner().unwrap();
        assert_eq!(
            read(&archive, 512),
            Err(error),
            "{}",
            String::from_utf8_lossy(&records)
        );
    }
    let mut builder = tar::Builder::new(Vec::new());
    append(
        &mut builder,
        &"x".repeat(NAME_BYTES + 1),
        tar::EntryType::Regular,
        b"x",
    );
    assert_eq!(
        read(&builder.into_inner().unwrap(), 512),
        Err(TarError::NameTooLong)
    );
}

proptest! {
    #[test]
    fn gzip_agrees_with_flate2_when_it_is_damaged(content in prop::collection::vec(0u8..4, 0..3000), damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())), step in 1usize..300) {
        let mut input = compress(&content);
        if let Some((at, byte)) = damage {
            let at = at.index(input.len());
            input[at] = byte;
        }
        let mut expected = Vec::new();
        let theirs = MultiGzDecoder::new(&input[..]).read_to_end(&mut expected);
        match (gunzip(&input, step), theirs) {
            (Ok(Some(output)), Ok(_)) => prop_assert_eq!(output, expected),
            (Ok(None) | Err(_), Err(_)) => {}
            // flate2 does not check the reserved flags.
            (Err(GzipError::Header), Ok(_)) => prop_assert!(input[3] & 0xe0 != 0),
            (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours.map(|_| ()), theirs),
        }
    }

    #[test]
    fn archive_is_read_without_a_panic_when_it_is_damaged(bytes in prop::collection::vec((0usize..2048, any::<u8>()), 0..8), step in 1usize..600) {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"p".as_slice()), ("size", b"3")]).unwrap();
        append(&mut builder, "a", tar::EntryType::Regular, b"abc");
        let mut archive = builder.into_inner().unwrap();
        for (at, byte) in bytes {
            archive[at] = byte;
        }
        let whole = read(&archive, archive.len());
        prop_assert_eq!(read(&archive, step), whole);
    }
}
