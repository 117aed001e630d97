//! What a peer sends while shaking hands and after it. The first byte says who listens: a client if it is even, a server
//! if it is odd. Randomness is constant, so that the corpus can hold whole conversations that are genuine.
#![no_main]

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use libfuzzer_sys::fuzz_target;
use picolet_tls::x509::certificates_from_pem;
use picolet_tls::{Acceptor, Clients, Connector, Identity, Random, RandomError, install_random};
use std::sync::LazyLock;

/// Always the same, so that what is found is found again. (Two keys of a handshake being equal does no harm here.)
struct Constant;

impl Random for Constant {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(0x42);
        Ok(())
    }
}

fn now() -> Option<u64> {
    Some(1_800_000_000)
}

static ENDS: LazyLock<(Connector, Acceptor)> = LazyLock::new(|| {
    install_random(&Constant);
    let identity = Identity::from_pem(
        include_bytes!("../../crates/tls/tests/data/p256.pem"),
        include_bytes!("../../crates/tls/tests/data/p256.key"),
    )
    .unwrap();
    let roots = certificates_from_pem(include_bytes!("../../crates/tls/tests/data/rsa-ca.pem")).unwrap();
    (
        Connector::new(&roots, Some(&identity), now).unwrap(),
        Acceptor::new(&identity, Clients::Optional(&roots), now)
            .unwrap()
            .with_record_limits(8192, 8192),
    )
});

/// A peer that says what it has to say, and hangs up.
struct Recorded<'a> {
    inbound: &'a [u8],
    outbound: usize,
}

impl ErrorType for Recorded<'_> {
    type Error = ErrorKind;
}

impl Read for Recorded<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let count = buffer.len().min(self.inbound.len());
        let (now, later) = self.inbound.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.inbound = later;
        Ok(count)
    }
}

impl Write for Recorded<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.outbound += bytes.len();
        assert!(self.outbound < 20_000, "it answers with more than a handshake");
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&who, inbound)) = data.split_first() else {
        return;
    };
    let (connector, acceptor) = &*ENDS;
    let peer = Recorded { inbound, outbound: 0 };
    let stream = if who & 1 == 0 {
        block_on(connector.connect("api.test", peer))
    } else {
        block_on(acceptor.accept(peer))
    };
    if let Ok(mut stream) = stream {
        let mut buffer = [0; 1000];
        while let Ok(1..) = block_on(stream.read(&mut buffer)) {}
    }
});
