//! A key and its certificate, asked for, kept and replaced: what a node needs that gets its identity by itself.
//!
//! One ring is for one purpose, and a machine that shows what is on its rings is a [`Keyholder`]. Nothing here decides when a
//! certificate is asked for, or of whom.

use crate::error::SetupError;
use crate::identity::Identity;
use crate::key::P256Key;
use crate::x509::{CertificateInfo, CertificateRequest, certificates_from_pem, pem, split};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::net::IpAddr;
use picolet_platform::{Identities, IdentityError, LONGEST_RECORD, Lifetime, Purpose};
use zeroize::Zeroizing;

/// A key in use with its certificates.
#[derive(Default)]
pub struct Keyring {
    held: RefCell<Option<Held>>,
    withheld: Cell<bool>,
}

struct Held {
    identity: Identity,
    info: CertificateInfo,
}

/// What the user of a node begins with.
const NODE_USER: &str = "system:node:";

/// As whom a node calls the API server: the common name of its certificates.
pub fn node_user(node: &str) -> String {
    format!("{NODE_USER}{node}")
}

impl From<SetupError> for IdentityError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::KeyMismatch => Self::OtherKey,
            _ => Self::Malformed,
        }
    }
}

/// Writes a certificate signing request in PEM as Kubernetes' signers accept it of a node: a serving certificate has the
/// node's name and address, a client certificate neither. An empty `key` is filled with a new one (PKCS#8, DER).
///
/// # Errors
/// [`IdentityError::Entropy`], [`IdentityError::Name`], or [`IdentityError::Malformed`] for a `key` that is none.
fn request_for_node(
    node: &str,
    serving: bool,
    address: Option<IpAddr>,
    key: &mut Vec<u8>,
) -> Result<String, IdentityError> {
    if key.is_empty() {
        let new = P256Key::generate().map_err(|_| IdentityError::Entropy)?;
        let der = new.to_pkcs8();
        key.reserve_exact(der.len()); // growing would leave a copy behind
        key.extend_from_slice(&der);
    }
    let names = [node];
    let request = CertificateRequest {
        organization: "system:nodes",
        common_name: &node_user(node),
        dns_names: if serving { &names } else { &[] },
        ip_addresses: if serving { address.as_slice() } else { &[] },
    };
    let der = request.to_der(&P256Key::from_der(key)?);
    Ok(pem("CERTIFICATE REQUEST", &der.map_err(|_| IdentityError::Name)?))
}

impl Keyring {
    /// Uses the certificates (PEM, the own one first) that were issued for `key` (PKCS#8, DER), unless they have expired `now`
    /// (Unix seconds). Returns key and certificates as a record: all DER, one behind the other.
    ///
    /// # Errors
    /// All but [`IdentityError::Entropy`] and [`IdentityError::Name`].
    pub fn adopt(
        &self,
        common_name: &str,
        key: &[u8],
        chain: &[u8],
        now: u64,
    ) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let chain = certificates_from_pem(chain)?;
        let length = key.len() + chain.iter().map(Vec::len).sum::<usize>();
        if length > LONGEST_RECORD {
            return Err(IdentityError::TooLong(length));
        }
        let mut record = Zeroizing::new(Vec::with_capacity(length));
        record.extend_from_slice(key);
        chain.iter().for_each(|der| record.extend_from_slice(der));
        self.hold(common_name, chain, &P256Key::from_der(key)?, now)?;
        Ok(record)
    }

    /// Uses what was kept of [`Keyring::adopt`], expired or not: the time may not be known yet.
    ///
    /// # Errors
    /// As [`Keyring::adopt`].
    pub fn restore(&self, common_name: &str, record: &[u8]) -> Result<(), IdentityError> {
        let (key, mut rest) = split(record).ok_or(IdentityError::Malformed)?;
        let key = P256Key::from_der(key)?;
        let mut chain = Vec::new();
        while !rest.is_empty() {
            let (certificate, behind) = split(rest).ok_or(IdentityError::Malformed)?;
            chain.push(certificate.to_vec());
            rest = behind;
        }
        self.hold(common_name, chain, &key, 0)
    }

    fn hold(
        &self,
        common_name: &str,
        chain: Vec<Vec<u8>>,
        key: &P256Key,
        now: u64,
    ) -> Result<(), IdentityError> {
        let own = chain.first().ok_or(IdentityError::Malformed)?;
        let info = CertificateInfo::from_der(own).map_err(|_| IdentityError::Malformed)?;
        // k3s names a serving certificate after the node, not after its user.
        let named = info
            .common_name
            .as_deref()
            .is_some_and(|name| name == common_name || common_name.strip_prefix(NODE_USER) == Some(name));
        if !named {
            return Err(IdentityError::OtherNode);
        }
        if info.not_after <= now {
            return Err(IdentityError::Expired);
        }
        let identity = Identity::new(chain, key)?;
        *self.held.borrow_mut() = Some(Held { identity, info });
        self.withheld.set(false);
        Ok(())
    }

    /// Behaves as if nothing were in use, until something is adopted or restored, or until this is called with `false`.
    pub fn withhold(&self, withheld: bool) {
        self.withheld.set(withheld);
    }

    fn in_use<T>(&self, read: impl FnOnce(&Held) -> T) -> Option<T> {
        let held = self.held.borrow();
        held.as_ref().filter(|_| !self.withheld.get()).map(read)
    }

    /// What is in use.
    pub fn identity(&self) -> Option<Identity> {
        self.in_use(|held| held.identity.clone())
    }

    /// From when until when the certificate in use is valid.
    pub fn lifetime(&self) -> Option<Lifetime> {
        self.in_use(|held| Lifetime {
            not_before: held.info.not_before,
            not_after: held.info.not_after,
        })
    }

    /// Whether the certificate in use is for `address`.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.in_use(|held| held.info.ip_addresses.contains(&address)) == Some(true)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

/// The two rings of a node.
#[derive(Debug, Default)]
pub struct Keyrings {
    client: Keyring,
    serving: Keyring,
}

impl Keyrings {
    /// The ring for that purpose.
    pub fn of(&self, purpose: Purpose) -> &Keyring {
        match purpose {
            Purpose::Client => &self.client,
            Purpose::Serving => &self.serving,
        }
    }
}

/// A machine whose node gets its certificates by itself.
pub trait Keyholder {
    /// Where its keys are.
    fn keyrings(&self) -> &Keyrings;

    /// Shows this from now on, on connections that are made; `None` is nobody.
    ///
    /// # Errors
    /// It cannot be shown; what was shown before still is.
    fn show(&self, purpose: Purpose, identity: Option<Identity>) -> Result<(), SetupError>;
}

/// A [`Keyholder`] as the agent sees it.
#[derive(Debug)]
pub struct OwnIdentities<'a, K>(pub &'a K);

impl<K: Keyholder> OwnIdentities<'_, K> {
    fn ring(&self, purpose: Purpose) -> &Keyring {
        self.0.keyrings().of(purpose)
    }

    /// Has what is on the ring count from now on.
    fn show(&self, purpose: Purpose) -> Result<(), IdentityError> {
        let identity = self.ring(purpose).identity();
        Ok(self.0.show(purpose, identity)?)
    }
}

impl<K: Keyholder> Identities for OwnIdentities<'_, K> {
    fn request(
        &self,
        purpose: Purpose,
        node: &str,
        address: Option<IpAddr>,
        key: &mut Vec<u8>,
    ) -> Result<String, IdentityError> {
        request_for_node(node, purpose == Purpose::Serving, address, key)
    }

    fn adopt(
        &self,
        purpose: Purpose,
        node: &str,
        key: &[u8],
        chain: &[u8],
        now: u64,
    ) -> Result<Vec<u8>, IdentityError> {
        let mut record = self.ring(purpose).adopt(&node_user(node), key, chain, now)?;
        self.show(purpose)?;
        Ok(core::mem::take(&mut *record))
    }

    fn restore(&self, purpose: Purpose, node: &str, record: &[u8]) -> Result<(), IdentityError> {
        self.ring(purpose).restore(&node_user(node), record)?;
        self.show(purpose)
    }

    fn withhold(&self, purpose: Purpose) {
        self.ring(purpose).withhold(true);
        // That no identity is presented cannot fail: the CAs were good when the machine started.
        let _ = self.show(purpose);
    }

    fn present(&self, purpose: Purpose) {
        self.ring(purpose).withhold(false);
        // It was presented before.
        let _ = self.show(purpose);
    }

    fn lifetime(&self, purpose: Purpose) -> Option<Lifetime> {
        self.ring(purpose).lifetime()
    }

    fn serves(&self, address: IpAddr) -> bool {
        self.ring(Purpose::Serving).covers(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};

    const NAME: &str = "system:node:pico-1";
    /// 2025-01-01.
    const NOW: u64 = 1_735_689_600;

    fn authority() -> Issuer<'static, KeyPair> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Issuer::new(parameters, KeyPair::generate().unwrap())
    }

    fn request(node: &str, key: &mut Vec<u8>) -> String {
        request_for_node(node, true, Some("10.0.0.5".parse().unwrap()), key).unwrap()
    }

    fn sign(request: &str) -> String {
        let request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.signed_by(&authority()).unwrap().pem()
    }

    #[test]
    fn asked_adopted_and_restored() {
        let (ring, mut key) = (Keyring::default(), Vec::new());
        let certificate = sign(&request("pico-1", &mut key));
        assert_eq!(
            ring.adopt(NAME, &key, b"", NOW).unwrap_err(),
            IdentityError::Malformed
        );
        let record = ring.adopt(NAME, &key, certificate.as_bytes(), NOW).unwrap();
        assert!(ring.covers("10.0.0.5".parse().unwrap()) && !ring.covers("10.0.0.6".parse().unwrap()));
        let again = Keyring::default();
        again.restore(NAME, &record).unwrap();
        assert_eq!(again.lifetime(), ring.lifetime());
        assert_eq!(
            again.identity().unwrap().certificate(),
            ring.identity().unwrap().certificate()
        );
        assert_eq!(
            again.restore("system:node:pico-2", &record),
            Err(IdentityError::OtherNode)
        );
        assert!(again.identity().is_some(), "a failure changes nothing");
        for end in 0..record.len() {
            assert!(Keyring::default().restore(NAME, &record[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn certificate_is_unused_while_it_is_withheld() {
        let (ring, mut key) = (Keyring::default(), Vec::new());
        let certificate = sign(&request("pico-1", &mut key));
        let record = ring.adopt(NAME, &key, certificate.as_bytes(), NOW).unwrap();
        ring.withhold(true);
        assert!(ring.identity().is_none() && ring.lifetime().is_none());
        assert!(!ring.covers("10.0.0.5".parse().unwrap()));
        ring.withhold(false);
        assert!(ring.identity().is_some(), "it was not lost");
        ring.withhold(true);
        ring.restore(NAME, &record).unwrap();
        assert!(ring.identity().is_some(), "what is restored is in use");
    }

    #[test]
    fn takes_nobody_elses_certificate() {
        let ring = Keyring::default();
        let [mut mine, mut theirs, mut other] = [const { Vec::new() }; 3];
        let certificate = sign(&request("pico-1", &mut mine));
        assert!(request("pico-1", &mut theirs) != request("pico-1", &mut other));
        assert!(
            mine != theirs && theirs != other,
            "each request has a key of its own"
        );
        assert_eq!(
            ring.adopt(NAME, &theirs, certificate.as_bytes(), NOW)
                .unwrap_err(),
            IdentityError::OtherKey
        );
        let named = sign(&request("pico-2", &mut theirs));
        assert_eq!(
            ring.adopt(NAME, &theirs, named.as_bytes(), NOW).unwrap_err(),
            IdentityError::OtherNode
        );
        assert_eq!(
            ring.adopt(NAME, b"no key", certificate.as_bytes(), NOW)
                .unwrap_err(),
            IdentityError::Malformed
        );
        ring.adopt(NAME, &mine, certificate.as_bytes(), NOW).unwrap();
    }

    #[test]
    fn request_is_signed_by_the_key_that_is_given() {
        let mut key = Vec::new();
        request("pico-1", &mut key);
        let kept = key.clone();
        let certificate = sign(&request("pico-1", &mut key));
        assert_eq!(key, kept);
        let ring = Keyring::default();
        ring.adopt(NAME, &kept, certificate.as_bytes(), NOW).unwrap();
        let mut broken = kept[..40].to_vec();
        assert!(request_for_node("pico-1", true, None, &mut broken).is_err());
    }

    #[test]
    fn chain_is_refused_before_it_is_used_when_it_does_not_fit_a_record() {
        let (ring, mut key) = (Keyring::default(), Vec::new());
        let certificate = sign(&request("pico-1", &mut key));
        let one = certificates_from_pem(certificate.as_bytes()).unwrap()[0].len();
        let most = (LONGEST_RECORD - key.len()) / one;
        let error = ring.adopt(NAME, &key, certificate.repeat(most + 1).as_bytes(), NOW);
        let length = key.len() + (most + 1) * one;
        assert_eq!(error.unwrap_err(), IdentityError::TooLong(length));
        assert!(ring.identity().is_none());
        let record = ring.adopt(NAME, &key, certificate.repeat(most).as_bytes(), NOW);
        assert!(record.unwrap().len() <= LONGEST_RECORD);
    }
}
