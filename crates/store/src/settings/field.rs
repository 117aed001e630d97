//! The fields, their numbers and their names.

/// What can be set. The numbers are in every block that was ever written: never change one, never use one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// The Wi-Fi network: 1 to 32 bytes of UTF-8.
    Ssid = 1,
    /// Its passphrase: 8 to 63 printable ASCII characters.
    Passphrase = 2,
    /// How it is protected: one byte, see [`Security`](super::Security).
    Security = 3,
    /// That it does not tell its name: empty.
    Hidden = 4,
    /// The radio's country: two capital letters.
    Country = 5,
    /// The name for DHCP: a DNS label of at most 32 characters.
    Hostname = 6,
    /// A static address: its four bytes, and the length of the network's prefix in one.
    Address = 7,
    /// The gateway beside it: four bytes.
    Gateway = 8,
    /// A name server: four bytes. Up to three.
    Dns = 9,
    /// A time server: a host name or an IPv4 address. Up to three.
    Ntp = 10,
    /// An API server: a URL. Up to four.
    Server = 16,
    /// An authority of the API servers' certificates: DER. Up to eight.
    CertificateAuthority = 17,
    /// A certificate of the node's chain, its own first: DER. Up to four.
    ClientCertificate = 18,
    /// The node's private key: DER, PKCS#8 or SEC 1.
    ClientKey = 19,
    /// A certificate of the kubelet API's chain, its own first: DER. Up to four.
    ServingCertificate = 20,
    /// Its private key: DER, PKCS#8 or SEC 1.
    ServingKey = 21,
    /// An authority of those who call the kubelet API: DER. Up to eight.
    ClientAuthority = 22,
    /// The bootstrap token with which the node joins the cluster, in place of a certificate and a key: six lower-case
    /// letters and digits, a dot, and sixteen more; or the full token of a k3s cluster.
    BootstrapToken = 23,
    /// The node's name: at most 63 characters, a DNS name.
    NodeName = 32,
    /// The address that the node reports: four bytes.
    NodeIp = 33,
    /// The namespace of the ConfigMaps that drive the device: a DNS label.
    ConfigNamespace = 34,
    /// Lab mode: empty.
    LabMode = 35,
    /// A bearer token, a comma and its user. Up to eight.
    StaticToken = 36,
    /// A taint, `KEY[=VALUE]:EFFECT`, or nothing for none. Up to eight.
    Taint = 37,
    /// That the device forgets who it is, once for each such number: eight bytes.
    ResetIdentity = 38,
    /// That the port of the kubelet API is left out of the node's status: empty.
    HidePort = 39,
    /// That no log goes to the UART: empty.
    FreeUart = 40,
    /// A public key that firmware may be signed with: P-256, SubjectPublicKeyInfo in DER. Up to four.
    FirmwareKey = 48,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 28] = [
        Self::Ssid,
        Self::Passphrase,
        Self::Security,
        Self::Hidden,
        Self::Country,
        Self::Hostname,
        Self::Address,
        Self::Gateway,
        Self::Dns,
        Self::Ntp,
        Self::Server,
        Self::CertificateAuthority,
        Self::ClientCertificate,
        Self::ClientKey,
        Self::ServingCertificate,
        Self::ServingKey,
        Self::ClientAuthority,
        Self::BootstrapToken,
        Self::NodeName,
        Self::NodeIp,
        Self::ConfigNamespace,
        Self::LabMode,
        Self::StaticToken,
        Self::Taint,
        Self::ResetIdentity,
        Self::HidePort,
        Self::FreeUart,
        Self::FirmwareKey,
    ];

    /// The field with this number.
    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|field| *field as u8 == tag)
    }

    /// The option of `picolet provision` that sets it, without the dashes.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Ssid => "ssid",
            Self::Passphrase => "passphrase-file",
            Self::Security => "wifi-security",
            Self::Hidden => "hidden",
            Self::Country => "country",
            Self::Hostname => "hostname",
            Self::Address => "address",
            Self::Gateway => "gateway",
            Self::Dns => "dns",
            Self::Ntp => "ntp",
            Self::Server => "server",
            Self::CertificateAuthority => "certificate-authority",
            Self::ClientCertificate => "client-certificate",
            Self::ClientKey => "client-key",
            Self::ServingCertificate => "serving-certificate",
            Self::ServingKey => "serving-key",
            Self::ClientAuthority => "client-ca-file",
            Self::BootstrapToken => "token",
            Self::NodeName => "node-name",
            Self::NodeIp => "node-ip",
            Self::ConfigNamespace => "config-namespace",
            Self::LabMode => "lab-mode",
            Self::StaticToken => "static-token-file",
            Self::Taint => "register-with-taints",
            Self::ResetIdentity => "reset-identity",
            Self::HidePort => "hide-port",
            Self::FreeUart => "free-uart",
            Self::FirmwareKey => "firmware-key",
        }
    }

    /// How often it may be there.
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Dns | Self::Ntp => 3,
            Self::Server | Self::ClientCertificate | Self::ServingCertificate | Self::FirmwareKey => 4,
            Self::CertificateAuthority | Self::ClientAuthority | Self::StaticToken | Self::Taint => 8,
            _ => 1,
        }
    }
}
