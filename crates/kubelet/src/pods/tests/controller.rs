//! The controller between the API server and the table.

use crate::pods::{PodController, PodStore};
use crate::testing::{Services, TestHost, answer_requests};
use core::cell::RefCell;
use embassy_futures::join::join;
use picolet_platform::Duration;
use picolet_runtime::NoRuntime;
use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

#[test]
fn pods_are_listed_and_the_nodes_own_is_made_once_the_node_is_registered() {
    let services = Services::new();
    let controller = PodController::<TestHost> {
        settings: &services.settings,
        client: &services.client,
        machine: &services.machine,
        network: &services.network,
        runtime: &NoRuntime,
        time: &services.time,
        events: &services.events,
        node: &services.node,
        pods: &PodStore::default(),
    };
    let sent = RefCell::new(Vec::<String>::new());
    let answers = |path: &str, body: &str| {
        sent.borrow_mut().push(path.to_owned());
        let list = r#"{"kind":"PodList","metadata":{"resourceVersion":"5"},"items":[]}"#;
        Some((200, if body.is_empty() { list } else { "{}" }.to_owned()))
    };
    let running = join(controller.run(), answer_requests(&services.network, &answers));
    let seconds = Duration::from_secs;
    services.clock.run(running, async {
        services.clock.sleep(seconds(5)).await;
        assert!(sent.borrow().is_empty(), "there is no Node yet");
        services.register();
        services.clock.sleep(seconds(2)).await;
    });
    let sent = sent.borrow();
    assert_eq!(sent[0], "/api/v1/pods", "{sent:?}");
    assert!(
        sent.contains(&"/api/v1/namespaces/kube-system/pods".to_owned()),
        "{sent:?}"
    );
}
