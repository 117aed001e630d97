//! Credentials of the station: what the host configured for joining, and which access points it fits.

use super::air::AccessPoint;

/// The key that the host gave for WPA2 (ioctl `WLC_SET_WSEC_PMK`).
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Psk {
    /// A passphrase of 8 to 63 characters.
    Passphrase(Vec<u8>),
    /// The key that PBKDF2 makes of passphrase and name.
    Key([u8; 32]),
}

impl core::fmt::Debug for Psk {
    /// Which of the two it is: never the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase",
            Self::Key(_) => "Key",
        })
    }
}

impl Psk {
    fn fits(&self, ap: &AccessPoint) -> bool {
        let Some(passphrase) = ap.security.passphrase() else {
            return false;
        };
        match self {
            Self::Passphrase(given) => given == passphrase.as_bytes(),
            // IEEE 802.11, annex J.4.1.
            Self::Key(key) => {
                pbkdf2::pbkdf2_hmac_array::<sha1::Sha1, 32>(passphrase.as_bytes(), ap.name(), 4096) == *key
            }
        }
    }
}

/// What the host configured for joining.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials {
    pub(super) psk: Option<Psk>,
    /// The passphrase for SAE (iovar `sae_password`).
    pub(super) sae: Option<Vec<u8>>,
    /// Which key managements are allowed (`WLC_SET_WPA_AUTH`).
    pub(super) wpa_auth: u32,
    /// Which ciphers are allowed (`WLC_SET_WSEC`); none is an open network.
    pub(super) wsec: u32,
    /// Protection of management frames: 2 requires it.
    pub(super) mfp: u32,
}

/// How station and access point will prove the key to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Open,
    Psk,
    Sae,
}

/// Key managements in `wpa_auth`.
pub(super) const WPA2_PSK: u32 = 0x80;
pub(super) const WPA3_SAE: u32 = 0x4_0000;
/// Reasons of a PRUNE event: an access point that was not considered.
const PRUNE_ENCRYPTION: u32 = 1;
const PRUNE_RSN: u32 = 8;

impl Credentials {
    /// How to get into that access point, or why it is not considered.
    pub(super) fn method(&self, ap: &AccessPoint) -> Result<Method, u32> {
        let open = self.wpa_auth == 0 && self.wsec == 0;
        match ap.security.passphrase() {
            None if open => return Ok(Method::Open),
            None => return Err(PRUNE_ENCRYPTION),
            Some(_) if open => return Err(PRUNE_ENCRYPTION),
            Some(_) => {}
        }
        let sae = self.wpa_auth & WPA3_SAE != 0;
        // A station that asked for SAE falls back to WPA2 where there is no SAE, if it has a key for it.
        let psk = self.wpa_auth & WPA2_PSK != 0 || sae && self.psk.is_some();
        if sae && ap.security.has_sae() {
            Ok(Method::Sae)
        } else if psk && ap.security.has_psk() && self.mfp < 2 {
            Ok(Method::Psk)
        } else {
            Err(PRUNE_RSN)
        }
    }

    pub(super) fn fit(&self, ap: &AccessPoint, method: Method) -> bool {
        match method {
            Method::Open => true,
            Method::Psk => self.psk.as_ref().is_some_and(|psk| psk.fits(ap)),
            Method::Sae => self.sae.as_deref() == ap.security.passphrase().map(str::as_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::air::Security;
    use super::*;

    #[test]
    fn joins_with_the_key_that_pbkdf2_makes() {
        // IEEE 802.11, annex J.4.2, test vector 1.
        let key = *b"\xf4\x2c\x6f\xc5\x2d\xf0\xeb\xef\x9e\xbb\x4b\x90\xb3\x8a\x5f\x90\x2e\x83\xfe\x1b\x13\x5a\x70\xe2\x3a\xed\x76\x2e\x97\x10\xa1\x2e";
        let ap = AccessPoint::new("IEEE", Security::Wpa2("password".into()));
        assert!(Psk::Key(key).fits(&ap));
        assert!(!Psk::Key(key).fits(&AccessPoint::new("IEEF", Security::Wpa2("password".into()))));
    }
}
