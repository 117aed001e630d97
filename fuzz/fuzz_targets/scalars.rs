//! Quantities and times: what is read is what was written, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_kube::{Quantity, Timestamp};

fuzz_target!(|text: &str| {
    if let Ok(quantity) = Quantity::parse(text)
        && quantity.milli() > i64::MIN
    {
        assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
    }
    if let Some(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.micro_time().to_string()), Some(time));
    }
    let _ = Timestamp::parse_http_date(text);
});
