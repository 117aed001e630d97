use super::*;
use crate::testing::{START, agent, answer_requests, settings};
use core::cell::RefCell;
use embassy_futures::join::join3;
use picolet_kube::Timestamp;
use picolet_kube::node::Truth;
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

#[test]
fn transition_times_are_not_ahead_when_an_older_clock_was() {
    let (agent, _) = agent(settings());
    let mut node = Node::default();
    let ahead = Timestamp::from_seconds(START.seconds() + 20 * 86_400);
    node.conditions.push(picolet_kube::node::Condition {
        kind: "TimeSynced".into(),
        status: Truth::True,
        last_transition: Some(ahead),
    });
    let identity = agent.identity();
    let reporters: &[&dyn Reporter] = &[&*agent.time];
    let mut seen = false;
    agent
        .status(&identity, reporters)
        .with_report(&node, &mut |report| {
            seen = true;
            assert!(report.conditions.iter().all(|one| one.last_transition == START));
        });
    assert!(seen);
}

/// What a node sends in a minute to an API server of that version, as method-less paths and bodies.
fn sent_to(minor: &str) -> Vec<(String, String)> {
    let (agent, time) = agent(settings());
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
    let running = async {
        let (identity, sender) = (agent.identity(), agent.sender());
        let status = agent.status(&identity, &[]);
        join3(
            status.run(),
            sender.run(),
            answer_requests(&agent.network, &answers),
        )
        .await
    };
    time.run(running, time.sleep(Duration::from_secs(60)));
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
