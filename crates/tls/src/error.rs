//! What can go wrong, in words that say what to do.

use core::fmt;
use embedded_io_async::ErrorKind;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a connection could not be made, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The stream below failed.
    Io(ErrorKind),
    /// The stream below ended without TLS's farewell: what was received may be incomplete.
    Truncated,
    /// The name to connect to is neither a DNS name nor an IP address.
    ServerName,
    /// The time is not known, so that no certificate can be judged.
    TimeUnknown,
    /// There is no randomness.
    Random,
    /// The peer's certificate is past its end. Times in Unix seconds.
    Expired {
        /// The certificate's end.
        not_after: u64,
        /// What the clock says.
        now: u64,
    },
    /// The peer's certificate has not begun. Times in Unix seconds.
    NotYetValid {
        /// The certificate's beginning.
        not_before: u64,
        /// What the clock says.
        now: u64,
    },
    /// The server's certificate is for other names.
    WrongName,
    /// The peer's certificate comes from an authority that is not among the roots.
    UnknownIssuer,
    /// The peer's certificate is not for this use (server or client authentication).
    WrongUsage,
    /// A signature in the peer's chain, or on the handshake, is wrong.
    BadSignature,
    /// A signature of a kind that is not verified here.
    UnsupportedSignature,
    /// The peer's certificate is malformed, or breaks a constraint of its chain.
    BadCertificate,
    /// The client showed no certificate, though one is required.
    CertificateRequired,
    /// The peer refused us with a fatal alert.
    Refused(Alert),
    /// The peer does not speak TLS 1.3.
    Version,
    /// There is no cipher, key exchange, signature or application protocol that both sides have.
    NothingInCommon,
    /// The peer does not speak TLS at all.
    NotTls,
    /// A record, or a message of the handshake, is larger than this side takes.
    TooLarge,
    /// A record does not authenticate: it was damaged on its way, or forged.
    Corrupt,
    /// The peer broke the protocol.
    Protocol,
    /// There is no memory for the record that arrives or leaves.
    Memory,
    /// This side was closed already.
    Closed,
    /// The library refused; this does not happen with what this crate configures.
    Internal,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io(kind) => return write!(f, "the connection failed: {}", io_words(*kind)),
            Self::Refused(alert) => return write!(f, "the peer refused: {alert}"),
            Self::Expired { not_after, now } => {
                return write!(
                    f,
                    "the peer's certificate expired at {} and it is {} here: renew it, or set the clock",
                    Date(*not_after),
                    Date(*now)
                );
            }
            Self::NotYetValid { not_before, now } => {
                return write!(
                    f,
                    "the peer's certificate is valid from {} on and it is {} here: set the clock",
                    Date(*not_before),
                    Date(*now)
                );
            }
            Self::Truncated => "the peer hung up without closing TLS: connect again",
            Self::ServerName => "the server's name is neither a DNS name nor an IP address",
            Self::TimeUnknown => "the time is not known, so the dates of certificates cannot be checked: set the clock",
            Self::Random => "there is no randomness: install its source before the first connection",
            Self::WrongName => {
                "the server's certificate is for other names: connect by a name or address that it lists, or have it reissued with this one"
            }
            Self::UnknownIssuer => {
                "the peer's certificate is not issued by a certificate authority that is trusted here: check the CA file"
            }
            Self::WrongUsage => {
                "the peer's certificate is not meant for this: its extended key usage must include serverAuth for a server, clientAuth for a client"
            }
            Self::BadSignature => {
                "a signature of the peer's certificate is wrong: is the CA file that of another cluster with the same name?"
            }
            Self::UnsupportedSignature => {
                "the peer's certificate is signed in a way that is not verified here: use ECDSA P-256 with SHA-256, or RSA of 2048 to 4096 bits"
            }
            Self::BadCertificate => "the peer's certificate is malformed or breaks a constraint of its issuer: reissue it",
            Self::CertificateRequired => "the client showed no certificate: give it one of the client CA",
            Self::Version => "the peer does not speak TLS 1.3: enable it there",
            Self::NothingInCommon => {
                "the peer has no cipher, key exchange, signature or protocol of ours: it must allow ChaCha20-Poly1305 or AES-128-GCM, X25519 or P-256, and http/1.1"
            }
            Self::NotTls => "the peer does not speak TLS: is the port or the scheme wrong?",
            Self::TooLarge => "the peer sent a record or a certificate chain that is larger than this side takes",
            Self::Corrupt => "a record was damaged on its way",
            Self::Protocol => "the peer broke the TLS protocol",
            Self::Memory => "there is no memory for a TLS record",
            Self::Closed => "this side of the connection is closed",
            Self::Internal => "the TLS library refused its configuration",
        })
    }
}

impl core::error::Error for TlsError {}

impl embedded_io_async::Error for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(kind) => *kind,
            Self::Truncated => ErrorKind::ConnectionAborted,
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Refused(_) => ErrorKind::ConnectionReset,
            Self::Memory => ErrorKind::OutOfMemory,
            Self::ServerName => ErrorKind::InvalidInput,
            Self::Corrupt | Self::Protocol | Self::NotTls | Self::TooLarge => ErrorKind::InvalidData,
            _ => ErrorKind::PermissionDenied,
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(&error),
            Error::NoCertificatesPresented => Self::CertificateRequired,
            Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::Version,
            Error::AlertReceived(alert) => Self::Refused(Alert(alert.into())),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::NothingInCommon,
            Error::FailedToGetCurrentTime => Self::TimeUnknown,
            Error::FailedToGetRandomBytes => Self::Random,
            Error::DecryptError => Self::Corrupt,
            Error::PeerSentOversizedRecord | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
                Self::TooLarge
            }
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_) => Self::Protocol,
            _ => Self::Internal,
        }
    }
}

fn certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::ExpiredContext { time, not_after } => TlsError::Expired {
            not_after: not_after.as_secs(),
            now: time.as_secs(),
        },
        CertificateError::NotValidYetContext { time, not_before } => TlsError::NotYetValid {
            not_before: not_before.as_secs(),
            now: time.as_secs(),
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::WrongName
        }
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsError::WrongUsage
        }
        CertificateError::BadSignature => TlsError::BadSignature,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            TlsError::UnsupportedSignature
        }
        _ => TlsError::BadCertificate,
    }
}

/// A fatal alert by its number (RFC 8446, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// Whether the peer's trouble is the certificate that we showed, or that we showed none.
    pub fn is_about_our_certificate(self) -> bool {
        matches!(self.0, 42..=46 | 48 | 49 | 116)
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            20 => "it could not authenticate a record (bad_record_mac)",
            40 => "there is nothing that both sides accept (handshake_failure)",
            42 => "it does not accept our certificate (bad_certificate): is it issued by the CA that the peer trusts?",
            43 => "it does not take certificates like ours (unsupported_certificate): is it meant for this use?",
            44 => "our certificate is revoked (certificate_revoked): get a new one",
            45 => "our certificate has expired, or a clock is wrong (certificate_expired): renew it",
            46 => "it does not accept our certificate (certificate_unknown)",
            48 => "it does not know who issued our certificate (unknown_ca): use one of the CA that the peer trusts",
            49 => "our certificate gives no access (access_denied)",
            70 => "it does not speak TLS 1.3 (protocol_version)",
            71 => "our parameters are too weak for it (insufficient_security)",
            80 => "it has a problem of its own (internal_error)",
            112 => "it does not know that server name (unrecognized_name)",
            116 => "it wants a client certificate (certificate_required)",
            120 => "it does not speak http/1.1 (no_application_protocol)",
            number => return write!(f, "alert {number}"),
        })
    }
}

/// Why an identity, a connector or an acceptor could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// There is no root to trust.
    NoRoot,
    /// A root is not an X.509 certificate.
    Root,
    /// The identity has no certificate.
    NoCertificate,
    /// The identity's certificate is not an X.509 certificate.
    Certificate,
    /// The private key does not belong to the certificate.
    KeyMismatch,
    /// The PEM text has no private key.
    NoKey,
    /// The private key is of another kind than P-256.
    KeyKind,
    /// The private key is not in PKCS#8 or SEC 1 form.
    Key,
    /// The PEM text is damaged.
    Pem,
    /// The library refused; this does not happen with what this crate configures.
    Internal,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoot => "there is no certificate authority to trust: give at least one",
            Self::Root => "a certificate authority's certificate is malformed",
            Self::NoCertificate => "there is no certificate: give the node's own first, then those between it and the CA",
            Self::Certificate => "the certificate is malformed",
            Self::KeyMismatch => "the private key does not belong to the certificate: was one of the two renewed alone?",
            Self::NoKey => "there is no private key: a PRIVATE KEY or EC PRIVATE KEY block is wanted",
            Self::KeyKind => "the private key is not on the curve P-256: RSA and other curves can be verified, but not used",
            Self::Key => "the private key is malformed: unencrypted PKCS#8 or SEC 1 is wanted",
            Self::Pem => "the PEM text is damaged",
            Self::Internal => "the TLS library refused its configuration",
        })
    }
}

impl core::error::Error for SetupError {}

/// Unix seconds as a date, if there is one.
struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match der::DateTime::from_unix_duration(core::time::Duration::from_secs(self.0)) {
            Ok(date) => date.fmt(f),
            Err(_) => write!(f, "second {} of 1970", self.0),
        }
    }
}

fn io_words(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::ConnectionReset => "the peer reset it",
        ErrorKind::ConnectionAborted => "it was aborted",
        ErrorKind::BrokenPipe | ErrorKind::NotConnected => "the peer is gone",
        ErrorKind::TimedOut => "it timed out",
        _ => "input or output",
    }
}
