//! The shipped image of a Pico W, from reset through its bootloader, beside an in-memory cluster in emulated time: it becomes a
//! Ready node, and is one again after whatever happens to it.
//!
//! A test counts emulated time only, so that a busy machine changes nothing. What takes minutes of real time is asked for by
//! `PICOLET_LONG_TESTS`, and a shorter form of it runs always.

mod abuse;
mod console;
mod devices;
mod entropy;
mod joining;
mod life;
mod network;
mod power;
mod quirks;
mod radio;
mod time;
mod updates;
mod used;
mod weather;

use picolet_boot::Slot;
use picolet_emulator::Image as Program;
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_store::layout::{IMAGE_OFFSET, PICO_W};
use picolet_store::settings::Field;
use picolet_testbed::{Options, Testbed};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

const NODE: &str = "pico-1";
/// The pin that is watched.
const PIN: u32 = 2;
/// Many times what it takes.
const READY: Duration = Duration::from_secs(15);
/// How long after its network is back a node may need to be Ready.
const BACK: Duration = Duration::from_secs(20);

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here).expect("the image is built")
    })
}

/// The slot that the firmware runs in: A, or B if `PICOLET_SLOT` is `b`.
fn slot() -> Slot {
    match std::env::var("PICOLET_SLOT").as_deref() {
        Ok("b") => Slot::B,
        _ => Slot::A,
    }
}

/// A UF2 file that leaves the firmware confirmed in its slot.
fn image_file() -> Vec<u8> {
    image().uf2_in(slot()).expect("a UF2 file")
}

/// The address of the firmware's vector table.
fn vectors() -> u32 {
    PICO_W.slots[slot().index()].address() + IMAGE_OFFSET
}

/// Whether tests run that take minutes.
fn is_long() -> bool {
    std::env::var_os("PICOLET_LONG_TESTS").is_some()
}

/// A board with the file that a user drags onto it, and settings.
struct Bench {
    testbed: Testbed,
    log: String,
    /// The latest time that the Lease had.
    renewed: String,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default(), &[])
    }

    /// A board that never had power, with these settings beside what every node needs.
    fn with(options: Options, more: &[(Field, &[u8])]) -> Self {
        Self::assembled(options, |testbed| testbed.settings(NODE, more))
    }

    /// A board that never had power, and a bootstrap token in place of certificates.
    fn joining(options: Options) -> Self {
        Self::assembled(options, |testbed| testbed.joining_settings(NODE, &[]))
    }

    fn assembled(options: Options, settings: impl Fn(&Testbed) -> anyhow::Result<Program>) -> Self {
        let mut testbed = Testbed::new(options).expect("certificates");
        let settings = settings(&testbed).expect("settings");
        let firmware = Program::parse(&image_file()).expect("it is a UF2 file");
        testbed.board.load(&firmware).expect("it fits");
        testbed.board.load(&settings).expect("they fit");
        Self {
            testbed,
            log: String::new(),
            renewed: String::new(),
        }
    }

    /// A board that is a Ready node, all its connections open.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.testbed.board.power_on();
        bench.expect_ready();
        bench.run(Duration::from_secs(5));
        bench
    }

    /// Runs until `done`, and says how long that took; `None` when it was not within `limit`. The Lease goes forward only,
    /// whatever happens.
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Testbed) -> bool) -> Option<Duration> {
        let Self {
            testbed,
            log,
            renewed,
            ..
        } = self;
        let result = testbed.until(limit, |testbed| {
            log.push_str(&String::from_utf8_lossy(&testbed.board.take_uart(0)));
            let lease = testbed.cluster.get("leases", "kube-node-lease", NODE);
            let now = lease.unwrap_or_default()["spec"]["renewTime"].clone();
            if let Some(now) = now.as_str() {
                assert!(
                    *now >= **renewed,
                    "the Lease went back from {renewed} to {now}\n{log}"
                );
                if now != renewed {
                    *renewed = now.to_owned();
                }
            }
            done(testbed)
        });
        result.unwrap_or_else(|error| panic!("{error:#}:\n{log}"))
    }

    /// Runs until `done`, which must be within `limit`; says how long it took.
    fn within(&mut self, limit: Duration, what: &str, done: impl FnMut(&mut Testbed) -> bool) -> Duration {
        let took = self.until(limit, done);
        took.unwrap_or_else(|| panic!("not within {limit:?}: {what}\n{}", self.log))
    }

    fn run(&mut self, duration: Duration) {
        self.until(duration, |_| false);
    }

    /// Runs until the log has `words`, and forgets the log up to now.
    fn expect(&mut self, words: &str, limit: Duration) {
        let Self { testbed, log, .. } = self;
        let found = testbed.until(limit, |testbed| {
            log.push_str(&String::from_utf8_lossy(&testbed.board.take_uart(0)));
            log.contains(words)
        });
        assert!(
            found.as_ref().is_ok_and(Option::is_some),
            "{words:?} did not come ({found:?}):\n{log}"
        );
        self.log.clear();
    }

    /// Runs until the API server has heard of a Ready node again.
    fn expect_ready(&mut self) {
        let before = self.testbed.connections();
        self.within(READY, "Ready", |testbed| {
            testbed.connections() > before && testbed.is_ready(NODE)
        });
    }

    /// Runs until the node is Ready and has renewed its Lease, within [`BACK`].
    fn expect_back(&mut self, after: &str) -> Duration {
        let lease = |testbed: &Testbed| {
            let lease = testbed.cluster.get("leases", "kube-node-lease", NODE);
            lease.unwrap_or_default()["spec"]["renewTime"].clone()
        };
        let before = lease(&self.testbed);
        let took = self.within(BACK, &format!("Ready after {after}"), |testbed| {
            testbed.is_ready(NODE) && lease(testbed) != before
        });
        println!("Ready {took:?} after {after}");
        took
    }

    /// Sets the pin by a ConfigMap and waits for it, so that the watches are seen to work.
    fn drive(&mut self, high: bool) {
        let level = if high { "high" } else { "low" };
        let data = json!({"data": {"gpio": format!("{PIN}={level}")}});
        let cluster = &self.testbed.cluster;
        let done = match cluster.get("configmaps", "default", "pico-config") {
            Ok(_) => cluster.patch("configmaps", "default", "pico-config", &data),
            Err(_) => {
                let object = json!({"metadata": {"name": "pico-config"}, "data": data["data"]});
                cluster.create("configmaps", "default", object)
            }
        };
        done.expect("the ConfigMap is taken");
        self.within(BACK, "the pin is driven", |testbed| {
            testbed.board.pin(PIN) == high
        });
    }

    /// The first line of `/metrics` that begins so.
    fn metric(&mut self, name: &str) -> String {
        let (_, metrics) = self.testbed.get("/metrics").expect("metrics");
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("there is no {name}")).to_owned()
    }

    /// The value of that metric.
    fn figure(&mut self, name: &str) -> u64 {
        let line = self.metric(name);
        let value = line
            .split_whitespace()
            .last()
            .and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("{line} has no value"))
    }

    fn object(&self) -> Value {
        self.testbed.cluster.get("nodes", "", NODE).unwrap_or_default()
    }
}
