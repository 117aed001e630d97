//! What a board cannot do although each value by itself is well formed: refused before the board has to find out.

use anyhow::{Context, Result, bail, ensure};
use picolet_platform::Server;
use picolet_tls::RSA_BITS;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Reader, SliceReader, asn1};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, name::GeneralName};

/// `rsaEncryption` (RFC 8017, appendix C), `id-ecPublicKey` and `secp256r1` (RFC 5480, section 2.1.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Checks that `der` can be the CA of certificates that a board verifies.
///
/// # Errors
/// It is not a CA, or its key is of a kind that boards do not verify signatures of.
pub(super) fn authority(der: &[u8]) -> Result<()> {
    let certificate = Certificate::from_der(der).context("malformed certificate")?;
    let fields = certificate.tbs_certificate();
    let constraints = fields.get_extension::<BasicConstraints>()?;
    let usage = fields.get_extension::<KeyUsage>()?;
    // Version 1 has no extensions. A version 3 certificate without the constraint is that of a leaf (RFC 5280, section 4.2.1.9).
    let is_ca = match constraints {
        Some((_, constraints)) => constraints.ca,
        None => fields.extensions().is_none_or(Vec::is_empty),
    };
    ensure!(
        is_ca && usage.is_none_or(|(_, usage)| usage.key_cert_sign()),
        "not the certificate of a CA; give the one that signed it"
    );
    let key = fields.subject_public_key_info();
    let what = format!(
        "boards verify ECDSA on P-256 and RSA of {} to {} bits",
        RSA_BITS.start(),
        RSA_BITS.end()
    );
    match key.algorithm.oid {
        EC => {
            let curve = key.algorithm.parameters.as_ref();
            let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            ensure!(
                curve == Some(P256),
                "its key is on another curve than P-256; {what}"
            );
        }
        RSA => {
            let bits = rsa_bits(key.subject_public_key.raw_bytes()).context("malformed RSA key")?;
            ensure!(RSA_BITS.contains(&bits), "its key has {bits} bits; {what}");
        }
        _ => bail!("its key is neither ECDSA nor RSA; {what}"),
    }
    Ok(())
}

/// Bits of the modulus in an `RSAPublicKey`.
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(der).ok()?;
    let key = asn1::AnyRef::decode(&mut reader).ok()?;
    let mut inner = SliceReader::new(key.value()).ok()?;
    let modulus: asn1::UintRef<'_> = inner.decode().ok()?;
    let bytes = modulus.as_bytes();
    Some(bytes.len() * 8 - bytes.first()?.leading_zeros() as usize)
}

/// Checks that a board can reach an API server by this URL. Returns what to warn of.
///
/// # Errors
/// The host is an IPv6 address or a name of multicast DNS.
pub(super) fn server(url: &str) -> Result<Option<String>> {
    // Another form is refused where the settings are written.
    let Ok(server) = Server::parse(url) else {
        return Ok(None);
    };
    let host = server.host.trim_end_matches('.');
    ensure!(
        host.parse::<Ipv6Addr>().is_err(),
        "--server {url}: boards have no IPv6; give an IPv4 address or a name that has one"
    );
    ensure!(
        !host.to_ascii_lowercase().ends_with(".local"),
        "--server {url}: boards do not resolve .local names (multicast DNS); give an address or a name in DNS"
    );
    Ok(is_this_machine(url).then(|| format!("--server {url}: to a board this is the board itself")))
}

/// Whether a URL names the machine that asks.
pub(super) fn is_this_machine(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback() || address.is_unspecified())
}

/// Checks that the gateway is another host of the network of `address/prefix`.
///
/// # Errors
/// It is not.
pub(super) fn gateway(gateway: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> Result<()> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    ensure!(
        u32::from(gateway) & mask == u32::from(address) & mask && gateway != address,
        "--gateway {gateway}: it is not another host of the network of --address {address}/{prefix}"
    );
    Ok(())
}

/// Returns what a board will find wrong with `der`, the certificate that an API server presented, when it calls that server `url`.
pub(super) fn presented(url: &str, der: &[u8]) -> Option<String> {
    let server = Server::parse(url).ok()?;
    let certificate = Certificate::from_der(der).ok()?;
    // The common name does not count.
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map_or_else(Vec::new, |(_, names)| names.0);
    let address = server.host.parse::<IpAddr>().ok();
    let is_for = |name: &GeneralName| match (name, address) {
        (GeneralName::IpAddress(bytes), Some(IpAddr::V4(address))) => bytes.as_bytes() == address.octets(),
        (GeneralName::DnsName(name), None) => {
            let name = name.as_str().to_ascii_lowercase();
            let host = server.host.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
                None => name == host,
            }
        }
        _ => false,
    };
    if names.iter().any(is_for) {
        return None;
    }
    let shown = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => <[u8; 4]>::try_from(bytes.as_bytes())
            .ok()
            .map(|octets| Ipv4Addr::from(octets).to_string()),
        _ => None,
    });
    let mut shown: Vec<String> = shown.take(8).collect();
    if shown.is_empty() {
        shown.push("none".into());
    }
    Some(format!(
        "--server {url}: the certificate that the API server presents is not for this host, but for {}; unless another server \
         answers there, the board will refuse it",
        shown.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints as Constraints, CertificateParams, IsCa, KeyPair};

    fn certificate(change: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> Vec<u8> {
        let mut params =
            CertificateParams::new(vec!["api.example.org".into(), "192.0.2.1".into()]).expect("names");
        params.is_ca = IsCa::Ca(Constraints::Unconstrained);
        change(&mut params);
        params.self_signed(key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn authority_is_refused_when_a_board_cannot_verify_with_it() {
        let key = KeyPair::generate().expect("a key");
        authority(&certificate(|_| {}, &key)).expect("it can be used");
        let leaf = authority(&certificate(|params| params.is_ca = IsCa::NoCa, &key));
        assert!(
            leaf.expect_err("a leaf")
                .to_string()
                .contains("not the certificate of a CA")
        );
        for (algorithm, words) in [
            (&rcgen::PKCS_ECDSA_P384_SHA384, "another curve"),
            (&rcgen::PKCS_ED25519, "neither ECDSA nor RSA"),
        ] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let error = authority(&certificate(|_| {}, &key))
                .expect_err(words)
                .to_string();
            assert!(
                error.contains(words) && error.contains("2048 to 4096 bits"),
                "{error}"
            );
        }
    }

    #[test]
    fn rsa_key_is_measured_by_its_modulus() {
        let mut der = vec![0x30, 0x82, 1, 10, 2, 0x82, 1, 1, 0];
        der.extend([0xff; 256]);
        der.extend([2, 3, 1, 0, 1]);
        assert_eq!(rsa_bits(&der), Some(2048));
        assert_eq!(rsa_bits(&der[..9]), None);
    }

    #[test]
    fn server_is_refused_when_a_board_cannot_reach_it() {
        for (url, words) in [
            ("https://[2001:db8::1]:6443", "no IPv6"),
            ("https://k8s.local", "multicast DNS"),
            ("https://K8S.LOCAL.:6443", "multicast DNS"),
        ] {
            let error = server(url).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        let warning = server("https://127.0.0.1:6443").expect("it may be a test");
        assert!(warning.is_some_and(|warning| warning.contains("the board itself")));
        for url in ["https://192.0.2.1:6443", "https://local.example.org", "nonsense"] {
            assert_eq!(server(url).expect(url), None);
        }
    }

    #[test]
    fn a_board_cannot_reach_this_machine_by_its_own_name() {
        for url in [
            "https://127.0.0.1:6443",
            "https://localhost",
            "https://[::1]:6443/x",
            "https://0.0.0.0:6443",
        ] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in [
            "https://192.0.2.10:6443",
            "https://k8s.example.org",
            "https://[2001:db8::1]:6443",
        ] {
            assert!(!is_this_machine(url), "{url}");
        }
    }

    #[test]
    fn gateway_is_refused_when_it_is_outside_the_network() {
        let of = |text: &str| text.parse::<Ipv4Addr>().expect(text);
        gateway(of("192.168.1.1"), of("192.168.1.50"), 24).expect("a host");
        gateway(of("10.0.0.1"), of("192.168.1.50"), 0).expect("any host");
        for (other, prefix) in [("192.168.2.1", 24), ("192.168.1.50", 24), ("192.168.1.49", 32)] {
            assert!(
                gateway(of(other), of("192.168.1.50"), prefix).is_err(),
                "{other}/{prefix}"
            );
        }
    }

    #[test]
    fn warning_names_the_hosts_of_the_certificate_when_the_server_is_none_of_them() {
        let key = KeyPair::generate().expect("a key");
        let der = certificate(|_| {}, &key);
        for url in ["https://192.0.2.1:6443", "https://API.example.org"] {
            assert_eq!(presented(url, &der), None, "{url}");
        }
        let warning = presented("https://192.0.2.9", &der).expect("another address");
        assert!(warning.contains("api.example.org, 192.0.2.1"), "{warning}");
        let wild = certificate(
            |params| {
                params.subject_alt_names = vec![rcgen::SanType::DnsName(
                    "*.example.org".try_into().expect("a name"),
                )]
            },
            &key,
        );
        assert_eq!(presented("https://api.example.org", &wild), None);
        assert!(presented("https://a.b.example.org", &wild).is_some());
    }
}
