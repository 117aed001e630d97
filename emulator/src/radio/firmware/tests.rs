//! What a host sees of the firmware, by its ioctls and variables.

use proptest::prelude::*;

use super::ioctl::binary_key;
use super::*;
use crate::radio::air::{AccessPoint, Security};
use crate::radio::event::Kind;

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

fn blob() -> Vec<u8> {
    crate::radio::clm::build(&[(*b"DE", 0), (*b"XX", 3)])
}

fn clm(flags: u32, data: &[u8]) -> Vec<u8> {
    let mut value = (flags | 2 << 16 | 0x1000).to_le_bytes().to_vec();
    value.extend((data.len() as u32).to_le_bytes());
    value.extend([0; 4]);
    value.extend(data);
    value
}

fn up(firmware: &mut Firmware) {
    assert_eq!(set(firmware, "clmload", &clm(6, &blob())), 0);
    assert_eq!(send(firmware, true, ioctl::UP, &[]).0, 0);
}

#[test]
fn the_locale_comes_in_chunks() {
    let mut firmware = firmware();
    assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
    assert_eq!(send(&mut firmware, true, ioctl::UP, &[]).0, error::NOT_UP);
    let blob = blob();
    let (first, rest) = blob.split_at(50);
    assert_eq!(set(&mut firmware, "clmload", &clm(2, first)), 0);
    assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
    assert_eq!(set(&mut firmware, "clmload", &clm(4, rest)), 0);
    let (status, answer) = get(&mut firmware, "clmload_status", 19);
    assert_eq!((status, answer.len(), answer[0]), (0, 19, 0));
    let mut damaged = blob.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(set(&mut firmware, "clmload", &clm(6, &damaged)), 0);
    assert_eq!(get(&mut firmware, "clmload_status", 19).1[0], 1);
    assert_eq!(
        set(&mut firmware, "clmload", &clm(6, b"BLOB")[..14]),
        error::BAD_LENGTH
    );
}

#[test]
fn country_is_refused_when_the_locale_does_not_have_it_in_that_revision() {
    let mut firmware = firmware();
    let country = |code: &[u8; 2], revision: i32| {
        let code = [code[0], code[1], 0, 0];
        [code, revision.to_le_bytes(), code].concat()
    };
    assert_ne!(set(&mut firmware, "country", &country(b"DE", -1)), 0, "no CLM");
    up(&mut firmware);
    for (code, revision, status) in [
        (b"DE", -1, 0),
        (b"DE", 0, 0),
        (b"DE", 1, error::BAD_ARGUMENT),
        (b"XX", -1, 0),
        (b"XX", 3, 0),
        (b"FI", -1, error::BAD_ARGUMENT),
    ] {
        assert_eq!(set(&mut firmware, "country", &country(code, revision)), status);
    }
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
