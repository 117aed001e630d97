//! The inflater alone.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use link_test::{input, output};
use picolet_inflate::{Inflater, Ring, Window};

fn some() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(input())];
    bytes.fill_with(input);
    bytes
}

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    let mut inflater = Inflater::new();
    let mut window = Ring::<4096>::new();
    loop {
        let through: &mut dyn Window = &mut window;
        if let Ok(progress) = inflater.inflate(&some(), through) {
            output(progress.used as u8);
            output(progress.is_done.into());
        }
        window.output().iter().copied().for_each(output);
        window.take();
    }
}
