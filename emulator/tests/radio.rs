//! The radio, driven edge by edge through its four pins by a driver that knows nothing of its inside.

mod support;

use std::time::Duration;

use picolet_emulator::Time;
use picolet_emulator::radio::{AccessPoint, Air, Change, Config, Cyw43439, Radio, Security};
use proptest::prelude::*;
use support::gspi::{Host, firmware};
use support::link::Patch;

const NAME: &str = "emu-ap";
const PASSPHRASE: &str = "password123";
const ADDRESS: [u8; 6] = [0x28, 0xcd, 0xc1, 0x11, 0x22, 0x33];

fn radio(security: Security) -> (Cyw43439, Patch) {
    let patch = Patch::default();
    let config = Config {
        address: ADDRESS,
        ..Config::default()
    };
    let air = Air::new(vec![AccessPoint::new(NAME, security)]);
    (Cyw43439::new(config, air, Box::new(patch.clone())), patch)
}

fn host(security: Security) -> (Host<Cyw43439>, Patch) {
    let (radio, patch) = radio(security);
    let mut host = Host::new(radio);
    let (firmware, parameters) = firmware();
    host.start(&firmware, parameters);
    (host, patch)
}

fn joined() -> (Host<Cyw43439>, Patch) {
    let (mut host, patch) = host(Security::Wpa2(PASSPHRASE.into()));
    host.configure();
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    host.take_events();
    (host, patch)
}

fn frame(destination: [u8; 6], length: usize) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend((frame.len()..length).map(|index| index as u8));
    frame
}

fn bssid(host: &Host<Cyw43439>) -> [u8; 6] {
    host.radio.air().access_points()[0].bssid
}

#[test]
fn the_start_and_a_join_look_as_ever_on_the_wire() {
    let (mut host, _) = host(Security::Wpa2(PASSPHRASE.into()));
    host.configure();
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    host.set("gpioout", &[1, 0, 0, 0, 1, 0, 0, 0]);
    let log = host.log.join("\n") + "\n";
    let golden = include_str!("golden/gspi.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gspi.txt"),
            &log,
        )
        .expect("written");
    } else if let Some((index, (is, was))) = log
        .lines()
        .zip(golden.lines())
        .enumerate()
        .find(|(_, (is, was))| is != was)
    {
        panic!("line {} differs:\n  is  {is}\n  was {was}", index + 1);
    } else {
        assert_eq!(log.lines().count(), golden.lines().count());
    }
}

#[test]
fn the_bus_answers_only_after_power_up() {
    let (radio, _) = radio(Security::Open);
    let mut host = Host::new(radio);
    assert_eq!(host.radio.data(), None, "without power it drives nothing");
    host.radio.power(true, host.now);
    host.wait(Duration::from_millis(100));
    assert_eq!(host.read(0, 0x14, 4), [0; 4]);
    host.wait(Duration::from_millis(60));
    assert_eq!(host.read(0, 0x14, 4), 0xfeed_beadu32.to_le_bytes());
    host.radio.power(false, host.now);
    assert_eq!(host.radio.data(), None);
}

#[test]
fn joins_with_wpa2_and_carries_frames() {
    let (mut host, patch) = host(Security::Wpa2(PASSPHRASE.into()));
    host.configure();
    let before = host.now;
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    assert_eq!(
        host.take_events(),
        [(3, 0), (7, 0), (1, 0), (16, 0), (46, 6), (0, 0)]
    );
    assert_eq!(host.radio.status().joined.as_deref(), Some(NAME));
    assert!(host.now.since(before) < Duration::from_millis(500));

    let sent = frame([0xff; 6], 342);
    host.send_frame(&sent);
    host.wait(Duration::from_millis(1));
    let taken = patch.take_sent();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1, sent);

    let longest = frame(ADDRESS, 1514);
    patch.arrive(host.now, longest.clone());
    patch.arrive(host.now, frame([0x28, 0xcd, 0xc1, 9, 9, 9], 60));
    host.run(Duration::from_millis(2));
    assert_eq!(host.take_frames(), [longest]);
    assert_eq!(host.radio.statistics().filtered, 1);
}

#[test]
fn joins_an_open_network() {
    let (mut host, _) = host(Security::Open);
    host.configure();
    host.join(NAME, None);
    host.run(Duration::from_millis(400));
    assert_eq!(host.take_events(), [(3, 0), (7, 0), (1, 0), (16, 0), (0, 0)]);
}

#[test]
fn a_wrong_passphrase_and_an_unknown_network_fail() {
    let (mut host, _) = host(Security::Wpa2(PASSPHRASE.into()));
    host.configure();
    host.join(NAME, Some("password124"));
    host.run(Duration::from_millis(3500));
    let events = host.take_events();
    assert!(
        events.contains(&(46, 8)) && events.contains(&(0, 1)),
        "{events:?}"
    );
    host.join("another", Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    assert_eq!(host.take_events(), [(0, 3)]);
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    assert!(host.take_events().contains(&(46, 6)));
}

#[test]
fn no_frame_passes_before_the_join_or_after_the_loss() {
    let (mut host, patch) = host(Security::Wpa2(PASSPHRASE.into()));
    host.configure();
    host.send_frame(&frame([0xff; 6], 60));
    patch.arrive(host.now, frame(ADDRESS, 60));
    host.run(Duration::from_millis(5));
    assert!(patch.take_sent().is_empty() && host.take_frames().is_empty());
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    host.take_events();

    let (bssid, now) = (bssid(&host), host.now);
    host.radio
        .air_mut()
        .plan(now + Duration::from_millis(10), Change::Present(bssid, false));
    host.radio
        .air_mut()
        .plan(now + Duration::from_secs(20), Change::Present(bssid, true));
    host.run(Duration::from_millis(20));
    host.send_frame(&frame([0xff; 6], 60));
    patch.arrive(host.now, frame(ADDRESS, 60));
    host.run(Duration::from_secs(9));
    assert!(patch.take_sent().is_empty() && host.take_frames().is_empty());
    assert_eq!(host.take_events(), [(31, 0), (16, 0)]);
    assert_eq!(host.radio.status().joined, None);
    host.run(Duration::from_secs(12));
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    assert!(host.take_events().contains(&(46, 6)));
}

#[test]
fn asleep_it_takes_frames_at_beacons() {
    let (mut host, patch) = joined();
    assert_eq!(host.set("pm2_sleep_ret", &[200, 0, 0, 0]), 0);
    assert_eq!(host.set("bcn_li_dtim", &[1, 0, 0, 0]), 0);
    assert_eq!(host.set_word(86, 2), 0);
    // Idle for longer than 200 ms: the frame waits for the next beacon, at a multiple of 102.4 ms.
    host.run(Duration::from_millis(500));
    let asleep = Time::from_nanos(host.now.as_nanos().next_multiple_of(102_400_000) + 5_000_000);
    host.run(asleep.since(host.now));
    patch.arrive(host.now, frame(ADDRESS, 60));
    host.run(Duration::from_millis(90));
    assert!(host.take_frames().is_empty());
    host.run(Duration::from_millis(12));
    assert_eq!(host.take_frames().len(), 1);
    // Just after traffic it is awake.
    patch.arrive(host.now, frame(ADDRESS, 60));
    host.run(Duration::from_millis(2));
    assert_eq!(host.take_frames().len(), 1);
    // Without power save it always is.
    assert_eq!(host.set_word(86, 0), 0);
    host.run(Duration::from_millis(500));
    patch.arrive(host.now, frame(ADDRESS, 60));
    host.run(Duration::from_millis(2));
    assert_eq!(host.take_frames().len(), 1);
}

#[test]
fn a_sender_without_credit_gets_it_back() {
    let (mut host, patch) = joined();
    let mut sent = 0;
    for _ in 0..60 {
        // The next number must stay below the credit.
        while host.credit == host.sequence {
            host.run(Duration::from_millis(1));
        }
        host.send_frame(&frame([0xff; 6], 1514));
        sent += 1;
        host.fetch();
    }
    host.run(Duration::from_millis(20));
    assert_eq!(patch.take_sent().len(), sent);
    assert_eq!(host.radio.statistics().unsent, 0);
}

#[test]
fn a_scan_finds_networks() {
    let patch = Patch::default();
    let mut other = AccessPoint::new("other", Security::Open);
    other.bssid[5] = 7;
    other.channel = 11;
    let air = Air::new(vec![
        AccessPoint::new(NAME, Security::Wpa2(PASSPHRASE.into())),
        other,
    ]);
    let mut host = Host::new(Cyw43439::new(Config::default(), air, Box::new(patch)));
    let (firmware, parameters) = firmware();
    host.start(&firmware, parameters);
    host.configure();
    let mut parameters = vec![1, 0, 0, 0, 1, 0, 1, 0];
    parameters.resize(44, 0);
    parameters.extend([0xff; 6]);
    parameters.extend([2, 1]);
    parameters.extend([0xff; 16]);
    parameters.resize(76, 0);
    assert_eq!(host.set("escan", &parameters), 0);
    host.run(Duration::from_millis(2000));
    assert_eq!(host.take_events(), [(69, 8), (69, 8), (69, 0)]);
}

#[test]
fn it_keeps_the_rules_of_a_country_that_there_is() {
    let (mut host, _) = host(Security::Open);
    assert_eq!(host.radio.country(), None);
    host.configure();
    assert_eq!(host.radio.country(), Some("XX"));
    for (value, status) in [
        (&b"DE\0\0\xff\xff\xff\xffDE\0\0"[..], 0),
        (b"ZZ\0\0\xff\xff\xff\xffZZ\0\0", -2),
        (b"DE\0\0\xff\xff\xff\xffde\0\0", -2),
        (b"DE\0\0", -24),
    ] {
        assert_eq!(host.set("country", value), status);
    }
    assert_eq!(host.radio.country(), Some("DE"));
}

#[test]
fn the_led_is_behind_the_radio() {
    let (mut host, _) = host(Security::Open);
    assert_eq!(host.radio.status().gpio, 4, "USB power");
    assert_eq!(host.set("gpioout", &[1, 0, 0, 0, 1, 0, 0, 0]), 0);
    assert_eq!(host.radio.status().gpio, 5);
    assert_eq!(host.get("ccgpioin", 9)[0], 5);
}

#[test]
fn a_start_without_a_firmware_is_a_fault_that_says_what_is_missing() {
    let (radio, _) = radio(Security::Open);
    let mut host = Host::new(radio);
    host.radio.power(true, host.now);
    host.wait(Duration::from_millis(200));
    host.write_swapped(0, 0x0003_04b1);
    host.write_backplane(0x1810_4408, &[1]);
    host.write_backplane(0, &[1; 64]);
    host.write_backplane(0x1810_3408, &[1]);
    let fault = host.radio.take_fault().expect("a fault");
    assert!(fault.contains("64 bytes"), "{fault}");
    assert_eq!(host.radio.take_fault(), None);
    host.read_backplane(0x1900_0000, 4);
    assert!(
        host.radio
            .take_fault()
            .is_some_and(|fault| fault.contains("0x19000000"))
    );
}

#[test]
fn a_trace_tells_no_secret() {
    let (mut host, _) = host(Security::Wpa2(PASSPHRASE.into()));
    host.radio.set_trace(true);
    host.configure();
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    let trace = host.radio.take_trace().join("\n");
    assert!(
        trace.contains("set ioctl 268") && trace.contains("event PskSup"),
        "{trace}"
    );
    let hex: String = PASSPHRASE.bytes().map(|byte| format!("{byte:02x} ")).collect();
    assert!(!trace.contains(PASSPHRASE) && !trace.contains(hex.trim()));
}

#[test]
fn a_reset_forgets_everything_but_the_board() {
    let (mut host, _) = joined();
    host.radio.power(false, host.now);
    host.wait(Duration::from_millis(20));
    let now = host.now;
    let mut host = Host::new(host.radio);
    host.now = now;
    let (firmware, parameters) = firmware();
    host.start(&firmware, parameters);
    assert_eq!(host.radio.status().joined, None);
    host.configure();
    host.join(NAME, Some(PASSPHRASE));
    host.run(Duration::from_millis(400));
    assert!(host.take_events().contains(&(0, 0)));
}

/// One thing that a driver gone mad does.
#[derive(Debug, Clone)]
enum Noise {
    Edges(Vec<(bool, bool)>),
    Transfer {
        write: bool,
        function: u32,
        address: u32,
        data: Vec<u8>,
    },
    Packet {
        channel: u8,
        header: usize,
        body: Vec<u8>,
    },
    Select(bool),
    Power(bool),
    Wait(u64),
}

fn noise() -> impl Strategy<Value = Noise> {
    let bytes = |most: usize| proptest::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        proptest::collection::vec(any::<(bool, bool)>(), 1..200).prop_map(Noise::Edges),
        (
            any::<bool>(),
            0u32..4,
            prop_oneof![0u32..0x40, 0x1_0000u32..0x1_0020, any::<u32>()],
            bytes(80)
        )
            .prop_map(|(write, function, address, data)| Noise::Transfer {
                write,
                function,
                address,
                data
            }),
        (0u8..16, 0usize..20, bytes(120)).prop_map(|(channel, header, body)| Noise::Packet {
            channel,
            header,
            body
        }),
        any::<bool>().prop_map(Noise::Select),
        any::<bool>().prop_map(Noise::Power),
        (0u64..5_000_000_000).prop_map(Noise::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_driver_does_makes_it_panic(
        started in any::<bool>(),
        noise in proptest::collection::vec(noise(), 1..40),
    ) {
        let (radio, patch) = radio(Security::Wpa2(PASSPHRASE.into()));
        let mut host = Host::new(radio);
        if started {
            let (firmware, parameters) = firmware();
            host.start(&firmware, parameters);
            host.configure();
            host.join(NAME, Some(PASSPHRASE));
            host.run(Duration::from_millis(400));
        }
        host.radio.set_trace(true);
        for noise in noise {
            match noise {
                Noise::Edges(edges) => {
                    for (level, data) in edges {
                        host.edge(level, data);
                    }
                }
                Noise::Transfer { write: true, function, address, data } => host.write(function, address, &data),
                Noise::Transfer { function, address, data, .. } => {
                    host.read(function, address, data.len());
                }
                Noise::Packet { channel, header, body } => host.send_packet(channel, header, &body),
                Noise::Select(level) => host.radio.select(level, host.now),
                Noise::Power(on) => host.radio.power(on, host.now),
                Noise::Wait(nanos) => {
                    patch.arrive(host.now, vec![0xff; (nanos % 1600) as usize]);
                    host.wait(Duration::from_nanos(nanos));
                }
            }
            host.radio.data();
            host.radio.status();
            host.radio.take_fault();
        }
    }
}

/// A started radio with these quirks.
fn quirky(quirks: &str) -> Host<Cyw43439> {
    let config = Config {
        quirks: quirks.parse().expect("quirks"),
        ..Config::default()
    };
    let air = Air::new(vec![AccessPoint::new(NAME, Security::Wpa2(PASSPHRASE.into()))]);
    let mut host = Host::new(Cyw43439::new(config, air, Box::new(Patch::default())));
    host.radio.power(true, host.now);
    host.wait(Duration::from_millis(160));
    host
}

#[test]
fn test_register_reads_zero_until_it_was_read_often_enough() {
    let mut host = quirky("start-reads=2");
    for expected in [0, 0, 0xfeed_bead_u32] {
        assert_eq!(host.read(0, 0x14, 4), expected.to_le_bytes());
    }
}

#[test]
fn power_is_not_lost_when_it_is_off_for_too_short_a_time() {
    let mut host = quirky("power-off=100ms");
    host.write(0, 0x18, &[1, 2, 3, 4]);
    for (off, kept) in [(99, [1, 2, 3, 4]), (100, [0; 4])] {
        host.radio.power(false, host.now);
        host.wait(Duration::from_millis(off));
        host.radio.power(true, host.now);
        host.wait(Duration::from_millis(160));
        assert_eq!(host.read(0, 0x18, 4), kept, "off for {off} ms");
    }
    host.write(0, 0x18, &[1, 2, 3, 4]);
    host.radio.cut_power(host.now);
    host.radio.power(true, host.now);
    host.wait(Duration::from_millis(160));
    assert_eq!(host.read(0, 0x18, 4), [0; 4], "the board lost power");
}

#[test]
fn bits_flip_in_both_directions_while_the_clock_is_fast() {
    // A half period is 16 ns.
    for (quirks, flips) in [
        ("bit-errors=20000000/0.033us", true),
        ("bit-errors=20000000/0.03us", false),
    ] {
        let mut host = quirky(quirks);
        let wrong = (0..100).filter(|_| host.read(0, 0x14, 4) != 0xfeed_bead_u32.to_le_bytes());
        let wrong = wrong.count();
        assert_eq!(wrong > 20, flips, "{quirks}: {wrong} of 100");
    }
}
