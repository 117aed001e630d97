//! What a server may answer to a node that joins k3s: any bytes, cut anywhere. Cutting must not matter, what is kept is bounded, and
//! nothing may panic, the reading of the certificate included.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_kube::status::StatusDecoder;
use picolet_kubelet::k3s::{FirstCertificate, credential};
use picolet_tls::x509::{CertificateInfo, certificates_from_pem};
use picolet_tls::{Keyring, P256Key};

thread_local! {
    /// A key that waits for its certificate (PKCS#8, DER).
    static WAITING: Vec<u8> = P256Key::generate().expect("a key").to_pkcs8().to_vec();
}

fn first(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut answer = FirstCertificate::default();
    pieces.iter().for_each(|piece| answer.push(piece));
    answer.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, data)) = input.split_first() else {
        return;
    };
    let pieces: Vec<&[u8]> = data.chunks(usize::from(*cut).max(1)).collect();
    let whole = first(&[data]);
    assert_eq!(whole, first(&pieces), "where it is cut matters");
    if let Some(pem) = &whole {
        assert!(pem.len() <= FirstCertificate::LONGEST && data.starts_with(pem));
        for der in certificates_from_pem(pem).unwrap_or_default() {
            let _ = CertificateInfo::from_der(&der);
        }
        let adopted = WAITING.with(|key| {
            Keyring::default()
                .adopt("system:node:pico-1", key, pem, 0)
                .is_ok()
        });
        assert!(!adopted, "nobody has signed for this key");
    }
    let mut refusal = StatusDecoder::default();
    pieces.iter().for_each(|piece| refusal.feed(piece));
    let _ = refusal.finish();
    if let Ok(text) = str::from_utf8(data)
        && let Some(told) = credential(text)
    {
        assert!(text.ends_with(told));
    }
});
