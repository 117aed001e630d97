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

    /// The frequency of a pin in hertz, and for how many thousandths of the time it is high: by the whole periods within half
    /// a second. Zeros where there are none.
    fn pulses(&mut self, pin: u32) -> (u32, u32) {
        self.testbed.board.set_pin_log(true);
        let mut level = self.testbed.board.pin(pin);
        self.run(Duration::from_millis(500));
        let (mut rises, mut falls) = (Vec::new(), Vec::new());
        for (at, levels) in self.testbed.board.take_pin_log() {
            let now = levels >> pin & 1 == 1;
            match (level, now) {
                (false, true) => rises.push(at),
                (true, false) if !rises.is_empty() => falls.push(at),
                _ => {}
            }
            level = now;
        }
        self.testbed.board.set_pin_log(false);
        let [first, .., last] = rises[..] else {
            return (0, 0);
        };
        let whole = last.since(first).as_secs_f64();
        let high = rises.iter().zip(&falls).take(rises.len() - 1);
        let high: f64 = high.map(|(rise, fall)| fall.since(*rise).as_secs_f64()).sum();
        let hertz = (rises.len() - 1) as f64 / whole;
        (hertz.round() as u32, (1000.0 * high / whole).round() as u32)
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
