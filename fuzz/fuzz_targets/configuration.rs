//! What a person may write into a ConfigMap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_kubelet::devices::check;
use picolet_platform::PinSet;

fuzz_target!(|data: &[u8]| {
    let Some((&which, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let key = ["memory_values", "gpio", "led", "other"][usize::from(which % 4)];
    let pins = PinSet::range(2, 22).union(PinSet::range(26, 28));
    let first = check(key, text, pins);
    assert_eq!(first, check(key, text, pins));
    if let Err(rejection) = first {
        assert!(!rejection.to_string().is_empty());
    }
});
