//! Certificates and keys from files, matched before a board has to find out.

use super::check;
use anyhow::{Context, Result, bail, ensure};
use picolet_linux::certificate::Certificate;
use picolet_linux::clock;
use picolet_linux::files;
use picolet_platform::UnixMicros;
use picolet_tls::x509::{CertificateInfo, certificates_from_pem};
use picolet_tls::{Connector, Identity, P256Key, SetupError};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Seconds of a month, before which the end of a certificate is told.
const SOON: u64 = 30 * 24 * 3600;

/// Reads a file that an option names.
pub(super) fn read(flag: &str, path: &Path) -> Result<Vec<u8>> {
    files::read(path).with_context(|| format!("--{flag} {}", path.display()))
}

/// Whether it is DER: a SEQUENCE. PEM never begins with its byte, a zero digit.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, SetupError> {
    if is_der(bytes) {
        Ok(vec![bytes.to_vec()])
    } else {
        certificates_from_pem(bytes)
    }
}

/// The authorities in a file, in DER.
pub(super) fn authorities(flag: &str, path: &Path) -> Result<Vec<Vec<u8>>> {
    authorities_in(&read(flag, path)?, &format!("--{flag} {}", path.display()))
}

/// The authorities in what was read from `place`, in DER.
pub(super) fn authorities_in(bytes: &[u8], place: &str) -> Result<Vec<Vec<u8>>> {
    let place = || place.to_owned();
    let all = certificates(bytes).with_context(place)?;
    // This is how the board will read them.
    Connector::new(&all, None, || None).with_context(place)?;
    for der in &all {
        check::authority(der).with_context(place)?;
        let info = CertificateInfo::from_der(der).with_context(place)?;
        let now = now().unwrap_or_default();
        ensure!(
            now <= info.not_after,
            "{}: the authority's certificate has expired; give the one that is in use now",
            place()
        );
    }
    Ok(all)
}

/// A certificate with those above it, and its key.
pub(super) struct Material {
    /// In DER, the own one first.
    pub(super) chain: Vec<Vec<u8>>,
    /// PKCS#8 in DER, without the public key: that is quicker to load.
    pub(super) key: Vec<u8>,
    certificate: Certificate,
    flag: String,
}

impl Material {
    /// Reads both files of `--KIND-certificate` and `--KIND-key`.
    pub(super) fn read(kind: &str, certificate: &Path, key: &Path) -> Result<Self> {
        let flag = format!("--{kind}-certificate {}", certificate.display());
        let chain = certificates(&read(&format!("{kind}-certificate"), certificate)?)
            .with_context(|| flag.clone())?;
        let key_flag = format!("--{kind}-key {}", key.display());
        let bytes = read(&format!("{kind}-key"), key)?;
        let key = if is_der(&bytes) {
            P256Key::from_der(&bytes)
        } else {
            P256Key::from_pem(&bytes)
        };
        let key = match key {
            Err(SetupError::KeyKind) => bail!(
                "{key_flag}: {}; make one with `openssl ecparam -name prime256v1 -genkey -noout` and have it certified",
                SetupError::KeyKind
            ),
            key => key.with_context(|| key_flag.clone())?,
        };
        match Identity::new(chain.clone(), &key) {
            Err(error @ SetupError::KeyMismatch) => bail!("{key_flag}: {error}"),
            identity => identity.with_context(|| flag.clone())?,
        };
        let first = chain.first().context("there is no certificate")?;
        let certificate = Certificate::read(first).with_context(|| flag.clone())?;
        Ok(Self {
            key: key.to_pkcs8().to_vec(),
            chain,
            certificate,
            flag,
        })
    }

    /// Checks that it is the client certificate of that node.
    pub(super) fn check_node(&self, node: &str, notes: &mut Vec<String>) -> Result<()> {
        let now = now();
        let checked = self.certificate.check_client(node, now);
        checked.with_context(|| self.flag.clone())?;
        self.note_end(now, notes);
        Ok(())
    }

    /// Checks that it is for the kubelet API.
    pub(super) fn check_serving(&self, node_ip: Option<Ipv4Addr>, notes: &mut Vec<String>) -> Result<()> {
        let now = now();
        let checked = self.certificate.check_serving(now);
        checked.with_context(|| self.flag.clone())?;
        if let Some(address) = node_ip.map(IpAddr::from)
            && !self.certificate.covers(address)
        {
            notes.push(format!(
                "{}: it is not for {address}, which --node-ip reports; callers that verify it will refuse it",
                self.flag
            ));
        }
        self.note_end(now, notes);
        Ok(())
    }

    fn note_end(&self, now: Option<u64>, notes: &mut Vec<String>) {
        let left = now.map(|now| self.certificate.not_after().saturating_sub(now));
        if let Some(left) = left.filter(|left| *left < SOON) {
            notes.push(format!(
                "{}: it expires in {} days",
                self.flag,
                left / (24 * 3600)
            ));
        }
    }
}

fn now() -> Option<u64> {
    clock::system().map(UnixMicros::seconds)
}
