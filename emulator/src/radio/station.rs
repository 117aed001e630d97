//! The station: how the wireless firmware finds a network, joins it, loses it and roams within it.
//!
//! What is modelled is what a host can see of that: which events come, in which order and how far apart. There is no
//! handshake on the air; the passphrase that the host gave is compared with that of the access point. The times are
//! those of an uncrowded room and were not measured on silicon.

use std::collections::BTreeMap;
use std::time::Duration;

use super::air::{AccessPoint, Air, Change};
use super::credentials::{Credentials, Method};
use super::event::{Event, Kind, status};
use super::quirks::Quirks;
use crate::Time;

/// Probing eleven channels for 20 ms each.
const SEARCH: Duration = Duration::from_millis(220);
/// Between two attempts to get back into a network that was lost.
const SEARCH_AGAIN: Duration = Duration::from_secs(2);
/// One exchange of management frames.
const EXCHANGE: Duration = Duration::from_millis(5);
/// The exchange of SAE, which takes elliptic curves.
const SAE: Duration = Duration::from_millis(100);
/// The four messages of the WPA2 handshake.
const HANDSHAKE: Duration = Duration::from_millis(20);
/// From one event to the next that follows at once.
const STEP: Duration = Duration::from_millis(1);
/// From a change of signal strength until the station has looked for something better.
const ROAM_SCAN: Duration = Duration::from_millis(500);

/// States of the supplicant, which PSK_SUP carries as status, and its reason for giving up.
const SUPPLICANT_KEYED: u32 = 6;
const SUPPLICANT_WAITS_M1: u32 = 4;
const SUPPLICANT_WAITS_M3: u32 = 8;
const HANDSHAKE_TIMEOUT: u32 = 15;
/// Status of an association that the access point refuses for now (IEEE 802.11, table 9-78).
const REFUSED_TEMPORARILY: u32 = 30;
/// Reasons of LINK with flag 0.
const LINK_LOST: u32 = 1;
const LINK_LEFT: u32 = 2;

/// Something that the station does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    /// Look for the network; `false`: nobody waits for the outcome.
    Search(bool),
    Authenticate([u8; 6], Method, bool),
    Associate([u8; 6], Method, bool),
    /// The handshake is over.
    Handshake([u8; 6], Method, bool),
    /// The handshake was waited for long enough.
    HandshakeTimeout([u8; 6], bool),
    BeaconTimeout,
    Roam,
    Report(Event),
}

/// The association.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Association {
    bssid: [u8; 6],
    /// Frames pass: on a network with a key, the handshake is done.
    keyed: bool,
    /// Since when no beacon came.
    silent_since: Option<Time>,
}

/// What access points know of the station and do to it, whether it has power or not.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    silent_deauth: bool,
    comeback: Duration,
    join_delay: Duration,
    /// Handshakes that will not begin.
    handshake_timeouts: u32,
    /// The access point that has the station associated with it by a key.
    known: Option<[u8; 6]>,
    /// Until when that one refuses another association.
    refuses_until: Option<Time>,
}

impl Peers {
    pub(super) fn new(quirks: &Quirks) -> Self {
        Self {
            silent_deauth: quirks.silent_deauth,
            comeback: quirks.comeback,
            join_delay: quirks.join_delay,
            handshake_timeouts: quirks.handshake_timeouts,
            ..Self::default()
        }
    }

    /// Whether the access point refuses an association for now, since it believes that there is one.
    fn refuses(&mut self, bssid: [u8; 6], now: Time) -> bool {
        if self.known != Some(bssid) || self.comeback.is_zero() {
            return false;
        }
        let until = *self.refuses_until.get_or_insert(now + self.comeback);
        if now >= until {
            self.forget();
        }
        now < until
    }

    fn forget(&mut self) {
        (self.known, self.refuses_until) = (None, None);
    }
}

/// The station.
#[derive(Debug, Clone)]
pub(super) struct Station {
    pub(super) credentials: Credentials,
    pub(super) peers: Peers,
    /// The network that the host wants.
    wanted: Option<Vec<u8>>,
    association: Option<Association>,
    /// How long to wait for the handshake.
    pub(super) handshake_timeout: Duration,
    /// How long beacons may be missing.
    pub(super) beacon_timeout: Duration,
    /// Below this strength in dBm it looks for a better access point of the same network, which must be better by
    /// `roam_delta` dB.
    pub(super) roam_trigger: i32,
    pub(super) roam_delta: i32,
    pub(super) roams: bool,
    /// Goes on looking for a network that it lost.
    rejoins: bool,
    tasks: BTreeMap<(Time, u64), Task>,
    count: u64,
}

impl Default for Station {
    fn default() -> Self {
        Self {
            credentials: Credentials::default(),
            peers: Peers::default(),
            wanted: None,
            association: None,
            handshake_timeout: Duration::from_millis(2500),
            beacon_timeout: Duration::from_secs(8),
            roam_trigger: -75,
            roam_delta: 20,
            roams: true,
            rejoins: false,
            tasks: BTreeMap::new(),
            count: 0,
        }
    }
}

impl Station {
    /// A station that is in no network, and that goes on looking for one that it lost or does not.
    pub(super) fn new(rejoins: bool) -> Self {
        Self {
            rejoins,
            ..Self::default()
        }
    }

    /// The access point it is associated with.
    pub(super) fn bssid(&self) -> Option<[u8; 6]> {
        self.association.as_ref().map(|association| association.bssid)
    }

    /// The access point that frames pass to and from.
    pub(super) fn link(&self) -> Option<[u8; 6]> {
        self.association
            .as_ref()
            .filter(|association| association.keyed)
            .map(|association| association.bssid)
    }

    pub(super) fn next_event(&self) -> Option<Time> {
        self.tasks.keys().next().map(|(at, _)| *at)
    }

    fn schedule(&mut self, at: Time, task: Task) {
        self.count += 1;
        self.tasks.insert((at, self.count), task);
    }

    fn report(&mut self, at: Time, event: Event) {
        self.schedule(at, Task::Report(event));
    }

    /// Joins the network of that name, leaving the one it is in.
    pub(super) fn join(&mut self, ssid: &[u8], now: Time) {
        self.leave(now);
        self.wanted = Some(ssid.to_vec());
        self.schedule(now + SEARCH + self.peers.join_delay, Task::Search(true));
    }

    /// Leaves the network, or stops looking for it.
    pub(super) fn leave(&mut self, now: Time) {
        self.tasks.retain(|_, task| matches!(task, Task::Report(_)));
        self.wanted = None;
        if let Some(association) = self.association.take() {
            self.peers.forget();
            self.report(
                now + STEP,
                Event::new(Kind::Disassoc, status::SUCCESS, association.bssid),
            );
            self.report(
                now + STEP,
                Event::new(Kind::Link, status::SUCCESS, association.bssid).reason(LINK_LEFT),
            );
        }
    }

    /// The air has changed.
    pub(super) fn change(&mut self, change: &Change, air: &Air, now: Time) {
        let Some(association) = &mut self.association else {
            return;
        };
        let bssid = association.bssid;
        let thrown_out = match change {
            Change::Deauthenticate(reason) => Some((Kind::DeauthIndication, *reason)),
            Change::Disassociate(reason) => Some((Kind::DisassocIndication, *reason)),
            _ => None,
        };
        if let Some((kind, reason)) = thrown_out {
            self.association = None;
            self.peers.forget();
            let event = Event::new(kind, status::SUCCESS, bssid).reason(reason.into());
            self.report(now + STEP, event);
            if !self.peers.silent_deauth {
                let event = Event::new(Kind::Link, status::SUCCESS, bssid).reason(LINK_LEFT);
                self.report(now + STEP, event);
            }
            self.look_again(now);
            return;
        }
        if air.get(bssid).is_some_and(AccessPoint::is_heard) {
            association.silent_since = None;
        } else if association.silent_since.is_none() {
            association.silent_since = Some(now);
            self.schedule(now + self.beacon_timeout, Task::BeaconTimeout);
        }
        if self.roams {
            self.schedule(now + ROAM_SCAN, Task::Roam);
        }
    }

    fn look_again(&mut self, now: Time) {
        if self.rejoins && self.wanted.is_some() {
            self.schedule(now + SEARCH_AGAIN, Task::Search(false));
        } else {
            self.wanted = None;
        }
    }

    /// Does what is due, and returns the events that come of it.
    pub(super) fn advance(&mut self, air: &Air, now: Time) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(entry) = self.tasks.first_entry().filter(|entry| entry.key().0 <= now) {
            let at = entry.key().0;
            match entry.remove() {
                Task::Report(event) => events.push(event),
                Task::Search(asked) => self.search(asked, air, at),
                Task::Authenticate(bssid, method, asked) => self.authenticate(bssid, method, asked, air, at),
                Task::Associate(bssid, method, asked) => self.associate(bssid, method, asked, air, at),
                Task::Handshake(bssid, method, asked) => self.finish(bssid, method, asked, at),
                Task::HandshakeTimeout(bssid, asked) => self.give_up(bssid, asked, at),
                Task::BeaconTimeout => self.beacon_timeout(air, at),
                Task::Roam => self.roam(air, at),
            }
        }
        events
    }

    fn search(&mut self, asked: bool, air: &Air, now: Time) {
        let Some(wanted) = self.wanted.clone() else { return };
        for ap in air.heard().into_iter().filter(|ap| ap.name() == wanted) {
            match self.credentials.method(ap) {
                Ok(method) => {
                    let exchange = if method == Method::Sae { SAE } else { EXCHANGE };
                    self.schedule(now + exchange, Task::Authenticate(ap.bssid, method, asked));
                    return;
                }
                Err(reason) if asked => {
                    self.report(
                        now,
                        Event::new(Kind::Prune, status::SUCCESS, ap.bssid).reason(reason),
                    );
                }
                Err(_) => {}
            }
        }
        if asked {
            self.report(now + STEP, Event::new(Kind::SetSsid, status::NO_NETWORKS, [0; 6]));
            self.wanted = None;
        } else {
            self.look_again(now);
        }
    }

    /// The end of a join that did not work out.
    fn fail(&mut self, bssid: [u8; 6], asked: bool, now: Time) {
        self.association = None;
        if asked {
            self.report(now + STEP, Event::new(Kind::SetSsid, status::FAIL, bssid));
            self.wanted = None;
        } else {
            self.look_again(now);
        }
    }

    fn authenticate(&mut self, bssid: [u8; 6], method: Method, asked: bool, air: &Air, now: Time) {
        let ap = air.get(bssid).filter(|ap| ap.is_heard());
        let auth_type = if method == Method::Sae { 3 } else { 0 };
        let Some(ap) = ap else {
            return self.fail(bssid, asked, now);
        };
        if method == Method::Sae && !self.credentials.fit(ap, method) {
            let event = Event::new(Kind::Auth, status::FAIL, bssid)
                .reason(16)
                .auth_type(auth_type);
            self.report(now, event);
            return self.fail(bssid, asked, now);
        }
        self.report(
            now,
            Event::new(Kind::Auth, status::SUCCESS, bssid).auth_type(auth_type),
        );
        self.schedule(now + EXCHANGE, Task::Associate(bssid, method, asked));
    }

    fn associate(&mut self, bssid: [u8; 6], method: Method, asked: bool, air: &Air, now: Time) {
        let Some(ap) = air.get(bssid).filter(|ap| ap.is_heard()) else {
            return self.fail(bssid, asked, now);
        };
        if self.peers.refuses(bssid, now) {
            let event = Event::new(Kind::Assoc, status::FAIL, bssid).reason(REFUSED_TEMPORARILY);
            self.report(now, event);
            return self.fail(bssid, asked, now);
        }
        self.association = Some(Association {
            bssid,
            keyed: method == Method::Open,
            silent_since: None,
        });
        self.report(now, Event::new(Kind::Assoc, status::SUCCESS, bssid));
        self.report(now + STEP, Event::new(Kind::Join, status::SUCCESS, bssid));
        self.report(
            now + 2 * STEP,
            Event::new(Kind::Link, status::SUCCESS, bssid).flags(1),
        );
        match method {
            Method::Open => self.schedule(now + 2 * STEP, Task::Handshake(bssid, method, asked)),
            _ if self.peers.handshake_timeouts > 0 => {
                self.peers.handshake_timeouts -= 1;
                let event = Event::new(Kind::PskSup, SUPPLICANT_WAITS_M1, bssid).reason(HANDSHAKE_TIMEOUT);
                self.report(now + self.handshake_timeout, event);
            }
            _ if self.credentials.fit(ap, method) => {
                self.schedule(now + HANDSHAKE, Task::Handshake(bssid, method, asked));
            }
            _ => self.schedule(now + self.handshake_timeout, Task::HandshakeTimeout(bssid, asked)),
        }
    }

    fn finish(&mut self, bssid: [u8; 6], method: Method, asked: bool, now: Time) {
        if self.bssid() != Some(bssid) {
            return;
        }
        if let Some(association) = &mut self.association {
            association.keyed = true;
        }
        if method != Method::Open {
            self.peers.known = Some(bssid);
            self.report(now, Event::new(Kind::PskSup, SUPPLICANT_KEYED, bssid));
        }
        if asked {
            self.report(now + STEP, Event::new(Kind::SetSsid, status::SUCCESS, bssid));
        }
    }

    fn give_up(&mut self, bssid: [u8; 6], asked: bool, now: Time) {
        if self.bssid() != Some(bssid) {
            return;
        }
        self.report(
            now,
            Event::new(Kind::PskSup, SUPPLICANT_WAITS_M3, bssid).reason(HANDSHAKE_TIMEOUT),
        );
        self.report(
            now + STEP,
            Event::new(Kind::Deauth, status::SUCCESS, bssid).reason(HANDSHAKE_TIMEOUT),
        );
        self.report(
            now + STEP,
            Event::new(Kind::Link, status::SUCCESS, bssid).reason(LINK_LEFT),
        );
        self.fail(bssid, asked, now + STEP);
    }

    fn beacon_timeout(&mut self, air: &Air, now: Time) {
        let Some(association) = &self.association else {
            return;
        };
        let silent = association
            .silent_since
            .is_some_and(|since| now >= since + self.beacon_timeout);
        if !silent || self.roam_to(self.better(air, i32::MIN), now) {
            return;
        }
        let bssid = association_of(self.association.take());
        self.report(now, Event::new(Kind::BeaconLost, status::SUCCESS, bssid));
        self.report(
            now + STEP,
            Event::new(Kind::Link, status::SUCCESS, bssid).reason(LINK_LOST),
        );
        self.look_again(now);
    }

    fn roam(&mut self, air: &Air, now: Time) {
        let Some(ap) = self.link().and_then(|bssid| air.get(bssid)) else {
            return;
        };
        let rssi = i32::from(ap.rssi);
        if ap.is_heard() && rssi < self.roam_trigger {
            self.roam_to(self.better(air, rssi + self.roam_delta), now);
        }
    }

    /// The strongest other access point of the network that it can get into, of `least` dBm and more.
    fn better(&self, air: &Air, least: i32) -> Option<[u8; 6]> {
        let wanted = self.wanted.as_deref()?;
        let fits = |ap: &&AccessPoint| {
            ap.name() == wanted
                && Some(ap.bssid) != self.bssid()
                && i32::from(ap.rssi) >= least
                && self
                    .credentials
                    .method(ap)
                    .is_ok_and(|method| self.credentials.fit(ap, method))
        };
        air.heard().into_iter().find(fits).map(|ap| ap.bssid)
    }

    fn roam_to(&mut self, bssid: Option<[u8; 6]>, now: Time) -> bool {
        let Some((bssid, association)) = bssid.zip(self.association.as_mut()) else {
            return false;
        };
        let secure = self.credentials.wpa_auth != 0;
        association.bssid = bssid;
        association.silent_since = None;
        self.report(now, Event::new(Kind::Auth, status::SUCCESS, bssid));
        self.report(now + EXCHANGE, Event::new(Kind::Reassoc, status::SUCCESS, bssid));
        self.report(now + EXCHANGE, Event::new(Kind::Roam, status::SUCCESS, bssid));
        self.report(
            now + EXCHANGE + STEP,
            Event::new(Kind::Bssid, status::SUCCESS, bssid),
        );
        if secure {
            self.report(
                now + EXCHANGE + HANDSHAKE,
                Event::new(Kind::PskSup, SUPPLICANT_KEYED, bssid),
            );
        }
        true
    }
}

fn association_of(association: Option<Association>) -> [u8; 6] {
    association.map_or([0; 6], |association| association.bssid)
}

#[cfg(test)]
mod tests;
