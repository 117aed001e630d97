//! gzip and tar around the inflater.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use link_test::{input, output};
use picolet_images::gzip::Gunzip;
use picolet_images::tar::{Event, Tar};
use picolet_inflate::Ring;

fn some() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(input())];
    bytes.fill_with(input);
    bytes
}

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    let mut gunzip = Gunzip::default();
    let mut tar = Tar::default();
    let mut window = Ring::<4096>::new();
    loop {
        let Ok(taken) = gunzip.take(&some(), &mut window) else {
            continue;
        };
        output(taken as u8);
        gunzip.output(window.output());
        match tar.take(window.output()) {
            Ok((_, Event::Entry(entry))) => {
                entry.name.iter().chain(&entry.link).copied().for_each(output);
                output(entry.kind as u8);
                output(entry.size as u8);
                output(entry.mode as u8);
            }
            Ok((_, Event::Data(data))) => data.iter().copied().for_each(output),
            Ok((taken, _)) => output(taken as u8),
            Err(error) => output(error as u8),
        }
        window.take();
        output((gunzip.is_complete() && tar.at_boundary()).into());
    }
}
