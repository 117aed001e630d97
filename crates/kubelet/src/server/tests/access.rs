//! Who may do what, by the word of an API server.

use super::*;
use core::cell::{Cell, RefCell};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Clock, Duration};
use std::format;
use std::string::ToString;

/// What the API server is asked: `token TOKEN` or `USER VERB SUBRESOURCE`.
fn question(path: &str, body: &str) -> String {
    let field = |name: &str| {
        let from = body.split_once(&format!("\"{name}\":\""))?.1;
        Some(from.split_once('"')?.0.to_string())
    };
    let text = |name| field(name).unwrap_or_default();
    match path.rsplit('/').next() {
        Some("tokenreviews") => format!("token {}", text("token")),
        _ => {
            assert_eq!(text("name"), "pico-1");
            assert_eq!(text("resource"), "nodes");
            assert!(body.contains("\"system:authenticated\""), "{body}");
            format!("{} {} {}", text("user"), text("verb"), text("subresource"))
        }
    }
}

/// Runs `test` beside a node whose API server knows the tokens `sa` and `none`, and allows what is in `allowed`. What it was
/// asked is kept.
fn with_cluster<T>(
    allowed: &[&str],
    up: &Cell<bool>,
    test: impl AsyncFnOnce(&Node, &TestClock, &RefCell<Vec<String>>) -> T,
) -> T {
    let asked = RefCell::new(Vec::new());
    let answers = |path: &str, body: &str| {
        if !up.get() {
            return Some((503, String::new()));
        }
        let question = question(path, body);
        let status = match &*question {
            "token sa" => r#"{"authenticated":true,"user":{"username":"system:serviceaccount:x:prometheus","uid":"7","groups":["system:serviceaccounts"]}}"#.to_string(),
            "token nameless" => r#"{"authenticated":true,"user":{}}"#.to_string(),
            token if token.starts_with("token ") => r#"{"user":{},"error":"unknown"}"#.to_string(),
            access => format!(r#"{{"allowed":{}}}"#, allowed.contains(&access)),
        };
        asked.borrow_mut().push(question);
        Some((201, format!(r#"{{"status":{status}}}"#)))
    };
    let mut settings = settings();
    settings.limits.requests_per_second = 1000;
    settings.limits.burst = 1000;
    let node = Node::new(settings);
    let served = node.served();
    let background = join(
        super::super::run(&served),
        answer_requests(&node.network, &answers),
    );
    node.clock.run(background, test(&node, &node.clock, &asked))
}

async fn get(node: &Node, credential: Credential, token: &str, path: &str) -> Reply {
    let mut caller = Caller::new(node, credential);
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n");
    caller.send(&request).await;
    caller.reply().await.expect("an answer")
}

fn taken(asked: &RefCell<Vec<String>>) -> Vec<String> {
    asked.borrow_mut().split_off(0)
}

#[test]
fn a_certificate_is_a_name_and_not_a_right() {
    with_cluster(
        &["reader get pods", "proxy get proxy"],
        &Cell::new(true),
        async |node, _, asked| {
            assert_eq!(get(node, named("reader", &[]), "", "/pods").await.code, 200);
            assert_eq!(taken(asked), ["reader get pods"]);
            // The fine-grained right first, then the one for everything.
            assert_eq!(get(node, named("proxy", &[]), "", "/pods").await.code, 200);
            assert_eq!(taken(asked), ["proxy get pods", "proxy get proxy"]);
            let refused = get(node, named("reader", &[]), "", "/metrics").await;
            assert_eq!(refused.code, 403);
            assert!(
                refused
                    .body
                    .contains("Forbidden (user=reader, verb=get, resource=nodes, subresource(s)=[metrics])"),
                "{}",
                refused.body
            );
            assert_eq!(taken(asked), ["reader get metrics"]);
            // Known by now, whoever asks: nothing is asked twice.
            for (user, path, code) in [
                ("reader", "/pods/", 200),
                ("proxy", "/pods", 200),
                ("reader", "/metrics/resource", 403),
            ] {
                assert_eq!(
                    get(node, named(user, &[]), "", path).await.code,
                    code,
                    "{user} {path}"
                );
            }
            assert_eq!(taken(asked), [""; 0]);
            // The same name in another group is somebody else.
            assert_eq!(get(node, named("reader", &["ops"]), "", "/pods").await.code, 200);
            assert_eq!(taken(asked), ["reader get pods"]);
        },
    );
}

#[test]
fn caller_is_unauthenticated_when_its_certificate_expires_on_an_open_connection() {
    with_node(
        |_| {},
        async |node, time| {
            let now = node.machine.now().expect("the time");
            let mut credential = certificate();
            if let Credential::Certificate(subject) = &mut credential {
                subject.not_after = now.seconds() + 40;
            }
            let mut caller = Caller::new(node, credential);
            for (seconds, code) in [(0, 200), (20, 200), (20, 200), (1, 401)] {
                time.sleep(Duration::from_secs(seconds)).await;
                assert_eq!(caller.get("/pods").await.code, code);
            }
            // As for a certificate that did not verify, a token is enough.
            caller
                .send("GET /pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n")
                .await;
            assert_eq!(caller.reply().await.expect("an answer").code, 200);
        },
    );
}

#[test]
fn a_token_is_whose_the_cluster_says() {
    let allowed = ["system:serviceaccount:x:prometheus get metrics"];
    with_cluster(&allowed, &Cell::new(true), async |node, _, asked| {
        assert_eq!(get(node, Credential::None, "sa", "/metrics").await.code, 200);
        assert_eq!(taken(asked), ["token sa", allowed[0]]);
        assert_eq!(get(node, Credential::None, "sa", "/metrics").await.code, 200);
        assert_eq!(
            get(node, Credential::None, "sa", "/stats/summary").await.code,
            403
        );
        assert_eq!(taken(asked), ["system:serviceaccount:x:prometheus get stats"]);
        for token in ["made-up", "nameless"] {
            assert_eq!(get(node, Credential::None, token, "/metrics").await.code, 401);
            assert_eq!(get(node, Credential::None, token, "/metrics").await.code, 401);
            assert_eq!(taken(asked), [format!("token {token}")]);
        }
        assert_eq!(get(node, Credential::None, "", "/metrics").await.code, 401);
        assert_eq!(taken(asked), [""; 0]);
        let log = log(node).join("\n");
        assert!(
            log.contains("client=system:serviceaccount:x:prometheus@192.0.2.7 status=200"),
            "{log}"
        );
        assert!(!log.contains("made-up") && !log.contains("client=sa"), "{log}");
    });
}

/// Runs `test` beside a node whose API server says of each token that `user` holds it, and lets everybody do everything.
/// Keeps what it is asked of users.
fn with_user<T>(
    user: &serde_json::Value,
    test: impl AsyncFnOnce(&Node, &RefCell<Vec<serde_json::Value>>) -> T,
) -> T {
    let asked = RefCell::new(Vec::new());
    let answers = |path: &str, body: &str| {
        if path.ends_with("/tokenreviews") {
            let status = serde_json::json!({"authenticated": true, "user": user});
            return Some((201, format!(r#"{{"status":{status}}}"#)));
        }
        let mut review: serde_json::Value = serde_json::from_str(body).expect("JSON");
        asked.borrow_mut().push(review["spec"].take());
        Some((201, r#"{"status":{"allowed":true}}"#.to_string()))
    };
    let mut settings = settings();
    settings.limits.requests_per_second = 1000;
    settings.limits.burst = 1000;
    let node = Node::new(settings);
    let served = node.served();
    let background = join(
        super::super::run(&served),
        answer_requests(&node.network, &answers),
    );
    node.clock.run(background, test(&node, &asked))
}

#[test]
fn all_groups_and_extra_of_a_token_are_asked_for() {
    let groups: Vec<_> = (1..=20).map(|n| format!("oidc:team-{n}")).collect();
    let extra =
        serde_json::json!({"authentication.kubernetes.io/node-name": ["worker-1"], "scopes": ["a", "b"]});
    let user = serde_json::json!({"username": "ops", "uid": "7", "groups": groups, "extra": extra});
    with_user(&user, async |node, asked| {
        assert_eq!(get(node, Credential::None, "t", "/metrics").await.code, 200);
        let [spec] = &asked.borrow_mut().split_off(0)[..] else {
            panic!("one question");
        };
        let mut expected = groups.clone();
        expected.push("system:authenticated".into());
        assert_eq!(spec["groups"], serde_json::json!(expected));
        assert_eq!(spec["extra"], extra);
        assert_eq!(spec["uid"], "7");
    });
}

#[test]
fn uid_and_credential_of_a_certificate_are_asked_for() {
    with_user(&serde_json::json!({}), async |node, asked| {
        for (uid, expected) in [
            (Some("7".into()), serde_json::json!("7")),
            (None, serde_json::Value::Null),
        ] {
            let mut credential = named("ops", &["team"]);
            if let Credential::Certificate(subject) = &mut credential {
                subject.uid = uid;
            }
            assert_eq!(get(node, credential, "", "/metrics").await.code, 200);
            let [spec] = &asked.borrow_mut().split_off(0)[..] else {
                panic!("one question");
            };
            assert_eq!(
                spec["extra"],
                serde_json::json!({"authentication.kubernetes.io/credential-id": ["X509SHA256=a5"]})
            );
            assert_eq!(spec["uid"], expected);
            assert_eq!(
                spec["groups"],
                serde_json::json!(["team", "system:authenticated"])
            );
        }
    });
}

#[test]
fn user_is_refused_with_the_limit_when_it_is_too_large() {
    let groups: Vec<_> = (0..200)
        .map(|n| format!("oidc:some-long-name-of-a-team-{n}"))
        .collect();
    let token = serde_json::json!({"username": "ops", "groups": groups});
    let groups: Vec<_> = groups.iter().map(|group| &**group).collect();
    let name = "n".repeat(5000);
    with_user(&token, async |node, asked| {
        for (credential, token) in [
            (Credential::None, "t"),
            (named("ops", &groups), ""),
            (named(&name, &[]), ""),
        ] {
            let refused = get(node, credential, token, "/metrics").await;
            assert_eq!(refused.code, 500);
            assert!(refused.body.contains("more than 4096 bytes"), "{}", refused.body);
        }
        assert!(
            asked.borrow().is_empty(),
            "nobody is authorized by a part of their groups"
        );
    });
}

#[test]
fn token_of_four_kibibytes_is_accepted() {
    let asked = RefCell::new(Vec::new());
    let answers = |path: &str, body: &str| {
        if path.ends_with("/tokenreviews") {
            asked.borrow_mut().push(question(path, body));
            let user = r#"{"authenticated":true,"user":{"username":"ops"}}"#;
            return Some((201, format!(r#"{{"status":{user}}}"#)));
        }
        trusting(path, body)
    };
    // As on a board.
    for head_bytes in [6144, settings().limits.head_bytes] {
        let mut settings = settings();
        settings.limits.head_bytes = head_bytes;
        let node = Node::new(settings);
        let served = node.served();
        let background = join(
            super::super::run(&served),
            answer_requests(&node.network, &answers),
        );
        let token = "t".repeat(4096);
        node.clock.run(background, async {
            assert_eq!(get(&node, Credential::None, &token, "/metrics").await.code, 200);
            assert_eq!(taken(&asked), [format!("token {token}")]);
            let long = "t".repeat(head_bytes);
            assert_eq!(get(&node, Credential::None, &long, "/metrics").await.code, 431);
        });
    }
}

#[test]
fn commands_need_create_when_the_method_is_get() {
    let allowed = ["viewer get proxy", "operator create proxy"];
    with_cluster(&allowed, &Cell::new(true), async |node, _, asked| {
        for path in ["/exec/a/b/c", "/attach/a/b/c", "/portForward/a/b", "/run/a/b/c"] {
            let refused = get(node, named("viewer", &[]), "", path).await;
            assert_eq!(refused.code, 403, "{path}");
            assert!(refused.body.contains("verb=create"), "{}", refused.body);
            assert_ne!(
                get(node, named("operator", &[]), "", path).await.code,
                403,
                "{path}"
            );
        }
        assert_eq!(taken(asked), ["viewer create proxy", "operator create proxy"]);
        assert_ne!(
            get(node, named("viewer", &[]), "", "/containerLogs/a/b/c")
                .await
                .code,
            403
        );
    });
}

#[test]
fn answers_are_kept_as_long_as_a_kubelet_keeps_them() {
    let allowed = [
        "reader get pods",
        "system:serviceaccount:x:prometheus get metrics",
    ];
    with_cluster(&allowed, &Cell::new(true), async |node, time, asked| {
        let round = async || {
            get(node, named("reader", &[]), "", "/pods").await;
            get(node, named("reader", &[]), "", "/metrics").await;
            get(node, Credential::None, "sa", "/metrics").await;
            taken(asked)
        };
        let (denied, token) = ("reader get metrics", "token sa");
        assert_eq!(round().await, [allowed[0], denied, token, allowed[1]]);
        time.sleep(Duration::from_secs(29)).await;
        assert_eq!(round().await, [""; 0]);
        time.sleep(Duration::from_secs(2)).await; // 31 s
        assert_eq!(round().await, [denied]);
        time.sleep(Duration::from_secs(90)).await; // 121 s
        assert_eq!(round().await, [denied, token]);
        time.sleep(Duration::from_secs(178)).await; // 299 s
        assert_eq!(round().await, [denied, token]);
        time.sleep(Duration::from_secs(2)).await; // 301 s
        assert_eq!(round().await, [allowed[0], allowed[1]]);
    });
}

#[test]
fn without_the_api_server_only_what_is_known_counts() {
    let up = Cell::new(true);
    with_cluster(
        &["reader get pods", "reader get metrics"],
        &up,
        async |node, time, _| {
            assert_eq!(get(node, named("reader", &[]), "", "/pods").await.code, 200);
            assert_eq!(get(node, Credential::None, "sa", "/pods").await.code, 403);
            up.set(false);
            assert_eq!(get(node, named("reader", &[]), "", "/pods").await.code, 200);
            let unknown = get(node, named("reader", &[]), "", "/metrics").await;
            assert_eq!(unknown.code, 500);
            assert!(
                unknown.body.contains(
                    "Authorization error (user=reader, verb=get, resource=nodes, subresource=metrics)"
                ),
                "{}",
                unknown.body
            );
            assert_eq!(get(node, Credential::None, "other", "/pods").await.code, 401);
            time.sleep(Duration::from_secs(301)).await;
            assert_eq!(
                get(node, named("reader", &[]), "", "/pods").await.code,
                500,
                "no longer known"
            );
            up.set(true);
            time.sleep(Duration::from_secs(2)).await;
            assert_eq!(get(node, named("reader", &[]), "", "/pods").await.code, 200);
        },
    );
}

/// A review has a connection of its own where somebody else's request takes long, and an end where its own does.
#[test]
fn a_review_waits_for_nobody() {
    let hangs = Cell::new(true);
    let answers = |path: &str, body: &str| match path {
        "/api/v1/nodes" => None,
        _ if hangs.get() => None,
        _ => trusting(path, body),
    };
    let mut settings = settings();
    settings.limits.request_timeout = Duration::from_secs(5);
    let node = Node::new(settings);
    let time = &node.clock;
    let served = node.served();
    let background = join(
        super::super::run(&served),
        answer_requests(&node.network, &answers),
    );
    let slow = async {
        let mut object = picolet_kube::node::Node::default();
        let request = Request {
            resource: Resource::Nodes,
            verb: Verb::Create,
            body: "{}",
        };
        let answer = node.client.get(&request, &mut object).await;
        assert!(answer.is_err(), "nobody answers this");
    };
    let test = async {
        time.sleep(Duration::from_millis(1)).await;
        hangs.set(false);
        let begun = time.now();
        assert_eq!(get(&node, certificate(), "", "/pods").await.code, 200);
        assert!(
            time.now() - begun < Duration::from_secs(1),
            "{:?}",
            time.now() - begun
        );
        hangs.set(true);
        let begun = time.now();
        assert_eq!(get(&node, certificate(), "", "/metrics").await.code, 500);
        assert!(
            time.now() - begun < Duration::from_secs(6),
            "{:?}",
            time.now() - begun
        );
    };
    time.run(join(background, slow), test);
}

#[test]
fn health_alone_may_be_open() {
    for open in [false, true] {
        with_node(
            |settings| settings.anonymous_health = open,
            async |node, _| {
                for path in ["/healthz", "/healthz?verbose=1", "/livez", "/pods", "/metrics"] {
                    let code = get(node, Credential::None, "", path).await.code;
                    let expected = if open && path.starts_with("/healthz") {
                        200
                    } else {
                        401
                    };
                    assert_eq!(code, expected, "{path}");
                }
                assert_eq!(get(node, Credential::None, "wrong", "/healthz").await.code, 401);
            },
        );
    }
}
