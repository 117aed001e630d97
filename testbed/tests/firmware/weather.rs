//! Frames are lost and late.

use crate::{Bench, NODE};
use picolet_emulator::net::Conditions;
use std::time::Duration;

fn conditions(text: &str) -> Conditions {
    text.parse().expect("conditions")
}

#[test]
fn a_tenth_lost_and_200_ms_late_is_no_outage_and_a_third_lost_is_made_up_for() {
    let mut bench = Bench::ready();
    let resets = bench.testbed.board.figures().resets;
    bench
        .testbed
        .set_conditions(conditions("loss=10%,delay=200ms,seed=3"));
    let minutes = Duration::from_secs(600);
    let lost = bench.until(minutes, |testbed| !testbed.is_ready(NODE));
    assert_eq!(lost, None, "not Ready after so long:\n{}", bench.log);

    bench.testbed.set_conditions(conditions("loss=30%,seed=4"));
    bench.run(Duration::from_secs(120));
    bench.testbed.set_conditions(Conditions::default());
    bench.expect_back("two minutes with a loss of 30 %");
    bench.drive(true);
    assert_eq!(
        bench.testbed.board.figures().resets,
        resets,
        "it was done without a restart"
    );
}
