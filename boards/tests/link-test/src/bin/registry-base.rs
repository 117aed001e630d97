//! What the registry client shares with the agent: HTTP responses, the JSON decoder, SHA-256, base64.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use base64ct::{Base64, Base64Unpadded, Encoding};
use link_test::{input, output};
use picolet_http::ResponseReader;
use picolet_kube::json::{Decoder, Field, Shape, Sink};
use picolet_kube::shape;
use sha2::{Digest, Sha256};

fn some() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(input())];
    bytes.fill_with(input);
    bytes
}

struct Print;

impl Sink for Print {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        output(field.0);
        output(last.into());
        piece.iter().copied().for_each(output);
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    loop {
        let mut reader = ResponseReader::default();
        let head = reader.take(&some(), &mut |name, value| {
            name.bytes().chain(value.bytes()).for_each(output);
        });
        if let Ok((_, Some((head, mut body)))) = head {
            output(head.status as u8);
            if let Ok((_, piece)) = body.take(&some()) {
                piece.iter().copied().for_each(output);
            }
        }
        let mut decoder = Decoder::new(shape!(Shape::Object(&[("a", Shape::Map(Field(32)))])));
        output(decoder.feed(&some(), &mut Print).is_ok().into());
        output(decoder.at_boundary().into());
        let mut digest = Sha256::new();
        digest.update(some());
        digest.finalize().into_iter().for_each(output);
        let mut buffer = [0; 64];
        let _ = Base64::encode(&some(), &mut buffer).map(|text| text.bytes().for_each(output));
        let _ = Base64::decode(some(), &mut buffer).map(|bytes| bytes.iter().copied().for_each(output));
        let _ =
            Base64Unpadded::decode(some(), &mut buffer).map(|bytes| bytes.iter().copied().for_each(output));
    }
}
