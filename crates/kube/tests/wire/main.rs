//! Everything that we write is read by Kubernetes' own types without loss, and stands in golden files; everything that
//! we read is what those types write.

mod pod;
mod review;

use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use picolet_kube::certificate::{self, CertificateSigningRequest, Decision, Signer};
use picolet_kube::config_map::{ConfigMap, Data};
use picolet_kube::envelope::{Each, Envelope, Event, Object, Single};
use picolet_kube::event::{self, Reference, Severity};
use picolet_kube::lease::{self, Lease};
use picolet_kube::node::{self, ConditionReport, Node, StatusReport, SystemInfo, Truth};
use picolet_kube::pod::PodReader;
use picolet_kube::selector::Taint;
use picolet_kube::{Quantity, Timestamp};
use pod::pod_value;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Reads `text` as `T` and back: nothing of it may be lost.
fn lossless<T: Serialize + DeserializeOwned>(text: &str) {
    let ours: Value = serde_json::from_str(text).expect("JSON");
    let theirs: T = serde_json::from_str(text).expect("Kubernetes' type");
    let back = serde_json::to_value(theirs).expect("JSON");
    contained(&ours, &back, "$");
}

/// All that is in `ours` is in `theirs` (which may have gained `kind` and the like); times may be written differently.
fn contained(ours: &Value, theirs: &Value, path: &str) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let empty = value.is_null()
                    || matches!(value, Value::Object(o) if o.is_empty())
                    || matches!(value, Value::Array(o) if o.is_empty());
                match b.get(key) {
                    Some(other) if !value.is_null() => contained(value, other, &format!("{path}.{key}")),
                    _ => assert!(empty, "{path}.{key} was lost"),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                contained(a, b, &format!("{path}[{n}]"));
            }
        }
        (Value::String(a), Value::String(b)) if Timestamp::parse(a).is_some() => {
            assert_eq!(Timestamp::parse(a), Timestamp::parse(b), "{path}");
        }
        _ => assert_eq!(ours, theirs, "{path}"),
    }
}

const NOW: Timestamp = Timestamp::from_micros(1_795_353_522_000_042);

fn pretty(text: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).expect("JSON")).expect("JSON")
}

fn report<'a>(
    conditions: &'a [ConditionReport<'a>],
    capacity: &'a [(&'a str, Quantity)],
) -> StatusReport<'a> {
    StatusReport {
        name: "pico",
        address: "127.0.77.1",
        port: Some(10250),
        capacity,
        allocatable: capacity,
        info: SystemInfo {
            machine_id: "m",
            boot_id: "b",
            kubelet_version: "v1.36.0-picolet.0.1.0",
            ..Default::default()
        },
        conditions,
        heartbeat: NOW,
    }
}

#[test]
fn node() {
    let conditions = [ConditionReport {
        kind: "Ready",
        status: Truth::True,
        reason: "KubeletReady",
        message: "kubelet is posting ready status",
        last_transition: NOW,
    }];
    let capacity = [
        ("cpu", Quantity::new(2)),
        ("memory", Quantity::new(264 * 1024)),
        ("picolet.dev/gpio", Quantity::new(24)),
    ];
    let status = report(&conditions, &capacity);
    let taints = [Taint::parse("picolet.dev/microcontroller=true:NoSchedule").expect("a taint")];
    let mut out = String::new();
    node::write_node(&mut out, &[("kubernetes.io/os", "wasip1")], &taints, &status);
    lossless::<core::Node>(&out);
    insta::assert_snapshot!("node", pretty(&out));
    let mut single = Single::<Node>::default();
    single.feed(out.as_bytes()).expect("JSON");
    let read = single.finish().expect("whole");
    assert_eq!(
        (read.label("kubernetes.io/os"), &*read.boot_id, &read.taints[..]),
        (Some("wasip1"), "b", &taints[..])
    );
    assert_eq!(
        (&*read.conditions[0].kind, read.conditions[0].status),
        ("Ready", Truth::True)
    );
    assert_eq!(
        read.conditions[0].last_transition.map(Timestamp::seconds),
        Some(NOW.seconds())
    );

    out.clear();
    node::write_labels_patch(&mut out, &[("a", "b")]);
    assert_eq!(out, r#"{"metadata":{"labels":{"a":"b"}}}"#);
}

#[test]
fn status_patch_takes_back_what_is_no_longer_so() {
    let mut out = String::new();
    let status = StatusReport {
        port: None,
        ..report(&[], &[])
    };
    node::write_status_patch(&mut out, &status, &["CertificatesValid"]);
    let patch: Value = serde_json::from_str(&out).expect("JSON");
    let status = &patch["status"];
    assert_eq!(status["addresses"][0], json!({"$patch": "replace"}));
    assert_eq!(status["addresses"].as_array().map(Vec::len), Some(3));
    assert_eq!(status.get("daemonEndpoints"), Some(&Value::Null));
    assert_eq!(
        status["conditions"],
        json!([{"type": "CertificatesValid", "$patch": "delete"}])
    );
}

#[test]
fn node_is_read_right_when_it_has_more_than_is_kept() {
    let many = |entry: &dyn Fn(usize) -> Value| (0..100).map(entry).collect::<Vec<_>>();
    let mut conditions = many(&|n| json!({"type": format!("Foreign{n}"), "status": "Unknown"}));
    conditions.push(json!({"type": "Ready", "status": "True"}));
    let taints = many(&|n| json!({"key": format!("key-{n}"), "effect": "NoExecute"}));
    let labels: serde_json::Map<_, _> = (0..100)
        .map(|n| (format!("example.org/{n}"), json!("v".repeat(60))))
        .collect();
    let text = json!({"metadata": {"labels": labels}, "spec": {"taints": taints}, "status": {"conditions": conditions}});
    let mut single = Single::<Node>::default();
    single.feed(text.to_string().as_bytes()).expect("JSON");
    let read = single.finish().expect("whole");
    let [ready] = &read.conditions[..] else {
        panic!("{:?}", read.conditions);
    };
    assert_eq!((&*ready.kind, ready.status), ("Ready", Truth::True));
    assert!(read.truncated);
    assert_eq!(read.taints.len(), 32);
    assert!(read.taints.iter().all(|taint| &*taint.effect == "NoExecute"));
    let (key, value) = read.labels.last().expect("labels");
    assert_eq!(read.label(key), Some(&**value));
    let bytes: usize = read
        .labels
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!((3900..=4096).contains(&bytes), "{bytes}");
}

#[test]
fn lease() {
    let mut out = String::new();
    lease::write(&mut out, "pico", "uid", Some("7"), NOW, 40);
    lossless::<coordination::Lease>(&out);
    insta::assert_snapshot!("lease", pretty(&out));
    let mut single = Single::<Lease>::default();
    single.feed(out.as_bytes()).expect("JSON");
    let read = single.finish().expect("whole");
    assert_eq!(
        (read.renew_time, &*read.metadata.resource_version),
        (Some(NOW), "7")
    );
}

#[test]
fn event() {
    let event = event::Event {
        name: "pico.17",
        about: Reference {
            kind: "ConfigMap",
            namespace: "default",
            name: "pico-config",
            uid: "u",
        },
        severity: Severity::Warning,
        reason: "InvalidConfiguration",
        message: "memory_values: \"x\"",
        host: "pico",
        first: NOW,
        last: NOW,
        count: 3,
    };
    let mut out = String::new();
    event.write(&mut out);
    lossless::<core::Event>(&out);
    insta::assert_snapshot!("event", pretty(&out));
    out.clear();
    event.write_count(&mut out);
    assert_eq!(out, r#"{"lastTimestamp":"2026-11-22T13:18:42Z","count":3}"#);
}

#[test]
fn certificate_signing_request() {
    let mut out = String::new();
    certificate::write(&mut out, "csr-pico", Signer::Serving, "QQ==");
    lossless::<certificates::CertificateSigningRequest>(&out);
    insta::assert_snapshot!("certificate_signing_request", pretty(&out));
    let mut single = Single::<CertificateSigningRequest>::default();
    let answer = json!({"metadata": {"name": "csr-1"}, "status": {"certificate": "Q".repeat(4000), "conditions": [{"type": "Approved", "message": "ok"}]}});
    single.feed(answer.to_string().as_bytes()).expect("JSON");
    let request = single.finish().expect("whole");
    assert_eq!(
        (request.decision, request.certificate.len()),
        (Decision::Approved, 4000)
    );
    let mut single = Single::<CertificateSigningRequest>::default();
    single
        .feed(br#"{"status":{"conditions":[{"type":"Denied","message":"not yours"}]}}"#)
        .expect("JSON");
    assert_eq!(
        single.finish().expect("whole").decision,
        Decision::Denied("not yours".into())
    );
}

/// Keeps all data, for comparison.
#[derive(Default)]
struct Whole(Vec<(String, Vec<u8>)>);
impl Data for Whole {
    fn key(&mut self, key: &str) {
        self.0.push((key.into(), Vec::new()));
    }
    fn piece(&mut self, piece: &[u8], _last: bool) {
        self.0.last_mut().expect("a key").1.extend_from_slice(piece);
    }
    fn binary(&mut self, key: &str) {
        self.0.push((key.into(), b"binary".to_vec()));
    }
    fn reset(&mut self) {
        self.0.clear();
    }
}

#[test]
fn watch_and_list() {
    let config_map = |name: &str, version: &str| json!({"kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version, "labels": {"data": "no"}}, "data": {"led": "on"}, "binaryData": {"led": "b24="}});
    let mut events = String::new();
    for event in [
        json!({"type": "ADDED", "object": config_map("a", "5")}),
        json!({"object": config_map("b", "6"), "type": "MODIFIED"}),
        json!({"type": "DELETED", "object": config_map("a", "7")}),
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "metadata": {"resourceVersion": "9"}}}),
        json!({"type": "NOVEL", "object": config_map("c", "10")}),
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "metadata": {}}}),
    ] {
        events += &format!("{event}\n");
    }
    for step in [1, 7, 10_000] {
        let mut seen = Vec::new();
        let mut watch = Envelope::watch(<ConfigMap<Whole>>::SHAPE, "4");
        let mut maps = Each {
            object: ConfigMap::new(Whole::default()),
            on: |event: Event<'_>, map: &mut ConfigMap<Whole>| {
                seen.push(match event {
                    Event::Applied => format!("applied {} {:?}", map.metadata.name, map.data.0[0].0),
                    Event::Deleted => format!("deleted {}", map.metadata.name),
                    Event::Bookmark => "bookmark".into(),
                    Event::Error(status) => format!("error {} {}", status.code, status.reason),
                });
            },
        };
        for piece in events.as_bytes().chunks(step) {
            watch.feed(piece, &mut maps).expect("JSON");
        }
        assert!(watch.has_failed());
        assert_eq!(
            seen,
            [
                "applied a \"led\"",
                "applied b \"led\"",
                "deleted a",
                "bookmark",
                "error 410 Expired"
            ]
        );
        assert_eq!(watch.place(), Some("9"));
    }

    let list = json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": "12"}, "items": [config_map("a", "1"), config_map("b", "2")]}).to_string();
    let mut names = Vec::new();
    let mut reader = Envelope::list(<ConfigMap<Whole>>::SHAPE);
    let mut maps = Each {
        object: ConfigMap::new(Whole::default()),
        on: |_: Event<'_>, map: &mut ConfigMap<Whole>| {
            names.push((map.metadata.name.clone(), map.data.0.len()));
        },
    };
    for byte in list.as_bytes() {
        assert_eq!(reader.place(), None, "a list that was cut is no list");
        reader.feed(&[*byte], &mut maps).expect("JSON");
    }
    assert_eq!(reader.place(), Some("12"));
    assert_eq!(
        names,
        [("a".into(), 2), ("b".into(), 2)],
        "with the keys of binaryData"
    );
}

proptest! {
    #[test]
    fn any_condition_is_reported_without_loss(message in any::<String>(), reason in "[A-Z][A-Za-z]{0,30}", seconds in 0u64..4_000_000_000) {
        let conditions = [ConditionReport { kind: "X", status: Truth::Unknown, reason: &reason, message: &message, last_transition: Timestamp::from_seconds(seconds) }];
        let mut out = String::new();
        node::write_node(&mut out, &[], &[], &report(&conditions, &[]));
        lossless::<core::Node>(&out);
    }

    #[test]
    fn any_event_is_reported_without_loss(message in any::<String>(), name in "[a-z0-9.]{1,40}", count in 1u32..1000) {
        let event = event::Event { name: &name, about: Reference::node("pico"), severity: Severity::Normal, reason: "R", message: &message, host: "pico", first: NOW, last: NOW, count };
        let mut out = String::new();
        event.write(&mut out);
        lossless::<core::Event>(&out);
    }

    #[test]
    fn data_comes_whole_however_it_arrives(data in prop::collection::hash_map("[a-z]{1,9}", any::<String>(), 0..6), step in 1usize..40) {
        let map = json!({"metadata": {"name": "m"}, "data": data});
        let mut single = ConfigMap::new(Whole::default());
        let mut decoder = picolet_kube::json::Decoder::new(<ConfigMap<Whole> as Object>::SHAPE);
        for piece in map.to_string().as_bytes().chunks(step) {
            decoder.feed(piece, &mut single).expect("JSON");
        }
        let mut want: Vec<_> = data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        let mut got = single.data.0;
        want.sort();
        got.sort();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_watch_stream_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>()) {
        let mut text = json!({"type": "ADDED", "object": pod_value()}).to_string().into_bytes();
        let at = at.index(text.len());
        text.splice(at..at, bytes);
        let mut pods = Each { object: PodReader::default(), on: |_: Event<'_>, _: &mut PodReader| {} };
        let _ = Envelope::watch(PodReader::SHAPE, "").feed(&text, &mut pods);
    }
}
