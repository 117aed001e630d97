//! DEFLATE streams, in pieces: what zlib decompresses comes out the same, and what it refuses never ends.
#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use picolet_inflate::{Inflater, Window, WindowError};

/// More output than this is not compared.
const TOO_MUCH: usize = 1 << 18;

struct Output {
    bytes: Vec<u8>,
    room: usize,
}

impl Window for Output {
    fn room(&self) -> usize {
        self.room
    }

    fn put(&mut self, byte: u8) -> Result<(), WindowError> {
        self.room -= 1;
        self.bytes.push(byte);
        Ok(())
    }

    fn copy_back(&mut self, distance: usize, length: usize) -> Result<(), WindowError> {
        assert!(length > 0 && distance > 0 && distance <= 32_768);
        self.room -= length;
        for _ in 0..length {
            self.bytes.push(self.bytes[self.bytes.len() - distance]);
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([input, room], stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut output = Output {
        bytes: Vec::new(),
        room: 0,
    };
    let (mut inflater, mut at) = (Inflater::new(), 0);
    let used = loop {
        output.room = usize::from(*room) + 1;
        let end = stream.len().min(at + usize::from(*input) + 1);
        match inflater.inflate(&stream[at..end], &mut output) {
            Ok(progress) => {
                at += progress.used;
                if progress.is_done {
                    break Some(at);
                }
                if at == stream.len() && output.room > 0 {
                    break None;
                }
            }
            Err(_) => break None,
        }
        if output.bytes.len() > TOO_MUCH {
            return;
        }
    };
    let mut expected = Vec::with_capacity(2 * TOO_MUCH);
    let mut zlib = Decompress::new(false);
    let status = zlib.decompress_vec(stream, &mut expected, FlushDecompress::Finish);
    if matches!(status, Ok(Status::StreamEnd)) {
        assert_eq!(used, Some(zlib.total_in() as usize));
        assert!(output.bytes == expected);
    } else {
        assert_eq!(used, None);
    }
});
