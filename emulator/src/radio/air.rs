//! What is on the air around the radio: access points, how strong they are, and when that changes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;

/// How an access point lets stations in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Without a key.
    Open,
    /// WPA2-Personal, AES.
    Wpa2(String),
    /// WPA3-Personal (SAE) alone.
    Wpa3(String),
    /// WPA2 and WPA3 side by side, the passphrase the same.
    Wpa2Wpa3(String),
}

impl Security {
    /// The passphrase, if there is one.
    #[must_use]
    pub fn passphrase(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Wpa2(passphrase) | Self::Wpa3(passphrase) | Self::Wpa2Wpa3(passphrase) => Some(passphrase),
        }
    }

    pub(super) fn has_psk(&self) -> bool {
        matches!(self, Self::Wpa2(_) | Self::Wpa2Wpa3(_))
    }

    pub(super) fn has_sae(&self) -> bool {
        matches!(self, Self::Wpa3(_) | Self::Wpa2Wpa3(_))
    }
}

/// An access point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    /// The network's name; of more than 32 bytes the rest is not sent.
    pub ssid: String,
    /// Its address on the air, by which the other methods name it.
    pub bssid: [u8; 6],
    /// 2.4 GHz channel, 1 to 13.
    pub channel: u8,
    /// How it lets stations in.
    pub security: Security,
    /// How strong it is where the board is, in dBm. Below −92 the board does not hear it.
    pub rssi: i8,
    /// By how many dB its strength wanders up and down from second to second.
    pub wander: u8,
    /// Every how many beacons it sends what it kept for sleeping stations.
    pub dtim_period: u8,
    /// On the air now.
    pub present: bool,
}

impl AccessPoint {
    /// An access point on channel 6, −50 dBm, that is on the air.
    #[must_use]
    pub fn new(ssid: &str, security: Security) -> Self {
        Self {
            ssid: ssid.to_owned(),
            bssid: [0x02, 0x50, 0x49, 0x43, 0x4f, 0x01],
            channel: 6,
            security,
            rssi: -50,
            wander: 0,
            dtim_period: 1,
            present: true,
        }
    }

    /// The name as it is sent: at most 32 bytes.
    pub(super) fn name(&self) -> &[u8] {
        &self.ssid.as_bytes()[..self.ssid.len().min(32)]
    }

    pub(super) fn is_heard(&self) -> bool {
        self.present && self.rssi >= SENSITIVITY
    }

    /// Its strength at that moment.
    pub(super) fn rssi_at(&self, now: Time) -> i8 {
        if self.wander == 0 {
            return self.rssi;
        }
        // A hash of the second: the same in every run, whoever asks and however often.
        let mut hash = (now.as_nanos() / 1_000_000_000) ^ (u64::from(self.bssid[5]) << 40);
        for _ in 0..3 {
            hash = (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let span = 2 * u64::from(self.wander) + 1;
        let offset = i16::try_from((hash >> 32) % span).unwrap_or(0) - i16::from(self.wander);
        i8::try_from((i16::from(self.rssi) + offset).clamp(-110, 0)).unwrap_or(self.rssi)
    }
}

/// The weakest signal that the radio hears, in dBm.
const SENSITIVITY: i8 = -92;
/// Between two beacons: 100 units of 1024 µs.
pub(super) const BEACON_INTERVAL: Duration = Duration::from_micros(102_400);

/// Something that changes on the air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The access point falls silent, or is back.
    Present([u8; 6], bool),
    /// The access point is as strong as that, in dBm.
    Rssi([u8; 6], i8),
    /// The access point has another passphrase, or none.
    Security([u8; 6], Security),
    /// The access point that the board is joined to throws it out, with a reason code of IEEE 802.11 (table 9-49).
    Deauthenticate(u16),
    /// The access point that the board is joined to ends its association, with such a reason code.
    Disassociate(u16),
}

/// What is on the air.
#[derive(Debug, Clone, Default)]
pub struct Air {
    access_points: Vec<AccessPoint>,
    planned: BTreeMap<(Time, u64), Change>,
    plans: u64,
}

impl Air {
    /// These access points.
    #[must_use]
    pub fn new(access_points: Vec<AccessPoint>) -> Self {
        Self {
            access_points,
            ..Self::default()
        }
    }

    /// The access points, on the air or not.
    #[must_use]
    pub fn access_points(&self) -> &[AccessPoint] {
        &self.access_points
    }

    /// Has `change` happen at `at`, or as soon as the radio looks if that is past.
    pub fn plan(&mut self, at: Time, change: Change) {
        self.plans += 1;
        self.planned.insert((at, self.plans), change);
    }

    pub(super) fn next_change(&self) -> Option<Time> {
        self.planned.keys().next().map(|(at, _)| *at)
    }

    /// The next change that is due, applied to the access points.
    pub(super) fn change(&mut self, now: Time) -> Option<Change> {
        let entry = self.planned.first_entry().filter(|entry| entry.key().0 <= now)?;
        let change = entry.remove();
        let bssid = match &change {
            Change::Present(bssid, _) | Change::Rssi(bssid, _) | Change::Security(bssid, _) => *bssid,
            Change::Deauthenticate(_) | Change::Disassociate(_) => return Some(change),
        };
        if let Some(ap) = self.access_points.iter_mut().find(|ap| ap.bssid == bssid) {
            match &change {
                Change::Present(_, present) => ap.present = *present,
                Change::Rssi(_, rssi) => ap.rssi = *rssi,
                Change::Security(_, security) => ap.security = security.clone(),
                Change::Deauthenticate(_) | Change::Disassociate(_) => {}
            }
        }
        Some(change)
    }

    pub(super) fn get(&self, bssid: [u8; 6]) -> Option<&AccessPoint> {
        self.access_points.iter().find(|ap| ap.bssid == bssid)
    }

    /// The access points that can be heard, the strongest first.
    pub(super) fn heard(&self) -> Vec<&AccessPoint> {
        let mut heard: Vec<_> = self.access_points.iter().filter(|ap| ap.is_heard()).collect();
        heard.sort_by_key(|ap| -i16::from(ap.rssi));
        heard
    }
}

/// How long the air is busy with a frame: 65 Mbit/s, as one antenna has in a 20 MHz channel, and what contention,
/// preamble and acknowledgement take.
pub(super) fn airtime(length: usize) -> Duration {
    let bits = 8 * u64::try_from(length).unwrap_or(u64::MAX / 8);
    Duration::from_nanos(100_000 + bits * 1_000 / 65)
}

/// The first beacon at or after `now` of those that a station wakes for, every `every`-th.
pub(super) fn next_beacon(now: Time, every: u32) -> Time {
    let interval = u64::try_from(BEACON_INTERVAL.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_mul(u64::from(every.max(1)));
    Time::from_nanos(now.as_nanos().div_ceil(interval).saturating_mul(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_happen_when_they_are_due() {
        let ap = AccessPoint::new("net", Security::Open);
        let bssid = ap.bssid;
        let mut air = Air::new(vec![ap]);
        air.plan(Time::from_millis(5), Change::Present(bssid, false));
        air.plan(Time::from_millis(2), Change::Rssi(bssid, -80));
        assert_eq!(air.next_change(), Some(Time::from_millis(2)));
        assert_eq!(air.change(Time::from_millis(1)), None);
        assert!(air.change(Time::from_millis(9)).is_some());
        assert_eq!(air.access_points()[0].rssi, -80);
        assert!(air.change(Time::from_millis(9)).is_some());
        assert!(air.heard().is_empty());
    }

    #[test]
    fn what_is_too_weak_is_not_heard() {
        let strong = AccessPoint::new("strong", Security::Open);
        let weak = AccessPoint {
            rssi: -93,
            ..AccessPoint::new("weak", Security::Open)
        };
        assert_eq!(Air::new(vec![weak, strong.clone()]).heard(), [&strong]);
    }

    #[test]
    fn strength_wanders_within_bounds_and_the_same_each_time() {
        let ap = AccessPoint {
            wander: 3,
            ..AccessPoint::new("net", Security::Open)
        };
        let series = |ap: &AccessPoint| {
            (0..60)
                .map(|s| ap.rssi_at(Time::from_millis(s * 1000)))
                .collect::<Vec<_>>()
        };
        let values = series(&ap);
        assert!(values.iter().all(|rssi| (-53..=-47).contains(rssi)));
        assert!(values.iter().any(|rssi| *rssi != values[0]));
        assert_eq!(values, series(&ap));
    }

    #[test]
    fn beacons_come_every_102_milliseconds() {
        assert_eq!(next_beacon(Time::ZERO, 1), Time::ZERO);
        assert_eq!(next_beacon(Time::from_micros(1), 1), Time::from_micros(102_400));
        assert_eq!(
            next_beacon(Time::from_micros(102_401), 3),
            Time::from_micros(307_200)
        );
    }
}
