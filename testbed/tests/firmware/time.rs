//! A board that no time server tells the time. Its clock stands at the commit's date, and the cluster's certificates are younger.

use crate::{Bench, NODE, READY};
use picolet_kube::Timestamp;
use picolet_platform::{Record, TimeFloor};
use picolet_store::settings::Field;
use picolet_testbed::Options;
use serde_json::Value;
use std::time::Duration;

#[test]
fn the_time_is_learned_before_a_credential_is_shown() {
    let mut bench = Bench::with(
        Options {
            time_server: false,
            ..Options::default()
        },
        &[],
    );
    // At first the server lies: it is years later than its own certificate is good for.
    bench
        .testbed
        .cluster
        .faults(|faults| faults.set_clock_skew(5 * 365 * 86_400));
    bench.testbed.board.power_on();
    bench.run(Duration::from_secs(60));
    let shaken = bench.testbed.handshakes();
    assert!(!shaken.is_empty(), "nobody was asked:\n{}", bench.log);
    let gave = shaken.iter().any(|handshake| handshake.certified);
    assert!(
        !gave,
        "a credential was shown to who lies about the time:\n{}",
        bench.log
    );

    // From now on it does not.
    let before = shaken.len();
    bench.testbed.cluster.faults(|faults| faults.set_clock_skew(0));
    let took = bench.within(4 * READY, "Ready by the API server's time", |testbed| {
        testbed.is_ready(NODE)
    });
    println!("Ready {took:?} after the API server tells the time");
    // The line is still on its way over the serial port.
    bench.run(Duration::from_secs(1));
    assert!(bench.log.contains("from the API server"), "{}", bench.log);
    let shaken = &bench.testbed.handshakes()[before..];
    let (asked, rest) = shaken.split_first().expect("it was asked again");
    assert!(!asked.certified && !asked.resumed, "{asked:?}");
    assert!(rest.iter().all(|handshake| handshake.certified), "{rest:?}");
    // The date is what says so, not a certificate that happened to be good.
    let node = bench.object();
    let conditions = node["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let synced = conditions
        .iter()
        .find(|condition| condition["type"] == "TimeSynced");
    assert!(synced.is_some(), "{node}");
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// How far a timestamp of the node may be ahead of the API server's `Date`.
const AHEAD: u64 = 5;
/// A minute after the start the time floor is stored.
const STORED: Duration = Duration::from_secs(70);

/// Clocks at power-on, in seconds against true time, and the time floor in flash.
struct Clocks {
    name: &'static str,
    /// The time server's; `None` where none answers.
    time_server: Option<i64>,
    api_server: i64,
    /// A record of a time floor as versions before 0.9 wrote it, in seconds against the true time.
    old_floor: Option<i64>,
}

const RIGHT: Clocks = Clocks {
    name: "all are right",
    time_server: Some(0),
    api_server: 0,
    old_floor: None,
};

/// The true time at power-on.
const TRUE: u64 = 1_893_456_000;

impl Clocks {
    fn bench(&self) -> Bench {
        let mut bench = Bench::with(
            Options {
                time_server: self.time_server.is_some(),
                ..Options::default()
            },
            &[],
        );
        self.set(&mut bench);
        if let Some(ahead) = self.old_floor {
            let floor = TRUE.saturating_add_signed(ahead).to_le_bytes();
            let stored = bench.testbed.store_record(Record::TimeFloor, &floor);
            stored.expect("a record");
        }
        bench
    }

    fn set(&self, bench: &mut Bench) {
        bench
            .testbed
            .set_time_server_offset(self.time_server.unwrap_or_default());
        bench
            .testbed
            .cluster
            .faults(|faults| faults.set_clock_skew(self.api_server));
    }
}

/// The times in `value` that the node wrote.
fn times(path: &str, value: &Value, found: &mut Vec<(String, Timestamp)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "metadata") {
                times(&format!("{path}.{name}"), value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| times(path, item, found)),
        Value::String(text) => found.extend(Timestamp::parse(text).map(|time| (path.to_owned(), time))),
        _ => {}
    }
}

impl Bench {
    /// Every time that the node has written, and where.
    fn times(&self) -> Vec<(String, Timestamp)> {
        let cluster = &self.testbed.cluster;
        let mut found = Vec::new();
        times("node", &self.object(), &mut found);
        for resource in ["events", "pods", "leases"] {
            let mut objects = cluster.list(resource, "", "", "").unwrap_or_default();
            // The cluster's controllers send events too.
            objects.retain(|object| resource != "events" || object["source"]["host"] == NODE);
            for object in objects {
                times(resource, &object, &mut found);
            }
        }
        found
    }

    fn renew_time(&self) -> Option<Timestamp> {
        let lease = self.testbed.cluster.get("leases", "kube-node-lease", NODE);
        Timestamp::parse(lease.unwrap_or_default()["spec"]["renewTime"].as_str()?)
    }

    /// Runs until the node is Ready and has renewed its Lease by the API server's clock, and checks that it has written
    /// no time that is ahead of that clock; of the Lease, unless it was already.
    fn expect_on_time(&mut self, what: &str) {
        let (before, written) = (self.renew_time(), self.times());
        self.within(4 * READY, &format!("Ready: {what}"), |testbed| {
            let lease = testbed.cluster.get("leases", "kube-node-lease", NODE);
            let renewed = Timestamp::parse(
                lease.unwrap_or_default()["spec"]["renewTime"]
                    .as_str()
                    .unwrap_or_default(),
            );
            testbed.is_ready(NODE) && renewed.is_some() && renewed != before
        });
        self.run(STORED);
        let latest = self.testbed.server_seconds() + AHEAD;
        let ahead = |time: &Timestamp| time.seconds() > latest;
        for (place, time) in self.times() {
            // Right when it was written.
            if written.contains(&(place.clone(), time)) {
                continue;
            }
            let excused = place.starts_with("leases") && before.as_ref().is_some_and(ahead);
            assert!(
                excused || !ahead(&time),
                "{what}: {place} is {}, the API server's clock {}\n{}",
                time.time(),
                Timestamp::from_seconds(self.testbed.server_seconds()).time(),
                self.log
            );
        }
    }

    /// Checks that the time floor in flash is the API server's time, less what clocks may differ by.
    fn expect_floor(&self, what: &str) {
        let latest = self.testbed.server_seconds();
        let floor = self.testbed.load_record(Record::TimeFloor).expect("records");
        let floor = floor
            .first_chunk()
            .map_or(0, |seconds| u64::from_le_bytes(*seconds));
        assert!(
            (latest - 600..=latest).contains(&floor),
            "{what}: the time floor is {}\n{}",
            Timestamp::from_seconds(floor).time(),
            self.log
        );
    }

    fn time_synced(&self) -> (String, String) {
        let node = self.object();
        let conditions = node["status"]["conditions"].as_array().cloned();
        let synced = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "TimeSynced")
            .unwrap_or_default();
        let text = |field: &str| synced[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }
}

/// The clock suite: whatever is wrong when the board gets power, it is a Ready node on the API server's time, and is one again
/// after a power cycle with every clock right.
fn survives(clocks: &Clocks) {
    let mut bench = clocks.bench();
    bench.testbed.board.power_on();
    bench.expect_on_time(clocks.name);
    bench.expect_floor(clocks.name);
    assert_eq!(
        bench.time_synced().0,
        "True",
        "{}: {:?}",
        clocks.name,
        bench.time_synced()
    );
    RIGHT.set(&mut bench);
    bench.testbed.board.power_cycle();
    let what = format!("{}, then right after a power cycle", clocks.name);
    bench.expect_on_time(&what);
    bench.expect_floor(&what);
}

#[test]
fn board_follows_api_server_when_time_server_is_years_off() {
    for (name, offset) in [
        ("a time server 10 years ahead", 10 * YEAR),
        ("a time server 10 years behind", -10 * YEAR),
    ] {
        survives(&Clocks {
            name,
            time_server: Some(offset),
            ..RIGHT
        });
    }
}

#[test]
fn board_follows_api_server_when_time_server_is_days_off() {
    for (name, offset) in [
        ("a time server 20 days ahead", 20 * DAY),
        ("a time server 20 days behind", -20 * DAY),
    ] {
        survives(&Clocks {
            name,
            time_server: Some(offset),
            ..RIGHT
        });
    }
}

#[test]
fn board_follows_api_server_when_its_clock_is_wrong() {
    for (name, skew) in [
        ("an API server an hour ahead", HOUR),
        ("an API server 50 minutes behind", -50 * 60),
        ("an API server 10 minutes ahead", 600),
        ("an API server 10 minutes behind", -600),
    ] {
        survives(&Clocks {
            name,
            api_server: skew,
            ..RIGHT
        });
    }
}

#[test]
fn board_becomes_ready_when_an_old_time_floor_is_wrong() {
    for time_server in [Some(0), None] {
        survives(&Clocks {
            name: "an old time floor 10 years ahead",
            time_server,
            old_floor: Some(10 * YEAR),
            ..RIGHT
        });
    }
}

#[test]
fn running_board_ignores_time_server_that_contradicts_api_server() {
    let mut bench = Clocks {
        time_server: None,
        ..RIGHT
    }
    .bench();
    bench.testbed.board.power_on();
    bench.expect_on_time("no time server");
    bench.testbed.set_time_server(true);
    bench.testbed.set_time_server_offset(20 * DAY);
    // It is asked every 64 s at most.
    bench.run(Duration::from_secs(70));
    bench.expect_on_time("a time server that jumps");
}

#[test]
fn running_board_follows_api_server_when_its_clock_jumps() {
    let mut bench = Clocks {
        api_server: HOUR,
        ..RIGHT
    }
    .bench();
    bench.testbed.board.power_on();
    bench.expect_on_time("an API server an hour ahead");
    for (what, skew) in [
        ("stepped back", 0),
        ("stepped forward", 600),
        ("stepped back again", -600),
    ] {
        bench.testbed.cluster.faults(|faults| faults.set_clock_skew(skew));
        bench.expect_on_time(what);
    }
}

/// The API server's clock was ahead once.
#[test]
fn board_drops_time_floor_when_a_verified_server_contradicts_it() {
    let mut bench = RIGHT.bench();
    let floor = TimeFloor(TRUE + 20 * DAY.cast_unsigned()).to_record();
    let stored = bench.testbed.store_record(Record::TimeFloor, &floor);
    stored.expect("a record");
    bench.testbed.board.power_on();
    bench.expect_on_time("a time floor 20 days ahead");
    bench.expect_floor("a time floor 20 days ahead");
    let dropped = "time floor 2030-01-21T00:00:00Z dropped";
    assert!(bench.log.contains(dropped), "{}", bench.log);
}

/// Whoever stole the key of a certificate that expired before the floor is refused; so is a server when the floor is wrong.
#[test]
fn board_forgets_time_floor_when_its_identity_is_reset() {
    let mut bench = RIGHT.bench();
    let floor = TimeFloor(TRUE + 10 * YEAR.cast_unsigned()).to_record();
    let stored = bench.testbed.store_record(Record::TimeFloor, &floor);
    stored.expect("a record");
    bench.testbed.board.power_on();
    bench.run(2 * READY);
    assert!(!bench.testbed.is_ready(NODE), "{}", bench.log);
    let remedy = "or reset the node's identity";
    assert!(bench.log.contains(remedy), "{}", bench.log);

    let number = 7_u64.to_le_bytes();
    let settings = bench.testbed.settings(NODE, &[(Field::ResetIdentity, &number)]);
    let loaded = bench.testbed.board.load(&settings.expect("settings"));
    loaded.expect("they fit");
    bench.testbed.board.power_cycle();
    bench.expect_on_time("the identity is reset");
    bench.expect_floor("the identity is reset");
}
