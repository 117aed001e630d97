//! The kubelet API over connections in memory.

mod abuse;
mod access;
mod bodies;
mod logs;
mod reference;

use super::ServedNode;
use crate::devices::Devices;
use crate::pods::{PodController, PodStore};
use crate::settings::{Settings, StaticToken};
use crate::testing::{End, Services, TestClock, TestHost, answer_requests, settings};
use core::net::{IpAddr, Ipv4Addr};
use embassy_futures::join::join;
use embedded_io_async::{Read, Write};
use picolet_http::ResponseReader;
use picolet_platform::{Credential, Pins, Subject};
use picolet_runtime::NoRuntime;
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;

/// The address that tests call from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// What the kubelet API of a node shows and changes.
struct Node {
    services: Services,
    devices: Devices,
    pods: PodStore,
}

impl core::ops::Deref for Node {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl Node {
    fn new(settings: Settings) -> Self {
        let services = Services::with(settings, &TestClock::default());
        Self {
            devices: Devices::new(services.machine.pins()),
            pods: PodStore::default(),
            services,
        }
    }

    fn served(&self) -> ServedNode<'_, TestHost> {
        ServedNode {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            time: &self.time,
            health: &self.health,
            metrics: &self.metrics,
            devices: &self.devices,
            pods: &self.pods.table,
        }
    }

    /// The controller of its pods.
    fn pods(&self) -> PodController<'_, TestHost> {
        PodController {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            runtime: &NoRuntime,
            time: &self.time,
            events: &self.events,
            node: &self.node,
            pods: &self.pods,
        }
    }
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    code: u16,
    /// The whole head as it was sent.
    head: String,
    body: String,
}

/// Somebody who calls the kubelet API.
struct Caller {
    end: End,
    received: Vec<u8>,
}

impl Caller {
    fn new(node: &Node, credential: Credential) -> Self {
        Self {
            end: node.network.call(PEER, credential),
            received: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.end
            .write_all(text.as_bytes())
            .await
            .expect("the node listens");
    }

    async fn more(&mut self) -> usize {
        let mut piece = [0; 512];
        let read = self.end.read(&mut piece).await.expect("reading works");
        self.received.extend_from_slice(&piece[..read]);
        read
    }

    /// Reads what an interim response consists of.
    async fn expect(&mut self, text: &str) {
        while self.received.len() < text.len() && self.more().await > 0 {}
        let read: Vec<u8> = self.received.drain(..text.len()).collect();
        assert_eq!(core::str::from_utf8(&read), Ok(text));
    }

    /// Reads one answer; `None` where the connection ends instead.
    async fn reply_to(&mut self, method: &str) -> Option<Reply> {
        let (mut reader, mut text) = (ResponseReader::default(), Vec::new());
        let (code, head, mut body) = loop {
            let (taken, read) = reader
                .take(&self.received, &mut |_, _| {})
                .expect("an HTTP response");
            text.extend(self.received.drain(..taken));
            match read {
                Some((head, body)) => {
                    break (head.status, String::from_utf8(text).expect("text"), body);
                }
                None if self.more().await == 0 => return None,
                None => {}
            }
        };
        let mut text = Vec::new();
        while method != "HEAD" && !body.is_done() {
            let (taken, part) = body.take(&self.received).expect("sound framing");
            text.extend_from_slice(part);
            self.received.drain(..taken);
            if taken == 0 && self.more().await == 0 {
                assert!(body.ends_with_connection(), "the body was cut off");
                break;
            }
        }
        Some(Reply {
            code,
            head,
            body: String::from_utf8(text).expect("text"),
        })
    }

    async fn reply(&mut self) -> Option<Reply> {
        self.reply_to("GET").await
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let length = body.len();
        let request =
            std::format!("{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n\r\n{body}");
        self.send(&request).await;
        self.reply_to(method).await.expect("an answer")
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    /// Whether the node has ended the connection, and said nothing more.
    async fn ended(&mut self) -> bool {
        self.received.is_empty() && self.more().await == 0
    }
}

/// What a caller has whom the cluster lets do everything.
fn certificate() -> Credential {
    named("admin", &["ops"])
}

fn named(user: &str, groups: &[&str]) -> Credential {
    Credential::Certificate(Box::new(Subject {
        user: user.into(),
        uid: None,
        groups: groups.iter().map(|group| (*group).into()).collect(),
        credential_id: "X509SHA256=a5".into(),
        not_after: u64::MAX,
    }))
}

/// An API server that knows no token and lets everybody do everything.
fn trusting(path: &str, _: &str) -> Option<(u16, String)> {
    let status = match path {
        "/apis/authorization.k8s.io/v1/subjectaccessreviews" => r#"{"allowed":true}"#,
        _ => r#"{"authenticated":false}"#,
    };
    Some((201, std::format!(r#"{{"status":{status}}}"#)))
}

/// Asks one node with ordinary settings whatever `test` asks.
fn with_node<T>(change: impl FnOnce(&mut Settings), test: impl AsyncFnOnce(&Node, &TestClock) -> T) -> T {
    let mut settings = settings();
    settings.static_tokens = std::vec![StaticToken {
        token: "s3cret".into(),
        user: "prometheus".into()
    }];
    settings.limits.requests_per_second = 1000;
    settings.limits.burst = 1000;
    change(&mut settings);
    let node = Node::new(settings);
    let served = node.served();
    let background = join(super::run(&served), answer_requests(&node.network, &trusting));
    node.clock.run(background, test(&node, &node.clock))
}

/// The same with one caller who has a certificate.
fn with_caller<T>(test: impl AsyncFnOnce(&Node, &mut Caller) -> T) -> T {
    with_node(
        |_| {},
        async |node, _| test(node, &mut Caller::new(node, certificate())).await,
    )
}

/// The lines of the log.
fn log(node: &Node) -> Vec<String> {
    node.machine.lines.borrow().clone()
}

#[test]
fn the_futures_are_small() {
    let node = Node::new(settings());
    let served = node.served();
    let server = super::Server::new(&served);
    let slot = &server.slots[0];
    let worker = core::mem::size_of_val(&server.work(slot));
    let all = core::mem::size_of_val(&super::run(&served));
    std::println!("a worker: {worker} bytes, the server beside them: {all} bytes");
    // On a 64-bit host; pointers and lengths are half of that on a board.
    assert!(
        worker <= 1200 && all <= 512,
        "a worker: {worker}, the server: {all}"
    );
}
