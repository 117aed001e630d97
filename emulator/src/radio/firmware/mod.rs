//! The wireless firmware, as far as a host can tell: its ioctls and variables, and what they set in motion
//! (`wlioctl_defs.h` and `wlioctl.h` of Infineon's wifi-host-driver; the answers were compared with what embassy's
//! cyw43 and the cyw43-driver of the Pico SDK expect).
//!
//! The real one is closed and runs on the chip's own processor. This one never touches its bytes.

mod ioctl;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeMap;
use std::time::Duration;

use super::air::{Air, Change};
use super::event::{Event, Mask};
use super::scan::Scan;
use super::sdpcm::Control;
use super::station::{Peers, Station};
use crate::Time;
use variables::Clm;

/// What the firmware answers when something is wrong (`bcmutils.h`).
mod error {
    pub(super) const BAD_ARGUMENT: i32 = -2;
    pub(super) const NOT_UP: i32 = -4;
    pub(super) const NOT_ASSOCIATED: i32 = -17;
    pub(super) const BAD_SSID_LENGTH: i32 = -18;
    pub(super) const UNSUPPORTED: i32 = -23;
    pub(super) const BAD_LENGTH: i32 = -24;
}

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

    /// Whether it is in a network, frames passing or not.
    pub(super) fn is_associated(&self) -> bool {
        self.station.bssid().is_some()
    }

    /// What the access points know of the station, which outlives its power.
    pub(super) fn take_peers(&mut self) -> Peers {
        core::mem::take(&mut self.station.peers)
    }

    /// Puts it among access points that know this of it.
    pub(super) fn set_peers(&mut self, peers: Peers) {
        self.station.peers = peers;
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
