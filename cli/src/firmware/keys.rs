//! Keys that firmware is signed with, as files.

use anyhow::{Context, Result, anyhow, bail, ensure};
use picolet_ec::p256::{PublicKey, SecretKey};
use picolet_firmware::KeyId;
use picolet_linux::files;
use picolet_tls::x509::pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Creates a key pair: the private key at `path`, the public one beside it. Replaces no file.
pub(super) fn generate(path: &Path) -> Result<()> {
    let mut entropy = [0; 48];
    getrandom::fill(&mut entropy)
        .map_err(|error| anyhow!("no randomness from the operating system: {error}"))?;
    let secret = SecretKey::generate(&entropy);
    let public = secret.public_key();
    let public_path = PathBuf::from(format!("{}.pub", path.display()));
    ensure!(!public_path.exists(), "{} exists", public_path.display());
    create(path, 0o600, &pem("PRIVATE KEY", &*secret.to_pkcs8_der()))?;
    create(&public_path, 0o644, &pem("PUBLIC KEY", &public.to_spki_der()))?;
    println!(
        "private key {}, public key {}, key ID {}",
        path.display(),
        public_path.display(),
        KeyId::of(&public)
    );
    Ok(())
}

fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Reads a private key: PKCS #8 or SEC 1, PEM or DER.
pub(super) fn read_private(path: &Path) -> Result<SecretKey> {
    read("--key", path, |bytes| {
        let key = if is_der(bytes) {
            SecretKey::from_pkcs8_der(bytes)
                .or_else(|error| SecretKey::from_sec1_der(bytes).map_err(|_| error))
        } else {
            if contains(bytes, b"ENCRYPTED ") {
                bail!("the key is encrypted: sign with the program that made it, and attach the signature");
            }
            match PrivateKeyDer::from_pem_slice(bytes)
                .ok()
                .context("no private key")?
            {
                PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()),
                PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()),
                _ => bail!("not a P-256 key"),
            }
        };
        Ok(key?)
    })
}

/// Reads the public key that an option names: SubjectPublicKeyInfo, PEM or DER.
pub(crate) fn read_public(option: &str, path: &Path) -> Result<PublicKey> {
    read(option, path, |bytes| {
        if is_der(bytes) {
            return Ok(PublicKey::from_spki_der(bytes)?);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(bytes)
            .ok()
            .context("no public key: `openssl pkey -in KEY -pubout` writes one")?;
        Ok(PublicKey::from_spki_der(&der)?)
    })
}

fn read<T>(option: &str, path: &Path, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    files::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| parse(&bytes))
        .with_context(|| format!("{option} {}", path.display()))
}

/// DER begins with the tag of a SEQUENCE, which PEM never does.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
