//! The wireless firmware, as far as a host can tell: its ioctls and variables, and what they set in motion
//! (`wlioctl_defs.h` and `wlioctl.h` of Infineon's wifi-host-driver; the answers were compared with what embassy's
//! cyw43 and the cyw43-driver of the Pico SDK expect).
//!
//! The real one is closed and runs on the chip's own processor. This one never touches its bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::air::{Air, Change};
use super::event::{Event, Mask};
use super::scan::Scan;
use super::sdpcm::Control;
use super::station::{Psk, Station};
use crate::Time;

/// What the firmware answers when something is wrong (`bcmutils.h`).
mod error {
    pub(super) const BAD_ARGUMENT: i32 = -2;
    pub(super) const NOT_UP: i32 = -4;
    pub(super) const NOT_ASSOCIATED: i32 = -17;
    pub(super) const BAD_SSID_LENGTH: i32 = -18;
    pub(super) const UNSUPPORTED: i32 = -23;
    pub(super) const BAD_LENGTH: i32 = -24;
}

/// The ioctls that do something, by their number.
mod ioctl {
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
    pub(super) const KEPT: [u32; 31] = [
        5, 8, 10, 20, 22, 30, 32, 34, 38, 49, 55, 57, 59, 62, 64, 76, 78, 84, 86, 88, 110, 116, 134, 142,
        146, 165, 179, 185, 187, 189, 191,
    ];
}

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

/// How the radio sleeps (ioctl `WLC_SET_PM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PowerSave {
    /// Never: frames come at once.
    Off,
    /// Always: frames wait for a beacon, whatever the traffic.
    Always,
    /// Once nothing was sent or received for that long.
    After(Duration),
}

/// The upload of the country-locale matrix, which says how to transmit where (iovar `clmload`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Clm {
    #[default]
    None,
    /// Bytes so far.
    Partial(usize),
    Loaded,
    Failed,
}

/// The largest matrix; the released ones are one to eight kilobytes.
const LARGEST_CLM: usize = 64 * 1024;

/// The firmware.
#[derive(Debug, Clone)]
pub(super) struct Firmware {
    address: [u8; 6],
    up: bool,
    clm: Clm,
    words: BTreeMap<u32, u32>,
    variables: BTreeMap<String, Vec<u8>>,
    events: Mask,
    multicast: Vec<[u8; 6]>,
    gpio_output: u8,
    gpio_input: u8,
    station: Station,
    scan: Option<Scan>,
    /// Results of the scan that the host is about to be told.
    results: BTreeMap<(Time, u64), Event>,
    told: u64,
    /// What the host asked for and the model does not do, since it was last taken.
    complaint: Option<String>,
}

type Answer = Result<Vec<u8>, i32>;

fn word_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        data.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// Whether there are rules for that country. A real matrix has a list; here it is all that could be one, but for `ZZ`, by which
/// no country is meant.
fn is_country(code: &[u8]) -> bool {
    let [first, second, 0, 0] = code else { return false };
    first.is_ascii_uppercase()
        && (second.is_ascii_uppercase() || second.is_ascii_digit())
        && (*first, *second) != (b'Z', b'Z')
}

impl Firmware {
    /// The firmware after reset, of a board with that address and those levels on its input pins.
    pub(super) fn new(address: [u8; 6], gpio_input: u8, rejoins: bool) -> Self {
        Self {
            address,
            up: false,
            clm: Clm::None,
            words: BTreeMap::new(),
            variables: BTreeMap::new(),
            events: Mask::default(),
            multicast: Vec::new(),
            gpio_output: 0,
            gpio_input,
            station: Station::new(rejoins),
            scan: None,
            results: BTreeMap::new(),
            told: 0,
            complaint: None,
        }
    }

    pub(super) fn address(&self) -> [u8; 6] {
        self.address
    }

    /// The access point that frames pass to and from.
    pub(super) fn link(&self) -> Option<[u8; 6]> {
        self.station.link()
    }

    /// The levels of the pins behind the radio: those it drives, and those it reads.
    pub(super) fn gpio(&self) -> u8 {
        self.gpio_output | self.gpio_input
    }

    /// The country whose rules it keeps, if the host has named one.
    pub(super) fn country(&self) -> Option<&str> {
        let code = self.variables.get("country")?.get(8..10)?;
        std::str::from_utf8(code).ok()
    }

    pub(super) fn take_complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Every how many beacons the radio wakes to ask for frames, of an access point with that DTIM period.
    pub(super) fn listen_interval(&self, dtim_period: u8) -> u32 {
        let kept = |name| self.variable(name).unwrap_or(0).min(255);
        match (kept("bcn_li_dtim"), kept("bcn_li_bcn")) {
            (0, 0) => u32::from(dtim_period),
            (0, beacons) => beacons,
            (dtims, _) => dtims * u32::from(dtim_period),
        }
    }

    pub(super) fn power_save(&self) -> PowerSave {
        match self.words.get(&ioctl::SET_PM) {
            None | Some(0) => PowerSave::Off,
            Some(1) => PowerSave::Always,
            Some(_) => {
                let millis = self.variable("pm2_sleep_ret").unwrap_or(200).min(10_000);
                PowerSave::After(Duration::from_millis(u64::from(millis)))
            }
        }
    }

    /// Whether a frame for that address is for the host: its own, broadcast, or a group that it listens to.
    pub(super) fn takes(&self, destination: [u8; 6]) -> bool {
        let promiscuous = self.words.get(&ioctl::SET_PROMISC).is_some_and(|word| *word != 0);
        destination == self.address
            || destination == [0xff; 6]
            || promiscuous
            || destination[0] & 1 != 0
                && (self.multicast.contains(&destination)
                    || self.variable("allmulti").is_some_and(|word| word != 0))
    }

    pub(super) fn next_event(&self) -> Option<Time> {
        let result = self.results.keys().next().map(|(at, _)| *at);
        let scan = self.scan.as_ref().map(Scan::next_event);
        [self.station.next_event(), scan, result]
            .into_iter()
            .flatten()
            .min()
    }

    /// The air has changed.
    pub(super) fn change(&mut self, change: &Change, air: &Air, now: Time) {
        self.station.change(change, air, now);
    }

    /// Does what is due; returns the events that the host wants to be told.
    pub(super) fn advance(&mut self, air: &Air, now: Time) -> Vec<Event> {
        while let Some(scan) = self.scan.as_mut().filter(|scan| scan.next_event() <= now) {
            let (results, last) = scan.advance(air);
            for (at, event) in results {
                self.tell(at, event);
            }
            if last {
                self.scan = None;
            }
        }
        let mut events = self.station.advance(air, now);
        while let Some(entry) = self.results.first_entry().filter(|entry| entry.key().0 <= now) {
            events.push(entry.remove());
        }
        events.retain(|event| self.events.contains(event.kind));
        events
    }

    fn tell(&mut self, at: Time, event: Event) {
        self.told += 1;
        self.results.insert((at, self.told), event);
    }

    /// Carries out a control message; returns the status and the data of the answer.
    pub(super) fn control(&mut self, control: &Control<'_>, air: &Air, now: Time) -> (i32, Vec<u8>) {
        let answer = if control.set {
            self.set(control.command, control.data, air, now)
                .map(|()| control.data.to_vec())
        } else {
            self.get(control.command, control.data, air, now)
                .map(|mut answer| {
                    // As long as the host has room for, which is what it sent.
                    answer.resize(control.data.len(), 0);
                    answer
                })
        };
        match answer {
            Ok(data) => (0, data),
            Err(status) => (status, Vec::new()),
        }
    }

    fn unsupported<T>(&mut self, what: &str) -> Result<T, i32> {
        self.complaint
            .get_or_insert_with(|| format!("{what} is not modelled: answered with BCME_UNSUPPORTED"));
        Err(error::UNSUPPORTED)
    }

    fn set(&mut self, command: u32, data: &[u8], air: &Air, now: Time) -> Result<(), i32> {
        let word = word_at(data, 0);
        match command {
            ioctl::UP => {
                if self.clm != Clm::Loaded {
                    self.complaint = Some("brought up before its CLM was loaded (iovar clmload)".into());
                    return Err(error::NOT_UP);
                }
                self.up = true;
            }
            ioctl::DOWN => {
                self.up = false;
                self.scan = None;
                self.station.leave(now);
            }
            ioctl::SET_SSID => self.join(data, now)?,
            ioctl::DISASSOC => self.station.leave(now),
            ioctl::SET_WSEC_PMK => self.set_psk(data)?,
            ioctl::SET_VAR => {
                let (name, value) = variable(data)?;
                return self.set_variable(name, value, air, now);
            }
            ioctl::SET_AP if word != Some(0) => return self.unsupported("access point mode (WLC_SET_AP)"),
            ioctl::SET_AP => {}
            command if ioctl::KEPT.contains(&command) => {
                let word = word.ok_or(error::BAD_LENGTH)?;
                match command {
                    ioctl::SET_WSEC => self.station.credentials.wsec = word,
                    ioctl::SET_WPA_AUTH => self.station.credentials.wpa_auth = word,
                    // Signed, in dBm and dB.
                    ioctl::SET_ROAM_TRIGGER => self.station.roam_trigger = word.cast_signed().clamp(-200, 0),
                    ioctl::SET_ROAM_DELTA => self.station.roam_delta = word.cast_signed().clamp(0, 200),
                    ioctl::SET_PM if word > 2 => return Err(error::BAD_ARGUMENT),
                    _ => {}
                }
                self.words.insert(command, word);
            }
            command => return self.unsupported(&format!("ioctl {command}, set")),
        }
        Ok(())
    }

    fn get(&mut self, command: u32, data: &[u8], air: &Air, now: Time) -> Answer {
        let word = |word: u32| Ok(word.to_le_bytes().to_vec());
        let associated = self.station.bssid().and_then(|bssid| air.get(bssid));
        match command {
            ioctl::GET_MAGIC => word(0x1414_66f7),
            ioctl::GET_VERSION => word(2),
            ioctl::GET_UP => word(u32::from(self.up)),
            // 65 Mbit/s in units of 500 kbit/s.
            ioctl::GET_RATE => word(associated.map_or(0, |_| 130)),
            ioctl::GET_RSSI => word(associated.map_or(0, |ap| i32::from(ap.rssi_at(now)).cast_unsigned())),
            ioctl::GET_PHY_NOISE => word((-95i32).cast_unsigned()),
            ioctl::GET_BSSID => associated
                .map(|ap| ap.bssid.to_vec())
                .ok_or(error::NOT_ASSOCIATED),
            ioctl::GET_SSID => {
                let mut answer = vec![0; 36];
                if let Some(ap) = associated {
                    answer[0] = u8::try_from(ap.name().len()).unwrap_or(0);
                    answer[4..4 + ap.name().len()].copy_from_slice(ap.name());
                }
                Ok(answer)
            }
            ioctl::GET_CHANNEL => {
                let channel = u32::from(associated.map_or(0, |ap| ap.channel));
                Ok([channel, channel, 0]
                    .iter()
                    .flat_map(|word| word.to_le_bytes())
                    .collect())
            }
            ioctl::GET_VAR => {
                let (name, _) = variable(data)?;
                self.get_variable(name)
            }
            command if ioctl::KEPT.contains(&command.wrapping_add(1)) => {
                word(self.words.get(&(command + 1)).copied().unwrap_or(0))
            }
            command => self.unsupported(&format!("ioctl {command}, get")),
        }
    }

    fn set_variable(&mut self, name: &str, value: &[u8], air: &Air, now: Time) -> Result<(), i32> {
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
            "country" => {
                // What the rules are called, which revision of them, and for which country they are.
                let code = value.get(8..12).ok_or(error::BAD_LENGTH)?;
                if !is_country(code) {
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

    fn get_variable(&mut self, name: &str) -> Answer {
        match name {
            "cur_etheraddr" | "perm_etheraddr" => Ok(self.address.to_vec()),
            "clmload_status" => Ok(u32::from(self.clm != Clm::Loaded).to_le_bytes().to_vec()),
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
    fn variable(&self, name: &str) -> Option<u32> {
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
        let size = match self.clm {
            _ if begins => data.starts_with(b"BLOB").then_some(data.len()),
            Clm::Partial(size) => Some(size + data.len()),
            _ => None,
        };
        self.clm = match size.filter(|size| header.0 >> 16 == 2 && *size <= LARGEST_CLM) {
            Some(_) if ends => Clm::Loaded,
            Some(size) => Clm::Partial(size),
            None => Clm::Failed,
        };
        if self.clm == Clm::Failed {
            self.complaint =
                Some("what was uploaded as CLM is none: it starts with BLOB, in chunks in order".into());
        }
        Ok(())
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

    fn join(&mut self, data: &[u8], now: Time) -> Result<(), i32> {
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

/// A variable's name, which ends with a zero, and its value behind it.
fn variable(data: &[u8]) -> Result<(&str, &[u8]), i32> {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(error::BAD_ARGUMENT)?;
    let name = std::str::from_utf8(&data[..end]).map_err(|_| error::BAD_ARGUMENT)?;
    Ok((name, &data[end + 1..]))
}

/// A key of 32 bytes, or of twice as many hexadecimal digits.
fn binary_key(key: &[u8]) -> Option<[u8; 32]> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::air::{AccessPoint, Security};
    use super::super::event::Kind;
    use super::*;

    fn firmware() -> Firmware {
        Firmware::new([0x28, 0xcd, 0xc1, 1, 2, 3], 4, false)
    }

    fn send(firmware: &mut Firmware, set: bool, command: u32, data: &[u8]) -> (i32, Vec<u8>) {
        let control = Control {
            command,
            set,
            interface: 0,
            id: 1,
            data,
        };
        firmware.control(&control, &Air::default(), Time::ZERO)
    }

    fn set(firmware: &mut Firmware, name: &str, value: &[u8]) -> i32 {
        send(
            firmware,
            true,
            ioctl::SET_VAR,
            &[name.as_bytes(), &[0], value].concat(),
        )
        .0
    }

    fn get(firmware: &mut Firmware, name: &str, room: usize) -> (i32, Vec<u8>) {
        let mut data = [name.as_bytes(), &[0]].concat();
        data.resize(data.len().max(room), 0);
        send(firmware, false, ioctl::GET_VAR, &data)
    }

    fn clm(flags: u32, data: &[u8]) -> Vec<u8> {
        let mut value = (flags | 2 << 16 | 0x1000).to_le_bytes().to_vec();
        value.extend((data.len() as u32).to_le_bytes());
        value.extend([0; 4]);
        value.extend(data);
        value
    }

    fn up(firmware: &mut Firmware) {
        assert_eq!(set(firmware, "clmload", &clm(6, b"BLOB and more")), 0);
        assert_eq!(send(firmware, true, ioctl::UP, &[]).0, 0);
    }

    #[test]
    fn the_locale_comes_in_chunks() {
        let mut firmware = firmware();
        assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
        assert_eq!(send(&mut firmware, true, ioctl::UP, &[]).0, error::NOT_UP);
        assert_eq!(set(&mut firmware, "clmload", &clm(2, b"BLOB")), 0);
        assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
        assert_eq!(set(&mut firmware, "clmload", &clm(4, &[7; 1000])), 0);
        let (status, answer) = get(&mut firmware, "clmload_status", 19);
        assert_eq!((status, answer.len(), answer[0]), (0, 19, 0));
        assert_eq!(set(&mut firmware, "clmload", &clm(6, b"no such thing")), 0);
        assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
        assert_eq!(
            set(&mut firmware, "clmload", &clm(6, b"BLOB")[..14]),
            error::BAD_LENGTH
        );
    }

    #[test]
    fn the_address_is_read_and_set_while_down() {
        let mut firmware = firmware();
        assert_eq!(
            get(&mut firmware, "cur_etheraddr", 14).1[..6],
            [0x28, 0xcd, 0xc1, 1, 2, 3]
        );
        assert_eq!(set(&mut firmware, "cur_etheraddr", &[2, 2, 2, 2, 2, 2]), 0);
        assert_eq!(firmware.address(), [2; 6]);
        up(&mut firmware);
        assert_eq!(set(&mut firmware, "cur_etheraddr", &[4; 6]), error::BAD_ARGUMENT);
    }

    #[test]
    fn words_are_given_back_by_the_number_before() {
        let mut firmware = firmware();
        assert_eq!(send(&mut firmware, true, ioctl::SET_PM, &[2, 0, 0, 0]).0, 0);
        assert_eq!(
            send(&mut firmware, false, ioctl::SET_PM - 1, &[0; 4]),
            (0, vec![2, 0, 0, 0])
        );
        assert_eq!(
            send(&mut firmware, true, ioctl::SET_PM, &[1]).0,
            error::BAD_LENGTH
        );
        assert_eq!(
            send(&mut firmware, true, ioctl::SET_PM, &[9, 0, 0, 0]).0,
            error::BAD_ARGUMENT
        );
    }

    #[test]
    fn power_modes_follow_the_settings() {
        let mut firmware = firmware();
        assert_eq!(firmware.power_save(), PowerSave::Off);
        send(&mut firmware, true, ioctl::SET_PM, &[2, 0, 0, 0]);
        set(&mut firmware, "pm2_sleep_ret", &[20, 0, 0, 0]);
        assert_eq!(firmware.power_save(), PowerSave::After(Duration::from_millis(20)));
        assert_eq!(firmware.listen_interval(3), 3);
        set(&mut firmware, "bcn_li_bcn", &[5, 0, 0, 0]);
        assert_eq!(firmware.listen_interval(3), 5);
        set(&mut firmware, "bcn_li_dtim", &[2, 0, 0, 0]);
        assert_eq!(firmware.listen_interval(3), 6);
        send(&mut firmware, true, ioctl::SET_PM, &[1, 0, 0, 0]);
        assert_eq!(firmware.power_save(), PowerSave::Always);
    }

    #[test]
    fn groups_are_filtered() {
        let mut firmware = firmware();
        let group = [1, 0, 0x5e, 0, 0, 0xfb];
        assert!(firmware.takes([0xff; 6]) && firmware.takes(firmware.address()));
        assert!(!firmware.takes(group) && !firmware.takes([2; 6]));
        assert_eq!(
            set(
                &mut firmware,
                "mcast_list",
                &[&[1, 0, 0, 0], &group[..], &[0; 54]].concat()
            ),
            0
        );
        assert!(firmware.takes(group));
        assert_eq!(
            get(&mut firmware, "mcast_list", 64).1[..10],
            [1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 0xfb]
        );
        assert_eq!(
            set(&mut firmware, "mcast_list", &[11, 0, 0, 0]),
            error::BAD_ARGUMENT
        );
        assert!(!firmware.takes([1, 0, 0x5e, 0, 0, 1]));
        set(&mut firmware, "allmulti", &[1, 0, 0, 0]);
        assert!(firmware.takes([1, 0, 0x5e, 0, 0, 1]));
        send(&mut firmware, true, ioctl::SET_PROMISC, &[1, 0, 0, 0]);
        assert!(firmware.takes([2; 6]));
    }

    #[test]
    fn pins_are_driven_through_a_mask_and_read() {
        let mut firmware = firmware();
        assert_eq!(set(&mut firmware, "gpioout", &[1, 0, 0, 0, 1, 0, 0, 0]), 0);
        assert_eq!(firmware.gpio(), 0b101);
        assert_eq!(get(&mut firmware, "ccgpioin", 9).1[0], 0b101);
        assert_eq!(set(&mut firmware, "gpioout", &[2, 0, 0, 0, 2, 0, 0, 0]), 0);
        assert_eq!(set(&mut firmware, "gpioout", &[1, 0, 0, 0, 0, 0, 0, 0]), 0);
        assert_eq!(firmware.gpio(), 0b110);
    }

    #[test]
    fn glomming_and_what_is_not_modelled_are_refused() {
        let mut firmware = firmware();
        assert_eq!(set(&mut firmware, "bus:txglom", &[0; 4]), 0);
        assert_eq!(
            set(&mut firmware, "bus:txglom", &[1, 0, 0, 0]),
            error::UNSUPPORTED
        );
        assert!(
            firmware
                .take_complaint()
                .is_some_and(|complaint| complaint.contains("glomming"))
        );
        assert_eq!(set(&mut firmware, "no_such_thing", &[0; 4]), error::UNSUPPORTED);
        assert!(
            firmware
                .take_complaint()
                .is_some_and(|complaint| complaint.contains("no_such_thing"))
        );
        assert_eq!(
            send(&mut firmware, true, ioctl::SET_AP, &[1, 0, 0, 0]).0,
            error::UNSUPPORTED
        );
        assert_eq!(
            send(&mut firmware, false, ioctl::GET_BSSID, &[0; 6]).0,
            error::NOT_ASSOCIATED
        );
    }

    #[test]
    fn the_host_hears_only_of_events_that_it_asked_for() {
        let air = Air::new(vec![AccessPoint::new("net", Security::Open)]);
        let mut firmware = firmware();
        up(&mut firmware);
        let mut ssid = vec![3, 0, 0, 0];
        ssid.extend(b"net");
        ssid.resize(36, 0);
        // SET_SSID alone.
        assert_eq!(set(&mut firmware, "bsscfg:event_msgs", &[0, 0, 0, 0, 1, 0, 0]), 0);
        let control = Control {
            command: ioctl::SET_SSID,
            set: true,
            interface: 0,
            id: 1,
            data: &ssid,
        };
        assert_eq!(firmware.control(&control, &air, Time::ZERO).0, 0);
        let mut kinds = Vec::new();
        while let Some(at) = firmware.next_event() {
            kinds.extend(firmware.advance(&air, at).into_iter().map(|event| event.kind));
        }
        assert_eq!(kinds, [Kind::SetSsid]);
        let control = Control {
            command: ioctl::GET_RSSI,
            set: false,
            interface: 0,
            id: 1,
            data: &[0; 4],
        };
        assert_eq!(
            firmware.control(&control, &air, Time::ZERO).1,
            (-50i32).to_le_bytes()
        );
    }

    #[test]
    fn keys_come_as_text_or_binary() {
        assert_eq!(binary_key(&[7; 32]), Some([7; 32]));
        assert_eq!(binary_key(&[b'a'; 64]), Some([0xaa; 32]));
        assert_eq!(binary_key(&[b'g'; 64]), None);
        assert_eq!(binary_key(b"short"), None);
    }

    proptest! {
        #[test]
        fn any_control_message_gets_an_answer(
            messages in proptest::collection::vec(
                (any::<bool>(), 0u32..320, proptest::collection::vec(any::<u8>(), 0..100)), 1..20)
        ) {
            let air = Air::new(vec![AccessPoint::new("net", Security::Wpa2("12345678".into()))]);
            let mut firmware = firmware();
            up(&mut firmware);
            for (set, command, data) in messages {
                let control = Control { command, set, interface: 0, id: 1, data: &data };
                let (_, answer) = firmware.control(&control, &air, Time::ZERO);
                prop_assert!(answer.len() <= data.len());
                firmware.advance(&air, Time::from_millis(3_000));
            }
        }

        #[test]
        fn any_value_of_any_variable_gets_an_answer(
            name in proptest::sample::select(vec![
                "clmload", "escan", "join", "mcast_list", "gpioout", "sae_password", "cur_etheraddr",
                "bsscfg:event_msgs", "bsscfg:wsec", "bsscfg:sup_wpa_tmo", "bcn_timeout", "pm2_sleep_ret",
            ]),
            value in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut firmware = firmware();
            up(&mut firmware);
            set(&mut firmware, name, &value);
            get(&mut firmware, name, 64);
            firmware.power_save();
            firmware.listen_interval(255);
        }
    }
}
