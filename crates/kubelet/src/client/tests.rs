//! The client against an API server that does what a test says.

use crate::testing::{TestAgent, agent, request, settings};
use core::cell::{Cell, RefCell};
use embassy_futures::join::{join, join3};
use embassy_futures::select::select;
use embedded_io_async::{Read, Write};
use picolet_kube::lease::Lease;
use picolet_kube::node::Node;
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Clock, Duration};
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{ApiError, Wanted};

/// What is done with a request.
enum Reply {
    /// A status code, further fields and a body.
    Code(u16, &'static str, String),
    /// The connection is closed behind this much of an answer.
    Cut(&'static str),
    /// Nothing is said any more.
    Silence,
    /// The same behind a beginning.
    Begin(&'static str),
}

fn ok(body: &str) -> Reply {
    Reply::Code(200, "", body.into())
}

/// A request that came: its method and target, its body, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    line: String,
    body: String,
    at: Duration,
}

/// An API server: what came, and what it answers.
struct Server<'a> {
    agent: &'a TestAgent,
    came: RefCell<Vec<Came>>,
    /// How many connections were opened.
    connections: Cell<u32>,
    reply: &'a dyn Fn(&str, &str) -> Reply,
}

impl<'a> Server<'a> {
    fn new(agent: &'a TestAgent, reply: &'a dyn Fn(&str, &str) -> Reply) -> Self {
        Self {
            agent,
            came: RefCell::default(),
            connections: Cell::new(0),
            reply,
        }
    }

    /// Serves up to six connections at once, for ever.
    async fn serve(&self) {
        let two = || join(self.connections(), self.connections());
        join3(two(), two(), two()).await;
    }

    async fn connections(&self) {
        loop {
            let mut end = self.agent.network.served().await;
            self.connections.set(self.connections.get() + 1);
            while let Ok(Some((line, body))) = request(&mut end).await {
                let reply = (self.reply)(&line, &body);
                let at = self.agent.machine.uptime();
                self.came.borrow_mut().push(Came { line, body, at });
                let text = match reply {
                    Reply::Code(code, fields, body) => {
                        format!(
                            "HTTP/1.1 {code} x\r\n{fields}Content-Length: {}\r\n\r\n{body}",
                            body.len()
                        )
                    }
                    Reply::Cut(text) => {
                        let _ = end.write_all(text.as_bytes()).await;
                        break;
                    }
                    Reply::Silence => {
                        let _ = end.read(&mut [0]).await;
                        break;
                    }
                    Reply::Begin(text) => {
                        let _ = end.write_all(text.as_bytes()).await;
                        let _ = end.read(&mut [0]).await;
                        break;
                    }
                };
                if end.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.came.borrow().iter().map(|came| came.line.clone()).collect()
    }

    fn watches(&self) -> usize {
        let came = self.came.borrow();
        came.iter().filter(|came| came.line.contains("watch=1")).count()
    }

    /// How many requests began so.
    fn count(&self, begin: &str) -> usize {
        let came = self.came.borrow();
        came.iter().filter(|came| came.line.starts_with(begin)).count()
    }
}

const NODE: &str = "{\"metadata\":{\"name\":\"pico-1\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}";
const LEASE: &str = "{\"metadata\":{\"name\":\"pico-1\",\"resourceVersion\":\"7\"}}";
const LIST: &str = "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}";
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
    let (agent, time) = agent(settings());
    let reply = |line: &str, _: &str| match line.starts_with("POST") {
        true => Reply::Code(429, "Retry-After: 60\r\n", "{}".into()),
        false => ok(LEASE),
    };
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        assert_eq!(agent.client.post(&event()).await.map_err(|e| e.code()), Err(429));
        let mut lease = Lease::default();
        let begun = time.now();
        let replace = agent
            .client
            .get_late(&PUT, &|body| body.push_str("{}"), &mut lease);
        replace.await.expect("it is renewed");
        assert!(time.now() - begun < SECOND, "the Lease waited for an Event");
        let _ = agent.client.post(&event()).await;
        assert!(time.now() - begun >= SECOND * 60, "the next Event did not wait");
    });
}

#[test]
fn throttled_lease_is_renewed_before_it_expires() {
    let (agent, time) = agent(settings());
    let count = Cell::new(0);
    let reply = |_: &str, _: &str| match count.replace(count.get() + 1) {
        0 => Reply::Code(429, "Retry-After: 600\r\n", "{}".into()),
        _ => ok(LEASE),
    };
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        let mut lease = Lease::default();
        let get = Request::get(Resource::Lease("pico-1"));
        assert_eq!(
            agent.client.get(&get, &mut lease).await.map_err(|e| e.code()),
            Err(429)
        );
        agent.client.get(&get, &mut lease).await.expect("it is read");
        assert_eq!(time.now().as_secs(), 10);
    });
}

#[test]
fn lease_is_renewed_with_the_current_time_when_another_request_hangs() {
    let (agent, time) = agent(settings());
    let reply = |line: &str, _: &str| match line.starts_with("GET") {
        true => Reply::Silence,
        false => ok(LEASE),
    };
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        let hangs = agent.client.get(&get, &mut node);
        let mut lease = Lease::default();
        let renews = async {
            time.sleep(SECOND).await;
            let write = |body: &mut String| *body = format!("\"{}\"", time.now().as_millis());
            let renewed = agent.client.get_late(&PUT, &write, &mut lease);
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
    let (agent, time) = agent(settings());
    let reply = |_: &str, _: &str| ok(NODE);
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        let (mut a, mut b) = (Node::default(), Node::default());
        let event = event();
        let pod = Request::get(Resource::Pod {
            namespace: "n",
            name: "p",
        });
        let node = Request::get(Resource::Node("pico-1"));
        let all = join3(
            agent.client.post(&event),
            agent.client.get(&pod, &mut a),
            agent.client.get(&node, &mut b),
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
        let (agent, time) = agent(settings());
        let broken = Cell::new(false);
        let reply = |line: &str, _: &str| {
            let warms_up = line.contains("/version");
            match !warms_up && broken.take() {
                true => Reply::Cut(cut),
                false => ok(NODE),
            }
        };
        let server = Server::new(&agent, &reply);
        time.run(server.serve(), async {
            let client = &agent.client;
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
    let (agent, time) = agent(settings());
    let count = Cell::new(0);
    let reply = |_: &str, _: &str| match count.replace(count.get() + 1) {
        0 => Reply::Cut(
            "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"metadata\":{\"uid\":\"old\",\"labels\":{\"a\":\"b\"}",
        ),
        _ => ok(NODE),
    };
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        assert!(agent.client.get(&get, &mut node).await.is_err());
        agent.client.get(&get, &mut node).await.expect("it is read");
        assert_eq!((&*node.metadata.uid, node.label("a")), ("u", None));
    });
}

#[test]
fn created_object_is_looked_for_when_the_answer_is_lost() {
    for (was_created, posts) in [(true, 1), (false, 2)] {
        let (agent, time) = agent(settings());
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
        let server = Server::new(&agent, &reply);
        time.run(server.serve(), async {
            let mut node = Node::default();
            let create = Request {
                resource: Resource::Nodes,
                verb: Verb::Create,
                body: "{}",
            };
            let wanted = Wanted::object(&mut node);
            let created = agent.client.create(&create, Resource::Node("pico-1"), wanted);
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
    let (agent, time) = agent(settings());
    let used = RefCell::new(Vec::new());
    let reply = |_: &str, _: &str| {
        let server = agent.network.endpoint.get().server;
        used.borrow_mut().push(server);
        reply(server)
    };
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        for _ in 0..requests {
            let _ = agent.client.post(&event()).await;
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
    let (agent, time) = agent(settings());
    let warnings: &'static str = {
        let warning = format!("Warning: 299 - \"{}\"\r\n", "deprecated ".repeat(30));
        std::boxed::Box::leak(warning.repeat(40).into_boxed_str())
    };
    let reply = |_: &str, _: &str| Reply::Code(201, warnings, NODE.to_string());
    let server = Server::new(&agent, &reply);
    time.run(server.serve(), async {
        let mut node = Node::default();
        let get = Request::get(Resource::Node("pico-1"));
        agent.client.get(&get, &mut node).await.expect("it is read");
        assert_eq!(&*node.metadata.uid, "u");
    });
}

#[test]
fn registration_backs_off_when_the_node_is_not_found() {
    let (agent, time) = agent(settings());
    let registrations = Cell::new(0);
    let reply = |line: &str, _: &str| match line.split_once(" /api/v1/nodes") {
        Some(("POST", _)) => {
            registrations.set(registrations.get() + 1);
            assert!(registrations.get() < 100, "no time passes between registrations");
            Reply::Code(201, "", NODE.into())
        }
        // Its labels are taken.
        Some(("PATCH", "/pico-1?fieldValidation=Strict")) => ok(NODE),
        _ => Reply::Code(404, "", "{}".into()),
    };
    let server = Server::new(&agent, &reply);
    let run = select(agent.run(), server.serve());
    time.run(run, time.sleep(SECOND * 30));
    let posts = registrations.get();
    assert!((4..=12).contains(&posts), "{posts} registrations in 30 s");
}

#[test]
fn node_is_read_from_the_cache_and_its_absence_confirmed() {
    let (agent, time) = agent(settings());
    // The cache lags behind for some time.
    let lagging = Cell::new(true);
    let reply = |line: &str, _: &str| match line {
        "GET /api/v1/nodes/pico-1?resourceVersion=0" if lagging.get() => Reply::Code(404, "", "{}".into()),
        _ => registered(line),
    };
    let server = Server::new(&agent, &reply);
    let run = select(agent.run(), server.serve());
    time.run(run, async {
        time.sleep(SECOND * 5).await;
        assert_eq!(server.count("POST /api/v1/nodes"), 1, "registered again");
        lagging.set(false);
        server.came.borrow_mut().clear();
        time.sleep(SECOND * 60).await;
        let (cached, all) = (
            server.count("GET /api/v1/nodes/pico-1?resourceVersion=0"),
            server.count("GET /api/v1/nodes"),
        );
        assert!((5..=7).contains(&all) && cached == all, "{cached} of {all} reads");
    });
}

/// What a node needs to be Ready, but for its lists and watches.
fn registered(line: &str) -> Reply {
    match line {
        _ if line.contains("/leases") => ok(LEASE),
        _ if line.contains("/nodes") => ok(NODE),
        _ => Reply::Code(404, "", "{}".into()),
    }
}

fn is_list(line: &str) -> bool {
    line.contains("/configmaps?") || line.contains("/api/v1/pods?")
}

#[test]
fn list_does_not_count_when_its_last_chunk_is_missing() {
    const CUT: &str = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\n{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}\r\n";
    let (agent, time) = agent(settings());
    let lists = Cell::new(0);
    let reply = |line: &str, _: &str| match line {
        _ if line.contains("watch=1") => Reply::Silence,
        _ if is_list(line) => match lists.replace(lists.get() + 1) {
            0..=2 => Reply::Cut(CUT),
            _ => ok(LIST),
        },
        _ => registered(line),
    };
    let server = Server::new(&agent, &reply);
    time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 20));
    assert_eq!(lists.get(), 6, "three lists that were cut, three that were whole");
    assert_eq!(server.watches(), 3, "{:?}", server.lines());
}

#[test]
fn watch_is_replaced_when_it_is_silent_for_90_s() {
    let (agent, time) = agent(settings());
    let reply = |line: &str, _: &str| match line {
        _ if line.contains("watch=1") => Reply::Begin("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ if is_list(line) => ok(LIST),
        _ => registered(line),
    };
    let server = Server::new(&agent, &reply);
    time.run(select(agent.run(), server.serve()), async {
        time.sleep(SECOND * 80).await;
        assert_eq!(server.watches(), 3, "{:?}", server.lines());
        time.sleep(SECOND * 20).await;
        assert_eq!(server.watches(), 6, "{:?}", server.lines());
    });
}

#[test]
fn list_waits_when_it_is_throttled() {
    let (agent, time) = agent(settings());
    let reply = |line: &str, _: &str| match line {
        _ if is_list(line) => Reply::Code(429, "Retry-After: 25\r\n", "{}".into()),
        _ => registered(line),
    };
    let server = Server::new(&agent, &reply);
    time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 60));
    let came = server.came.borrow();
    let lists = came.iter().filter(|came| is_list(&came.line)).count();
    assert_eq!(lists, 9, "three collections at 0, 25 and 50 s: {came:?}");
}

#[test]
fn refused_certificate_is_not_called_a_missing_right() {
    for (code, forbidden) in [(401, false), (403, true)] {
        let (agent, time) = agent(settings());
        let reply = |line: &str, _: &str| match line {
            _ if is_list(line) => Reply::Code(code, "", "{}".into()),
            _ => registered(line),
        };
        let server = Server::new(&agent, &reply);
        time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 20));
        let log = agent.machine.lines.borrow().join("\n");
        assert_eq!(log.contains("deploy/rbac.yaml"), forbidden, "{code}: {log}");
        assert_eq!(
            log.contains("does not accept the node's certificate"),
            !forbidden,
            "{code}: {log}"
        );
    }
}
