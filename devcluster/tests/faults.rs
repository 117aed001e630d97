//! What a client sees of a cluster that misbehaves on demand, over TCP and TLS.

mod common;

use common::{Caller, cluster, run, write_request};
use embedded_io_async::Read;
use picolet_devcluster::{Fault, FaultKind, RandomFaults, Restart};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"led": "on"}})
}

#[test]
fn refusals_are_not_carried_out() {
    run(async {
        let cluster = cluster().await;
        let node = Caller::node(&cluster, "n");
        let path = "/api/v1/nodes";
        for code in [401, 403, 409, 410, 429, 500, 503] {
            cluster.faults(|faults| faults.add(Fault::status(code).on("create", "nodes").times(1)));
            let answer = node.post(path, &json!({"metadata": {"name": "n"}})).await;
            assert_eq!(answer.code, code);
            let status = answer.json();
            assert_eq!(
                (&status["kind"], &status["code"]),
                (&"Status".into(), &code.into())
            );
            assert_eq!(answer.head.contains("Retry-After: 1\r\n"), code == 429);
            assert!(cluster.get("nodes", "", "n").is_err());
        }
        assert_eq!(
            node.post(path, &json!({"metadata": {"name": "n"}})).await.code,
            201
        );
        assert_eq!(cluster.counters().faults, 7);
    });
}

#[test]
fn answers_are_late_cut_or_lost() {
    run(async {
        let cluster = cluster().await;
        let admin = Caller::admin(&cluster);
        let fault = |kind| {
            let rule = Fault::new(kind).on("create", "configmaps").by("admin").times(1);
            cluster.faults(|faults| faults.add(rule));
        };
        let create = async |name: &str| {
            let headers = [("Content-Type", "application/json")];
            let body = config_map(name).to_string();
            admin.send("POST", CONFIG_MAPS, &headers, body.as_bytes()).await
        };
        let is_there = |name: &str| cluster.get("configmaps", "default", name).is_ok();

        fault(FaultKind::Slow { milliseconds: 300 });
        let begun = SystemTime::now();
        assert_eq!(create("slow").await.map(|answer| answer.code), Some(201));
        assert!(begun.elapsed().expect("a clock") >= Duration::from_millis(300));

        fault(FaultKind::Cut);
        assert!(create("cut").await.is_none() && !is_there("cut"));

        fault(FaultKind::LoseAnswer);
        assert!(create("lost").await.is_none() && is_there("lost"));

        fault(FaultKind::CutMidAnswer);
        let answer = create("half").await.expect("a head");
        assert!(answer.code == 201 && answer.cut && is_there("half"));

        fault(FaultKind::Hang);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), create("hung"))
                .await
                .is_err()
        );
        assert!(!is_there("hung"));
    });
}

#[test]
fn watches_are_cut_in_an_event_or_expire() {
    run(async {
        let cluster = cluster().await;
        let node = Caller::node(&cluster, "n");
        cluster
            .create("configmaps", "default", config_map("pico-config"))
            .expect("created");
        let path = format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Dpico-config");
        cluster.faults(|faults| faults.add(Fault::new(FaultKind::CutMidEvent).times(1)));
        let answer = node.get(&path).await;
        assert!(answer.code == 200 && answer.cut && answer.events().is_empty());
        cluster.faults(|faults| faults.add(Fault::new(FaultKind::ExpireWatch).times(1)));
        let answer = node.get(&path).await;
        let events = answer.events();
        assert!(!answer.cut && events.len() == 1);
        assert_eq!(
            (&events[0]["type"], &events[0]["object"]["code"]),
            (&"ERROR".into(), &410.into())
        );
    });
}

#[test]
fn a_restart_cuts_connections_and_loses_what_it_shall() {
    run(async {
        let cluster = cluster().await;
        let node = Caller::node(&cluster, "n");
        let made = cluster
            .create("configmaps", "default", config_map("pico-config"))
            .expect("created");
        let version = made["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned();
        let selector = "fieldSelector=metadata.name%3Dpico-config";
        let path = format!("{CONFIG_MAPS}?watch=1&{selector}&resourceVersion={version}");

        let mut stream = node.connect().await.expect("a connection");
        write_request(&mut stream, "GET", &path, &[], b"", false)
            .await
            .expect("written");
        let mut buffer = [0; 1024];
        assert!(stream.read(&mut buffer).await.expect("a head") > 0);
        assert_eq!(cluster.counters().open_watches, 1);
        cluster.restart(Restart::History);
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
        assert!(matches!(ended, Ok(Err(_) | Ok(0))), "the watch is cut: {ended:?}");
        tokio::task::yield_now().await;

        let events = node.get(&path).await.events();
        assert_eq!(
            (&events[0]["type"], &events[0]["object"]["reason"]),
            (&"ERROR".into(), &"Expired".into())
        );
        assert_eq!(
            node.get(&format!("{CONFIG_MAPS}?{selector}")).await.json()["items"][0]["data"]["led"],
            "on"
        );

        cluster.restart(Restart::Objects);
        let list = node.get(&format!("{CONFIG_MAPS}?{selector}")).await.json();
        assert_eq!(list["items"], json!([]));
        assert!(cluster.get("namespaces", "", "default").is_ok());
    });
}

#[test]
fn a_server_that_is_down_comes_back_by_itself() {
    run(async {
        let cluster = cluster().await;
        let admin = Caller::admin(&cluster);
        let order = json!({"downSeconds": 1});
        assert_eq!(admin.post("/devcluster/faults", &order).await.code, 200);
        assert!(admin.send("GET", "/healthz", &[], b"").await.is_none());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(admin.get("/healthz").await.code, 200);
    });
}

#[test]
fn the_clock_can_be_wrong() {
    run(async {
        let cluster = cluster().await;
        let anonymous = Caller::of(&cluster, None);
        cluster.faults(|faults| faults.set_clock_skew(-10 * 365 * 86_400));
        let head = anonymous.get("/healthz").await.head;
        let year = 1970 + SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs() / 31_556_952;
        let date = head
            .lines()
            .find(|line| line.starts_with("Date: "))
            .expect("a date")
            .to_owned();
        let found: u64 = date
            .split(' ')
            .nth(4)
            .and_then(|year| year.parse().ok())
            .expect("a year");
        assert!((year - 11..=year - 9).contains(&found), "{date}");
    });
}

#[test]
fn faults_are_ordered_over_http_by_administrators_only() {
    run(async {
        let cluster = cluster().await;
        let (admin, node) = (Caller::admin(&cluster), Caller::node(&cluster, "n"));
        let rule =
            json!({"kind": {"status": {"code": 429, "retryAfter": 3}}, "verb": "get", "resource": "nodes"});
        let order = json!({"faults": [rule], "random": {"perThousand": 5, "seed": 1}});
        assert_eq!(node.post("/devcluster/faults", &order).await.code, 403);
        assert_eq!(
            admin.post("/devcluster/faults", &json!({"fault": []})).await.code,
            400
        );
        let shown = admin.post("/devcluster/faults", &order).await.json();
        assert_eq!(
            (&shown["faults"][0]["verb"], &shown["random"]["seed"]),
            (&"get".into(), &1.into())
        );
        assert!(
            node.get("/api/v1/nodes/n")
                .await
                .head
                .contains("Retry-After: 3\r\n")
        );
        let ended = admin
            .send("DELETE", "/devcluster/faults", &[], b"")
            .await
            .expect("an answer")
            .json();
        assert_eq!((&ended["faults"], &ended["random"]), (&json!([]), &Value::Null));
        assert_eq!(node.get("/api/v1/nodes/n").await.code, 404);
        let counters = admin.get("/devcluster/counters").await.json();
        assert!(
            counters["requests"]
                .as_array()
                .is_some_and(|requests| requests.iter().any(|request| {
                    request["verb"] == "get" && request["resource"] == "nodes" && request["code"] == 429
                }))
        );
    });
}

#[test]
fn random_faults_leave_no_object_half_written() {
    run(async {
        let cluster = cluster().await;
        let node = Caller::node(&cluster, "n");
        cluster.faults(|faults| {
            faults.set_random(Some(RandomFaults {
                per_thousand: 400,
                seed: 3,
            }))
        });
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let headers = [("Content-Type", "application/json")];
        for second in 0..60 {
            let spec = json!({"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z"), "leaseDurationSeconds": 40});
            let mut lease = json!({"metadata": {"name": "n"}, "spec": spec});
            if let Ok(found) = cluster.get("leases", "kube-node-lease", "n") {
                lease["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
            }
            let (path, body) = (format!("{path}/n"), lease.to_string());
            let sent = node.send("PUT", &path, &headers, body.as_bytes());
            // A request that hangs or is cut is one of the faults.
            let _ = tokio::time::timeout(Duration::from_secs(3), sent).await;
        }
        assert!(cluster.counters().faults > 10);
        cluster.faults(picolet_devcluster::Faults::clear);
        let lease = node.get(&format!("{path}/n")).await.json();
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    });
}

#[test]
fn a_connection_serves_requests_one_after_the_other_and_a_watch_ends_with_its_peer() {
    run(async {
        let cluster = cluster().await;
        let node = Caller::node(&cluster, "n");
        let mut stream = node.connect().await.expect("a connection");
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        // Two at once, then one more.
        write_request(&mut stream, "GET", "/healthz", &[], b"", false)
            .await
            .expect("written");
        write_request(&mut stream, "GET", "/livez", &[], b"", false)
            .await
            .expect("written");
        while received.windows(2).filter(|window| window == b"ok").count() < 2 {
            let count = stream.read(&mut buffer).await.expect("answers");
            received.extend_from_slice(&buffer[..count]);
        }
        let path = "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn";
        write_request(&mut stream, "GET", path, &[], b"", false)
            .await
            .expect("written");
        assert!(stream.read(&mut buffer).await.expect("a head") > 0);
        let counters = cluster.counters();
        assert_eq!(
            (
                counters.connections,
                counters.open_connections,
                counters.open_watches
            ),
            (1, 1, 1)
        );

        let pod = |name: &str, node: &str| json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
        cluster
            .create("pods", "default", pod("other", "m"))
            .expect("created");
        cluster
            .create("pods", "default", pod("own", "n"))
            .expect("created");
        let count = stream.read(&mut buffer).await.expect("an event");
        let event = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(
            event.contains("\"type\":\"ADDED\"") && event.contains("\"name\":\"own\""),
            "{event}"
        );
        drop(stream);
        while cluster.counters().open_connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(cluster.counters().open_watches, 0);
    });
}
