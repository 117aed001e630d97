//! The firmware's variables (iovars), by their name.

use super::{Answer, Firmware, error, word_at};
use crate::Time;
use crate::radio::air::Air;
use crate::radio::clm::{self, Country};
use crate::radio::event::Mask;
use crate::radio::scan::Scan;
use std::time::Duration;

/// Variables of the firmware that are kept and given back, without an effect that a host could see here: how frames
/// are aggregated, coded, filtered by kind, and timed on the air.
const KEPT: [&str; 34] = [
    "2g_mrate",
    "5g_mrate",
    "allmulti",
    "ampdu_ba_wsize",
    "ampdu_mpdu",
    "ampdu_rx_factor",
    "apsta",
    "arp_ol",
    "arpoe",
    "assoc_listen",
    "assoc_retry_max",
    "bcn_li_bcn",
    "bcn_li_dtim",
    "bcn_timeout",
    "bsscfg:sup_wpa",
    "bsscfg:sup_wpa2_eapver",
    "bsscfg:sup_wpa_tmo",
    "country",
    "join_pref",
    "lpc",
    "mfp",
    "mpc",
    "ndoe",
    "pm2_sleep_ret",
    "roam_off",
    "roam_time_thresh",
    "sgi_tx",
    "sup_wpa",
    "sup_wpa2_eapver",
    "sup_wpa_tmo",
    "tlv",
    "txbf",
    "vht_features",
    "wme",
];

/// The most variables, times the longest value of each, that a host can make the model keep.
const LONGEST_VALUE: usize = 256;

/// The upload of the country-locale matrix, which says how to transmit where (iovar `clmload`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Clm {
    #[default]
    None,
    /// What has arrived so far.
    Partial(Vec<u8>),
    /// The countries that it has rules for.
    Loaded(Vec<Country>),
    Failed,
}

/// The largest matrix; the released ones are one to eight kilobytes.
const LARGEST_CLM: usize = 64 * 1024;

impl Firmware {
    pub(super) fn set_variable(&mut self, name: &str, value: &[u8], air: &Air, now: Time) -> Result<(), i32> {
        // Those of an interface have its number first.
        let indexed = word_at(value, 4);
        let word = word_at(value, 0);
        let millis =
            |word: Option<u32>| Duration::from_millis(u64::from(word.unwrap_or(0).clamp(1, 600_000)));
        match name {
            "bus:txglom" if word != Some(0) => {
                return self.unsupported("glomming of SDPCM packets (bus:txglom)");
            }
            "bus:txglom" => return Ok(()),
            "clmload" => return self.load_clm(value),
            "cur_etheraddr" => {
                let address: [u8; 6] = value
                    .get(..6)
                    .and_then(|address| address.try_into().ok())
                    .ok_or(error::BAD_LENGTH)?;
                if self.up || address[0] & 1 != 0 {
                    return Err(error::BAD_ARGUMENT);
                }
                self.address = address;
                return Ok(());
            }
            "bsscfg:event_msgs" => {
                self.events = Mask::from_bytes(value.get(4..).ok_or(error::BAD_LENGTH)?);
                return Ok(());
            }
            "event_msgs" => {
                self.events = Mask::from_bytes(value);
                return Ok(());
            }
            "mcast_list" => return self.set_multicast(value),
            "gpioout" => {
                let (mask, levels) = word.zip(indexed).ok_or(error::BAD_LENGTH)?;
                let (mask, levels) = ((mask & 0xff) as u8, (levels & 0xff) as u8);
                self.gpio_output = self.gpio_output & !mask | levels & mask;
                return Ok(());
            }
            "sae_password" => {
                let length = usize::from(u16::from_le_bytes([
                    *value.first().ok_or(error::BAD_LENGTH)?,
                    *value.get(1).ok_or(error::BAD_LENGTH)?,
                ]));
                let password = value.get(2..2 + length).ok_or(error::BAD_LENGTH)?;
                self.station.credentials.sae = Some(password.to_vec());
                return Ok(());
            }
            "escan" => return self.scan(value, now),
            "join" => return self.join(value, now),
            "wsec" | "bsscfg:wsec" => {
                self.station.credentials.wsec =
                    if name == "wsec" { word } else { indexed }.ok_or(error::BAD_LENGTH)?;
            }
            "wpa_auth" | "bsscfg:wpa_auth" => {
                let word = if name == "wpa_auth" { word } else { indexed };
                self.station.credentials.wpa_auth = word.ok_or(error::BAD_LENGTH)?;
            }
            "mfp" => self.station.credentials.mfp = word.ok_or(error::BAD_LENGTH)?,
            // What the rules are called, which revision of them, and for which country they are.
            "country" => {
                let (code, revision) = value.get(8..12).zip(indexed).ok_or(error::BAD_LENGTH)?;
                if !self.has_rules(code, revision) {
                    return Err(error::BAD_ARGUMENT);
                }
            }
            "roam_off" => self.station.roams = word == Some(0),
            // In seconds, and in milliseconds.
            "bcn_timeout" => self.station.beacon_timeout = millis(word) * 1000,
            "sup_wpa_tmo" => self.station.handshake_timeout = millis(word),
            "bsscfg:sup_wpa_tmo" => self.station.handshake_timeout = millis(indexed),
            name if KEPT.contains(&name) => {}
            name => {
                let _ = air;
                return self.unsupported(&format!("variable {name:?}, set"));
            }
        }
        let kept = value[..value.len().min(LONGEST_VALUE)].to_vec();
        self.variables.insert(name.to_owned(), kept);
        Ok(())
    }

    pub(super) fn get_variable(&mut self, name: &str) -> Answer {
        match name {
            "cur_etheraddr" | "perm_etheraddr" => Ok(self.address.to_vec()),
            "clmload_status" => Ok(u32::from(!matches!(self.clm, Clm::Loaded(_)))
                .to_le_bytes()
                .to_vec()),
            "ver" => Ok(b"wl0: emulated by picolet, no firmware runs\0".to_vec()),
            "clmver" => Ok(b"none: emulated\0".to_vec()),
            "ccgpioin" => Ok(u32::from(self.gpio()).to_le_bytes().to_vec()),
            "bus:txglom" => Ok(vec![0; 4]),
            "mcast_list" => {
                let count = u32::try_from(self.multicast.len()).unwrap_or(0);
                Ok(count
                    .to_le_bytes()
                    .into_iter()
                    .chain(self.multicast.iter().flatten().copied())
                    .collect())
            }
            name if self.variables.contains_key(name) => Ok(self.variables[name].clone()),
            name if KEPT.contains(&name) => Ok(vec![0; 4]),
            name => self.unsupported(&format!("variable {name:?}, get")),
        }
    }

    /// The word that the host keeps in a variable.
    pub(super) fn variable(&self, name: &str) -> Option<u32> {
        word_at(self.variables.get(name)?, 0)
    }

    /// `wl_dload_data_t`: flags (2 begins, 4 ends), type (2 is a CLM), length, checksum; and the data.
    fn load_clm(&mut self, value: &[u8]) -> Result<(), i32> {
        let header = word_at(value, 0)
            .zip(word_at(value, 4))
            .ok_or(error::BAD_LENGTH)?;
        let (begins, ends) = (header.0 & 2 != 0, header.0 & 4 != 0);
        let data = value.get(12..).ok_or(error::BAD_LENGTH)?;
        let data = usize::try_from(header.1)
            .ok()
            .and_then(|length| data.get(..length))
            .ok_or(error::BAD_LENGTH)?;
        let before = match core::mem::take(&mut self.clm) {
            _ if begins => Some(Vec::new()),
            Clm::Partial(before) => Some(before),
            _ => None,
        };
        let blob = before
            .map(|before| [&before, data].concat())
            .filter(|blob| header.0 >> 16 == 2 && blob.len() <= LARGEST_CLM);
        self.clm = match blob {
            Some(blob) if ends => clm::countries(&blob).map_or(Clm::Failed, Clm::Loaded),
            Some(blob) => Clm::Partial(blob),
            None => Clm::Failed,
        };
        if self.clm == Clm::Failed {
            self.complaint = Some("the uploaded CLM is damaged, or its chunks are out of order".into());
        }
        Ok(())
    }

    /// Whether the CLM has rules for the country `code`, in that revision; -1: in any.
    fn has_rules(&self, code: &[u8], revision: u32) -> bool {
        let Clm::Loaded(countries) = &self.clm else {
            return false;
        };
        countries.iter().any(|(known, of)| {
            code == [known[0], known[1], 0, 0] && (revision == u32::MAX || revision == u32::from(*of))
        })
    }

    fn scan(&mut self, parameters: &[u8], now: Time) -> Result<(), i32> {
        if !self.up {
            return Err(error::NOT_UP);
        }
        // Actions: 1 starts, 2 goes on, 3 aborts.
        let action = parameters.get(4).copied().ok_or(error::BAD_LENGTH)?;
        if let Some(scan) = self.scan.take() {
            self.results.clear();
            self.tell(now, scan.abort());
        }
        if action != 3 {
            self.scan = Some(Scan::start(parameters, now).ok_or(error::BAD_LENGTH)?);
        }
        Ok(())
    }

    fn set_multicast(&mut self, value: &[u8]) -> Result<(), i32> {
        /// The chip's filter has that many places.
        const PLACES: usize = 10;
        let count = usize::try_from(word_at(value, 0).ok_or(error::BAD_LENGTH)?).unwrap_or(usize::MAX);
        if count > PLACES {
            return Err(error::BAD_ARGUMENT);
        }
        let addresses = value.get(4..4 + 6 * count).ok_or(error::BAD_LENGTH)?;
        self.multicast = addresses
            .chunks_exact(6)
            .filter_map(|address| address.try_into().ok())
            .collect();
        Ok(())
    }
}
