//! What ConfigMaps make of the pins of a board, by its registers.

use super::{BACK, Bench};
use serde_json::json;
use std::time::Duration;

impl Bench {
    /// Creates or changes `pico-config`.
    fn configure(&mut self, gpio: &str) {
        let cluster = &self.testbed.cluster;
        let data = json!({"gpio": gpio});
        let done = match cluster.get("configmaps", "default", "pico-config") {
            Ok(_) => cluster.patch("configmaps", "default", "pico-config", &json!({"data": data})),
            Err(_) => {
                let object = json!({"metadata": {"name": "pico-config"}, "data": data});
                cluster.create("configmaps", "default", object)
            }
        };
        done.expect("the ConfigMap is taken");
    }

    /// How often a pin rises in a second, and for how many thousandths of it the pin is high.
    fn pulses(&mut self, pin: u32) -> (u32, u32) {
        self.testbed.board.set_pin_log(true);
        let (begin, mut level) = (self.testbed.now(), self.testbed.board.pin(pin));
        self.run(Duration::from_secs(1));
        let (mut rises, mut high, mut since) = (0, Duration::ZERO, begin);
        for (at, levels) in self.testbed.board.take_pin_log() {
            let now = levels >> pin & 1 == 1;
            if now != level {
                rises += u32::from(now);
                high += at.since(since) * u32::from(level);
                (level, since) = (now, at);
            }
        }
        self.testbed.board.set_pin_log(false);
        (rises, ((high.as_micros() + 500) / 1000) as u32)
    }

    /// Waits until both pins have these pulses.
    #[track_caller]
    fn expect_pulses(&mut self, wanted: [(u32, (u32, u32)); 2]) {
        let mut found = Vec::new();
        for _ in 0..BACK.as_secs() {
            found = wanted.map(|(pin, _)| (pin, self.pulses(pin))).to_vec();
            if found == wanted {
                return;
            }
        }
        panic!("{found:?} and not {wanted:?}\n{}", self.log);
    }
}

#[test]
fn pins_of_one_pwm_slice_change_their_frequency_together() {
    let mut bench = Bench::ready();
    bench.configure("4=pwm:51@1000,5=pwm:204@1000");
    bench.expect_pulses([(4, (1000, 200)), (5, (1000, 800))]);
    bench.configure("4=pwm:51@50,5=pwm:204@50");
    bench.expect_pulses([(4, (50, 200)), (5, (50, 800))]);
    // The README's example: a pin without a frequency takes that of its slice.
    bench.configure("2=high,3=low,4=pwm:128,5=pwm:128@50");
    bench.expect_pulses([(4, (50, 502)), (5, (50, 502))]);
    assert!(bench.testbed.board.pin(2) && !bench.testbed.board.pin(3));
}
