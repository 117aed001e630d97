//! What a host sees of the station: events, and who it is joined to.

use super::*;
use crate::radio::air::Security;
use crate::radio::credentials::{Psk, WPA2_PSK, WPA3_SAE};

const NAME: &str = "picolet";
const PASSPHRASE: &str = "correct horse";

fn air(security: Security) -> Air {
    Air::new(vec![AccessPoint::new(NAME, security)])
}

fn wpa2(passphrase: &str) -> Station {
    let credentials = Credentials {
        psk: Some(Psk::Passphrase(passphrase.as_bytes().to_vec())),
        wpa_auth: WPA2_PSK,
        wsec: 4,
        ..Credentials::default()
    };
    Station {
        credentials,
        ..Station::default()
    }
}

fn wpa3(passphrase: &str) -> Station {
    let mut station = wpa2(passphrase);
    station.credentials.sae = Some(passphrase.as_bytes().to_vec());
    station.credentials.wpa_auth = WPA3_SAE;
    station
}

/// Runs the station until `end`, applying the planned changes, and returns the events by kind and status.
fn run(station: &mut Station, air: &mut Air, end: Time) -> Vec<(Kind, u32)> {
    let mut events = Vec::new();
    while let Some(at) = [station.next_event(), air.next_change()]
        .into_iter()
        .flatten()
        .min()
    {
        if at > end {
            break;
        }
        while let Some(change) = air.change(at) {
            station.change(&change, air, at);
        }
        events.extend(
            station
                .advance(air, at)
                .into_iter()
                .map(|event| (event.kind, event.status)),
        );
    }
    events
}

fn join(mut station: Station, air: &mut Air) -> (Station, Vec<(Kind, u32)>) {
    station.join(NAME.as_bytes(), Time::ZERO);
    let events = run(&mut station, air, Time::from_millis(5000));
    (station, events)
}

const JOINED: [(Kind, u32); 6] = [
    (Kind::Auth, 0),
    (Kind::Assoc, 0),
    (Kind::Join, 0),
    (Kind::Link, 0),
    (Kind::PskSup, 6),
    (Kind::SetSsid, 0),
];

#[test]
fn joins_with_the_passphrase() {
    for (station, security) in [
        (wpa2(PASSPHRASE), Security::Wpa2(PASSPHRASE.into())),
        (wpa2(PASSPHRASE), Security::Wpa2Wpa3(PASSPHRASE.into())),
        (wpa3(PASSPHRASE), Security::Wpa2(PASSPHRASE.into())),
        (wpa3(PASSPHRASE), Security::Wpa3(PASSPHRASE.into())),
        (wpa3(PASSPHRASE), Security::Wpa2Wpa3(PASSPHRASE.into())),
    ] {
        let (station, events) = join(station, &mut air(security));
        assert_eq!(events, JOINED);
        assert!(station.link().is_some());
    }
}

#[test]
fn joins_an_open_network_without_a_handshake() {
    let (station, events) = join(Station::default(), &mut air(Security::Open));
    assert_eq!(
        events,
        [
            (Kind::Auth, 0),
            (Kind::Assoc, 0),
            (Kind::Join, 0),
            (Kind::Link, 0),
            (Kind::SetSsid, 0)
        ]
    );
    assert!(station.link().is_some());
}

#[test]
fn a_wrong_passphrase_times_out_in_the_handshake() {
    let (station, events) = join(wpa2("wrong one"), &mut air(Security::Wpa2(PASSPHRASE.into())));
    assert_eq!(
        events[3..],
        [
            (Kind::Link, 0),
            (Kind::PskSup, 8),
            (Kind::Deauth, 0),
            (Kind::Link, 0),
            (Kind::SetSsid, 1)
        ]
    );
    assert_eq!(station.bssid(), None);
}

#[test]
fn a_wrong_passphrase_fails_authentication_in_wpa3() {
    let (_, events) = join(wpa3("wrong one"), &mut air(Security::Wpa3(PASSPHRASE.into())));
    assert_eq!(events, [(Kind::Auth, 1), (Kind::SetSsid, 1)]);
}

#[test]
fn an_unknown_network_is_not_found() {
    let (_, events) = join(wpa2(PASSPHRASE), &mut Air::default());
    assert_eq!(events, [(Kind::SetSsid, 3)]);
}

#[test]
fn a_network_with_other_security_is_passed_over() {
    let (_, events) = join(Station::default(), &mut air(Security::Wpa2(PASSPHRASE.into())));
    assert_eq!(events, [(Kind::Prune, 0), (Kind::SetSsid, 3)]);
    let (_, events) = join(wpa2(PASSPHRASE), &mut air(Security::Open));
    assert_eq!(events, [(Kind::Prune, 0), (Kind::SetSsid, 3)]);
    let (_, events) = join(wpa2(PASSPHRASE), &mut air(Security::Wpa3(PASSPHRASE.into())));
    assert_eq!(events, [(Kind::Prune, 0), (Kind::SetSsid, 3)]);
}

#[test]
fn an_access_point_that_falls_silent_is_lost_after_the_timeout() {
    let mut air = air(Security::Open);
    let bssid = air.access_points()[0].bssid;
    let (mut station, _) = join(Station::default(), &mut air);
    air.plan(Time::from_millis(6_000), Change::Present(bssid, false));
    assert_eq!(run(&mut station, &mut air, Time::from_millis(13_900)), []);
    assert_eq!(
        run(&mut station, &mut air, Time::from_millis(20_000)),
        [(Kind::BeaconLost, 0), (Kind::Link, 0)]
    );
    assert_eq!(station.link(), None);
    assert_eq!(
        station.next_event(),
        None,
        "it does not look again unless told to"
    );
}

#[test]
fn a_short_silence_is_not_noticed() {
    let mut air = air(Security::Open);
    let bssid = air.access_points()[0].bssid;
    let (mut station, _) = join(Station::default(), &mut air);
    air.plan(Time::from_millis(6_000), Change::Present(bssid, false));
    air.plan(Time::from_millis(9_000), Change::Present(bssid, true));
    air.plan(Time::from_millis(13_000), Change::Present(bssid, false));
    assert_eq!(run(&mut station, &mut air, Time::from_millis(20_000)), []);
    assert!(station.link().is_some());
}

#[test]
fn a_station_told_to_rejoin_finds_the_access_point_again() {
    let mut air = air(Security::Wpa2(PASSPHRASE.into()));
    let bssid = air.access_points()[0].bssid;
    let (mut station, _) = join(
        Station {
            rejoins: true,
            ..wpa2(PASSPHRASE)
        },
        &mut air,
    );
    air.plan(Time::from_millis(6_000), Change::Present(bssid, false));
    air.plan(Time::from_millis(30_000), Change::Present(bssid, true));
    let events = run(&mut station, &mut air, Time::from_millis(40_000));
    assert_eq!(events[..2], [(Kind::BeaconLost, 0), (Kind::Link, 0)]);
    assert_eq!(events[2..], JOINED[..5]);
    assert!(station.link().is_some());
}

#[test]
fn it_roams_to_a_better_access_point_of_the_network() {
    let near = AccessPoint::new(NAME, Security::Wpa2(PASSPHRASE.into()));
    let far = AccessPoint {
        bssid: [2, 0, 0, 0, 0, 9],
        rssi: -55,
        ..near.clone()
    };
    let mut air = Air::new(vec![near.clone(), far.clone()]);
    let (mut station, _) = join(wpa2(PASSPHRASE), &mut air);
    assert_eq!(station.link(), Some(near.bssid));
    air.plan(Time::from_millis(6_000), Change::Rssi(near.bssid, -70));
    assert_eq!(run(&mut station, &mut air, Time::from_millis(8_000)), []);
    air.plan(Time::from_millis(9_000), Change::Rssi(near.bssid, -80));
    let events = run(&mut station, &mut air, Time::from_millis(12_000));
    assert!(
        events.contains(&(Kind::Roam, 0)) && events.contains(&(Kind::PskSup, 6)),
        "{events:?}"
    );
    assert_eq!(station.link(), Some(far.bssid));
}

#[test]
fn thrown_out_it_says_so() {
    let mut air = air(Security::Open);
    let (mut station, _) = join(Station::default(), &mut air);
    air.plan(Time::from_millis(6_000), Change::Deauthenticate(2));
    assert_eq!(
        run(&mut station, &mut air, Time::from_millis(7_000)),
        [(Kind::DeauthIndication, 0), (Kind::Link, 0)]
    );
    assert_eq!(station.link(), None);
}

#[test]
fn leaving_ends_a_search() {
    let mut station = Station::default();
    station.join(b"x", Time::ZERO);
    station.leave(Time::from_millis(1));
    assert_eq!(station.next_event(), None);
}

/// A station on a WPA2 network, with these quirks.
fn quirky(quirks: &str) -> (Station, Air) {
    let mut station = wpa2(PASSPHRASE);
    station.peers = Peers::new(&quirks.parse().expect("quirks"));
    (station, air(Security::Wpa2(PASSPHRASE.into())))
}

#[test]
fn association_is_refused_when_the_access_point_still_knows_the_station() {
    let (station, mut air) = quirky("comeback=1s");
    let (station, events) = join(station, &mut air);
    assert_eq!(events, JOINED);
    // It loses power without leaving.
    let mut restarted = Station {
        peers: station.peers,
        ..wpa2(PASSPHRASE)
    };
    let mut refused = 0;
    for start in (10_000..20_000).step_by(500) {
        restarted.join(NAME.as_bytes(), Time::from_millis(start));
        let events = run(&mut restarted, &mut air, Time::from_millis(start + 499));
        if events == JOINED {
            break;
        }
        assert_eq!(events, [(Kind::Auth, 0), (Kind::Assoc, 1), (Kind::SetSsid, 1)]);
        refused += 1;
    }
    assert_eq!(refused, 2, "for a second");
    // It leaves, and is forgotten.
    restarted.leave(Time::from_millis(30_000));
    let (_, events) = join(
        Station {
            peers: restarted.peers,
            ..wpa2(PASSPHRASE)
        },
        &mut air,
    );
    assert_eq!(events, JOINED);
}

#[test]
fn handshake_times_out_when_the_access_point_does_not_begin_it() {
    let (station, mut air) = quirky("handshake-timeouts=1");
    let (station, events) = join(station, &mut air);
    assert_eq!(events[..4], JOINED[..4]);
    assert_eq!(events[4..], [(Kind::PskSup, 4)]);
    let (_, events) = join(station, &mut air);
    assert!(events.ends_with(&JOINED), "{events:?}");
}

#[test]
fn link_event_is_missing_when_the_station_is_thrown_out_silently() {
    for (change, kind) in [
        (Change::Deauthenticate(2), Kind::DeauthIndication),
        (Change::Disassociate(4), Kind::DisassocIndication),
    ] {
        let (station, mut air) = quirky("silent-deauth");
        let (mut station, _) = join(station, &mut air);
        air.plan(Time::from_millis(6_000), change);
        assert_eq!(run(&mut station, &mut air, Time::from_millis(7_000)), [(kind, 0)]);
        assert_eq!(station.link(), None);
    }
}
