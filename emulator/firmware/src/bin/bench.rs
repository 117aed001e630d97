//! Something to compute, without end: SHA-256 and P-256, and a pin that blinks beside it.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::uart;
use embassy_time::{Instant, Timer};
use emulator_firmware::{log_to, say};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use sha2::{Digest, Sha256};

#[embassy_executor::task]
async fn blink(mut pin: Output<'static>) {
    loop {
        pin.toggle();
        Timer::after_millis(50).await;
    }
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    let mut config = uart::Config::default();
    config.baudrate = 921_600;
    log_to(uart::Uart::new_blocking(p.UART0, p.PIN_0, p.PIN_1, config));
    say!("clk_sys {}", embassy_rp::clocks::clk_sys_freq());
    spawner.spawn(blink(Output::new(p.PIN_15, Level::Low)).unwrap());
    loop {
        let start = Instant::now();
        let mut hash = Sha256::new();
        for _ in 0..256 {
            hash.update([0x5a_u8; 1024]);
        }
        let digest = hash.finalize();
        say!(
            "sha256 256 KiB: {} us {:02x}{:02x}",
            start.elapsed().as_micros(),
            digest[0],
            digest[1]
        );
        let start = Instant::now();
        let key = SecretKey::from_slice(&[0x17; 32]).unwrap();
        let point = key.public_key().to_encoded_point(false);
        say!(
            "p256 public key: {} us {:02x}",
            start.elapsed().as_micros(),
            point.as_bytes()[1]
        );
        Timer::after_millis(100).await;
    }
}
