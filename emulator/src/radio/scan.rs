//! Scans: the networks that can be heard, channel by channel (iovar `escan`; `wl_escan_params_t` and `wl_bss_info_t`
//! of Infineon's wifi-host-driver).

use std::time::Duration;

use super::air::{AccessPoint, Air, Security};
use super::event::{Event, Kind, status};
use crate::Time;

/// The channels of the 2.4 GHz band that the world-wide locale allows.
const CHANNELS: u8 = 13;
/// How long it stays on a channel if the host does not say.
const ACTIVE: Duration = Duration::from_millis(40);
const PASSIVE: Duration = Duration::from_millis(110);
/// Between two results of one channel.
const RESULT: Duration = Duration::from_millis(3);

/// A scan under way.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    sync: u16,
    ssid: Vec<u8>,
    bssid: [u8; 6],
    dwell: Duration,
    channel: u8,
    at: Time,
}

impl Scan {
    /// Starts what the host asks for, `None` if its parameters are too short.
    pub(super) fn start(parameters: &[u8], now: Time) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(parameters.get(at..at + 4)?.try_into().ok()?));
        let length = usize::try_from(word(8)?).ok()?.min(32);
        let passive = *parameters.get(51)? == 1;
        let (given, default) = if passive {
            (word(60)?, PASSIVE)
        } else {
            (word(56)?, ACTIVE)
        };
        let dwell = match given {
            0 | u32::MAX => default,
            millis => Duration::from_millis(u64::from(millis.min(10_000))),
        };
        Some(Self {
            sync: u16::from_le_bytes(parameters.get(6..8)?.try_into().ok()?),
            ssid: parameters.get(12..12 + length)?.to_vec(),
            bssid: parameters.get(44..50)?.try_into().ok()?,
            dwell,
            channel: 1,
            at: now + dwell,
        })
    }

    /// When it is done with the channel that it is on.
    pub(super) fn next_event(&self) -> Time {
        self.at
    }

    /// The results of the channel it was on, with the moment at which the host is told; `true` if that was the last.
    pub(super) fn advance(&mut self, air: &Air) -> (Vec<(Time, Event)>, bool) {
        let now = self.at;
        let wanted = |ap: &&AccessPoint| {
            ap.channel == self.channel
                && (self.ssid.is_empty() || self.ssid == ap.name())
                && (self.bssid == [0xff; 6] || self.bssid == ap.bssid)
        };
        let mut at = now;
        let mut results = Vec::new();
        for ap in air.heard().into_iter().filter(wanted) {
            let event = Event::new(Kind::EscanResult, status::PARTIAL, ap.bssid);
            results.push((at, event.data(self.result(Some((ap, now))))));
            at = at + RESULT;
        }
        let last = self.channel >= CHANNELS;
        if last {
            let event = Event::new(Kind::EscanResult, status::SUCCESS, [0; 6]);
            results.push((at, event.data(self.result(None))));
        }
        self.channel += 1;
        self.at = at + self.dwell;
        (results, last)
    }

    /// What the host is told when another scan takes the place of this one.
    pub(super) fn abort(&self) -> Event {
        Event::new(Kind::EscanResult, status::NEW_SCAN, [0; 6]).data(self.result(None))
    }

    /// `wl_escan_result_t`: a header, and the network if there is one.
    fn result(&self, ap: Option<(&AccessPoint, Time)>) -> Vec<u8> {
        let bss = ap.map(|(ap, now)| bss_info(ap, now)).unwrap_or_default();
        let mut data = Vec::with_capacity(12 + bss.len());
        data.extend(u32::try_from(12 + bss.len()).unwrap_or(0).to_le_bytes());
        data.extend(109u32.to_le_bytes());
        data.extend(self.sync.to_le_bytes());
        data.extend(u16::from(!bss.is_empty()).to_le_bytes());
        data.extend(bss);
        data
    }
}

/// `wl_bss_info_t` of an access point, with its information elements behind it.
fn bss_info(ap: &AccessPoint, now: Time) -> Vec<u8> {
    const LENGTH: usize = 128;
    /// 1, 2, 5.5, 11, 6, 9, 12, 18, 24, 36, 48 and 54 Mbit/s in units of 500 kbit/s; the top bit marks a basic rate.
    const RATES: [u8; 12] = [
        0x82, 0x84, 0x8b, 0x96, 0x0c, 0x12, 0x18, 0x24, 0x30, 0x48, 0x60, 0x6c,
    ];
    let elements = elements(ap, &RATES);
    let name = ap.name();
    let rssi = i16::from(ap.rssi_at(now));
    const NOISE: i8 = -95;

    let mut info = vec![0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &109u32.to_le_bytes());
    put(
        4,
        &u32::try_from(LENGTH + elements.len()).unwrap_or(0).to_le_bytes(),
    );
    put(8, &ap.bssid);
    put(14, &100u16.to_le_bytes()); // beacon period in units of 1024 µs
    // An infrastructure network with short slots, and with privacy if it has a key.
    let privacy = if ap.security == Security::Open { 0 } else { 0x10 };
    put(16, &(0x0401u16 | privacy).to_le_bytes());
    put(18, &[u8::try_from(name.len()).unwrap_or(0)]);
    put(19, name);
    put(52, &12u32.to_le_bytes());
    put(56, &RATES);
    // 20 MHz in the 2.4 GHz band.
    put(72, &(0x1000 | u16::from(ap.channel)).to_le_bytes());
    put(76, &[ap.dtim_period]);
    put(78, &rssi.to_le_bytes());
    put(80, &NOISE.to_le_bytes());
    put(81, &[1]);
    put(88, &[ap.channel]);
    put(100, &[0xff]);
    put(116, &128u16.to_le_bytes());
    put(120, &u32::try_from(elements.len()).unwrap_or(0).to_le_bytes());
    put(124, &(rssi - i16::from(NOISE)).to_le_bytes());
    info.extend(elements);
    info
}

/// The information elements of a beacon (IEEE 802.11, section 9.4.2): name, rates, channel and how to get in.
fn elements(ap: &AccessPoint, rates: &[u8; 12]) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut element = |id: u8, body: &[u8]| {
        elements.extend([id, u8::try_from(body.len()).unwrap_or(0)]);
        elements.extend(body);
    };
    element(0, ap.name());
    element(1, &rates[..8]);
    element(3, &[ap.channel]);
    if ap.security != Security::Open {
        let mut suites = Vec::new();
        if ap.security.has_psk() {
            suites.push([0x00, 0x0f, 0xac, 2]);
        }
        if ap.security.has_sae() {
            suites.push([0x00, 0x0f, 0xac, 8]);
        }
        // Version 1, AES for groups and pairs, the key managements, and whether management frames are protected.
        let mut rsn = vec![
            1,
            0,
            0x00,
            0x0f,
            0xac,
            4,
            1,
            0,
            0x00,
            0x0f,
            0xac,
            4,
            suites.len() as u8,
            0,
        ];
        rsn.extend(suites.iter().flatten());
        let protection = match (ap.security.has_psk(), ap.security.has_sae()) {
            (_, false) => 0,
            (true, true) => 0x80,
            (false, true) => 0xc0,
        };
        rsn.extend([protection, 0]);
        element(48, &rsn);
    }
    element(50, &rates[8..]);
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `escan` parameters: passive, all networks unless `ssid` names one.
    fn parameters(ssid: &[u8]) -> Vec<u8> {
        let mut parameters = vec![0; 76];
        parameters[0] = 1;
        parameters[4] = 1;
        parameters[6] = 7;
        parameters[8] = ssid.len() as u8;
        parameters[12..12 + ssid.len()].copy_from_slice(ssid);
        parameters[44..50].fill(0xff);
        parameters[51] = 1;
        parameters[52..72].fill(0xff);
        parameters
    }

    fn results(parameters: &[u8], air: &Air) -> Vec<(Time, Event)> {
        let mut scan = Scan::start(parameters, Time::ZERO).expect("parameters");
        let mut all = Vec::new();
        loop {
            let (results, last) = scan.advance(air);
            all.extend(results);
            if last {
                return all;
            }
        }
    }

    fn air() -> Air {
        let one = AccessPoint {
            channel: 1,
            ..AccessPoint::new("one", Security::Open)
        };
        let two = AccessPoint {
            rssi: -71,
            ..AccessPoint::new("two", Security::Wpa2Wpa3("secret 123".into()))
        };
        Air::new(vec![one, two])
    }

    #[test]
    fn finds_every_network_on_its_channel() {
        let results = results(&parameters(b""), &air());
        let status: Vec<_> = results.iter().map(|(_, event)| event.status).collect();
        assert_eq!(status, [8, 8, 0]);
        assert_eq!(results[0].0, Time::from_millis(110));
        assert!(results[1].0 >= Time::from_millis(660));
        let data = &results[1].1.data;
        assert_eq!(data[8..12], [7, 0, 1, 0]);
        let bss = &data[12..];
        assert_eq!(bss[18], 3);
        assert_eq!(&bss[19..22], b"two");
        assert_eq!(i16::from_le_bytes([bss[78], bss[79]]), -71);
        assert_eq!(bss[16] & 0x10, 0x10, "privacy");
        assert_eq!(
            u32::from_le_bytes(bss[4..8].try_into().unwrap()) as usize,
            bss.len()
        );
        assert!(bss[128..].windows(4).any(|suite| suite == [0x00, 0x0f, 0xac, 8]));
    }

    #[test]
    fn finds_only_what_is_asked_for() {
        assert_eq!(results(&parameters(b"one"), &air()).len(), 2);
        let mut asked = parameters(b"");
        asked[44..50].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(results(&asked, &air()).len(), 1);
    }

    #[test]
    fn short_parameters_are_refused() {
        for length in 0..64 {
            assert!(Scan::start(&parameters(b"")[..length], Time::ZERO).is_none());
        }
    }
}
