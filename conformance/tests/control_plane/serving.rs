//! The node's HTTPS API: who may call, what it answers, and what stands in its metrics.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use picolet_conformance::{Caller, Case, Node, until};
use picolet_controlplane::{Identity, Pki, Place, Subject, Validity};

use crate::pods::{forced, wait_without_runtime};
use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("callers_need_a_certificate", callers_need_a_certificate).essential(),
    beside("static_tokens", static_tokens),
    beside("bodies", bodies).essential(),
    beside("errors", errors),
    beside("commands", commands),
    beside("node_proxy", node_proxy).essential(),
    beside("node_proxy_to_a_tap_interface", node_proxy_to_a_tap_interface).only_boards(),
    beside("kubectl_logs", kubectl_logs),
    beside("metrics_are_clean", metrics_are_clean).essential(),
    beside("outlives_its_callers", outlives_its_callers),
];

fn callers_need_a_certificate(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let control_plane = case.cluster().control_plane();
    let authority = control_plane.pki().certificate_authority();
    ensure!(
        node.get("/pods")?.status == 200,
        "the API server's certificate is refused"
    );
    let nobody = Caller::new(authority, None)?;
    for path in [
        "/pods",
        "/spec",
        "/metrics",
        "/healthz?verbose=1",
        "/pico/status",
        "/pico/memory",
        "/nothing",
    ] {
        let answer = nobody.get(&node.url(path))?;
        ensure!(
            answer.status == 401,
            "{path} without a certificate: {} {}",
            answer.status,
            answer.body
        );
    }
    let answer = nobody.post(
        &node.url("/pico/command"),
        r#"{"command":"identify","params":{"seconds":1}}"#,
    )?;
    ensure!(
        answer.status == 401,
        "a command without a certificate: {} {}",
        answer.status,
        answer.body
    );
    let answer = nobody.get_with_token(&node.url("/pods"), "made-up")?;
    ensure!(
        answer.status == 401,
        "a made-up token: {} {}",
        answer.status,
        answer.body
    );

    let subject = Subject {
        common_name: "kube-apiserver-kubelet-client",
        organization: None,
    };
    let validity = Validity::default();
    // The right name from the wrong authority.
    let foreign = Pki::create(&control_plane.directory().join("foreign-pki"))?;
    let refused = |what: &str, identity: &Identity| {
        match Caller::new(authority, Some(identity))?.get(&node.url("/pods")) {
            // TLS itself may refuse, with an alert.
            Err(_) => Ok(()),
            Ok(answer) if answer.status == 401 => Ok(()),
            Ok(answer) => bail!("{what}: {} {}", answer.status, answer.body),
        }
    };
    refused(
        "a certificate of another authority",
        &foreign.client("client", subject, validity)?,
    )?;
    let past = Validity {
        from_seconds: -7200,
        until_seconds: -3600,
    };
    refused(
        "an expired certificate",
        &control_plane.pki().client("expired", subject, past)?,
    )?;
    let server = control_plane
        .pki()
        .server("not-a-client", subject, &["localhost"], &[], validity)?;
    refused("a server's certificate as a client", &server)?;
    // And a good one still goes through.
    ensure!(
        node.get("/pods")?.status == 200,
        "the API server's certificate is refused now"
    );
    Ok(())
}

fn static_tokens(case: &Case<'_>) -> Result<()> {
    let file = case
        .cluster()
        .control_plane()
        .directory()
        .join("static-tokens.csv");
    std::fs::write(&file, "a-long-and-random-token,prometheus\n")?;
    let file = file.to_str().context("not UTF-8")?;
    let node = case
        .node()
        .arguments(["--static-token-file", file])
        .start_ready()?;
    let caller = Caller::new(case.cluster().control_plane().pki().certificate_authority(), None)?;
    // A token is a name; what it may do is the cluster's to say.
    let answer = caller.get_with_token(&node.url("/metrics"), "a-long-and-random-token")?;
    ensure!(answer.status == 403, "{} {}", answer.status, answer.body);
    let role = [
        "create",
        "clusterrole",
        "static-token",
        "--verb=get",
        "--resource=nodes/metrics",
    ];
    case.kubectl().run(role)?;
    let binding = [
        "create",
        "clusterrolebinding",
        "static-token",
        "--clusterrole=static-token",
        "--user=prometheus",
    ];
    case.kubectl().run(binding)?;
    // A refusal is kept for 30 s.
    until(
        Duration::from_secs(45),
        "the static token may read metrics",
        || {
            let answer = caller.get_with_token(&node.url("/metrics"), "a-long-and-random-token")?;
            Ok((answer.status == 200).then_some(()))
        },
    )?;
    for token in ["a-long-and-random-toke", "a-long-and-random-token2", ""] {
        let answer = caller.get_with_token(&node.url("/metrics"), token)?;
        ensure!(
            answer.status == 401,
            "token {token:?}: {} {}",
            answer.status,
            answer.body
        );
    }
    ensure!(
        !node.log().contains("a-long-and-random-token"),
        "the log shows the token"
    );
    Ok(())
}

fn bodies(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = node.get(path)?;
        ensure!(
            answer.status == 200 && answer.body == "ok",
            "{path}: {} {:?}",
            answer.status,
            answer.body
        );
    }
    let health = node.get("/healthz?verbose=1")?.json()?;
    for check in ["wifi", "k8s_api", "memory", "uptime"] {
        ensure!(
            !health["checks"][check].is_null(),
            "/healthz?verbose=1 has no check {check}: {health}"
        );
    }
    let spec = node.get("/spec")?.json()?;
    for field in [
        "num_cores",
        "cpu_frequency_khz",
        "memory_capacity",
        "machine_id",
        "system_uuid",
        "boot_id",
    ] {
        ensure!(!spec[field].is_null(), "/spec has no {field}: {spec}");
    }
    let info = node.object()?["status"]["nodeInfo"].clone();
    ensure!(
        spec["boot_id"] == info["bootID"] && spec["machine_id"] == info["machineID"],
        "{spec} is not {info}"
    );
    let status = node.get("/pico/status")?.json()?;
    for field in [
        "wifi_rssi",
        "free_memory",
        "uptime_seconds",
        "temperature_celsius",
        "last_k8s_update",
    ] {
        ensure!(
            status.get(field).is_some(),
            "/pico/status has no {field}: {status}"
        );
    }
    // A process has no radio, and what a board hears is a negative number of dBm.
    let rssi = status["wifi_rssi"].as_i64();
    ensure!(
        rssi.is_some_and(|dbm| dbm < 0) == case.on_board(),
        "the signal is {}",
        status["wifi_rssi"]
    );
    ensure!(status["uptime_seconds"].is_u64(), "{status}");
    let gpio = node.get("/pico/gpio")?.json()?;
    ensure!(gpio["pins"].is_array() && gpio["adc"].is_array(), "{gpio}");
    let memory = node.get("/pico/memory")?.json()?;
    ensure!(
        memory["memory_cells"].is_array() && memory.get("last_update").is_some(),
        "{memory}"
    );

    let namespace = case.namespace()?;
    case.kubectl()
        .apply(&forced("listed", &namespace, node.name(), &serde_json::json!({})).to_string())?;
    wait_without_runtime(case, &namespace, "listed")?;
    let pods = node.get("/pods")?.json()?;
    ensure!(pods["kind"] == "PodList" && pods["apiVersion"] == "v1", "{pods}");
    let listed = pods["items"].as_array().context("no items")?;
    ensure!(
        listed.iter().any(|pod| pod["metadata"]["name"] == "listed"),
        "the bound pod is not listed: {pods}"
    );
    let running = node.get("/runningpods/")?.json()?;
    let own = format!("picolet-{}", node.name());
    ensure!(
        running["items"]
            .as_array()
            .is_none_or(|pods| pods.iter().all(|pod| pod["metadata"]["name"] == own)),
        "{running}"
    );

    let summary = node.get("/stats/summary")?.json()?;
    ensure!(summary["node"]["nodeName"] == node.name(), "{summary}");
    ensure!(
        summary["node"]["memory"]["workingSetBytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0),
        "{summary}"
    );
    ensure!(
        node.get("/configz")?.json()?["kubeletconfig"].is_object(),
        "/configz has no kubeletconfig"
    );
    Ok(())
}

fn errors(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let caller = node.caller()?;
    let answer = node.get("/pico/nothing")?;
    let json = answer.json()?;
    ensure!(
        answer.status == 404 && json["code"] == 404 && json["error"].is_string(),
        "{answer:?}"
    );
    let answer = node.get("/nothing")?;
    let json = answer.json()?;
    ensure!(
        answer.status == 404 && json["kind"] == "Status" && json["code"] == 404,
        "{answer:?}"
    );
    let answer = caller.delete(&node.url("/pods"))?;
    ensure!(answer.status == 405, "{answer:?}");
    let answer = caller.get(&node.url("/pico/command"))?;
    ensure!(answer.status == 405, "{answer:?}");
    let command = |body: &str| caller.post(&node.url("/pico/command"), body);
    for body in [
        "",
        "{",
        "[]",
        r#"{"command":"dance"}"#,
        r#"{"command":"set_gpio","params":{"pin":99,"value":"high"}}"#,
    ] {
        let answer = command(body)?;
        ensure!(answer.status == 400, "{body:?}: {answer:?}");
        ensure!(
            answer.json()?["error"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{answer:?}"
        );
    }
    let answer = command(&format!(r#"{{"command":"{}"}}"#, "x".repeat(8000)))?;
    ensure!(answer.status == 413, "a body of 8 KB: {answer:?}");
    let token = "x".repeat(4096);
    let answer = caller.get_with_token(&node.url("/pods"), &token)?;
    ensure!(
        answer.status == 200,
        "a token of 4 KiB beside a certificate: {answer:?}"
    );
    // A board takes no record of TLS with more than 7 KiB, and answers to less than that.
    let long = if case.on_board() { 6500 } else { 17_000 };
    let answer = caller.get_with_token(&node.url("/pods"), &"x".repeat(long))?;
    ensure!(answer.status == 431, "a head of {long} bytes: {answer:?}");
    ensure!(node.get("/healthz")?.status == 200, "the node no longer serves");
    Ok(())
}

fn commands(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let caller = node.caller()?;
    for body in [
        r#"{"command":"blink_led","params":{"times":5,"delay_ms":100}}"#,
        r#"{"command":"set_led","params":{"state":"on"}}"#,
        r#"{"command":"set_led","params":{"state":"blink","period_ms":200}}"#,
        r#"{"command":"identify","params":{"seconds":1}}"#,
        r#"{"command":"set_gpio","params":{"pin":5,"value":"high"}}"#,
        r#"{"command":"set_gpio","params":{"pin":6,"value":"pwm","duty":64}}"#,
    ] {
        let answer = caller.post(&node.url("/pico/command"), body)?;
        ensure!(answer.status == 200, "{body}: {answer:?}");
        ensure!(answer.json()?["status"] == "ok", "{body}: {answer:?}");
    }
    let pin = node.pin(5)?.context("pin 5 is not listed")?;
    ensure!(
        pin["level"] == 1 || pin["level"] == "high" || pin["level"] == true,
        "{pin}"
    );
    Ok(())
}

fn node_proxy(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let proxied = |path: &str| {
        case.kubectl().run([
            "get",
            "--raw",
            &format!("/api/v1/nodes/{}/proxy/{path}", node.name()),
        ])
    };
    if case.cluster().control_plane().place() == Place::Loopback {
        // The API server does not proxy to loopback, whoever asks.
        picolet_oracle::not_run_named(
            "run as root, or allow user namespaces (private network)",
            "node_proxy",
        );
        return Ok(());
    }
    ensure!(proxied("healthz")? == "ok");
    ensure!(proxied("pods")?.contains("PodList"));
    ensure!(proxied("metrics")?.contains("kubelet_node_name"));
    Ok(())
}

/// The way of a board in a house: it has an address of its own, and the API server finds it there, without a port that its
/// emulator lends it.
fn node_proxy_to_a_tap_interface(case: &Case<'_>) -> Result<()> {
    // No other case lays one.
    let tap = match case.cluster().control_plane().place().tap(3) {
        Ok(tap) => tap,
        Err(error) => {
            eprintln!("there is no TAP interface: {error:#}");
            let remedy = "run as root, with /dev/net/tun (TAP interface)";
            picolet_oracle::not_run_named(remedy, "node_proxy_to_a_tap_interface");
            return Ok(());
        }
    };
    let address = tap.address.to_string();
    let node = case.node().on_tap(tap).start()?;
    // Nobody tells it the time but the API server, which it asks after a while.
    let object = node.wait_ready(Duration::from_secs(60))?;
    let addresses = object["status"]["addresses"].as_array().context("no addresses")?;
    ensure!(
        addresses
            .iter()
            .any(|it| it["type"] == "InternalIP" && it["address"] == *address),
        "{addresses:?}"
    );
    let proxied = |path: &str| {
        let path = format!("/api/v1/nodes/{}/proxy/{path}", node.name());
        case.kubectl().run(["get", "--raw", &path])
    };
    ensure!(proxied("healthz")? == "ok");
    ensure!(proxied("metrics")?.contains("kubelet_node_name"));
    let own = format!("picolet-{}", node.name());
    let log = until(Duration::from_secs(60), "the board's own log", || {
        let read = case.kubectl().system_logs(&own, &[]);
        // There is no pod yet.
        Ok(read.ok().filter(|log| log.contains("registered as node")))
    })?;
    ensure!(log.contains(&format!("address {address}")), "{log}");
    Ok(())
}

fn kubectl_logs(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    case.kubectl()
        .apply(&forced("silent", &namespace, node.name(), &serde_json::json!({})).to_string())?;
    wait_without_runtime(case, &namespace, "silent")?;
    // Nothing ran, so there is no log; what matters is that the answer comes from the node, at once, and in words.
    for arguments in [vec!["logs", "silent"], vec!["exec", "silent", "--", "true"]] {
        let mut all = vec!["--namespace", &namespace, "--request-timeout=10s"];
        all.extend(arguments);
        match case.kubectl().run(&all) {
            Ok(output) => ensure!(output.is_empty(), "a container that never ran said {output:?}"),
            Err(error) => {
                let text = error.message;
                ensure!(
                    !text.contains("timeout") && !text.contains("deadline"),
                    "{all:?} hangs: {text}"
                );
                ensure!(
                    !text.contains("x509") && !text.contains("dial tcp"),
                    "{all:?} does not reach the node: {text}"
                );
            }
        }
    }
    Ok(())
}

/// Runs Prometheus's linter.
fn lint(case: &Case<'_>, what: &str, metrics: &str) -> Result<()> {
    let mut command = Command::new(&case.cluster().control_plane().binaries().promlint);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(metrics.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "promlint of {what}:\n{said}");
    Ok(())
}

fn metrics_are_clean(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    // Some calls that succeed and some that do not, so that every family has samples.
    for path in ["/pods", "/nothing", "/pico/memory", "/pico/nothing", "/a/b/c"] {
        node.get(path)?;
    }
    let answer = node.get("/metrics")?;
    ensure!(
        answer.status == 200 && answer.content_type.starts_with("text/plain"),
        "{answer:?}"
    );
    for name in [
        "node_memory_free_bytes",
        "node_uptime_seconds",
        "kubelet_http_requests_total",
        "kubelet_node_name",
        "kubelet_running_pods",
        "process_start_time_seconds",
    ] {
        ensure!(
            answer.body.contains(name),
            "/metrics has no {name}:\n{}",
            answer.body
        );
    }
    // A machine without a sensor has no sample, and says null elsewhere.
    let measured = !node.get("/pico/status")?.json()?["temperature_celsius"].is_null();
    ensure!(
        answer.body.contains("node_temperature_celsius") == measured,
        "{}",
        answer.body
    );
    ensure!(
        !answer.body.contains("/a/b/c"),
        "a caller can make up label values"
    );
    ensure!(
        answer
            .body
            .contains(&format!("kubelet_node_name{{node=\"{}\"}} 1", node.name())),
        "{}",
        answer.body
    );
    lint(case, "/metrics", &answer.body)?;
    let resource = node.get("/metrics/resource")?;
    for name in ["node_cpu_usage_seconds_total", "node_memory_working_set_bytes"] {
        let sample = resource
            .body
            .lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("no {name}"))?;
        let value: f64 = sample.split_whitespace().nth(1).unwrap_or_default().parse()?;
        // metrics-server drops a node whose figures are 0.
        ensure!(value > 0.0, "{sample}");
        if name == "node_memory_working_set_bytes" {
            let capacity = node.object()?["status"]["capacity"]["memory"].clone();
            let bytes = match capacity.as_str().and_then(|amount| amount.strip_suffix("Ki")) {
                Some(kibibytes) => kibibytes.parse::<f64>()? * 1024.0,
                None => capacity.as_str().unwrap_or_default().parse()?,
            };
            ensure!(value <= bytes, "more than the node has, {capacity}: {sample}");
        }
    }
    lint(case, "/metrics/resource", &resource.body)
}

fn outlives_its_callers(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let address = (node.address(), 10250);
    // Connections that never say anything, and some that say nonsense.
    let mut idle = Vec::new();
    for round in 0..20 {
        let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))?;
        if round % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        }
        idle.push(stream);
    }
    serves_again(&node)?;
    drop(idle);
    // More calls than it wants to answer: some are told to come back later, and the node stays Ready.
    let caller = node.caller()?;
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..200 {
        if let Ok(answer) = caller.get(&node.url("/healthz")) {
            *codes.entry(answer.status).or_default() += 1;
        }
    }
    ensure!(
        codes.keys().all(|code| [200, 429, 503].contains(code)),
        "{codes:?}"
    );
    serves_again(&node)?;
    let ready = node.condition("Ready")?.context("no Ready")?;
    ensure!(ready["status"] == "True", "{ready}");
    Ok(())
}

fn serves_again(node: &Node<'_>) -> Result<()> {
    until(Duration::from_secs(40), "the node serves", || {
        Ok((node.get("/healthz")?.status == 200).then_some(()))
    })
}
