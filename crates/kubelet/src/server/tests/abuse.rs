//! Callers who are slow, greedy, or up to something.

use super::super::Connection;
use super::*;
use embassy_futures::select::{Either, select};
use picolet_platform::{Accepted, Duration};
use proptest::prelude::*;
use std::format;

const CONNECTIONS: usize = 5;

fn raw(request: &str) -> Option<(u16, bool)> {
    with_node(
        |_| {},
        async |node, _| {
            let mut caller = Caller::new(node, certificate());
            caller.send(request).await;
            let reply = caller.reply().await?;
            Some((reply.code, reply.head.contains("Connection: close")))
        },
    )
}

#[test]
fn framing_that_two_readers_could_read_differently_is_refused() {
    let command = r#"{"command":"identify"}"#;
    let length = command.len();
    let post = |fields: &str| {
        raw(&format!(
            "POST /pico/command HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{command}"
        ))
    };
    assert_eq!(post(&format!("Content-Length: {length}")), Some((200, false)));
    for (fields, code) in [
        (
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
            400,
        ),
        (
            format!("Content-Length: {length}\r\nContent-Length: {length}"),
            400,
        ),
        (format!("Content-Length: {length}\r\nContent-Length: 3"), 400),
        (format!("Content-Length: {length}, {length}"), 400),
        (format!("Content-Length: +{length}"), 400),
        (format!("Content-Length: -{length}"), 400),
        ("Content-Length: 0x16".into(), 400),
        ("Content-Length:".into(), 400),
        ("Content-Length: 99999999999999999999999".into(), 413),
        ("Content-Length: 4097".into(), 413),
        ("Transfer-Encoding: chunked".into(), 400),
        ("Transfer-Encoding: gzip, chunked".into(), 400),
        ("Transfer-Encoding: xchunked".into(), 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".into(),
            400,
        ),
        (format!("Content-Length : {length}"), 400),
        (format!("Content-Length: {length}\r\n folded"), 400),
        (format!("X: a\rContent-Length: {length}"), 400),
        (format!("Host: y\r\nContent-Length: {length}"), 400),
        ("Expect: a-miracle".into(), 417),
    ] {
        assert_eq!(post(&fields), Some((code, true)), "{fields:?}");
    }
    assert_eq!(raw("GET /livez HTTP/1.1\r\n\r\n"), Some((400, true)), "no Host");
    assert_eq!(raw("GET /livez HTTP/1.0\r\n\r\n"), Some((200, true)));
    assert_eq!(
        raw("GET /livez HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Some((400, true))
    );
    assert_eq!(
        raw("GET http://node:10250/livez HTTP/1.1\r\nHost: node\r\n\r\n"),
        Some((200, false))
    );
    assert_eq!(
        raw("GET http://node HTTP/1.1\r\nHost: node\r\n\r\n"),
        Some((400, true))
    );
    assert_eq!(raw("GET livez HTTP/1.1\r\nHost: node\r\n\r\n"), Some((400, true)));
    assert_eq!(raw("OPTIONS * HTTP/1.1\r\nHost: node\r\n\r\n"), Some((400, true)));
    assert_eq!(raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some((400, true)));
    assert_eq!(
        raw("\x16\x03\x01 this is a TLS record"),
        Some((400, true)),
        "at once, not after a timeout"
    );
}

#[test]
fn chunked_body_is_served_however_it_is_cut() {
    let wire = "POST /pico/command HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb;x=y\r\n{\"command\":\r\n00B\r\n\"identify\"}\r\n0\r\nTrailer: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in 0..wire.len() {
        with_caller(async |_, caller| {
            let (first, second) = wire.split_at(cut);
            caller.send(first).await;
            caller.send(second).await;
            let reply = caller.reply().await.expect("a reply");
            assert_eq!((reply.code, &*reply.body), (200, r#"{"status":"ok"}"#), "{cut}");
            assert!(caller.ended().await, "nothing that follows is served: {cut}");
        });
    }
}

#[test]
fn chunked_body_is_refused_when_it_is_malformed_or_too_long() {
    let post = |body: &str| {
        raw(&format!(
            "POST /pico/command HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ))
    };
    let long = "x".repeat(4097);
    for (body, code) in [
        (format!("1001\r\n{long}\r\n0\r\n\r\n"), 413),
        ("1\r\nx\r\n".repeat(4097), 413),
        ("x\r\n".into(), 400),
        // Line feeds alone, anywhere.
        ("1\nx\r\n0\r\n\r\n".into(), 400),
        ("1;\nx\r\n0\r\n\r\n".into(), 400),
        ("1\r\nx\n0\r\n\r\n".into(), 400),
        ("1\r\nx\r\n0\n\r\n".into(), 400),
        ("1\r\nx\r\n0\r\n\n".into(), 400),
        ("1\r\nx\r\n0\r\nT: y\n\r\n".into(), 400),
        ("1\r\r\nx\r\n0\r\n\r\n".into(), 400),
        ("-1\r\n".into(), 400),
        ("1\r\nxx\r\n".into(), 400),
        ("10000000000000000\r\n".into(), 400),
        // Whole, and no command.
        ("0\r\n\r\n".into(), 400),
    ] {
        let shown = &body[..body.len().min(40)];
        assert_eq!(post(&body).map(|(code, _)| code), Some(code), "{shown:?}");
    }
}

#[test]
fn a_smuggled_request_is_not_served() {
    with_caller(async |node, caller| {
        caller
            .send("POST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /spec HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert_eq!(caller.reply().await.map(|reply| reply.code), Some(400));
        assert!(caller.ended().await);
        assert_eq!(log(node).len(), 1);
    });
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    with_caller(async |_, caller| {
        caller
            .send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\nPOST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n{\"command\":\"identify\"}\r\n\r\nGET /pico/x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Close\r\n\r\nGET /spec HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        for code in [200, 200, 404] {
            assert_eq!(caller.reply().await.map(|reply| reply.code), Some(code));
        }
        assert!(
            caller.ended().await,
            "nothing behind `Connection: close` is served"
        );
    });
}

#[test]
fn a_body_waits_to_be_asked_for() {
    with_caller(async |_, caller| {
        let head =
            "POST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\nExpect: 100-continue\r\n\r\n";
        caller.send(head).await;
        caller.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
        caller.send(r#"{"command":"identify"}"#).await;
        assert_eq!(caller.reply().await.map(|reply| reply.code), Some(200));
        caller.send(&head.replace("22", "5000")).await;
        assert_eq!(
            caller.reply().await.map(|reply| reply.code),
            Some(413),
            "not asked for"
        );
    });
}

#[test]
fn too_long() {
    let long = "x".repeat(20_000);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(40)),
    ] {
        with_caller(async |_, caller| {
            // The node may have closed before all of it is sent.
            let _ = caller.end.write_all(request.as_bytes()).await;
            let reply = caller.reply().await.expect("an answer");
            assert_eq!(reply.code, 431);
            assert!(reply.body.contains("send fewer or shorter header fields"));
            assert!(caller.ended().await);
        });
    }
}

#[test]
fn whoever_is_slow_is_told_so() {
    for (begin, drip, form) in [
        ("GET /livez HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", "Status"),
        (
            "POST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
            " ",
            "error",
        ),
    ] {
        with_node(
            |_| {},
            async |node, time| {
                let mut caller = Caller::new(node, certificate());
                let started = time.now();
                caller.send(begin).await;
                let reply = loop {
                    match select(caller.reply(), time.sleep(Duration::from_secs(1))).await {
                        Either::First(reply) => break reply.expect("an answer"),
                        Either::Second(()) => caller.send(drip).await,
                    }
                };
                assert_eq!(reply.code, 408);
                assert!(reply.body.contains(form), "{}", reply.body);
                assert_eq!(time.now() - started, Duration::from_secs(5));
                assert!(caller.ended().await);
            },
        );
    }
}

#[test]
fn whoever_is_idle_is_left_without_a_word() {
    with_node(
        |_| {},
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            assert_eq!(caller.get("/livez").await.code, 200);
            let since = time.now();
            assert!(caller.ended().await);
            assert_eq!(time.now() - since, Duration::from_secs(30));
        },
    );
}

#[test]
fn whoever_does_not_read_is_left() {
    with_node(
        |_| {},
        async |node, time| {
            let mut greedy: Vec<Caller> = (0..CONNECTIONS)
                .map(|_| Caller::new(node, certificate()))
                .collect();
            for caller in &mut greedy {
                // More answers than fit on the way, none of them read.
                caller
                    .send(&"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20))
                    .await;
            }
            time.sleep(Duration::from_secs(31)).await;
            let mut caller = Caller::new(node, certificate());
            assert_eq!(caller.get("/livez").await.code, 200);
        },
    );
}

#[test]
fn the_connection_that_was_idle_longest_makes_room() {
    with_node(
        |_| {},
        async |node, time| {
            let mut callers = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut caller = Caller::new(node, certificate());
                assert_eq!(caller.get("/livez").await.code, 200);
                callers.push(caller);
                time.sleep(Duration::from_secs(1)).await;
            }
            assert_eq!(
                callers[0].get("/livez").await.code,
                200,
                "the first was heard last"
            );
            let mut new = Caller::new(node, certificate());
            let metrics = new.get("/metrics").await.body;
            assert!(
                metrics.contains("picolet_server_connections_evicted_total 1\n"),
                "{metrics}"
            );
            assert!(metrics.contains("picolet_server_connections 5\n"), "{metrics}");
            assert!(callers[1].ended().await, "the second was idle longest");
            for at in [0, 2, 3, 4] {
                assert_eq!(callers[at].get("/livez").await.code, 200);
            }
        },
    );
}

#[test]
fn where_all_are_busy_one_more_is_turned_away() {
    with_node(
        |settings| settings.limits.connections = 2,
        async |node, time| {
            let mut busy: Vec<Caller> = (0..2).map(|_| Caller::new(node, certificate())).collect();
            for caller in &mut busy {
                caller.send("GET /livez HT").await;
            }
            time.sleep(Duration::from_millis(1)).await;
            let mut new = Caller::new(node, certificate());
            let reply = new.reply().await.expect("an answer");
            assert_eq!(reply.code, 503);
            assert!(
                reply.head.contains("Retry-After: 1\r\n") && reply.head.contains("Connection: close\r\n")
            );
            for caller in &mut busy {
                caller.send("TP/1.1\r\nHost: x\r\n\r\n").await;
                assert_eq!(caller.reply().await.map(|reply| reply.code), Some(200));
            }
            assert!(new.ended().await);
            let mut later = Caller::new(node, certificate());
            let metrics = later.get("/metrics").await.body;
            assert!(
                metrics.contains("picolet_server_connections_refused_total 1\n"),
                "{metrics}"
            );
        },
    );
}

#[test]
fn a_rate_for_each_caller() {
    with_node(
        |settings| {
            settings.limits.requests_per_second = 2;
            settings.limits.burst = 3;
        },
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            for _ in 0..3 {
                assert_eq!(caller.get("/livez").await.code, 200);
            }
            let over = caller.get("/livez").await;
            assert_eq!(over.code, 429);
            assert!(over.head.contains("Retry-After: 1\r\n"), "{}", over.head);
            let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
            let mut neighbour = Caller {
                end: node.network.call(other, Credential::None),
                received: Vec::new(),
            };
            assert_eq!(neighbour.get("/livez").await.code, 401);
            time.sleep(Duration::from_secs(1)).await;
            assert_eq!(caller.get("/livez").await.code, 200);
        },
    );
}

#[test]
fn without_memory_only_health_is_told() {
    with_caller(async |node, caller| {
        node.machine.heap.set(picolet_platform::HeapFigures {
            total: 131_072,
            used: 126_000,
            peak: 126_000,
        });
        let reply = caller.get("/pods").await;
        assert_eq!(reply.code, 503);
        assert!(reply.head.contains("Retry-After: 10\r\n"));
        assert_eq!(caller.get("/healthz").await.body, "ok");
    });
}

#[test]
fn caller_is_left_when_there_is_no_memory_for_its_request() {
    with_node(
        |_| {},
        async |node, _| {
            let stream = Caller::new(node, certificate()).end;
            let mut connection = Connection::new(Accepted {
                stream,
                credential: certificate(),
                peer: PEER,
            });
            // More than any machine has.
            assert!(connection.read(isize::MAX as usize).await.is_err());
        },
    );
}

#[test]
fn a_port_that_is_not_open_is_tried_again() {
    with_node(
        |_| {},
        async |node, time| {
            node.network.listening.set(false);
            time.sleep(Duration::from_secs(10)).await;
            node.network.listening.set(true);
            let mut caller = Caller::new(node, certificate());
            assert_eq!(caller.get("/livez").await.code, 200);
        },
    );
}

/// Sends `pieces` and returns what comes back until the node ends the connection.
fn garbage(pieces: &[Vec<u8>]) -> Vec<u8> {
    with_node(
        |_| {},
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            let started = time.now();
            for piece in pieces {
                if caller.end.write_all(piece).await.is_err() {
                    break;
                }
            }
            while caller.more().await > 0 {}
            assert!(time.now() - started <= Duration::from_secs(40), "it ends");
            caller.received
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_answered_or_left(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..6)) {
        let answer = garbage(&pieces);
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }

    #[test]
    fn half_a_request_is_answered_or_left(
        method in "(GET|POST|HEAD|X)", path in "/(pico/)?[a-z/?=&%.]{0,30}",
        fields in prop::collection::vec("(Content-Length|Transfer-Encoding|Host|Expect|X-[a-z]{1,5}): ?[a-z0-9,-]{0,9}", 0..5),
        body in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", fields.join("\r\n")).into_bytes();
        bytes.extend(body);
        bytes.truncate(cut.index(bytes.len() + 1));
        let answer = garbage(&[bytes]);
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&answer));
    }

    #[test]
    fn an_answer_does_not_depend_on_how_a_request_arrives(cuts in prop::collection::vec(1usize..40, 1..30)) {
        let request = "POST /pico/command HTTP/1.1\r\nHost: x\r\nX-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nContent-Length: 22\r\nConnection: close\r\n\r\n{\"command\":\"identify\"}";
        let mut rest = request.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        let answer = String::from_utf8(garbage(&pieces)).expect("text");
        prop_assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"status\":\"ok\"}"), "{}", answer);
    }
}
