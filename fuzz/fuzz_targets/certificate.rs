//! Certificates, keys and PEM: nothing that they say may cause a panic, and what is read is consistent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_tls::x509::{CertificateInfo, certificates_from_pem};
use picolet_tls::{Acceptor, Clients, Connector, Identity, P256Key};
use std::sync::LazyLock;

static KEY: LazyLock<P256Key> =
    LazyLock::new(|| P256Key::from_pem(include_bytes!("../../crates/tls/tests/data/p256.key")).unwrap());
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    Identity::new(
        certificates_from_pem(include_bytes!("../../crates/tls/tests/data/p256.pem")).unwrap(),
        &KEY,
    )
    .unwrap()
});

fn certificate(der: &[u8]) {
    if let Ok(info) = CertificateInfo::from_der(der) {
        let names = info
            .dns_names
            .iter()
            .chain(&info.organizations)
            .chain(&info.common_name);
        let length: usize = names.map(String::len).sum();
        assert!(length <= der.len(), "more text than there was");
    }
    let roots = [der.to_vec()];
    let _ = Connector::new(&roots, None, || None);
    let _ = Acceptor::new(&IDENTITY, Clients::Required(&roots), || None);
    let _ = Identity::new(roots.to_vec(), &KEY);
}

fuzz_target!(|data: &[u8]| {
    certificate(data);
    for der in certificates_from_pem(data).unwrap_or_default() {
        certificate(&der);
    }
    for key in [P256Key::from_der(data), P256Key::from_pem(data)]
        .into_iter()
        .flatten()
    {
        let again = P256Key::from_der(&key.to_pkcs8()).expect("our own form is read again");
        assert_eq!(again.public_key_der(), key.public_key_der());
    }
});
