use super::*;
use crate::events::EventSender;
use crate::identity::Certificates;
use crate::testing::{START, Services, TestHost, answer_requests};
use core::cell::RefCell;
use embassy_futures::join::join3;
use picolet_kube::Timestamp;
use picolet_kube::node::Truth;
use picolet_runtime::NoRuntime;
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Hands the controller of a node's status to `test`.
fn with_status<T>(services: &Services, test: impl FnOnce(&StatusController<'_, TestHost>) -> T) -> T {
    let identity = IdentityController {
        settings: &services.settings,
        client: &services.client,
        machine: &services.machine,
        network: &services.network,
        time: &services.time,
        node: &services.node,
        certificates: &Certificates::default(),
    };
    test(&StatusController {
        settings: &services.settings,
        client: &services.client,
        machine: &services.machine,
        network: &services.network,
        runtime: &NoRuntime,
        time: &services.time,
        events: &services.events,
        node: &services.node,
        health: &services.health,
        identity: &identity,
        reporters: &[&*services.time],
    })
}

#[test]
fn transition_times_are_not_ahead_when_an_older_clock_was() {
    let mut node = Node::default();
    let ahead = Timestamp::from_seconds(START.seconds() + 20 * 86_400);
    node.conditions.push(picolet_kube::node::Condition {
        kind: "TimeSynced".into(),
        status: Truth::True,
        last_transition: Some(ahead),
    });
    let mut seen = false;
    with_status(&Services::new(), |status| {
        status.with_report(&node, &mut |report| {
            seen = true;
            assert!(report.conditions.iter().all(|one| one.last_transition == START));
        });
    });
    assert!(seen);
}

/// What a node sends in a minute to an API server of that version, as method-less paths and bodies.
fn sent_to(minor: &str) -> Vec<(String, String)> {
    let services = Services::new();
    let sent = RefCell::new(Vec::new());
    let node = r#"{"metadata":{"name":"pico-1","uid":"u","resourceVersion":"1"}}"#;
    let answers = |path: &str, body: &str| {
        sent.borrow_mut().push((path.to_owned(), body.to_owned()));
        Some(match path {
            "/version" => (
                200,
                format!(r#"{{"minor":"{minor}","gitVersion":"v1.{minor}.2"}}"#),
            ),
            _ => (200, node.to_owned()),
        })
    };
    let sender = EventSender::<TestHost> {
        client: &services.client,
        machine: &services.machine,
        time: &services.time,
        recorder: &services.events,
    };
    with_status(&services, |status| {
        let server = answer_requests(&services.network, &answers);
        let running = join3(status.run(), sender.run(), server);
        services
            .clock
            .run(running, services.clock.sleep(Duration::from_secs(60)));
    });
    sent.into_inner()
}

#[test]
fn node_warns_once_when_the_api_server_is_older() {
    for (minor, warned) in [("35", 1), ("36", 0), ("36+", 0), ("37", 0)] {
        let sent = sent_to(minor);
        let warnings = sent
            .iter()
            .filter(|(_, body)| body.contains(r#""reason":"VersionSkew""#));
        assert_eq!(warnings.count(), warned, "{minor}: {sent:?}");
        let asked = sent.iter().filter(|(path, _)| path == "/version").count();
        assert_eq!(asked, 1, "{minor}");
    }
}

#[test]
fn node_is_excluded_from_external_load_balancers() {
    let sent = sent_to("36");
    let (_, created) = sent
        .iter()
        .find(|(path, _)| path == "/api/v1/nodes")
        .expect("it is registered");
    let label = r#""node.kubernetes.io/exclude-from-external-load-balancers":"""#;
    assert!(created.contains(label), "{created}");
}
