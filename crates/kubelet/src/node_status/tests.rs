use super::*;
use crate::testing::{START, agent, settings};
use picolet_kube::Timestamp;
use picolet_kube::node::Truth;

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
