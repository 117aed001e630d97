//! A board that joins by its token: power is lost meanwhile, its certificates end while it is switched off or away, nobody tells
//! it the time, or the cluster's authority is another.

use crate::{Bench, NODE, READY, is_long};
use picolet_devcluster::host::Pki;
use picolet_emulator::PowerCut;
use picolet_store::settings::Field;
use picolet_testbed::{Options, Testbed};
use std::time::Duration;

/// How long after all is well a node may need for both certificates: what failed is tried again after a minute at most.
const JOINED: Duration = Duration::from_secs(120);
/// How long certificates live here, and an absence that is longer.
const LIFE: Duration = Duration::from_secs(600);
const AWAY: Duration = Duration::from_secs(700);
/// Power cuts in the short form: one for each certificate. And in the long one.
const FEW: u64 = 2;
const MANY: u64 = 40;

/// The condition `CertificatesValid`: its status.
fn certificates(testbed: &Testbed) -> String {
    let node = testbed.cluster.get("nodes", "", NODE).unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|one| one["type"] == "CertificatesValid");
    let status = found.next().and_then(|one| one["status"].as_str());
    status.unwrap_or_default().to_owned()
}

fn lease(testbed: &Testbed) -> String {
    let lease = testbed.cluster.get("leases", "kube-node-lease", NODE);
    lease.unwrap_or_default()["spec"]["renewTime"].to_string()
}

/// How many client and serving certificates were asked for.
fn requests(testbed: &Testbed) -> [usize; 2] {
    let count = |purpose| testbed.certificate_requests(NODE, purpose).expect("a list").len();
    [count("client"), count("serving")]
}

/// Approves each request once.
fn approver() -> impl FnMut(&Testbed) {
    let mut approved = 0;
    move |testbed| {
        let asked = requests(testbed)[1];
        if asked > approved {
            approved = testbed.approve_serving(NODE).expect("approved");
        }
    }
}

impl Bench {
    /// Runs until the node is Ready anew and serves, while somebody approves.
    fn expect_joined(&mut self, after: &str) {
        let (before, mut approve) = (lease(&self.testbed), approver());
        let took = self.within(JOINED, &format!("joined after {after}"), |testbed| {
            approve(testbed);
            lease(testbed) != before && testbed.is_ready(NODE) && certificates(testbed) == "True"
        });
        // What the cluster knows may be old by now, and the port is looked after once a second.
        let end = self.testbed.now() + JOINED;
        loop {
            self.until(Duration::from_secs(2), |testbed| {
                approve(testbed);
                false
            });
            match self.testbed.get("/healthz") {
                Ok((200, _)) => break,
                answer if self.testbed.now() > end => panic!("{answer:?}\n{}", self.log),
                _ => {}
            }
        }
        println!("joined {took:?} after {after}");
    }

    fn instructions(&self) -> u64 {
        self.testbed.board.figures().instructions
    }
}

#[test]
fn power_cuts_while_it_joins_are_made_up_for() {
    let mut bench = Bench::joining(Options::default());
    bench.testbed.board.power_on();
    bench.within(READY, "a connection", |testbed| testbed.connections() > 0);
    let begin = bench.instructions();
    bench.within(READY, "a node", |testbed| requests(testbed)[1] > 0);
    let middle = bench.instructions();
    bench.expect_joined("power-on");
    let end = bench.instructions();
    drop(bench);

    let all = std::env::var_os("PICOLET_LONG_TESTS").is_some();
    let mut random = fastrand::Rng::with_seed(7);
    for number in 0..if all { MANY } else { FEW } {
        // The same again, to the instruction.
        let mut bench = Bench::joining(Options::default());
        bench.testbed.board.power_on();
        let at = match number % 2 {
            0 => random.u64(begin..middle),
            _ => random.u64(middle..end),
        };
        bench.testbed.board.cut_power_at(PowerCut::Instruction(at));
        let mut approve = approver();
        let lost = bench.testbed.until(JOINED, |testbed| {
            approve(testbed);
            false
        });
        let lost = lost.expect_err("power is lost").to_string();
        assert!(lost.contains("power was lost"), "{lost}");
        let before = requests(&bench.testbed);
        bench.testbed.board.power_cycle();
        bench.expect_joined(&format!(
            "power was lost at instruction {at}, with {before:?} requests"
        ));
        // It goes on with what it had requested.
        assert_eq!(requests(&bench.testbed), [1, 1], "{}", bench.log);
    }
}

#[test]
fn board_joins_when_run_is_pressed_in_the_middle_of_a_flash_operation() {
    let slow = || {
        let mut bench = Bench::joining(Options::default());
        // An erase takes 400 ms then: the boot ROM has to wait for it.
        bench.testbed.board.set_slow_flash(true);
        bench.testbed.board.power_on();
        bench
    };
    let mut bench = slow();
    bench.expect_joined("power-on");
    let operations = bench.testbed.board.flash_operations();
    drop(bench);
    assert!(operations > 20, "{operations} operations");
    let step = if is_long() { 1 } else { 11 };
    for number in (1..=operations).step_by(step) {
        let mut bench = slow();
        bench.testbed.board.press_run_in(number, 100);
        bench.expect_joined(&format!("RUN was pressed in operation {number} of the flash"));
        assert_eq!(bench.testbed.board.figures().resets, 1, "{}", bench.log);
        assert_eq!(requests(&bench.testbed), [1, 1], "{}", bench.log);
        assert!(!bench.log.contains("panic at"), "{}", bench.log);
    }
}

#[test]
fn serving_request_is_there_at_once_and_resumed_when_power_is_cut() {
    let mut bench = Bench::joining(Options::default());
    bench.testbed.board.power_on();
    bench.within(READY, "a node", |testbed| testbed.is_ready(NODE));
    bench.within(Duration::from_secs(2), "a request", |testbed| {
        requests(testbed) == [1, 1]
    });
    for _ in 0..2 {
        bench.run(Duration::from_secs(5));
        bench.testbed.board.power_cycle();
        bench.run(Duration::from_secs(30));
        assert_eq!(requests(&bench.testbed), [1, 1], "{}", bench.log);
    }
    bench.expect_joined("its power was cut before anybody approved");
    assert_eq!(requests(&bench.testbed), [1, 1], "{}", bench.log);
}

#[test]
fn certificates_that_end_while_it_is_off_or_away_are_asked_for_anew() {
    let mut bench = Bench::joining(Options {
        certificate_life: LIFE,
        ..Options::default()
    });
    bench.testbed.board.power_on();
    bench.expect_joined("power-on");
    bench.testbed.switch_off_for(AWAY);
    bench.expect_joined("it was switched off for longer than its certificates live");
    assert_eq!(requests(&bench.testbed), [2, 2], "{}", bench.log);
    if std::env::var_os("PICOLET_LONG_TESTS").is_some() {
        bench.testbed.set_access_point(false);
        bench.run(AWAY);
        bench.testbed.set_access_point(true);
        bench.expect_joined("the access point was away for longer than its certificates live");
        assert_eq!(requests(&bench.testbed), [3, 3], "{}", bench.log);
    }
}

#[test]
fn a_token_is_shown_by_the_api_servers_time_where_nobody_else_tells_it() {
    let mut bench = Bench::joining(Options {
        time_server: false,
        ..Options::default()
    });
    bench.testbed.board.power_on();
    bench.expect_joined("power-on without a time server");
    assert!(bench.log.contains("from the API server"), "{}", bench.log);
    assert_eq!(requests(&bench.testbed), [1, 1]);
}

#[test]
fn another_authority_is_told_of_and_shown_nothing() {
    let mut bench = Bench::joining(Options::default());
    bench.testbed.board.power_on();
    bench.expect_joined("power-on");
    // What the board is told to trust is not what the API server has: one of the two was replaced.
    let other = Pki::new().expect("an authority");
    let authority = [(Field::CertificateAuthority, &*other.ca().certificate_der)];
    let settings = bench
        .testbed
        .joining_settings(NODE, &authority)
        .expect("settings");
    bench.testbed.board.load(&settings).expect("they fit");
    bench.testbed.board.power_cycle();
    let before = bench.testbed.handshakes().len();
    // It has the other's name.
    let words = "a signature of the peer's certificate is wrong: is the CA file that of another cluster";
    bench.expect(words, READY);
    bench.run(Duration::from_secs(60));
    assert_eq!(
        bench.testbed.handshakes().len(),
        before,
        "a handshake was completed"
    );
    assert!(
        !bench.testbed.is_ready(NODE),
        "nobody has heard of it for a minute"
    );
    // The remedy. Who it is was kept.
    let settings = bench.testbed.joining_settings(NODE, &[]).expect("settings");
    bench.testbed.board.load(&settings).expect("they fit");
    bench.testbed.board.power_cycle();
    bench.expect_joined("the right authority");
    assert_eq!(requests(&bench.testbed), [1, 1], "{}", bench.log);
}
