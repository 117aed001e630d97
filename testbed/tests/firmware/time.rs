//! A board that no time server tells the time. Its clock stands at the commit's date, and the cluster's certificates are younger.

use crate::{Bench, NODE, READY};
use picolet_testbed::Options;
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
    assert!(bench.log.contains("says the API server"), "{}", bench.log);
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
