//! `CertificateSigningRequest`: how a node asks for a certificate.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, Writer, fields, shape};
use crate::metadata::{self, Metadata};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::{Collector, set};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

fields![CERTIFICATE, CONDITION_TYPE, CONDITION_MESSAGE, CONDITION,];

/// The longest certificate that is taken, in base64 of PEM: three certificates of an RSA-4096 CA.
pub const CERTIFICATE_BYTES: usize = 12 * 1024;

/// What the certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// To call the API server.
    Client,
    /// To be called at the kubelet port.
    Serving,
}

impl Signer {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving => "kubernetes.io/kubelet-serving",
        }
    }
}

/// Writes the request of that name: `request_base64` is the base64 of the PEM of a PKCS#10.
pub fn write(out: &mut String, name: &str, signer: Signer, request_base64: &str) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "certificates.k8s.io/v1");
    w.string_at("kind", "CertificateSigningRequest");
    w.object_at("metadata");
    w.string_at("name", name);
    w.end();
    w.object_at("spec");
    w.string_at("signerName", signer.name());
    w.string_at("request", request_base64);
    w.array_at("usages");
    // For an elliptic key the signers want no "key encipherment".
    w.string("digital signature");
    w.string(if signer == Signer::Client {
        "client auth"
    } else {
        "server auth"
    });
    w.end();
    w.end();
    w.end();
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// Nobody has decided.
    #[default]
    Pending,
    /// Granted; the certificate may still be on its way.
    Approved,
    /// Refused, with the words of whoever did.
    Denied(Box<str>),
    /// Granted, but the signer could not sign.
    Failed(Box<str>),
}

/// `certificates.k8s.io/v1.CertificateSigningRequest`, the part that is read.
#[derive(Default)]
pub struct CertificateSigningRequest {
    /// Its metadata.
    pub metadata: Metadata,
    /// Whether it was granted.
    pub decision: Decision,
    /// The base64 of the PEM chain; empty until it is there, and when it is longer than [`CERTIFICATE_BYTES`].
    pub certificate: Vec<u8>,
    /// Whether there is one that is longer.
    pub too_long: bool,
    condition: Box<str>,
    message: Box<str>,
    collector: Collector,
}

impl Sink for CertificateSigningRequest {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if field == CERTIFICATE {
            self.too_long |= self.certificate.len() + piece.len() > CERTIFICATE_BYTES;
            if self.too_long {
                self.certificate = Vec::new();
            } else {
                self.certificate.extend_from_slice(piece);
            }
            return;
        }
        let Some(value) = self.collector.push(piece, last) else {
            return;
        };
        if self.metadata.value(field, value) {
            return;
        }
        match field {
            CONDITION_TYPE => set(&mut self.condition, value),
            CONDITION_MESSAGE => set(&mut self.message, value),
            _ => {}
        }
    }

    /// A condition is whole: its type and its message come in any order.
    fn leave(&mut self, field: Field) {
        if field != CONDITION {
            return;
        }
        let message = core::mem::take(&mut self.message);
        match (&*core::mem::take(&mut self.condition), &self.decision) {
            ("Approved", Decision::Pending) => self.decision = Decision::Approved,
            ("Denied", _) => self.decision = Decision::Denied(message),
            ("Failed", _) => self.decision = Decision::Failed(message),
            _ => {}
        }
    }
}

impl Object for CertificateSigningRequest {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE),
        (
            "status",
            Shape::Object(&[
                ("certificate", Shape::Value(CERTIFICATE)),
                (
                    "conditions",
                    Shape::List(&Shape::Group(
                        CONDITION,
                        &Shape::Object(&[
                            ("type", Shape::Value(CONDITION_TYPE)),
                            ("message", Shape::Value(CONDITION_MESSAGE)),
                        ]),
                    )),
                ),
            ]),
        ),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
