//! Values that are more than text.

use core::net::Ipv4Addr;

/// How a Wi-Fi network is protected. The numbers are in the settings: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Security {
    /// Not at all.
    Open = 0,
    /// WPA2-Personal.
    Wpa2 = 1,
    /// WPA2- or WPA3-Personal, whichever the access point does.
    Wpa2Wpa3 = 2,
    /// WPA3-Personal.
    Wpa3 = 3,
}

impl Security {
    /// Reads the value of its field.
    pub(super) fn from_value(value: &[u8]) -> Option<Self> {
        Some(match value {
            [0] => Self::Open,
            [1] => Self::Wpa2,
            [2] => Self::Wpa2Wpa3,
            [3] => Self::Wpa3,
            _ => return None,
        })
    }
}

/// An address that is not asked of a DHCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The board's own.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The way to everywhere else.
    pub gateway: Option<Ipv4Addr>,
}

pub(super) fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

pub(super) fn address(value: &[u8]) -> Option<(Ipv4Addr, u8)> {
    let &[a, b, c, d, prefix] = value else { return None };
    (prefix <= 30).then_some((Ipv4Addr::new(a, b, c, d), prefix))
}

/// A bearer token and whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StaticToken<'a> {
    /// The secret.
    pub token: &'a str,
    /// Who holds it, for the log.
    pub user: &'a str,
}

/// Never shows the secret.
impl core::fmt::Debug for StaticToken<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StaticToken({})", self.user)
    }
}

impl<'a> StaticToken<'a> {
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let (token, user) = value.split_once(',')?;
        Some(Self { token, user })
    }
}

/// Whether it has the form of a k3s cluster's full token: `K10`, the hash of the authority as 64 hexadecimal digits, `::`, and
/// `user:secret` or a bootstrap token (`pkg/clientaccess/token.go` of k3s).
pub fn is_k3s_token(value: &[u8]) -> bool {
    let Some((b"K10", value)) = value.split_at_checked(3) else {
        return false;
    };
    let Some((hash, credential)) = value.split_at_checked(64) else {
        return false;
    };
    let Some(credential) = credential.strip_prefix(b"::") else {
        return false;
    };
    let colon = credential.iter().position(|byte| *byte == b':');
    let secret = colon.map_or(0, |at| credential.len() - at - 1);
    hash.iter().all(u8::is_ascii_hexdigit)
        && credential.len() <= 160
        && credential.iter().all(u8::is_ascii_graphic)
        && (secret > 0 || is_bootstrap_token(credential))
}

/// Whether it has the form of a bootstrap token (`k8s.io/cluster-bootstrap/token/api`, `BootstrapTokenPattern`).
pub fn is_bootstrap_token(value: &[u8]) -> bool {
    let of_token = |(at, byte): (usize, &u8)| match at {
        6 => *byte == b'.',
        _ => byte.is_ascii_lowercase() || byte.is_ascii_digit(),
    };
    value.len() == 23 && value.iter().enumerate().all(of_token)
}
