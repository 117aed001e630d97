//! A key and its certificate, asked for, kept and replaced: what a node needs that gets its identity by itself.
//!
//! One ring is for one purpose, and a machine that shows what is on its rings is a [`Keyholder`]. Nothing here decides when a
//! certificate is asked for, or of whom.

use crate::error::SetupError;
use crate::identity::{Identity, P256Key};
use crate::x509::{CertificateInfo, CertificateRequest, certificates_from_pem, pem, split};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::net::IpAddr;
use picolet_platform::{Identities, IdentityError, Lifetime, Purpose};
use zeroize::Zeroizing;

/// A key in use with its certificates, and one that waits for its own.
#[derive(Default)]
pub struct Keyring {
    held: RefCell<Option<Held>>,
    waiting: RefCell<Option<P256Key>>,
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

impl Keyring {
    /// Makes a key and the request for its certificate, in PEM. The key of an earlier request is forgotten.
    ///
    /// # Errors
    /// [`IdentityError::Entropy`] or [`IdentityError::Name`].
    pub fn request(&self, names: &CertificateRequest<'_>) -> Result<String, IdentityError> {
        let key = P256Key::generate().map_err(|_| IdentityError::Entropy)?;
        let request = names.to_der(&key).map_err(|_| IdentityError::Name)?;
        *self.waiting.borrow_mut() = Some(key);
        Ok(pem("CERTIFICATE REQUEST", &request))
    }

    /// [`Keyring::request`] as Kubernetes' signers want it of a node: its name and address in a serving certificate, and
    /// neither of them in a client's.
    ///
    /// # Errors
    /// As [`Keyring::request`].
    pub fn request_for_node(
        &self,
        node: &str,
        serving: bool,
        address: Option<IpAddr>,
    ) -> Result<String, IdentityError> {
        let names = [node];
        self.request(&CertificateRequest {
            organization: "system:nodes",
            common_name: &node_user(node),
            dns_names: if serving { &names } else { &[] },
            ip_addresses: if serving { address.as_slice() } else { &[] },
        })
    }

    /// Uses the certificates (PEM, the own one first) that were issued for the key that waits. Returns key and
    /// certificates as a record: PKCS#8, then the certificates, all DER, one behind the other.
    ///
    /// # Errors
    /// All but [`IdentityError::Entropy`] and [`IdentityError::Name`]. The key still waits.
    pub fn adopt(&self, common_name: &str, chain: &[u8]) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let chain = certificates_from_pem(chain)?;
        let waiting = self.waiting.borrow();
        let key = waiting.as_ref().ok_or(IdentityError::NotAsked)?;
        let mut record = Zeroizing::new(Vec::new());
        record.reserve_exact(128 + chain.iter().map(Vec::len).sum::<usize>());
        record.extend_from_slice(&key.to_pkcs8());
        chain.iter().for_each(|der| record.extend_from_slice(der));
        self.hold(common_name, chain, key)?;
        drop(waiting);
        *self.waiting.borrow_mut() = None;
        Ok(record)
    }

    /// Uses what was kept of [`Keyring::adopt`].
    ///
    /// # Errors
    /// As [`Keyring::adopt`], but never [`IdentityError::NotAsked`].
    pub fn restore(&self, common_name: &str, record: &[u8]) -> Result<(), IdentityError> {
        let (key, mut rest) = split(record).ok_or(IdentityError::Malformed)?;
        let key = P256Key::from_der(key)?;
        let mut chain = Vec::new();
        while !rest.is_empty() {
            let (certificate, behind) = split(rest).ok_or(IdentityError::Malformed)?;
            chain.push(certificate.to_vec());
            rest = behind;
        }
        self.hold(common_name, chain, &key)
    }

    fn hold(&self, common_name: &str, chain: Vec<Vec<u8>>, key: &P256Key) -> Result<(), IdentityError> {
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
        let identity = Identity::new(chain, key)?;
        *self.held.borrow_mut() = Some(Held { identity, info });
        Ok(())
    }

    /// Uses nothing any more.
    pub fn discard(&self) {
        *self.held.borrow_mut() = None;
    }

    /// What is in use.
    pub fn identity(&self) -> Option<Identity> {
        self.held.borrow().as_ref().map(|held| held.identity.clone())
    }

    /// From when until when the certificate in use is valid.
    pub fn lifetime(&self) -> Option<Lifetime> {
        let held = self.held.borrow();
        held.as_ref().map(|held| Lifetime {
            not_before: held.info.not_before,
            not_after: held.info.not_after,
        })
    }

    /// Whether the certificate in use is for `address`.
    pub fn covers(&self, address: IpAddr) -> bool {
        let held = self.held.borrow();
        held.as_ref()
            .is_some_and(|held| held.info.ip_addresses.contains(&address))
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
    ) -> Result<String, IdentityError> {
        let serving = purpose == Purpose::Serving;
        self.ring(purpose).request_for_node(node, serving, address)
    }

    fn adopt(&self, purpose: Purpose, node: &str, chain: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let mut record = self.ring(purpose).adopt(&node_user(node), chain)?;
        self.show(purpose)?;
        Ok(core::mem::take(&mut *record))
    }

    fn restore(&self, purpose: Purpose, node: &str, record: &[u8]) -> Result<(), IdentityError> {
        self.ring(purpose).restore(&node_user(node), record)?;
        self.show(purpose)
    }

    fn discard(&self, purpose: Purpose) {
        self.ring(purpose).discard();
        // Nobody can always be shown: the authorities were good when the machine started.
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
    use alloc::vec;
    use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};

    const NAME: &str = "system:node:pico-1";

    fn authority() -> Issuer<'static, KeyPair> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Issuer::new(parameters, KeyPair::generate().unwrap())
    }

    fn request(ring: &Keyring, common_name: &str) -> String {
        ring.request(&CertificateRequest {
            organization: "system:nodes",
            common_name,
            dns_names: &["pico-1"],
            ip_addresses: &["10.0.0.5".parse().unwrap()],
        })
        .unwrap()
    }

    fn sign(request: &str) -> String {
        let request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.signed_by(&authority()).unwrap().pem()
    }

    #[test]
    fn asked_adopted_and_restored() {
        let ring = Keyring::default();
        assert_eq!(ring.adopt(NAME, b"").unwrap_err(), IdentityError::Malformed);
        let certificate = sign(&request(&ring, NAME));
        let record = ring.adopt(NAME, certificate.as_bytes()).unwrap();
        assert!(ring.covers("10.0.0.5".parse().unwrap()) && !ring.covers("10.0.0.6".parse().unwrap()));
        assert_eq!(
            ring.adopt(NAME, certificate.as_bytes()).unwrap_err(),
            IdentityError::NotAsked,
            "a key is for one certificate"
        );
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
        ring.discard();
        assert!(ring.identity().is_none() && ring.lifetime().is_none());
    }

    #[test]
    fn takes_nobody_elses_certificate() {
        let (ring, other) = (Keyring::default(), Keyring::default());
        let mine = sign(&request(&ring, NAME));
        let theirs = sign(&request(&other, NAME));
        assert_eq!(
            ring.adopt(NAME, theirs.as_bytes()).unwrap_err(),
            IdentityError::OtherKey
        );
        let named = sign(&request(&other, "system:node:pico-2"));
        assert_eq!(
            other.adopt(NAME, named.as_bytes()).unwrap_err(),
            IdentityError::OtherNode
        );
        ring.adopt(NAME, mine.as_bytes()).unwrap();
        // A new request forgets the key of the one before.
        let before = sign(&request(&ring, NAME));
        request(&ring, NAME);
        assert_eq!(
            ring.adopt(NAME, before.as_bytes()).unwrap_err(),
            IdentityError::OtherKey
        );
        let keys: vec::Vec<_> = (0..3).map(|_| request(&ring, NAME)).collect();
        assert!(
            keys[0] != keys[1] && keys[1] != keys[2],
            "each request has a key of its own"
        );
    }
}
