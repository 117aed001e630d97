//! What anybody may send to the kubelet API: the head of a request, and the body of a command behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_http::{RequestHead, RequestLimits};
use picolet_kubelet::server::pico::Command;

fuzz_target!(|data: &[u8]| {
    let limits = RequestLimits {
        head_bytes: 16 * 1024,
        body_bytes: 4096,
    };
    let _ = Command::parse(data, "pico-1");
    let Ok(Some(head)) = RequestHead::parse(data, limits) else {
        return;
    };
    assert!(head.length <= data.len() && head.length <= limits.head_bytes);
    // A head is the same whatever follows it, and there is none before it has ended.
    let alone = RequestHead::parse(&data[..head.length], limits)
        .ok()
        .flatten()
        .expect("the same head");
    assert_eq!(
        (alone.length, alone.body, alone.error),
        (head.length, head.body, head.error)
    );
    assert!(!matches!(
        RequestHead::parse(&data[..head.length - 1], limits),
        Ok(Some(_))
    ));
    let (path, query, token) = (head.path(data), head.query(data), head.token(data));
    assert_eq!(
        (path, query, token),
        (alone.path(data), alone.query(data), alone.token(data))
    );
    assert!(!path.contains('?') && !path.contains(char::is_whitespace));
    if head.error.is_none() {
        assert!(path.starts_with('/') && head.body <= limits.body_bytes);
        let body = data.get(head.length..head.length + head.body).unwrap_or_default();
        let _ = Command::parse(body, "pico-1");
    } else {
        assert!(head.close, "where its end is unclear nothing may follow");
    }
});
