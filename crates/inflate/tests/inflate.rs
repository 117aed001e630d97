//! Against zlib, in pieces of all lengths.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use picolet_inflate::{InflateError, Inflater, Ring, Window, WindowError};
use proptest::prelude::*;

/// More output than any test expects.
const TOO_MUCH: usize = 1 << 20;

/// All output, with room for `piece` bytes until it is taken.
struct Output {
    bytes: Vec<u8>,
    piece: usize,
    taken: usize,
}

impl Output {
    fn new(piece: usize) -> Self {
        Self {
            bytes: Vec::new(),
            piece,
            taken: 0,
        }
    }
}

impl Window for Output {
    fn room(&self) -> usize {
        self.piece - (self.bytes.len() - self.taken)
    }

    fn put(&mut self, byte: u8) -> Result<(), WindowError> {
        assert!(self.room() > 0, "a byte without room");
        self.bytes.push(byte);
        Ok(())
    }

    fn copy_back(&mut self, distance: usize, length: usize) -> Result<(), WindowError> {
        assert!((1..=258).contains(&length) && length <= self.room());
        assert!((1..=32_768).contains(&distance) && distance <= self.bytes.len());
        for _ in 0..length {
            self.bytes.push(self.bytes[self.bytes.len() - distance]);
        }
        Ok(())
    }
}

/// Decompresses with at most `input` bytes at once and room for `output` bytes. Returns the output and the bytes used; `None` for
/// the latter if the stream does not end.
fn inflate(stream: &[u8], input: usize, output: usize) -> Result<(Vec<u8>, Option<usize>), InflateError> {
    let (mut inflater, mut window, mut at) = (Inflater::new(), Output::new(output), 0);
    loop {
        window.taken = window.bytes.len();
        let piece = &stream[at..stream.len().min(at + input)];
        let progress = inflater.inflate(piece, &mut window)?;
        at += progress.used;
        if progress.is_done {
            return Ok((window.bytes, Some(at)));
        }
        let is_stuck = at == stream.len() && window.room() > 0;
        if is_stuck || window.bytes.len() > TOO_MUCH {
            return Ok((window.bytes, None));
        }
    }
}

fn deflate(data: &[u8], level: u32, window_bits: u8) -> Vec<u8> {
    let mut stream = Vec::with_capacity(data.len() * 2 + 1024);
    let mut compress = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
    let status = compress.compress_vec(data, &mut stream, FlushCompress::Finish);
    assert_eq!(status.unwrap(), Status::StreamEnd);
    stream
}

/// What zlib makes of a stream: the output and the bytes used.
fn zlib(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut output = Vec::with_capacity(TOO_MUCH);
    let mut decompress = Decompress::new(false);
    match decompress.decompress_vec(stream, &mut output, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => Some((output, decompress.total_in() as usize)),
        _ => None,
    }
}

/// Text with repetitions near and far, and bytes that do not compress.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600),
        proptest::collection::vec(0_u8..4, 0..600),
        (any::<u8>(), 0_usize..3_000).prop_map(|(byte, length)| vec![byte; length]),
        proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b'e'), Just(b' '), any::<u8>()],
            0..600
        ),
    ];
    let parts = proptest::collection::vec(part, 1..8);
    (parts, proptest::collection::vec(0_usize..8, 0..40)).prop_map(|(parts, order)| {
        let mut data = parts.concat();
        for index in order {
            data.extend_from_slice(&parts[index % parts.len()]);
        }
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn stream_decompresses_to_what_was_compressed(
        data in data(), level in 0_u32..=9, input in 1_usize..300, output in 1_usize..300, behind in any::<[u8; 5]>(),
    ) {
        let mut stream = deflate(&data, level, 15);
        let end = stream.len();
        stream.extend(behind);
        prop_assert_eq!(inflate(&stream, input, output), Ok((data, Some(end))));
    }

    #[test]
    fn ring_suffices_when_the_compressor_used_a_window_of_its_size(
        data in data(), input in 1_usize..300, every in 1_usize..4,
    ) {
        let stream = deflate(&data, 9, 12);
        let (mut inflater, mut ring, mut output) = (Inflater::new(), Ring::<4096>::new(), Vec::new());
        let (mut at, mut rounds) = (0, 0);
        loop {
            let piece = &stream[at..stream.len().min(at + input)];
            let progress = inflater.inflate(piece, &mut ring).unwrap();
            at += progress.used;
            rounds += 1;
            if progress.is_done || ring.room() == 0 || rounds % every == 0 {
                output.extend_from_slice(ring.output());
                ring.take();
            }
            if progress.is_done {
                break;
            }
        }
        prop_assert_eq!(output, data);
    }

    #[test]
    fn damaged_stream_is_judged_as_zlib_does(
        data in data(), level in 0_u32..=9, bits in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
        input in 1_usize..300,
    ) {
        let mut stream = deflate(&data, level, 15);
        let length = stream.len();
        // Mostly in the front, where the codes are.
        for (number, bit) in bits.iter().enumerate() {
            let bit = bit.index(if number == 0 { 8 * length } else { 8 * length.min(80) });
            stream[bit / 8] ^= 1 << (bit % 8);
        }
        match (zlib(&stream), inflate(&stream, input, 1000)) {
            (Some((output, used)), ours) => prop_assert_eq!(ours, Ok((output, Some(used)))),
            (None, Ok((output, Some(_)))) => prop_assert!(output.len() > TOO_MUCH),
            (None, _) => {}
        }
    }

    #[test]
    fn truncated_stream_never_ends(data in data(), level in 0_u32..=9, cut in any::<prop::sample::Index>()) {
        let stream = deflate(&data, level, 15);
        let cut = &stream[..cut.index(stream.len())];
        let (output, used) = inflate(cut, 7, 100).unwrap();
        prop_assert_eq!(used, None);
        prop_assert!(data.starts_with(&output));
    }

    #[test]
    fn any_bytes_are_judged_as_zlib_does(stream in proptest::collection::vec(any::<u8>(), 0..200), input in 1_usize..20) {
        match (zlib(&stream), inflate(&stream, input, 1000)) {
            (Some((output, used)), ours) => prop_assert_eq!(ours, Ok((output, Some(used)))),
            (None, Ok((output, Some(_)))) => prop_assert!(output.len() > TOO_MUCH),
            (None, _) => {}
        }
    }
}

/// Writes bits, least significant first.
#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn number(mut self, value: u32, count: u32) -> Self {
        self.0.extend((0..count).map(|bit| value >> bit & 1 == 1));
        self
    }

    fn bytes(self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter()
                .enumerate()
                .fold(0, |byte, (bit, set)| byte | u8::from(*set) << bit)
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// A dynamic block with the given lengths of codes, whose own code has four bits for each symbol from 0 to 15.
fn dynamic(literals: &[u8], distances: &[u8]) -> Writer {
    let counts = (literals.len() as u32 - 257) | (distances.len() as u32 - 1) << 5 | 15 << 10;
    let mut writer = Writer::default().number(0b101, 3).number(counts, 14);
    for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15] {
        writer = writer.number(if symbol < 16 { 4 } else { 0 }, 3);
    }
    for length in literals.iter().chain(distances) {
        writer = writer.number(u32::from(length.reverse_bits() >> 4), 4);
    }
    writer
}

#[test]
fn codes_are_judged_as_zlib_does_when_they_are_incomplete_or_oversubscribed() {
    let with = |set: &[(usize, u8)], count: usize| {
        let mut lengths = vec![0; count];
        for (symbol, length) in set {
            lengths[*symbol] = *length;
        }
        lengths
    };
    let literals = [
        with(&[(0, 1), (256, 1)], 257),
        with(&[(256, 1)], 257),
        with(&[(256, 2)], 257),
        with(&[(0, 1)], 257),
        with(&[(0, 1), (1, 1), (256, 1)], 257),
        with(&[(0, 1), (1, 2), (256, 3)], 257),
        with(&[(0, 1), (256, 2), (257, 2)], 258),
        with(&[(0, 1), (256, 2), (285, 2)], 286),
        with(&[(0, 1), (256, 2), (285, 2)], 287),
        with(&[(0, 1), (256, 2), (285, 2)], 288),
    ];
    let distances = [
        with(&[], 1),
        with(&[(0, 1)], 1),
        with(&[(0, 2)], 1),
        with(&[(0, 15)], 1),
        with(&[(0, 1), (1, 1)], 2),
        with(&[(0, 1), (29, 1)], 30),
        with(&[(0, 1), (29, 1)], 31),
        with(&[(0, 1), (31, 1)], 32),
    ];
    let mut valid = 0;
    for literals in &literals {
        for distances in &distances {
            for body in 0..256 {
                let stream = dynamic(literals, distances)
                    .number(body, 8)
                    .number(0xffff, 16)
                    .bytes();
                let ours = inflate(&stream, 1, 7);
                match zlib(&stream) {
                    Some((output, used)) => {
                        assert_eq!(
                            ours,
                            Ok((output, Some(used))),
                            "{literals:?} {distances:?} {body}"
                        );
                        valid += 1;
                    }
                    None => assert!(
                        !matches!(ours, Ok((_, Some(_)))),
                        "{literals:?} {distances:?} {body}"
                    ),
                }
            }
        }
    }
    assert!(valid > 1000, "{valid}");
}

#[test]
fn distance_is_refused_when_it_reaches_before_the_stream() {
    // A literal, then three bytes from two bytes before: fixed code.
    let stream = Writer::default()
        .number(0b011, 3)
        .number(u32::from(0x30_u8.reverse_bits()), 8)
        .number(0b100_0000, 7)
        .number(0b1_0000, 5)
        .bytes();
    assert_eq!(inflate(&stream, 9, 9), Err(InflateError::Invalid));
}

#[test]
fn ring_fails_when_the_compressor_used_a_larger_window() {
    let mut data: Vec<u8> = (0..6000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    data.extend_from_within(..600);
    let stream = deflate(&data, 9, 15);
    let (mut inflater, mut ring, mut at) = (Inflater::new(), Ring::<4096>::new(), 0);
    let error = loop {
        match inflater.inflate(&stream[at..], &mut ring) {
            Ok(progress) => {
                assert!(!progress.is_done);
                at += progress.used;
                ring.take();
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, InflateError::Window);
    assert_eq!(
        inflater.inflate(&[], &mut ring),
        Err(InflateError::Invalid),
        "it goes on"
    );
}

#[test]
fn inflater_stays_within_its_memory() {
    assert!(size_of::<Inflater>() <= 2700, "{}", size_of::<Inflater>());
}
