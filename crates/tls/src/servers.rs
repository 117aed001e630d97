//! Whether a server is whom it says it is: the chain of its certificate, its name, and their dates.
//!
//! Two things are done here that rustls's own verifier does not do. A chain that was verified is remembered by its hash
//! for as long as it is valid, so that the next full handshake with the same server saves the signatures of the chain.
//! And for a node that does not know the time yet there is a verification of everything but the dates, which tells
//! when the chain is valid: the node learns the time behind it, and holds it against that.

use crate::provider::ALGORITHMS;
use crate::sync::Arc;
use crate::x509::CertificateInfo;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use critical_section::Mutex;
use picolet_platform::Lifetime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::verify_tls13_signature;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

/// Chains that are remembered, the latest used first: one for each API server of a cluster.
const REMEMBERED: usize = 4;
/// How many certificates of a chain may begin one later than the other. Chains are short, and an attempt is dear.
const ATTEMPTS: usize = 4;

/// The time in which a chain of certificates is valid, in Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl Validity {
    /// Whether the chain is valid at that second.
    pub fn contains(&self, unix_seconds: u64) -> bool {
        (self.not_before..=self.not_after).contains(&unix_seconds)
    }

    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let CertificateInfo {
            not_before,
            not_after,
            ..
        } = CertificateInfo::from_der(certificate).ok()?;
        Some(Self {
            not_before,
            not_after,
        })
    }

    /// The time in which both are valid.
    fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

impl From<Validity> for Lifetime {
    fn from(validity: Validity) -> Self {
        Self {
            not_before: validity.not_before,
            not_after: validity.not_after,
        }
    }
}

/// A chain by the hash of its certificates.
type Fingerprint = [u8; 32];
type Remembered = [Option<(Fingerprint, Validity)>; REMEMBERED];

/// The roots of a connector, and the chains that led to them.
pub(crate) struct Servers {
    roots: RootCertStore,
    remembered: Mutex<RefCell<Remembered>>,
    /// When the chain is valid whose key was proved last.
    proved: Mutex<Cell<Option<Validity>>>,
}

impl Servers {
    pub(crate) fn new(roots: RootCertStore) -> Self {
        Self {
            roots,
            remembered: Mutex::new(RefCell::new([None; REMEMBERED])),
            proved: Mutex::new(Cell::new(None)),
        }
    }

    /// Verifies that `end_entity` is a server's and leads to one of the roots, at `time`, or at any time that it is
    /// valid at. Returns when it is valid, the time that is asked for included.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        time: Option<u64>,
    ) -> Result<Validity, Error> {
        let chain = || core::iter::once(end_entity).chain(intermediates);
        let fingerprint = fingerprint(chain());
        if let Some(validity) = self.recall(&fingerprint)
            && time.is_none_or(|time| validity.contains(time))
        {
            return Ok(validity);
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let own = Validity::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        let mut at = time.unwrap_or(own.not_before);
        let mut attempts = if time.is_some() { 1 } else { ATTEMPTS };
        loop {
            attempts -= 1;
            let verified = verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                crate::time::unix_time(at),
                ALGORITHMS.all,
            );
            match verified {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) if attempts > 0 && not_before.as_secs() > at => {
                    at = not_before.as_secs();
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        // Which of the certificates were needed is not told. Those that are not valid at `at` were not; to count the others
        // makes the time shorter at most.
        let validity = chain()
            .filter_map(|certificate| Validity::of(certificate))
            .filter(|validity| validity.contains(at))
            .fold(own, Validity::and);
        self.remember(fingerprint, validity);
        Ok(validity)
    }

    /// Notes that the server of the chain that was verified last has its key and its name. Anybody can show a chain.
    pub(crate) fn note_proof(&self) {
        critical_section::with(|section| {
            let latest = self.remembered.borrow_ref(section)[0];
            self.proved
                .borrow(section)
                .set(latest.map(|(_, validity)| validity));
        });
    }

    /// When the chain is valid of the server that proved its key last.
    pub(crate) fn proved(&self) -> Option<Validity> {
        critical_section::with(|section| self.proved.borrow(section).get())
    }

    fn recall(&self, fingerprint: &Fingerprint) -> Option<Validity> {
        critical_section::with(|section| {
            let mut remembered = self.remembered.borrow_ref_mut(section);
            let place = remembered
                .iter()
                .position(|known| known.is_some_and(|(known, _)| known == *fingerprint))?;
            remembered[..=place].rotate_right(1);
            remembered[0].map(|(_, validity)| validity)
        })
    }

    fn remember(&self, fingerprint: Fingerprint, validity: Validity) {
        critical_section::with(|section| {
            let mut remembered = self.remembered.borrow_ref_mut(section);
            let same = |known: &Option<(Fingerprint, Validity)>| {
                known.is_some_and(|(known, _)| known == fingerprint)
            };
            let place = remembered.iter().position(same).unwrap_or(REMEMBERED - 1);
            remembered[..=place].rotate_right(1);
            remembered[0] = Some((fingerprint, validity));
        });
    }
}

/// Verifies that a certificate is of the server of that name.
#[inline(never)]
pub(crate) fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

fn fingerprint<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Fingerprint {
    let mut hash = Sha256::new();
    for certificate in chain {
        // A certificate says how long it is, so no two chains are the same bytes.
        hash.update(certificate);
    }
    hash.finalize().into()
}

/// Where a verification that leaves the dates open says when the chain is valid.
pub(crate) type Open = Arc<Mutex<Cell<Option<Validity>>>>;

/// [`Servers`] as rustls asks it.
pub(crate) struct Verifier {
    pub(crate) servers: Arc<Servers>,
    /// Where the dates are not checked but told.
    pub(crate) open: Option<Open>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // First, so that the chain of another server is not the latest that was verified.
        verify_name(end_entity, server_name)?;
        let time = self.open.is_none().then(|| now.as_secs());
        let validity = self.servers.verify(end_entity, intermediates, time)?;
        if let Some(open) = &self.open {
            critical_section::with(|section| open.borrow(section).set(Some(validity)));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn parameters(name: &str, (from, to): (i64, i64)) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec!["api.test".into()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_before = time::OffsetDateTime::from_unix_timestamp(from).unwrap();
        parameters.not_after = time::OffsetDateTime::from_unix_timestamp(to).unwrap();
        parameters
    }

    fn authority(dates: (i64, i64), issuer: Option<&Authority>) -> Authority {
        let mut parameters = parameters("authority", dates);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        if issuer.is_some() {
            parameters
                .distinguished_name
                .push(DnType::CommonName, "intermediate");
        }
        let key = KeyPair::generate().unwrap();
        match issuer {
            None => CertifiedIssuer::self_signed(parameters, key).unwrap(),
            Some(issuer) => CertifiedIssuer::signed_by(parameters, key, issuer).unwrap(),
        }
    }

    fn server(dates: (i64, i64), issuer: &Authority) -> CertificateDer<'static> {
        let mut parameters = parameters("server", dates);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, issuer).unwrap().der().clone()
    }

    fn servers(root: &Authority) -> Servers {
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        Servers::new(roots)
    }

    fn validity(not_before: u64, not_after: u64) -> Validity {
        Validity {
            not_before,
            not_after,
        }
    }

    #[test]
    fn a_chain_is_valid_where_all_of_it_is() {
        let root = authority((0, 100), None);
        let middle = authority((2000, 5000), Some(&root));
        let chain = [middle.der().clone()];
        for (dates, expected) in [
            ((1000, 4000), Some(validity(2000, 4000))),
            ((3000, 6000), Some(validity(3000, 5000))),
            ((1000, 1500), None),
            ((6000, 7000), None),
        ] {
            let leaf = server(dates, &middle);
            assert_eq!(
                servers(&root).verify(&leaf, &chain, None).ok(),
                expected,
                "{dates:?}"
            );
            for at in [999, 1000, 2000, 3000, 4000, 4001, 5001] {
                let found = servers(&root).verify(&leaf, &chain, Some(at)).ok();
                assert_eq!(
                    found,
                    expected.filter(|expected| expected.contains(at)),
                    "{dates:?} at {at}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_needed_does_not_count_once_it_has_expired() {
        let root = authority((0, 100), None);
        let chain = [authority((1000, 1500), Some(&root)).der().clone()];
        let leaf = server((1000, 4000), &root);
        let found = servers(&root).verify(&leaf, &chain, Some(2000));
        assert_eq!(found.unwrap(), validity(1000, 4000));
    }

    /// The roots are taken away from what is remembered: what is still verified was not verified again.
    #[test]
    fn remembers_a_chain_while_it_is_valid() {
        let root = authority((0, 100), None);
        let leaf = server((1000, 4000), &root);
        let known = servers(&root);
        assert!(known.verify(&leaf, &[], Some(4001)).is_err());
        known.verify(&leaf, &[], Some(2000)).unwrap();
        let orphan = Servers {
            remembered: known.remembered,
            ..servers(&authority((0, 100), None))
        };
        for (at, remembered) in [(999, false), (1000, true), (4000, true), (4001, false)] {
            assert_eq!(orphan.verify(&leaf, &[], Some(at)).is_ok(), remembered, "at {at}");
        }
        assert!(
            orphan
                .verify(&leaf, core::slice::from_ref(&leaf), Some(2000))
                .is_err(),
            "another chain"
        );
        assert!(
            orphan
                .verify(&server((1000, 4000), &root), &[], Some(2000))
                .is_err()
        );
    }

    #[test]
    fn latest_validity_is_unchanged_when_the_name_is_another_server_s() {
        let root = authority((0, 100), None);
        let leaf = server((1000, 4000), &root);
        let verifier = Verifier {
            servers: Arc::new(servers(&root)),
            open: None,
        };
        for (name, expected) in [("other.test", None), ("api.test", Some(validity(1000, 4000)))] {
            let name = ServerName::try_from(name).unwrap();
            let now = crate::time::unix_time(2000);
            let verified = verifier.verify_server_cert(&leaf, &[], &name, &[], now);
            assert_eq!(verified.is_ok(), expected.is_some(), "{name:?}");
            // A handshake that completes takes this one.
            verifier.servers.note_proof();
            assert_eq!(verifier.servers.proved(), expected, "{name:?}");
        }
    }

    #[test]
    fn remembers_the_latest_only() {
        let root = authority((0, 100), None);
        let known = servers(&root);
        let leaves: Vec<_> = (0..=REMEMBERED).map(|_| server((1000, 4000), &root)).collect();
        for leaf in &leaves {
            known.verify(leaf, &[], None).unwrap();
            known.verify(&leaves[0], &[], None).unwrap();
        }
        let remembered = |leaf| known.recall(&fingerprint(core::iter::once(leaf))).is_some();
        let expected: Vec<_> = (0..=REMEMBERED).map(|n| n != 1).collect();
        assert_eq!(leaves.iter().map(remembered).collect::<Vec<_>>(), expected);
    }
}
