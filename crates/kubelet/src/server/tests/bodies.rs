//! What each path answers.

use super::*;
use crate::devices::tests::configure;
use picolet_platform::{Duration, Record};
use std::collections::BTreeMap;
use std::format;
use std::string::ToString;

/// A node that has been up for an hour, has a configuration and was heard 5 s ago.
async fn live(node: &Node, time: &TestClock) {
    time.sleep(Duration::from_secs(3600)).await;
    configure(
        &node.devices,
        &[
            ("memory_values", "0=0x42,1=67,2=0xFF,1023=1"),
            ("gpio", "2=high,4=pwm:128"),
            ("led", "on"),
        ],
    );
    let uptime = time.now();
    node.health.heard(uptime, node.time.now());
    node.metrics.lease_latency.record(Duration::from_millis(12));
    node.metrics.api_latency.record(Duration::from_millis(999));
    node.metrics.api_latency.record(Duration::from_secs(9));
    time.sleep(Duration::from_secs(5)).await;
}

fn text(reply: &Reply) -> String {
    format!("{}{}", reply.head.replace("\r\n", "\n"), reply.body)
}

#[test]
fn every_path() {
    for path in [
        "/healthz",
        "/healthz?verbose=1",
        "/livez",
        "/readyz",
        "/pods",
        "/runningpods/",
        "/spec",
        "/configz",
        "/metrics",
        "/metrics/resource",
        "/stats/summary",
        "/pico/status",
        "/pico/memory",
        "/pico/gpio",
    ] {
        let reply = with_node(
            |settings| {
                settings.taints = std::vec![picolet_kube::selector::Taint {
                    key: "picolet.dev/microcontroller".into(),
                    value: "true".into(),
                    effect: "NoSchedule".into(),
                }];
            },
            async |node, time| {
                live(node, time).await;
                let mut caller = Caller::new(node, certificate());
                let reply = caller.get(path).await;
                let head = caller.ask("HEAD", path, "").await;
                assert_eq!((head.code, &*head.body), (reply.code, ""), "HEAD {path}");
                assert_eq!(
                    caller.get("/livez").await.body,
                    "ok",
                    "nothing is left over behind HEAD {path}"
                );
                reply
            },
        );
        let name = path.trim_matches('/').replace(['/', '?', '='], "_");
        insta::assert_snapshot!(name, text(&reply));
    }
}

#[test]
fn a_node_that_knows_little_says_null() {
    with_caller(async |node, caller| {
        node.network.rssi_dbm.set(None);
        node.machine.temperature.set(None);
        let status = caller.get("/pico/status").await.body;
        assert_eq!(
            status,
            r#"{"wifi_rssi":null,"free_memory":90112,"uptime_seconds":0,"temperature_celsius":null,"last_k8s_update":null}"#
        );
        assert_eq!(
            caller.get("/pico/memory").await.body,
            r#"{"memory_cells":[],"last_update":null}"#
        );
        let metrics = caller.get("/metrics").await.body;
        assert!(!metrics.contains("celsius") && !metrics.contains("rssi") && !metrics.contains("heartbeat"));
    });
}

#[test]
fn temperatures_have_one_digit() {
    with_caller(async |node, caller| {
        for (millis, want) in [
            (27_449, "27.4"),
            (27_450, "27.5"),
            (27_000, "27.0"),
            (-40, "0.0"),
            (-12_351, "-12.4"),
        ] {
            node.machine.temperature.set(Some(millis));
            let status = caller.get("/pico/status").await.body;
            assert!(
                status.contains(&format!("\"temperature_celsius\":{want},")),
                "{millis}: {status}"
            );
        }
    });
}

#[test]
fn readiness() {
    with_node(
        |_| {},
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            let never = caller.get("/readyz").await;
            assert_eq!(never.code, 503);
            assert!(
                never.body.contains("no heartbeat has reached the API server yet"),
                "{}",
                never.body
            );
            node.health.heard(time.now(), node.time.now());
            assert_eq!(caller.get("/readyz").await.body, "ok");
            node.network.address.set(None);
            assert_eq!(caller.get("/readyz").await.code, 503);
            assert!(
                caller
                    .get("/healthz?verbose=1")
                    .await
                    .body
                    .contains(r#""wifi":"the node has no address""#)
            );
            node.network.address.set(Some(PEER));
            for _ in 0..3 {
                time.sleep(Duration::from_secs(20)).await;
                assert_eq!(caller.get("/readyz").await.code, 200);
            }
            time.sleep(Duration::from_secs(1)).await;
            let late = caller.get("/readyz").await;
            assert_eq!(late.code, 503);
            assert!(late.body.contains("for 61 s"), "{}", late.body);
            assert_eq!(caller.get("/healthz").await.body, "ok");
            assert!(
                caller
                    .get("/healthz?verbose")
                    .await
                    .body
                    .contains(r#""status":"degraded""#)
            );
        },
    );
}

#[test]
fn a_whole_memory_is_sent_in_pieces() {
    let data: std::vec::Vec<String> = (0..1024).map(|at| format!("{at}={}", at % 256)).collect();
    with_caller(async |node, caller| {
        configure(&node.devices, &[("memory_values", &data.join(","))]);
        let reply = caller.get("/pico/memory").await;
        assert!(
            reply.head.contains("Transfer-Encoding: chunked\r\n") && !reply.head.contains("Content-Length")
        );
        assert!(
            reply
                .body
                .starts_with(r#"{"memory_cells":[{"address":0,"value":0},{"address":1,"value":1},"#)
        );
        assert!(
            reply
                .body
                .ends_with(r#"{"address":1023,"value":255}],"last_update":"2026-11-22T12:00:00Z"}"#)
        );
        assert_eq!(reply.body.matches("address").count(), 1024);
        assert_eq!(caller.get("/livez").await.body, "ok");
        caller.send("GET /pico/memory HTTP/1.0\r\n\r\n").await;
        let old = caller.reply().await.expect("an answer");
        assert!(!old.head.contains("Transfer-Encoding") && old.head.contains("Connection: close"));
        assert_eq!(old.body, reply.body);
    });
}

#[test]
fn a_container_that_is_not_here() {
    with_caller(async |_, caller| {
        let logs = caller.get("/containerLogs/default/web/app?follow=true").await;
        assert_eq!((logs.code, &*logs.body), (404, r#"pod "web" does not exist"#));
        assert!(logs.head.contains("Content-Type: text/plain"), "{}", logs.head);
        let exec = caller.ask("POST", "/exec/default/web/app?output=1", "").await;
        assert_eq!((exec.code, &*exec.body), (404, "pod does not exist"));
    });
}

#[test]
fn commands() {
    with_caller(async |node, caller| {
        let pins = &node.machine.pins;
        for (body, code, answer) in [
            (
                r#"{"command":"blink_led","params":{"times":5,"delay_ms":100}}"#,
                200,
                "",
            ),
            (r#"{"command":"set_led","params":{"state":"on"}}"#, 200, ""),
            (
                r#"{"command":"set_led","params":{"state":"blink","period_ms":500}}"#,
                200,
                "",
            ),
            (r#"{"command":"identify","params":{"seconds":3}}"#, 200, ""),
            (r#"{"command":"identify"}"#, 200, ""),
            (
                r#"{"command":"set_gpio","params":{"pin":5,"value":"high"}}"#,
                200,
                "",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":6,"value":"pwm","duty":64}}"#,
                200,
                "",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":23,"value":"low"}}"#,
                400,
                "params.pin: 23: the board has no such pin for its user",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":64,"value":"low"}}"#,
                400,
                "params.pin: is a whole number from 0 to 63",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":5}}"#,
                400,
                "params.value: is missing",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":5,"value":"pwm"}}"#,
                400,
                "params.duty: is missing",
            ),
            (
                r#"{"command":"set_gpio","params":{"pin":5,"value":"pwm","duty":256}}"#,
                400,
                "params.duty: is a whole number from 0 to 255",
            ),
            (
                r#"{"command":"set_led","params":{"state":"dim"}}"#,
                400,
                "params.state: is one of on, off and blink",
            ),
            (
                r#"{"command":"blink_led","params":{}}"#,
                400,
                "params.times: is missing",
            ),
            (
                r#"{"command":"blink_led","params":{"times":-1}}"#,
                400,
                "params.times: is a whole number from 1 to 1000",
            ),
            (
                r#"{"command":"self_destruct"}"#,
                400,
                "command: is one of blink_led, set_led, identify, set_gpio, reboot and forget",
            ),
            (
                r#"{"command":"forget"}"#,
                400,
                "params.node: is the name of this node, so that no other forgets who it is",
            ),
            (
                r#"{"command":"forget","params":{"node":"pico-2"}}"#,
                400,
                "params.node: is the name of this node, so that no other forgets who it is",
            ),
            (
                r#"{"params":{}}"#,
                400,
                "command: is one of blink_led, set_led, identify, set_gpio, reboot and forget",
            ),
            (
                r#"{"command":"identify"}{"command":"reboot"}"#,
                400,
                r#"the body is not one JSON document like {"command":"identify","params":{}}"#,
            ),
            (
                r#"{"command":"identify""#,
                400,
                r#"the body is not one JSON document like {"command":"identify","params":{}}"#,
            ),
            (
                "",
                400,
                r#"the body is not one JSON document like {"command":"identify","params":{}}"#,
            ),
        ] {
            let reply = caller.ask("POST", "/pico/command", body).await;
            assert_eq!(reply.code, code, "{body}: {}", reply.body);
            let mut want = String::new();
            let mut w = picolet_kube::json::Writer::new(&mut want);
            w.object();
            if code == 200 {
                w.string_at("status", "ok");
            } else {
                w.string_at("error", answer);
                w.number_at("code", code);
            }
            w.end();
            assert_eq!(reply.body, want, "{body}");
        }
        assert_eq!(pins.borrow()[&5], picolet_platform::PinMode::High);
        assert_eq!(
            pins.borrow()[&6],
            picolet_platform::PinMode::Pwm {
                duty: 64,
                hertz: 1000
            }
        );
        assert_eq!(node.machine.reboots.get(), 0);
        assert!(node.machine.records.borrow().is_empty(), "nothing is forgotten");
    });
}

#[test]
fn what_a_config_map_holds_is_not_commanded() {
    with_caller(async |node, caller| {
        configure(&node.devices, &[("gpio", "5=low"), ("led", "on")]);
        for (body, error) in [
            (
                r#"{"command":"set_gpio","params":{"pin":5,"value":"high"}}"#,
                "ConfigMap pico-config says what pin 5 does: change it there",
            ),
            (
                r#"{"command":"set_led","params":{"state":"off"}}"#,
                "ConfigMap pico-config says what the LED shows: change it there",
            ),
            (
                r#"{"command":"blink_led","params":{"times":1}}"#,
                "ConfigMap pico-config says what the LED shows: change it there",
            ),
        ] {
            let reply = caller.ask("POST", "/pico/command", body).await;
            assert_eq!(reply.body, format!(r#"{{"error":"{error}","code":409}}"#));
        }
        assert!(node.machine.pins.borrow().is_empty());
        let identify = caller
            .ask("POST", "/pico/command", r#"{"command":"identify"}"#)
            .await;
        assert_eq!(identify.code, 200, "it may always be asked which one it is");
    });
}

#[test]
fn a_reboot_is_answered_first() {
    with_node(
        |_| {},
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            let reply = caller
                .ask("POST", "/pico/command", r#"{"command":"reboot"}"#)
                .await;
            assert_eq!(reply.body, r#"{"status":"ok"}"#);
            assert_eq!(node.machine.reboots.get(), 0);
            time.sleep(Duration::from_secs(1)).await;
            assert_eq!(node.machine.reboots.get(), 1);
        },
    );
}

#[test]
fn who_it_is_is_forgotten_at_the_next_start() {
    with_node(
        |_| {},
        async |node, time| {
            let mut caller = Caller::new(node, certificate());
            let body = format!(
                r#"{{"command":"forget","params":{{"node":"{}"}}}}"#,
                node.settings.node_name
            );
            node.machine.broken.set(true);
            let reply = caller.ask("POST", "/pico/command", &body).await;
            assert_eq!(
                reply.body,
                r#"{"error":"the device's storage cannot be written","code":500}"#
            );
            time.sleep(Duration::from_secs(1)).await;
            assert_eq!(node.machine.reboots.get(), 0);
            node.machine.broken.set(false);
            let reply = caller.ask("POST", "/pico/command", &body).await;
            assert_eq!(reply.body, r#"{"status":"ok"}"#);
            let asked = |records: &BTreeMap<u8, Vec<u8>>| records.contains_key(&(Record::Forget as u8));
            assert!(asked(&node.machine.records.borrow()));
            time.sleep(Duration::from_secs(1)).await;
            assert_eq!(node.machine.reboots.get(), 1);
        },
    );
}

#[test]
fn who_may_ask() {
    with_node(
        |_| {},
        async |node, _| {
            for path in ["/healthz", "/pods", "/nowhere", "/pico/status"] {
                let mut nobody = Caller::new(node, Credential::None);
                let reply = nobody.get(path).await;
                assert_eq!(reply.code, 401, "{path}");
                assert!(reply.head.contains("WWW-Authenticate: Bearer\r\n"));
                assert_eq!(
                    reply.body.contains(r#""kind":"Status""#),
                    path != "/pico/status",
                    "{path}"
                );
                for (token, code) in [
                    ("Bearer s3cret", if path == "/nowhere" { 404 } else { 200 }),
                    ("bearer  s3cret ", if path == "/nowhere" { 404 } else { 200 }),
                    ("Bearer s3cre", 401),
                    ("Basic s3cret", 401),
                    ("Bearer", 401),
                    ("Bearer ", 401),
                ] {
                    nobody
                        .send(&format!(
                            "GET {path} HTTP/1.1\r\nHost: x\r\nauthorization: {token}\r\n\r\n"
                        ))
                        .await;
                    assert_eq!(
                        nobody.reply().await.map(|reply| reply.code),
                        Some(code),
                        "{path} {token}"
                    );
                }
            }
        },
    );
}

#[test]
fn the_read_only_port_shows_four_paths() {
    with_node(
        |_| {},
        async |node, _| {
            let mut caller = Caller::new(node, Credential::ReadOnlyPort);
            for (path, code) in [
                ("/healthz", 200),
                ("/metrics", 200),
                ("/pods", 200),
                ("/spec", 200),
                ("/configz", 403),
                ("/runningpods/", 403),
                ("/metrics/resource", 403),
                ("/containerLogs/a/b/c", 403),
                ("/pico/status", 403),
                ("/nowhere", 404),
            ] {
                assert_eq!(caller.get(path).await.code, code, "{path}");
            }
            let reply = caller
                .ask("POST", "/pico/command", r#"{"command":"reboot"}"#)
                .await;
            assert_eq!(
                reply.body,
                r#"{"error":"the read-only port serves /healthz, /metrics, /pods and /spec to be read","code":403}"#
            );
            assert_eq!(caller.ask("POST", "/pods", "").await.code, 403);
        },
    );
}

#[test]
fn wrong_methods_and_paths() {
    with_caller(async |_, caller| {
        for (method, path, code, allow) in [
            ("POST", "/healthz", 405, "Allow: GET, HEAD\r\n"),
            ("DELETE", "/pods", 405, "Allow: GET, HEAD\r\n"),
            ("GET", "/pico/command", 405, "Allow: POST\r\n"),
            ("PUT", "/exec/a/b/c", 405, "Allow: GET, HEAD, POST\r\n"),
            ("BREW", "/spec", 405, "Allow: GET, HEAD\r\n"),
            ("GET", "/", 404, ""),
            ("GET", "/logs/", 404, ""),
            ("GET", "/pico/", 404, ""),
            ("BREW", "/coffee", 404, ""),
        ] {
            let reply = caller.ask(method, path, "").await;
            assert_eq!(reply.code, code, "{method} {path}");
            assert!(reply.head.contains(allow), "{method} {path}: {}", reply.head);
            let status =
                reply.body.contains(r#""kind":"Status""#) && reply.body.contains(r#""status":"Failure""#);
            assert_eq!(
                status,
                !path.starts_with("/pico/"),
                "{method} {path}: {}",
                reply.body
            );
        }
    });
}

#[test]
fn one_line_a_request() {
    with_node(
        |_| {},
        async |node, _| {
            let mut caller = Caller::new(node, certificate());
            caller.get("/healthz?verbose=1").await;
            caller.get("/containerLogs/secret/names/here").await;
            caller.get("/%0a[INFO]%20forged").await;
            let mut token = Caller::new(node, Credential::None);
            token
                .send("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n")
                .await;
            token.reply().await;
            token.send("nonsense\r\n\r\n").await;
            token.reply().await;
            assert_eq!(
                log(node),
                [
                    "Debug endpoint=/healthz client=admin@192.0.2.7 status=200 duration_ms=0",
                    "Debug endpoint=/containerLogs client=admin@192.0.2.7 status=404 duration_ms=0",
                    "Debug endpoint=other client=admin@192.0.2.7 status=404 duration_ms=0",
                    "Debug endpoint=/metrics client=prometheus@192.0.2.7 status=200 duration_ms=0",
                    "Debug endpoint=other client=192.0.2.7 status=400 duration_ms=0",
                ]
            );
        },
    );
}

#[test]
fn labels_have_few_values() {
    with_caller(async |_, caller| {
        for n in 0..200 {
            caller.get(&format!("/x{n}")).await;
            caller.get(&format!("/containerLogs/a/b/c{n}")).await;
        }
        let metrics = caller.get("/metrics").await.body;
        let lines: std::vec::Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("kubelet_http_requests_total{"))
            .collect();
        assert_eq!(
            lines,
            [
                r#"kubelet_http_requests_total{endpoint="other",code="404"} 200"#,
                r#"kubelet_http_requests_total{endpoint="/containerLogs",code="404"} 200"#,
            ]
        );
    });
}

#[test]
fn many_counters_are_all_there() {
    with_caller(async |_, caller| {
        let paths = [
            "/healthz",
            "/livez",
            "/readyz",
            "/pods",
            "/spec",
            "/configz",
            "/metrics",
            "/pico/status",
            "/pico/gpio",
            "/exec/a/b/c",
            "/run/a/b/c",
        ];
        for path in paths {
            caller.get(path).await;
            caller.ask("PUT", path, "").await;
        }
        let metrics = caller.get("/metrics").await.body;
        assert_eq!(
            metrics.matches("kubelet_http_requests_total{").count(),
            21,
            "two each, but for /run: {metrics}"
        );
        assert_eq!(metrics.matches("# TYPE kubelet_http_requests_total").count(), 1);
        let families: std::vec::Vec<String> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|l| l.to_string())
            .collect();
        let mut once = families.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), families.len(), "each family comes once");
    });
}

#[test]
fn the_processor_is_never_idle_to_the_last_digit() {
    with_node(
        |_| {},
        async |node, time| {
            node.machine.cpu_micros.set(0);
            node.machine.heap.set(picolet_platform::HeapFigures {
                total: 270_336,
                used: 0,
                peak: 0,
            });
            let mut caller = Caller::new(node, certificate());
            let body = caller.get("/metrics/resource").await.body;
            assert!(
                body.contains("node_cpu_usage_seconds_total 0.000001 1795348800000\n"),
                "{body}"
            );
            assert!(
                body.contains("node_memory_working_set_bytes 1 1795348800000\n"),
                "{body}"
            );
            node.machine.cpu_micros.set(250_000);
            time.sleep(Duration::from_secs(1)).await;
            assert!(
                caller
                    .get("/stats/summary")
                    .await
                    .body
                    .contains(r#""usageNanoCores":250000000,"#)
            );
            node.machine.cpu_micros.set(350_000);
            time.sleep(Duration::from_secs(10)).await;
            assert!(
                caller
                    .get("/stats/summary")
                    .await
                    .body
                    .contains(r#""usageNanoCores":10000000,"#)
            );
        },
    );
}

#[test]
fn metrics_of_containers_and_probes_are_empty_and_not_missing() {
    with_caller(async |_, caller| {
        for path in ["/metrics/cadvisor", "/metrics/probes"] {
            let reply = caller.get(path).await;
            assert_eq!((reply.code, &*reply.body), (200, ""), "{path}");
            assert!(
                reply.head.contains("Content-Type: text/plain; version=0.0.4"),
                "{path}: {}",
                reply.head
            );
        }
    });
}

#[test]
fn metrics_name_the_firmware_where_a_bootloader_starts_it() {
    let board = crate::firmware::tests::updated();
    let updater: &_ = std::boxed::Box::leak(std::boxed::Box::new(board.updater(&[])));
    assert!(updater.stage(false).is_err());
    with_caller(async |node, caller| {
        let metrics = caller.get("/metrics").await.body;
        assert!(!metrics.contains("picolet_firmware"));
        node.machine.firmware.set(Some(updater));
        node.metrics.firmware_reverted.set(2);
        let metrics = caller.get("/metrics").await.body;
        let lines: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("picolet_firmware"))
            .collect();
        let [info, counts @ ..] = &lines[..] else {
            panic!("{metrics}")
        };
        assert!(
            info.starts_with(r#"picolet_firmware_info{version="0.2.0",digest=""#)
                && info.ends_with(r#"",slot="B",state="trial"} 1"#),
            "{info}"
        );
        let results = [("confirmed", 0), ("reverted", 2), ("repeated", 0), ("refused", 1)];
        let expected = results
            .map(|(result, count)| format!("picolet_firmware_updates_total{{result=\"{result}\"}} {count}"));
        assert_eq!(counts, expected);
    });
}
