//! What the tests of this crate share: a wire in memory, and certificates that live for one test.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod oracle;

use core::future::poll_fn;
use core::task::Poll;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use picolet_tls::{Identity, P256Key};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The time of all tests: 2026-11-22T12:00:00Z.
pub const NOW: u64 = 1_795_348_800;

pub fn now() -> Option<u64> {
    Some(NOW)
}

#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    closed: bool,
    /// All bytes that ever went this way.
    record: Vec<u8>,
}

/// One end of a wire. Reads give at most `chunk` bytes, as a network does.
pub struct End {
    inbound: Rc<RefCell<Lane>>,
    outbound: Rc<RefCell<Lane>>,
    pub chunk: usize,
    /// Every other read and write is not ready at first.
    pub stutters: bool,
    stuttered: bool,
    /// The byte of all that arrives in which a bit is flipped.
    pub flip: Option<usize>,
    arrived: usize,
}

/// A wire without loss.
pub fn wire() -> (End, End) {
    let (a, b) = (Rc::<RefCell<Lane>>::default(), Rc::<RefCell<Lane>>::default());
    let end = |inbound: &Rc<RefCell<Lane>>, outbound: &Rc<RefCell<Lane>>| End {
        inbound: inbound.clone(),
        outbound: outbound.clone(),
        chunk: usize::MAX,
        stutters: false,
        stuttered: false,
        flip: None,
        arrived: 0,
    };
    (end(&a, &b), end(&b, &a))
}

impl End {
    /// All bytes that this end ever sent.
    pub fn sent(&self) -> Vec<u8> {
        self.outbound.borrow().record.clone()
    }

    /// Puts bytes on the wire as if the other side had sent them.
    pub fn inject(&self, bytes: &[u8]) {
        self.inbound.borrow_mut().bytes.extend(bytes);
    }

    /// Flips a bit of what waits to be read here.
    pub fn damage(&self, at: usize) {
        self.inbound.borrow_mut().bytes[at] ^= 1;
    }

    /// Nothing more will arrive here.
    pub fn cut(&self) {
        self.inbound.borrow_mut().closed = true;
    }

    /// How much waits to be read here.
    pub fn waiting(&self) -> usize {
        self.inbound.borrow().bytes.len()
    }

    /// Whether this operation must wait a little.
    fn stutter(&mut self) -> bool {
        self.stuttered = self.stutters && !self.stuttered;
        self.stuttered
    }

    /// Hangs up without being dropped.
    pub fn hang_up(&self) {
        self.outbound.borrow_mut().closed = true;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            if self.stutter() {
                return Poll::Pending;
            }
            let mut lane = self.inbound.borrow_mut();
            if lane.bytes.is_empty() {
                return if lane.closed {
                    Poll::Ready(Ok(0))
                } else {
                    Poll::Pending
                };
            }
            let count = buffer.len().min(lane.bytes.len()).min(self.chunk);
            for (place, byte) in buffer.iter_mut().zip(lane.bytes.drain(..count)) {
                *place = byte ^ u8::from(self.flip == Some(self.arrived));
                self.arrived += 1;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for End {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            if self.stutter() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let mut lane = self.outbound.borrow_mut();
        let bytes = &bytes[..bytes.len().min(self.chunk)];
        lane.bytes.extend(bytes);
        lane.record.extend(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A certificate authority on P-256.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate says; `Leaf::server()` and `Leaf::client()` are the usual ones.
pub struct Leaf {
    pub names: Vec<String>,
    pub usage: Option<ExtendedKeyUsagePurpose>,
    /// Days from now.
    pub days: (i64, i64),
}

impl Leaf {
    pub fn server() -> Self {
        Self {
            names: vec!["api.test".into(), "10.0.2.2".into()],
            usage: Some(ExtendedKeyUsagePurpose::ServerAuth),
            days: (-1, 1),
        }
    }

    pub fn client() -> Self {
        Self {
            names: vec![],
            usage: Some(ExtendedKeyUsagePurpose::ClientAuth),
            days: (-1, 1),
        }
    }
}

pub fn date(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(NOW as i64 + days * 86_400).unwrap()
}

impl Authority {
    pub fn new() -> Self {
        Self::named("test authority")
    }

    pub fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_before = date(-10);
        parameters.not_after = date(10);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// As a list of roots.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.der()]
    }

    /// An authority below this one.
    pub fn issuer(&self, parameters: CertificateParams, key: KeyPair) -> CertifiedIssuer<'static, KeyPair> {
        CertifiedIssuer::signed_by(parameters, key, &self.0).unwrap()
    }

    /// A certificate in DER and its key.
    pub fn issue(&self, leaf: &Leaf) -> (Vec<u8>, KeyPair) {
        let mut parameters = CertificateParams::new(leaf.names.clone()).unwrap();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "system:node:pico");
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        parameters.extended_key_usages = leaf.usage.clone().into_iter().collect();
        parameters.not_before = date(leaf.days.0);
        parameters.not_after = date(leaf.days.1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.der().to_vec(), key)
    }

    pub fn identity(&self, leaf: &Leaf) -> Identity {
        let (certificate, key) = self.issue(leaf);
        Identity::new(
            vec![certificate],
            &P256Key::from_der(&key.serialize_der()).unwrap(),
        )
        .unwrap()
    }
}
