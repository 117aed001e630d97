//! Which client certificates count: those whose chain leads to the client CA, that are valid now, and that are for client
//! authentication.
//!
//! A kubelet asks for a certificate and takes any (`tls.RequestClientCert`); its x509 authenticator verifies the chain
//! later, and a client that it does not know falls through to the bearer token. So here: with [`Clients::Optional`] the
//! handshake checks only that the client has the key of the certificate that it shows (RFC 8446, section 4.4.3), and the
//! chain is verified once hands are shaken. A certificate that does not verify is dropped, as if the client had shown none.
//!
//! A session ticket carries the client's chain as it was shown, verified or not, so the chain of a resumed session is
//! verified as well: no identity comes from anywhere but [`ClientVerifier::is_verified`].
//!
//! # Keys
//! The CertificateRequest offers ECDSA with P-256 and RSA of 2048 to 4096 bits. A client with another key (P-384,
//! Ed25519) has no signature to offer and sends no certificate (RFC 8446, section 4.4.2.3): it is let in without one.
//! What else is in a certificate does not end a handshake: of version 1, or with an unknown critical extension, it does not
//! verify.
//!
//! # Cost
//! A chain whose names do not lead to a root costs no signature but the one of the handshake. Under the name of a root
//! each path through the chain costs one until it fails, so that there are [`INTERMEDIATES`] at most: 5 paths.
//!
//! [`Clients::Optional`]: crate::Clients::Optional

use crate::provider::{ALGORITHMS, CLIENT_ALGORITHMS, count_signature};
use crate::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls13_signature;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

/// The most certificates between a client's and a root.
const INTERMEDIATES: usize = 2;

/// The client CA of an acceptor.
pub(crate) struct ClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    mandatory: bool,
    time: Arc<dyn TimeProvider>,
}

impl ClientVerifier {
    /// A verifier that judges by `chains` at the time of `time`, and in the handshake already if a certificate is
    /// `mandatory`.
    pub(crate) fn new(
        chains: Arc<dyn ClientCertVerifier>,
        mandatory: bool,
        time: Arc<dyn TimeProvider>,
    ) -> Self {
        Self {
            chains,
            mandatory,
            time,
        }
    }

    /// Whether a client that has the key of the first of these certificates is whom it says: the only way to an
    /// identity. `resumed` is whether it showed them in another handshake than the last one.
    pub(crate) fn is_verified(&self, chain: &[CertificateDer<'_>], resumed: bool) -> bool {
        let (Some((end_entity, intermediates)), Some(now)) = (chain.split_first(), self.time.current_time())
        else {
            return false;
        };
        let verified = self.mandatory && !resumed || self.verify(end_entity, intermediates, now).is_ok();
        if verified && !resumed {
            count_signature(end_entity);
        }
        verified
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > INTERMEDIATES {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }
}

/// [`ClientVerifier`] as rustls asks it during a handshake.
pub(crate) struct Verifier(pub(crate) Arc<ClientVerifier>);

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.0.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.0.mandatory {
            self.0.verify(end_entity, intermediates, now)
        } else {
            Ok(ClientCertVerified::assertion())
        }
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
        // Of a certificate that cannot be read no key is known, and it verifies at no time: it counts as none.
        if ParsedCertificate::try_from(certificate).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signature, &CLIENT_ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // No keys on P-384: clients are the cluster's. A scheme that is offered must be verified in the handshake.
        let mut schemes = ALGORITHMS.supported_schemes();
        schemes.retain(|scheme| *scheme != SignatureScheme::ECDSA_NISTP384_SHA384);
        schemes
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use crate::arithmetic::prepared;
    use crate::record::tests::connect;
    use crate::{Acceptor, Clients, Connector, Identity, P256Key};
    use alloc::vec;
    use alloc::vec::Vec;
    use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    const NOW: u64 = 1_800_000_000;

    fn identity(authority: Option<&CertifiedIssuer<'static, KeyPair>>) -> (Identity, P256Key) {
        let mut parameters = CertificateParams::new(vec!["api.test".into()]).unwrap();
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = match authority {
            Some(authority) => parameters.signed_by(&key, authority).unwrap(),
            None => parameters.self_signed(&key).unwrap(),
        };
        let key = P256Key::from_der(&key.serialize_der()).unwrap();
        (
            Identity::new(vec![certificate.der().to_vec()], &key).unwrap(),
            key,
        )
    }

    /// A table takes 2 KB and as long as a verification, and only so many keys have one.
    #[test]
    fn client_key_is_prepared_only_when_its_certificate_verifies() {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let roots: Vec<Vec<u8>> = vec![authority.der().to_vec()];
        let now = || Some(NOW);
        let (server, _) = identity(Some(&authority));
        for (certified, mandatory) in [(false, false), (true, false), (true, true)] {
            let (client, key) = identity(certified.then_some(&authority));
            let connector = Connector::new(&roots, Some(&client), now).unwrap();
            let clients = match mandatory {
                true => Clients::Required(&roots),
                false => Clients::Optional(&roots),
            };
            let acceptor = Acceptor::new(&server, clients, now).unwrap();
            // Other tests use the same tables and may push a key out.
            let counted = (0..20).any(|_| {
                let (_, far) = connect(&connector, &acceptor);
                assert_eq!(far.peer_certificate().is_some(), certified);
                prepared::is_counted(&key.secret().public())
            });
            assert_eq!(counted, certified, "mandatory: {mandatory}");
        }
    }
}
