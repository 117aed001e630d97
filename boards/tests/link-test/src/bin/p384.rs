//! ECDSA verification on P-384.
#![no_std]
#![no_main]

use link_test::{input, output};

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    loop {
        let public: [u8; 97] = core::array::from_fn(|_| input());
        let digest: [u8; 48] = core::array::from_fn(|_| input());
        let signature: [u8; 96] = core::array::from_fn(|_| input());
        output(picolet_ec::p384::verify(&public, &digest, &signature).into());
    }
}
