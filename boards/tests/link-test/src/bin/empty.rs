//! Start-up, heap and one future: what the other link tests have besides the thing that they measure.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use embassy_futures::block_on;
use embedded_io_async::{Read, Write};
use link_test::{Nowhere, input};

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    loop {
        block_on(async {
            let mut bytes = vec![0; usize::from(input())];
            let _ = Nowhere.read(&mut bytes).await;
            let _ = Nowhere.write_all(&bytes).await;
        });
    }
}
