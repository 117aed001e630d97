//! Who owns what, by layers and commands, and which layers are in force.

use super::super::layers::{BASE, LABELLED, Outcome};
use super::super::*;
use super::{Board, apply_to, map};
use picolet_kube::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn devices() -> Devices {
    Devices::new(PinSet::range(2, 22))
}

/// What was reported of ConfigMaps: their names, and `applied`, `cured`, `no room` or why they were rejected, after an
/// exclamation mark where nothing of them is in force.
fn reports(devices: &Devices) -> Vec<(String, String)> {
    let mut reports = Vec::new();
    devices.report(&mut |name, _, outcome| {
        let words = match outcome {
            Outcome::Applied => "applied".to_string(),
            Outcome::Cured => "cured".to_string(),
            Outcome::NoRoom => "no room".to_string(),
            Outcome::Rejected(why) if why.keeps_last_good() => why.to_string(),
            Outcome::Rejected(why) => format!("! {why}"),
        };
        reports.push((name.to_string(), words));
    });
    reports
}

/// Applies a ConfigMap, and returns what is reported of it; nothing where it was known.
fn apply(devices: &Devices, name: &str, version: u32, data: &[(&str, &str)]) -> String {
    apply_to(devices, name, version, data);
    let report = reports(devices).into_iter().find(|(other, _)| other == name);
    report.map(|(_, words)| words).unwrap_or_default()
}

fn condition(devices: &Devices) -> String {
    let mut words = String::new();
    devices.condition(&mut words);
    words
}

#[test]
fn layers_lie_over_each_other() {
    let d = devices();
    assert_eq!(apply(&d, "zoo", 1, &[("memory_values", "1=3")]), "applied");
    let base = [("memory_values", "0=1,1=1"), ("led", "on")];
    assert_eq!(apply(&d, BASE, 2, &base), "applied");
    assert_eq!(apply(&d, "ant", 3, &[("memory_values", "1=2,2=2")]), "applied");
    let later = "the later name wins, the base is the lowest";
    assert_eq!(d.cells(), [(0, 1), (1, 3), (2, 2)], "{later}");
    assert_eq!(apply(&d, "zoo", 4, &[]), "applied");
    let falls = "what leaves its layer falls back";
    assert_eq!(d.cells(), [(0, 1), (1, 2), (2, 2)], "{falls}");
    d.remove("ant", Timestamp::default());
    assert_eq!(d.cells(), [(0, 1), (1, 1)]);
    assert!(d.check_led().is_err());
    d.remove(BASE, Timestamp::default());
    assert_eq!((d.cells(), d.check_led()), (vec![], Ok(())));
}

#[test]
fn a_wrong_entry_rejects_the_whole_and_keeps_the_last_good_state() {
    let d = devices();
    apply(&d, BASE, 1, &[("memory_values", "0=1"), ("gpio", "2=high")]);
    let words = apply(&d, BASE, 2, &[("memory_values", "0=9"), ("gpio", "2=maybe")]);
    assert!(
        words.starts_with("gpio: entry \"2=maybe\": a pin is low, "),
        "{words}"
    );
    assert_eq!(d.cells(), [(0, 1)]);
    assert_eq!(d.last_update(), Some(Timestamp::from_seconds(1)));
    let words = condition(&d);
    assert!(words.contains("stays: gpio: entry \"2=maybe\""), "{words}");
    let same = apply(&d, BASE, 2, &[]);
    assert_eq!(same, "", "the same version again changes nothing");
    assert_eq!(apply(&d, BASE, 3, &[("memory_values", "0=9")]), "applied");
    assert_eq!(d.cells(), [(0, 9)]);
    let words = condition(&d);
    assert!(words.starts_with("1 memory cell, 0 pins and no LED"), "{words}");
}

#[test]
fn a_successor_of_the_same_name_does_not_inherit() {
    let d = devices();
    apply(&d, BASE, 1, &[("memory_values", "0=1")]);
    let (mut metadata, mut parser) = map(BASE, 2, &[("memory_values", "bad")]);
    metadata.uid = "another".into();
    assert!(d.apply(&metadata, &mut parser, Timestamp::from_seconds(2)));
    assert_eq!(d.cells(), []);
    assert_eq!(d.last_update(), Some(Timestamp::from_seconds(2)));
    assert!(!condition(&d).contains("stays"), "{}", condition(&d));
}

#[test]
fn pins_follow_and_are_released() {
    let (d, board) = (devices(), Board::default());
    let drive = || {
        d.drive(&board);
        board.take()
    };
    apply(&d, BASE, 1, &[("gpio", "2=high,3=low")]);
    assert_eq!(drive(), [(2, PinMode::High), (3, PinMode::Low)]);
    assert_eq!(drive(), [], "nothing is applied twice");
    apply(&d, "over", 2, &[("gpio", "2=low")]);
    assert_eq!(drive(), [(2, PinMode::Low)]);
    d.remove(BASE, Timestamp::default());
    assert_eq!(drive(), [(3, PinMode::Unset)]);
    d.remove("over", Timestamp::default());
    assert_eq!(drive(), [(2, PinMode::Unset)]);
}

#[test]
fn first_names_are_followed_when_there_are_too_many() {
    let d = devices();
    for n in 1..=LABELLED as u32 {
        assert_eq!(apply(&d, &format!("map-{n}"), n, &[]), "applied");
    }
    assert_eq!(apply(&d, "map-9", 9, &[]), "no room");
    assert_eq!(apply(&d, BASE, 10, &[]), "applied", "its room is reserved");
    assert_eq!(d.layers(), LABELLED + 1);
    apply_to(&d, "map-0", 11, &[]);
    let wanted = [("map-8", "no room"), ("map-0", "applied")];
    assert_eq!(
        reports(&d),
        wanted.map(|(name, words)| (name.into(), words.into()))
    );
    assert!(!d.has_room());
    d.remove("map-1", Timestamp::default());
    assert!(d.has_room());
    d.list_begins(false);
    assert!(
        !d.has_room(),
        "the list that is read will name what was turned away"
    );
}

#[test]
fn conflict_names_the_owner() {
    for (base, over, words) in [
        (
            "4=pwm:1@1000",
            "5=pwm:1@50",
            "! gpio: entry \"5=pwm:1@50\": pin 5 shares PWM slice 2 with pin 4, which ConfigMap pico-config sets to pwm:1@1000; both need the same frequency",
        ),
        (
            "5=pwm:1@50",
            "4=pwm:1@1000",
            "! gpio: entry \"4=pwm:1@1000\": pin 4 shares PWM slice 2 with pin 5, which ConfigMap pico-config sets to pwm:1@50; both need the same frequency",
        ),
        (
            "4=pwm:1",
            "20=pwm:2",
            "! gpio: entry \"20=pwm:2\": pin 20 shares PWM slice 2 with pin 4, which ConfigMap pico-config sets to pwm:1; both need the same duty",
        ),
    ] {
        let d = devices();
        apply(&d, BASE, 1, &[("gpio", base)]);
        assert_eq!(apply(&d, "over", 2, &[("gpio", over)]), words);
        assert_eq!(d.state.borrow().claims.len(), 1);
    }
}

#[test]
fn pin_takes_the_frequency_of_its_slice_when_it_names_none() {
    let (d, board) = (devices(), Board::default());
    apply(&d, BASE, 1, &[("gpio", "4=pwm:128,5=pwm:128@50,6=pwm:1")]);
    d.drive(&board);
    let wanted = [(4, pwm(128, 50)), (5, pwm(128, 50)), (6, pwm(1, 1000))];
    assert_eq!(board.modes(), wanted);
    apply(&d, BASE, 2, &[("gpio", "4=pwm:128")]);
    d.drive(&board);
    assert_eq!(board.modes(), [(4, pwm(128, 1000))]);
}

const fn pwm(duty: u8, hertz: u32) -> PinMode {
    PinMode::Pwm { duty, hertz }
}

#[test]
fn higher_layer_cures_the_conflict_of_a_lower_one() {
    let (d, board) = (devices(), Board::default());
    let base = [("gpio", "4=pwm:1@1000,5=pwm:1@50"), ("memory_values", "0=1")];
    assert!(apply(&d, BASE, 1, &base).starts_with("! "));
    assert_eq!(apply(&d, BASE, 1, &base), "", "it is reported once");
    apply_to(&d, "over", 2, &[("gpio", "5=pwm:1@1000")]);
    let wanted = [(BASE, "cured"), ("over", "applied")];
    assert_eq!(
        reports(&d),
        wanted.map(|(name, words)| (name.into(), words.into()))
    );
    d.drive(&board);
    assert_eq!(board.modes(), [(4, pwm(1, 1000)), (5, pwm(1, 1000))]);
    assert_eq!(d.cells(), [(0, 1)]);
    d.remove("over", Timestamp::default());
    assert!(reports(&d)[0].1.starts_with("! "));
    d.drive(&board);
    assert_eq!((board.modes(), d.cells()), (vec![], vec![]));
}

#[test]
fn layer_is_in_force_when_what_it_yielded_to_is_not() {
    let (d, board) = (devices(), Board::default());
    apply(&d, "b", 1, &[("gpio", "7=pwm:1@50")]);
    apply(&d, "a", 2, &[("gpio", "5=pwm:1@50,6=pwm:1@1000")]);
    d.drive(&board);
    assert_eq!(board.modes(), [(5, pwm(1, 50)), (6, pwm(1, 1000))]);
    apply(&d, BASE, 3, &[("gpio", "4=pwm:1@1000")]);
    d.drive(&board);
    assert_eq!(board.modes(), [(4, pwm(1, 1000)), (7, pwm(1, 50))]);
}

#[test]
fn last_good_state_goes_when_a_lower_layer_is_in_its_way() {
    let d = devices();
    apply(&d, "over", 1, &[("gpio", "5=pwm:1@50")]);
    assert!(apply(&d, "over", 2, &[("gpio", "5=maybe")]).starts_with("gpio: "));
    apply_to(&d, BASE, 3, &[("gpio", "4=pwm:1@1000")]);
    let report = reports(&d).into_iter().find(|(name, _)| name == "over");
    let words = report.expect("it is reported").1;
    assert!(words.starts_with("! gpio: entry \"5=maybe\": "), "{words}");
}

fn refusal(result: Result<(), String>) -> String {
    result.err().unwrap_or_default()
}

#[test]
fn command_owns_what_no_config_map_does() {
    let (d, board) = (devices(), Board::default());
    assert_eq!(refusal(d.command_pin(4, pwm(1, OF_SLICE))), "");
    assert_eq!(refusal(d.command_pin(6, PinMode::High)), "");
    let words = refusal(d.command_pin(20, pwm(2, OF_SLICE)));
    assert!(
        words.contains("pin 4, which a command sets to pwm:1; both need the same duty"),
        "{words}"
    );
    apply(&d, BASE, 1, &[("gpio", "5=pwm:7@50,6=low,7=low")]);
    d.drive(&board);
    let wanted = [
        (4, pwm(1, 50)),
        (5, pwm(7, 50)),
        (6, PinMode::Low),
        (7, PinMode::Low),
    ];
    assert_eq!(
        board.modes(),
        wanted,
        "a ConfigMap takes the pin of a command, and the frequency of its slice"
    );
    let words = refusal(d.command_pin(7, PinMode::High));
    assert_eq!(
        words,
        "ConfigMap pico-config says what pin 7 does: change it there"
    );
    apply(&d, BASE, 2, &[("gpio", "20=pwm:9")]);
    d.drive(&board);
    assert_eq!(
        board.modes(),
        [(20, pwm(9, 1000))],
        "and what does not go with it"
    );
    d.remove(BASE, Timestamp::default());
    d.drive(&board);
    assert_eq!(board.modes(), [], "a command does not come back");
    assert_eq!(reports(&d), []);
}

#[test]
fn config_map_comes_before_a_command_on_the_led() {
    let d = devices();
    d.command_led(LedMode::On);
    apply(&d, BASE, 1, &[("led", "blink:500")]);
    let words = refusal(d.check_led());
    assert_eq!(
        words,
        "ConfigMap pico-config says what the LED shows: change it there"
    );
    d.remove(BASE, Timestamp::default());
    assert_eq!((d.check_led(), d.state.borrow().commanded_led), (Ok(()), None));
}

/// What one of a few ConfigMaps says: `None` is that it is gone.
type Change = (&'static str, Option<Vec<String>>);

fn change() -> impl Strategy<Value = Change> {
    let entry = prop_oneof![
        3 => (2u8..8, 0u8..3, prop::sample::select(vec![0u32, 50, 1000])).prop_map(|(pin, duty, hertz)| match hertz {
            0 => format!("{pin}=pwm:{duty}"),
            hertz => format!("{pin}=pwm:{duty}@{hertz}"),
        }),
        1 => (18u8..23, 0u8..3).prop_map(|(pin, duty)| format!("{pin}=pwm:{duty}")),
        1 => (2u8..8, any::<bool>()).prop_map(|(pin, high)| format!("{pin}={}", if high { "high" } else { "low" })),
    ];
    let name = prop::sample::select(vec![BASE, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    let content = prop::option::weighted(0.8, prop::collection::vec(entry, 0..4));
    (name, content).prop_map(|(name, content)| {
        let distinct = content.map(|entries| {
            let by_pin: BTreeMap<String, String> = entries
                .into_iter()
                .map(|entry| (entry.split('=').next().unwrap_or_default().to_string(), entry))
                .collect();
            by_pin.into_values().collect()
        });
        (name, distinct)
    })
}

/// A device, the cluster whose ConfigMaps it follows, and what its pins do.
#[derive(Default)]
struct World {
    maps: BTreeMap<&'static str, (u32, Vec<String>)>,
    board: Board,
}

impl World {
    /// Reads the list of the labelled ConfigMaps, as long as there is room for one that was turned away.
    fn relist(&self, devices: &Devices) {
        while devices.has_room() {
            self.list(devices);
        }
    }

    fn list(&self, devices: &Devices) {
        devices.list_begins(false);
        for (name, (version, entries)) in self.maps.iter().filter(|(name, _)| **name != BASE) {
            apply_to(devices, name, *version, &[("gpio", &entries.join(","))]);
        }
        devices.list_ends(false, Timestamp::default());
    }

    /// What a node that starts now would make of its pins, and which ConfigMaps it would reject.
    fn fresh(&self) -> (Vec<(u8, PinMode)>, Vec<String>) {
        let (devices, board) = (devices(), Board::default());
        self.list(&devices);
        if let Some((version, entries)) = self.maps.get(BASE) {
            apply_to(&devices, BASE, *version, &[("gpio", &entries.join(","))]);
        }
        devices.drive(&board);
        (board.modes(), rejected(&devices))
    }
}

fn rejected(devices: &Devices) -> Vec<String> {
    let state = devices.state.borrow();
    let layers = state.layers.iter().filter(|layer| layer.is_rejected());
    layers.map(|layer| layer.name.to_string()).collect()
}

/// Whether the pins of a board can do all of this at once.
fn is_possible(modes: &[(u8, PinMode)]) -> bool {
    modes.iter().all(|(pin, mode)| {
        modes.iter().all(|(other, theirs)| match (mode, theirs) {
            (PinMode::Pwm { duty, hertz }, PinMode::Pwm { duty: d, hertz: h })
                if pin / 2 % 8 == other / 2 % 8 =>
            {
                hertz == h && (duty == d || pin % 2 != other % 2)
            }
            _ => true,
        })
    })
}

proptest! {
    /// The order in which ConfigMaps come does not matter, only what they say.
    #[test]
    fn layering_is_a_function_of_the_maps(maps in prop::collection::btree_map(prop::sample::select(vec![BASE, "a", "m", "q", "z"]), prop::collection::btree_map(0u16..8, any::<u8>(), 0..6), 0..5), order in any::<prop::sample::Index>()) {
        let d = devices();
        let mut entries: Vec<_> = maps.iter().collect();
        if !entries.is_empty() {
            let at = order.index(entries.len());
            entries.rotate_left(at);
        }
        for (n, (name, values)) in entries.iter().enumerate() {
            let text: Vec<String> = values.iter().map(|(at, value)| format!("{at}={value}")).collect();
            apply(&d, name, n as u32, &[("memory_values", &text.join(","))]);
        }
        let mut want = BTreeMap::new();
        for name in [BASE, "a", "m", "q", "z"] {
            want.extend(maps.get(name).into_iter().flatten().map(|(at, value)| (*at, *value)));
        }
        prop_assert_eq!(d.cells().into_iter().collect::<BTreeMap<_, _>>(), want);
    }

    /// Whatever came before, the pins are those of a node that starts now. A ConfigMap that is changed keeps its last good
    /// state while the change is rejected, which a node that starts now does not know; one that is made anew does not.
    #[test]
    fn pins_are_a_function_of_the_config_maps(changes in prop::collection::vec(change(), 1..40), anew in any::<bool>()) {
        let (d, mut world) = (devices(), World::default());
        for (version, (name, content)) in changes.into_iter().enumerate() {
            let version = version as u32;
            match content {
                Some(entries) => {
                    if anew && world.maps.contains_key(name) {
                        d.remove(name, Timestamp::default());
                    }
                    apply_to(&d, name, version, &[("gpio", &entries.join(","))]);
                    world.maps.insert(name, (version, entries));
                }
                None => {
                    d.remove(name, Timestamp::default());
                    world.maps.remove(name);
                }
            }
            world.relist(&d);
            d.drive(&world.board);
            let (fresh, rejects) = world.fresh();
            let modes = world.board.modes();
            prop_assert!(is_possible(&modes), "{:?}", modes);
            if anew || rejects.is_empty() {
                prop_assert_eq!(modes, fresh);
            }
            prop_assert_eq!(rejected(&d), rejects);
        }
    }
}
