//! What an API server may send on a list or a watch: any bytes, cut anywhere, read as any of the types that a node
//! follows. Cutting must not matter, and nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_http::ResponseReader;
use picolet_kube::config_map::{ConfigMap, Data};
use picolet_kube::envelope::{Each, Envelope, Event, Object, Single};
use picolet_kube::lease::Lease;
use picolet_kube::node::Node;
use picolet_kube::pod::PodReader;

/// Counts what it is given.
#[derive(Default)]
struct Count(usize);

impl Data for Count {
    fn key(&mut self, key: &str) {
        self.0 += key.len();
    }
    fn piece(&mut self, piece: &[u8], _: bool) {
        self.0 += piece.len();
    }
    fn binary(&mut self, key: &str) {
        self.0 += key.len();
    }
    fn reset(&mut self) {
        self.0 = 0;
    }
}

fn watched<T: Object>(object: T, pieces: &[&[u8]]) -> (usize, String, bool) {
    let mut watch = Envelope::watch(T::SHAPE, "1");
    let mut events = 0;
    let mut objects = Each {
        object,
        on: |event: Event<'_>, _: &mut T| events += usize::from(event != Event::Bookmark),
    };
    let valid = pieces.iter().all(|piece| watch.feed(piece, &mut objects).is_ok());
    (events, watch.place().unwrap_or_default().into(), valid)
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let (a, b) = data.split_at(usize::from(cut).min(data.len()));
    assert_eq!(
        watched(PodReader::default(), &[data]),
        watched(PodReader::default(), &[a, b])
    );
    let whole = watched(ConfigMap::new(Count::default()), &[data]);
    assert_eq!(whole, watched(ConfigMap::new(Count::default()), &[a, b]));
    let mut pods = Each {
        object: PodReader::default(),
        on: |_: Event<'_>, _: &mut PodReader| {},
    };
    let _ = Envelope::list(PodReader::SHAPE).feed(data, &mut pods);
    let mut node = Single::<Node>::default();
    let _ = node.feed(data);
    let mut lease = Single::<Lease>::default();
    let _ = lease.feed(data);
    if let Ok((taken, Some((_, mut body)))) = ResponseReader::default().take(data, &mut |_, _| {}) {
        let mut rest = &data[taken..];
        while let Ok((taken @ 1.., _)) = body.take(rest) {
            rest = &rest[taken..];
        }
    }
});
