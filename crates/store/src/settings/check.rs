//! The rules of every field, and of fields together. What is told in case of an error is the remedy.

use super::values::{Security, StaticToken, address, ipv4, is_bootstrap_token, is_k3s_token};
use super::{Entries, Field, Settings, SettingsError};
use picolet_platform::Server;

/// The longest name for DHCP, in bytes: what embassy-net has room for.
pub(super) const HOSTNAME: usize = 32;

/// Bytes of a P-256 public key as SubjectPublicKeyInfo in DER, RFC 5480.
const FIRMWARE_KEY: usize = 91;

/// The longest value of a field that is text, in bytes.
const TEXT: usize = 256;

/// Checks each entry for itself.
pub(super) fn entries(bytes: &[u8]) -> Result<(), SettingsError> {
    let mut seen = [0; Field::ALL.len()];
    let mut entries = Entries(bytes);
    for (tag, value) in &mut entries {
        let Some(field) = Field::from_tag(tag) else {
            continue;
        };
        check(field, value).map_err(|what| SettingsError::Field(field, what))?;
        let count = Field::ALL.iter().position(|other| *other == field);
        let count = &mut seen[count.unwrap_or_default()];
        *count += 1;
        if *count > field.most() {
            return Err(SettingsError::Field(field, "give it less often"));
        }
    }
    // The walk ends before an entry that does not fit.
    if entries.0.is_empty() {
        Ok(())
    } else {
        Err(SettingsError::Damaged)
    }
}

/// Checks fields that need each other.
pub(super) fn together(settings: &Settings<'_>) -> Result<(), SettingsError> {
    let has = |field| settings.has(field);
    let rule = |holds: bool, field, what| {
        if holds {
            Ok(())
        } else {
            Err(SettingsError::Field(field, what))
        }
    };
    rule(has(Field::Ssid), Field::Ssid, "name the Wi-Fi network")?;
    let open = settings.security() == Security::Open;
    rule(
        open || has(Field::Passphrase),
        Field::Passphrase,
        "the network's security needs one",
    )?;
    rule(
        !open || !has(Field::Passphrase),
        Field::Security,
        "an open network has no passphrase; leave one of the two out",
    )?;
    rule(
        has(Field::Address) || !has(Field::Gateway),
        Field::Gateway,
        "give --address too, or leave both to DHCP",
    )?;
    rule(has(Field::NodeName), Field::NodeName, "name the node")?;
    rule(has(Field::Server), Field::Server, "name an API server")?;
    rule(
        settings.lab_mode() || settings.servers().all(|server| server.tls),
        Field::Server,
        "http:// sends everything in the clear; --lab-mode allows it",
    )?;
    rule(
        has(Field::CertificateAuthority) || settings.servers().all(|server| !server.tls),
        Field::CertificateAuthority,
        "an https:// server needs the authority of its certificate",
    )?;
    let pairs = [
        (Field::ClientCertificate, Field::ClientKey),
        (Field::ServingCertificate, Field::ServingKey),
    ];
    for (certificate, key) in pairs {
        rule(
            has(key) || !has(certificate),
            key,
            "give the key of the certificate",
        )?;
        rule(
            has(certificate) || !has(key),
            certificate,
            "give the certificate of the key",
        )?;
    }
    let token = has(Field::BootstrapToken);
    rule(
        !token || !has(Field::ClientCertificate) && !has(Field::ServingCertificate),
        Field::BootstrapToken,
        "with a token the board gets its certificates by itself; leave out either it or them",
    )?;
    rule(
        !token || settings.servers().all(|server| server.tls),
        Field::BootstrapToken,
        "it is for https:// servers only",
    )?;
    Ok(())
}

/// Checks one value.
pub(super) fn check(field: Field, value: &[u8]) -> Result<(), &'static str> {
    let printable = |text: &&str| text.len() <= TEXT && !text.bytes().any(|byte| byte.is_ascii_control());
    let text = str::from_utf8(value).ok().filter(printable);
    let form = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    match field {
        Field::Ssid => form(
            (1..=32).contains(&value.len()) && text.is_some(),
            "a name has 1 to 32 bytes of UTF-8",
        ),
        Field::Passphrase => form(
            (8..=63).contains(&value.len()) && value.iter().all(|byte| (b' '..=b'~').contains(byte)),
            "a passphrase has 8 to 63 ASCII characters",
        ),
        Field::Security => form(
            Security::from_value(value).is_some(),
            "it is open, wpa2, wpa2-wpa3 or wpa3",
        ),
        Field::Country => form(
            value.len() == 2 && value.iter().all(u8::is_ascii_uppercase),
            "a country has the two letters of ISO 3166-1, such as DE",
        ),
        Field::Hostname => form(
            value.len() <= HOSTNAME && is_label(value),
            "a host name has at most 32 lower-case letters, digits and '-'",
        ),
        Field::Address => form(
            address(value).is_some(),
            "write it as ADDRESS/PREFIX, such as 192.168.1.50/24",
        ),
        Field::Gateway | Field::Dns | Field::NodeIp => form(ipv4(value).is_some(), "it is an IPv4 address"),
        Field::Ntp => form(
            is_host(value),
            "a time server is a host name or an IPv4 address, without a port",
        ),
        Field::Server => Server::parse(text.unwrap_or_default()).map(drop),
        Field::CertificateAuthority
        | Field::ClientCertificate
        | Field::ServingCertificate
        | Field::ClientAuthority => form(is_der_sequence(value), "it is not a certificate"),
        Field::ClientKey | Field::ServingKey => form(is_der_sequence(value), "it is not a private key"),
        Field::FirmwareKey => form(
            value.len() == FIRMWARE_KEY && is_der_sequence(value),
            "it is the public key of a P-256 key pair, as `openssl pkey -pubout` writes it",
        ),
        Field::BootstrapToken => form(
            is_bootstrap_token(value) || is_k3s_token(value),
            "it has 6 lower-case letters and digits, a dot, and 16 more (kubeadm token create), or is k3s's full token, K10...::...",
        ),
        Field::NodeName => form(
            value.len() <= 63 && value.split(|byte| *byte == b'.').all(is_label),
            "a node's name has at most 63 lower-case letters, digits, '-' and '.'",
        ),
        Field::ConfigNamespace => form(
            value.len() <= 63 && is_label(value),
            "a namespace has at most 63 lower-case letters, digits and '-'",
        ),
        Field::StaticToken => form(
            text.and_then(StaticToken::parse)
                .is_some_and(|token| token.token.len() >= 16 && !token.user.is_empty()),
            "a token has at least 16 characters, then a comma and its user",
        ),
        Field::Taint => form(
            value.is_empty() || text.is_some_and(|text| text.contains(':')),
            "write it as KEY[=VALUE]:EFFECT",
        ),
        Field::ResetIdentity => form(value.len() == 8, "it takes no value"),
        Field::Hidden | Field::LabMode | Field::HidePort | Field::FreeUart => {
            form(value.is_empty(), "it takes no value")
        }
    }
}

/// A DNS label as RFC 1123 has it, in lower case.
fn is_label(label: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !label.is_empty() && label.iter().all(inner) && !label.starts_with(b"-") && !label.ends_with(b"-")
}

/// A host name or an IPv4 address.
fn is_host(host: &[u8]) -> bool {
    let label = |label: &[u8]| {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        (1..=63).contains(&label.len()) && label.iter().all(inner)
    };
    host.len() <= 253 && host.split(|byte| *byte == b'.').all(label)
}

/// A SEQUENCE that takes up all of `der`, as certificates and private keys do (X.690 8.1.3, 8.9). What is in it is
/// looked at where it is used.
fn is_der_sequence(der: &[u8]) -> bool {
    let length = match *der {
        [0x30, length @ ..=0x7f, ..] => 2 + usize::from(length),
        [0x30, 0x81, length, ..] => 3 + usize::from(length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => return false,
    };
    length == der.len()
}
