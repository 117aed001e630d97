//! The ioctls, by their numbers in `wlioctl_defs.h`.

use super::variables::Clm;
use super::{Answer, Firmware, error, variable, word_at};
use crate::Time;
use crate::radio::air::Air;
use crate::radio::credentials::Psk;

pub(super) const GET_MAGIC: u32 = 0;
pub(super) const GET_VERSION: u32 = 1;
pub(super) const UP: u32 = 2;
pub(super) const DOWN: u32 = 3;
pub(super) const GET_RATE: u32 = 12;
pub(super) const GET_BSSID: u32 = 23;
pub(super) const GET_SSID: u32 = 25;
pub(super) const SET_SSID: u32 = 26;
pub(super) const GET_CHANNEL: u32 = 29;
pub(super) const DISASSOC: u32 = 52;
pub(super) const SET_ROAM_TRIGGER: u32 = 55;
pub(super) const SET_ROAM_DELTA: u32 = 57;
pub(super) const SET_PROMISC: u32 = 10;
pub(super) const SET_PM: u32 = 86;
pub(super) const SET_AP: u32 = 118;
pub(super) const GET_RSSI: u32 = 127;
pub(super) const GET_PHY_NOISE: u32 = 135;
pub(super) const SET_WSEC: u32 = 134;
pub(super) const GET_UP: u32 = 162;
pub(super) const SET_WPA_AUTH: u32 = 165;
pub(super) const GET_VAR: u32 = 262;
pub(super) const SET_VAR: u32 = 263;
pub(super) const SET_WSEC_PMK: u32 = 268;

/// Those that keep a word, which the ioctl with the number before gives back: loop, message level,
/// infrastructure, authentication, channel, retry limits, radio, passive scan, roaming, antennas, beacon and DTIM
/// period, country, power mode, wake, G mode, scan suppression, band, scan times and probes, protection.
const KEPT: [u32; 31] = [
    5, 8, 10, 20, 22, 30, 32, 34, 38, 49, 55, 57, 59, 62, 64, 76, 78, 84, 86, 88, 110, 116, 134, 142, 146,
    165, 179, 185, 187, 189, 191,
];

impl Firmware {
    pub(super) fn set(&mut self, command: u32, data: &[u8], air: &Air, now: Time) -> Result<(), i32> {
        let word = word_at(data, 0);
        match command {
            UP => {
                if !matches!(self.clm, Clm::Loaded(_)) {
                    self.complaint = Some("brought up before its CLM was loaded (iovar clmload)".into());
                    return Err(error::NOT_UP);
                }
                self.up = true;
            }
            DOWN => {
                self.up = false;
                self.scan = None;
                self.station.leave(now);
            }
            SET_SSID => self.join(data, now)?,
            DISASSOC => self.station.leave(now),
            SET_WSEC_PMK => self.set_psk(data)?,
            SET_VAR => {
                let (name, value) = variable(data)?;
                return self.set_variable(name, value, air, now);
            }
            SET_AP if word != Some(0) => return self.unsupported("access point mode (WLC_SET_AP)"),
            SET_AP => {}
            command if KEPT.contains(&command) => {
                let word = word.ok_or(error::BAD_LENGTH)?;
                match command {
                    SET_WSEC => self.station.credentials.wsec = word,
                    SET_WPA_AUTH => self.station.credentials.wpa_auth = word,
                    // Signed, in dBm and dB.
                    SET_ROAM_TRIGGER => self.station.roam_trigger = word.cast_signed().clamp(-200, 0),
                    SET_ROAM_DELTA => self.station.roam_delta = word.cast_signed().clamp(0, 200),
                    SET_PM if word > 2 => return Err(error::BAD_ARGUMENT),
                    _ => {}
                }
                self.words.insert(command, word);
            }
            command => return self.unsupported(&format!("ioctl {command}, set")),
        }
        Ok(())
    }

    pub(super) fn get(&mut self, command: u32, data: &[u8], air: &Air, now: Time) -> Answer {
        let word = |word: u32| Ok(word.to_le_bytes().to_vec());
        let associated = self.station.bssid().and_then(|bssid| air.get(bssid));
        match command {
            GET_MAGIC => word(0x1414_66f7),
            GET_VERSION => word(2),
            GET_UP => word(u32::from(self.up)),
            // 65 Mbit/s in units of 500 kbit/s.
            GET_RATE => word(associated.map_or(0, |_| 130)),
            GET_RSSI => word(associated.map_or(0, |ap| i32::from(ap.rssi_at(now)).cast_unsigned())),
            GET_PHY_NOISE => word((-95i32).cast_unsigned()),
            GET_BSSID => associated
                .map(|ap| ap.bssid.to_vec())
                .ok_or(error::NOT_ASSOCIATED),
            GET_SSID => {
                let mut answer = vec![0; 36];
                if let Some(ap) = associated {
                    answer[0] = u8::try_from(ap.name().len()).unwrap_or(0);
                    answer[4..4 + ap.name().len()].copy_from_slice(ap.name());
                }
                Ok(answer)
            }
            GET_CHANNEL => {
                let channel = u32::from(associated.map_or(0, |ap| ap.channel));
                Ok([channel, channel, 0]
                    .iter()
                    .flat_map(|word| word.to_le_bytes())
                    .collect())
            }
            GET_VAR => {
                let (name, _) = variable(data)?;
                self.get_variable(name)
            }
            command if KEPT.contains(&command.wrapping_add(1)) => {
                word(self.words.get(&(command + 1)).copied().unwrap_or(0))
            }
            command => self.unsupported(&format!("ioctl {command}, get")),
        }
    }

    /// `wsec_pmk_t`: length, flags, key. Flag 1: a passphrase; otherwise the key itself, in hexadecimal or binary.
    fn set_psk(&mut self, data: &[u8]) -> Result<(), i32> {
        let header = word_at(data, 0).ok_or(error::BAD_LENGTH)?;
        let key = data
            .get(4..4 + (header & 0xffff) as usize)
            .ok_or(error::BAD_LENGTH)?;
        let psk = if header >> 16 & 1 != 0 {
            if !(8..=64).contains(&key.len()) {
                return Err(error::BAD_ARGUMENT);
            }
            Psk::Passphrase(key.to_vec())
        } else {
            Psk::Key(binary_key(key).ok_or(error::BAD_ARGUMENT)?)
        };
        self.station.credentials.psk = Some(psk);
        Ok(())
    }

    pub(super) fn join(&mut self, data: &[u8], now: Time) -> Result<(), i32> {
        let length = usize::try_from(word_at(data, 0).ok_or(error::BAD_LENGTH)?).unwrap_or(usize::MAX);
        if length > 32 {
            return Err(error::BAD_SSID_LENGTH);
        }
        let ssid = data.get(4..4 + length).ok_or(error::BAD_LENGTH)?;
        if !self.up {
            return Err(error::NOT_UP);
        }
        if ssid.is_empty() {
            self.station.leave(now);
        } else {
            self.station.join(ssid, now);
        }
        Ok(())
    }
}

/// A key of 32 bytes, or of twice as many hexadecimal digits.
pub(super) fn binary_key(key: &[u8]) -> Option<[u8; 32]> {
    if let Ok(key) = key.try_into() {
        return Some(key);
    }
    let mut binary = [0; 32];
    if key.len() != 64 {
        return None;
    }
    for (byte, digits) in binary.iter_mut().zip(key.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(binary)
}
