//! TLS in both roles with mutual authentication, PEM, reading certificates and asking for one.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;
use embassy_futures::block_on;
use embedded_io_async::{Read, Write};
use link_test::{Nowhere, input, output};
use picolet_tls::x509::{CertificateInfo, CertificateRequest, certificates_from_pem};
use picolet_tls::{Acceptor, Clients, Connector, Identity, P256Key, Random, RandomError, install_random};

struct Noise;

impl Random for Noise {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill_with(input);
        Ok(())
    }
}

struct Console;

impl core::fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(output);
        Ok(())
    }
}

fn some() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(input())];
    bytes.fill_with(input);
    bytes
}

fn clock() -> Option<u64> {
    Some(u64::from(input()) << 24)
}

async fn talk() -> Option<()> {
    let roots = certificates_from_pem(&some()).ok()?;
    let identity = Identity::from_pem(&some(), &some()).ok()?;
    let connector = Connector::new(&roots, Some(&identity), clock).ok()?;
    match connector
        .connect(core::str::from_utf8(&some()).ok()?, Nowhere)
        .await
    {
        Ok(mut stream) => {
            let mut buffer = [0; 64];
            let count = stream.read(&mut buffer).await.ok()?;
            stream.write_all(buffer.get(..count)?).await.ok()?;
            output(stream.resumed().into());
            stream.close().await.ok()?;
        }
        Err(error) => write!(Console, "{error}").ok()?,
    }
    let acceptor = Acceptor::new(&identity, Clients::Optional(&roots), clock)
        .ok()?
        .with_record_limits(8192, 8192);
    let mut stream = acceptor.accept(Nowhere).await.ok()?;
    let info = CertificateInfo::from_der(stream.peer_certificate()?).ok()?;
    stream.write_all(info.common_name?.as_bytes()).await.ok()?;
    stream.close().await.ok()?;

    let key = P256Key::generate().ok()?;
    let address = [input(), input(), input(), input()].into();
    let name = some();
    let name = core::str::from_utf8(&name).ok()?;
    let request = CertificateRequest {
        organization: name,
        common_name: name,
        dns_names: &[name],
        ip_addresses: &[address],
    };
    request.to_der(&key).ok()?.into_iter().for_each(output);
    key.to_pem().bytes().for_each(output);
    Some(())
}

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    install_random(&Noise);
    loop {
        block_on(talk());
    }
}
