//! What an API server answers to a request for a certificate, and what of it is kept: any bytes, cut anywhere. Cutting must not
//! matter, nothing is larger than its bound, and no certificate is adopted that is not for the key that waits.
#![no_main]

use base64ct::{Base64, Encoding};
use libfuzzer_sys::fuzz_target;
use picolet_kube::certificate::{CERTIFICATE_BYTES, CertificateSigningRequest, Decision};
use picolet_kube::envelope::Single;
use picolet_tls::{Keyring, P256Key};

const NODE: &str = "system:node:pico-1";

thread_local! {
    /// A key that waits for its certificate, which nobody has signed (PKCS#8, DER).
    static WAITING: Vec<u8> = P256Key::generate().expect("a key").to_pkcs8().to_vec();
}

/// Nothing is adopted for the key that waits.
fn refuse(chain: &[u8]) {
    let keyring = Keyring::default();
    WAITING.with(|key| assert!(keyring.adopt(NODE, key, chain, 0).is_err()));
    assert!(keyring.identity().is_none());
}

fn answer(pieces: &[&[u8]]) -> Option<(String, Decision, Vec<u8>)> {
    let mut answer = Single::<CertificateSigningRequest>::default();
    for piece in pieces {
        answer.feed(piece).ok()?;
    }
    let answer = answer.finish()?;
    Some((answer.metadata.name.into(), answer.decision, answer.certificate))
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let (a, b) = data.split_at(usize::from(cut).min(data.len()));
    let whole = answer(&[data]);
    assert_eq!(whole, answer(&[a, b]));
    if let Some((_, _, mut certificate)) = whole {
        assert!(certificate.len() <= CERTIFICATE_BYTES);
        if let Ok(chain) = Base64::decode_in_place(&mut certificate) {
            refuse(chain);
        }
    }
    refuse(data);
    // A record of what was adopted once.
    let kept = Keyring::default();
    if kept.restore(NODE, data).is_ok() {
        assert!(kept.lifetime().is_some() && kept.identity().is_some());
    }
    let _ = P256Key::from_der(data);
});
