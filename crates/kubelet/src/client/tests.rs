//! The client against an API server that does what a test says.

use crate::testing::{LEASE, NODE, Reply, ScriptedServer, Services, ok};
use core::cell::{Cell, RefCell};
use embassy_futures::join::{join, join3};
use picolet_kube::lease::Lease;
use picolet_kube::node::Node;
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::Duration;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{ApiError, Wanted};

const PUT: Request<'static> = Request {
    resource: Resource::Lease("pico-1"),
    verb: Verb::Replace,
    body: "",
};
const SECOND: Duration = Duration::from_secs(1);

fn event() -> Request<'static> {
    Request {
        resource: Resource::Events { namespace: "default" },
        verb: Verb::Create,
        body: "{}",
    }
}

fn review() -> Request<'static> {
    Request {
        resource: Resource::TokenReviews,
        verb: Verb::Create,
        body: "{}",
    }
}

#[test]
fn lease_is_renewed_when_events_are_throttled() {
    let services = Services::new();
    let time = services.clock.clone();
    let reply = |line: &str, _: &str| match line.starts_with("POST") {
        true => Reply::Code(429, "Retry-After: 60\r\n", "{}".into()),
        false => ok(LEASE),
    };
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        assert_eq!(
            services.client.post(&event()).await.map_err(|e| e.code()),
            Err(429)
        );
        let mut lease = Lease::default();
        let begun = time.now();
        let replace = services
            .client
            .get_late(&PUT, &|body| body.push_str("{}"), &mut lease);
        replace.await.expect("it is renewed");
        assert!(time.now() - begun < SECOND, "the Lease waited for an Event");
        let _ = services.client.post(&event()).await;
        assert!(time.now() - begun >= SECOND * 60, "the next Event did not wait");
    });
}

#[test]
fn throttled_lease_is_renewed_before_it_expires() {
    let services = Services::new();
    let time = services.clock.clone();
    let count = Cell::new(0);
    let reply = |_: &str, _: &str| match count.replace(count.get() + 1) {
        0 => Reply::Code(429, "Retry-After: 600\r\n", "{}".into()),
        _ => ok(LEASE),
    };
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        let mut lease = Lease::default();
        let get = Request::get(Resource::Lease("pico-1"));
        assert_eq!(
            services.client.get(&get, &mut lease).await.map_err(|e| e.code()),
            Err(429)
        );
        services.client.get(&get, &mut lease).await.expect("it is read");
        assert_eq!(time.now().as_secs(), 10);
    });
}

#[test]
fn lease_is_renewed_with_the_current_time_when_another_request_hangs() {
    let services = Services::new();
    let time = services.clock.clone();
    let reply = |line: &str, _: &str| match line.starts_with("GET") {
        true => Reply::Silence,
        false => ok(LEASE),
    };
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        let hangs = services.client.get(&get, &mut node);
        let mut lease = Lease::default();
        let renews = async {
            time.sleep(SECOND).await;
            let write = |body: &mut String| *body = format!("\"{}\"", time.now().as_millis());
            let renewed = services.client.get_late(&PUT, &write, &mut lease);
            renewed.await.expect("it is renewed");
            time.now()
        };
        let (hung, renewed) = join(hangs, renews).await;
        assert_eq!(hung, Err(ApiError::Timeout));
        assert_eq!(renewed.as_secs(), 3, "two seconds after it was due");
        let came = server.came.borrow();
        let renewal = came
            .iter()
            .find(|came| came.line.starts_with("PUT"))
            .expect("a PUT");
        assert_eq!(renewal.body, format!("\"{}\"", renewal.at.as_millis()));
    });
    assert_eq!(server.connections.get(), 2);
}

#[test]
fn urgent_requests_go_first_when_several_wait() {
    let services = Services::new();
    let time = services.clock.clone();
    let reply = |_: &str, _: &str| ok(NODE);
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        let (mut a, mut b) = (Node::default(), Node::default());
        let event = event();
        let pod = Request::get(Resource::Pod {
            namespace: "n",
            name: "p",
        });
        let node = Request::get(Resource::Node("pico-1"));
        let all = join3(
            services.client.post(&event),
            services.client.get(&pod, &mut a),
            services.client.get(&node, &mut b),
        );
        // The Event has the connection; the Node comes after the Pod, and goes before it.
        let (x, y, z) = all.await;
        assert_eq!((x, y, z), (Ok(()), Ok(()), Ok(())));
    });
    let lines = server.lines();
    assert!(lines[1].starts_with("GET /api/v1/nodes"), "{lines:?}");
}

/// A connection that was used before ends: before an answer, or in the middle of one.
#[test]
fn only_safe_requests_are_repeated_when_an_idle_connection_ends() {
    let put = |body: &mut String| body.push_str("{}");
    for (cut, attempts) in [
        ("", [2, 2, 1, 2]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", [1; 4]),
    ] {
        let services = Services::new();
        let time = services.clock.clone();
        let broken = Cell::new(false);
        let reply = |line: &str, _: &str| {
            let warms_up = line.contains("/version");
            match !warms_up && broken.take() {
                true => Reply::Cut(cut),
                false => ok(NODE),
            }
        };
        let server = ScriptedServer::new(&services.network, &time, &reply);
        time.run(server.serve(), async {
            let client = &services.client;
            let warm = async || {
                let version = Request::get(Resource::Version);
                client.post(&version).await.expect("a connection");
                broken.set(true);
            };
            let (mut node, mut lease) = (Node::default(), Lease::default());
            warm().await;
            let get = client
                .get(&Request::get(Resource::Node("pico-1")), &mut node)
                .await;
            assert_eq!(get.is_ok(), cut.is_empty());
            warm().await;
            let _ = client.get_late(&PUT, &put, &mut lease).await;
            warm().await;
            assert!(client.post(&event()).await.is_err(), "an Event was sent twice");
            warm().await;
            let _ = client.post(&review()).await;
        });
        let counts = ["GET /api", "PUT", "POST /api/v1", "POST /apis/auth"].map(|begin| server.count(begin));
        assert_eq!(counts, attempts, "{cut:?}: {:?}", server.lines());
    }
}

#[test]
fn answer_is_read_into_a_fresh_object_when_the_first_was_cut() {
    let services = Services::new();
    let time = services.clock.clone();
    let count = Cell::new(0);
    let reply = |_: &str, _: &str| match count.replace(count.get() + 1) {
        0 => Reply::Cut(
            "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"metadata\":{\"uid\":\"old\",\"labels\":{\"a\":\"b\"}",
        ),
        _ => ok(NODE),
    };
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        assert!(services.client.get(&get, &mut node).await.is_err());
        services.client.get(&get, &mut node).await.expect("it is read");
        assert_eq!((&*node.metadata.uid, node.label("a")), ("u", None));
    });
}

#[test]
fn created_object_is_looked_for_when_the_answer_is_lost() {
    for (was_created, posts) in [(true, 1), (false, 2)] {
        let services = Services::new();
        let time = services.clock.clone();
        let there = Cell::new(false);
        let reply = |line: &str, _: &str| match (line.starts_with("POST"), there.get()) {
            (true, _) if !there.replace(true) => {
                there.set(was_created);
                if !was_created {
                    // The second one succeeds.
                    return Reply::Cut("");
                }
                Reply::Cut("HTTP/1.1 201 x\r\nContent-Le")
            }
            (true, _) | (false, true) => ok(NODE),
            (false, false) => {
                there.set(true);
                Reply::Code(404, "", "{}".into())
            }
        };
        let server = ScriptedServer::new(&services.network, &time, &reply);
        time.run(server.serve(), async {
            let mut node = Node::default();
            let create = Request {
                resource: Resource::Nodes,
                verb: Verb::Create,
                body: "{}",
            };
            let wanted = Wanted::object(&mut node);
            let created = services.client.create(&create, Resource::Node("pico-1"), wanted);
            created.await.expect("it is there");
            assert_eq!(&*node.metadata.uid, "u");
        });
        let lines = server.lines();
        assert_eq!(server.count("POST"), posts, "{lines:?}");
        assert_eq!(lines[1], "GET /api/v1/nodes/pico-1", "{lines:?}");
    }
}

/// The server that was connected to, for each request.
fn endpoints_of(reply: impl Fn(u8) -> Reply, requests: usize) -> Vec<u8> {
    let services = Services::new();
    let time = services.clock.clone();
    let used = RefCell::new(Vec::new());
    let reply = |_: &str, _: &str| {
        let server = services.network.endpoint.get().server;
        used.borrow_mut().push(server);
        reply(server)
    };
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        for _ in 0..requests {
            let _ = services.client.post(&event()).await;
        }
    });
    used.into_inner()
}

#[test]
fn server_is_passed_over_when_it_does_not_answer() {
    let silent = |server| if server == 0 { Reply::Silence } else { ok("{}") };
    assert_eq!(endpoints_of(silent, 3), [0, 1, 1]);
    let closing = |server| if server == 0 { Reply::Cut("") } else { ok("{}") };
    assert_eq!(endpoints_of(closing, 3), [0, 1, 1]);
    let foreign = |server| match server {
        0 => Reply::Cut("SSH-2.0-OpenSSH\r\n"),
        _ => ok("{}"),
    };
    assert_eq!(endpoints_of(foreign, 2), [0, 1]);
}

#[test]
fn server_is_passed_over_when_it_answers_5xx_several_times() {
    let broken = |server| match server {
        0 => Reply::Code(500, "", "{}".into()),
        _ => ok("{}"),
    };
    assert_eq!(endpoints_of(broken, 5), [0, 0, 0, 1, 1]);
    // Refusals are answers.
    let refusing = |_| Reply::Code(403, "", "{}".into());
    assert_eq!(endpoints_of(refusing, 5), [0; 5]);
    let count = Rc::new(Cell::new(0));
    let flaky = move |_| match count.replace(count.get() + 1) % 3 {
        2 => ok("{}"),
        _ => Reply::Code(500, "", "{}".into()),
    };
    assert_eq!(endpoints_of(flaky, 8), [0; 8]);
}

#[test]
fn head_is_read_when_an_admission_policy_warns_nine_times() {
    let services = Services::new();
    let time = services.clock.clone();
    let warnings: &'static str = {
        let warning = format!("Warning: 299 - \"{}\"\r\n", "deprecated ".repeat(30));
        std::boxed::Box::leak(warning.repeat(40).into_boxed_str())
    };
    let reply = |_: &str, _: &str| Reply::Code(201, warnings, NODE.to_string());
    let server = ScriptedServer::new(&services.network, &time, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        services.client.get(&get, &mut node).await.expect("it is read");
        assert_eq!(&*node.metadata.uid, "u");
    });
}
