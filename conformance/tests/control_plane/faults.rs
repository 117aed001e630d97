//! What breaks between a node and the API server: each case has a fault proxy of its own.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Fault, FaultProxy, Rule, until};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside(
        "lease_is_renewed_when_events_are_throttled",
        lease_is_renewed_when_events_are_throttled,
    )
    .essential(),
    beside(
        "object_is_created_once_when_the_answer_is_cut",
        object_is_created_once_when_the_answer_is_cut,
    ),
    beside(
        "node_registers_when_servers_are_silent",
        node_registers_when_servers_are_silent,
    )
    .essential(),
    beside(
        "node_registers_when_a_server_answers_5xx",
        node_registers_when_a_server_answers_5xx,
    ),
    beside(
        "node_registers_when_the_head_is_long",
        node_registers_when_the_head_is_long,
    ),
    beside(
        "watch_is_replaced_when_it_is_dead",
        watch_is_replaced_when_it_is_dead,
    ),
    beside(
        "deletion_is_noticed_when_a_list_is_cut",
        deletion_is_noticed_when_a_list_is_cut,
    ),
    beside(
        "pods_are_deleted_when_their_status_is_refused",
        pods_are_deleted_when_their_status_is_refused,
    ),
    beside("node_is_read_from_the_cache", node_is_read_from_the_cache),
];

/// Many times what a node needs to be Ready, on a machine that is busy with all other cases.
const READY: Duration = Duration::from_secs(60);

fn proxy(case: &Case<'_>) -> Result<FaultProxy> {
    FaultProxy::start(case.cluster().control_plane())
}

fn lease_path(node: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
}

fn lease_is_renewed_when_events_are_throttled(case: &Case<'_>) -> Result<()> {
    let proxy = proxy(case)?;
    let retry_after = vec![("Retry-After".to_owned(), "60".to_owned())];
    let events = "/api/v1/namespaces/default/events";
    proxy.add(Rule::new("POST", events, Fault::Status(429, retry_after)));
    let node = case.node().through([proxy.url()]).start()?;
    node.wait_ready(READY)?;
    until(READY, "an Event is throttled", || {
        Ok((!proxy.received_on("POST", events).is_empty()).then_some(()))
    })?;
    let lease = lease_path(node.name());
    let before = proxy.received_on("PUT", &lease).len();
    thread::sleep(Duration::from_secs(45));
    let renewals = proxy.received_on("PUT", &lease).len() - before;
    ensure!(renewals >= 3, "{renewals} renewals in 45 s");
    let attempts = proxy.received_on("POST", events).len();
    ensure!(
        attempts <= 2,
        "Retry-After of 60 s was not obeyed: {attempts} Events"
    );
    Ok(())
}

fn object_is_created_once_when_the_answer_is_cut(case: &Case<'_>) -> Result<()> {
    let proxy = proxy(case)?;
    let token = case.cluster().control_plane().bootstrap_token().to_owned();
    let paths = [
        "/api/v1/nodes",
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/namespaces/default/events",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
    ];
    for path in paths {
        proxy.add(Rule::new("POST", path, Fault::CutAfter(0)).times(1));
    }
    let node = case.node().through([proxy.url()]).joining(&token).start()?;
    node.wait_ready(READY)?;
    until(READY, "the mirror pod", || {
        let name = format!("picolet-{}", node.name());
        Ok(case.cluster().object("kube-system", "pod", &name)?.map(drop))
    })?;
    until(READY, "an Event", || {
        let events = case.cluster().events("default", "Node", node.name())?;
        Ok(events
            .iter()
            .any(|event| event["reason"] == "Starting")
            .then_some(()))
    })?;
    // The serving certificate is asked for after the registration.
    let csrs = paths[3];
    until(READY, "two requests for certificates", || {
        Ok((proxy.received_on("POST", csrs).len() >= 2).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(5));
    let mut posts = BTreeMap::new();
    for path in paths {
        posts.insert(path, proxy.received_on("POST", path).len());
    }
    for path in [paths[0], paths[1], paths[4]] {
        ensure!(
            posts[path] == 1,
            "more than one POST for an object that is there: {posts:?}"
        );
    }
    ensure!(posts[csrs] == 2, "one POST for each certificate: {posts:?}");
    let list = case.kubectl().run(["get", "csr", "--output=json"])?;
    let list: Value = serde_json::from_str(&list)?;
    let prefix = format!("{}-", node.name());
    let own = list["items"].as_array().into_iter().flatten();
    let own = own.filter(|csr| {
        csr["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(&prefix))
    });
    ensure!(own.count() == 2, "not two CertificateSigningRequests: {list}");
    let starting = case.cluster().events("default", "Node", node.name())?;
    let starting = starting.iter().filter(|event| event["reason"] == "Starting");
    ensure!(starting.count() == 1, "the Event is there more than once");
    Ok(())
}

fn node_registers_when_servers_are_silent(case: &Case<'_>) -> Result<()> {
    let silent = [proxy(case)?, proxy(case)?, proxy(case)?];
    silent.iter().for_each(|proxy| proxy.set_silent(true));
    let good = proxy(case)?;
    let servers = silent.iter().chain([&good]).map(FaultProxy::url);
    let node = case.node().through(servers).start()?;
    node.wait_ready(READY)?;
    // One that does the handshake and never answers is passed over too.
    let deaf = proxy(case)?;
    for method in ["GET", "POST", "PUT", "PATCH"] {
        deaf.add(Rule::new(method, "/", Fault::Silence));
    }
    let second = case
        .node_named("second")
        .through([deaf.url(), good.url()])
        .start()?;
    second.wait_ready(READY)?;
    ensure!(!deaf.received().is_empty(), "the silent server was never asked");
    Ok(())
}

fn node_registers_when_a_server_answers_5xx(case: &Case<'_>) -> Result<()> {
    let (broken, good) = (proxy(case)?, proxy(case)?);
    for method in ["GET", "POST", "PUT", "PATCH"] {
        broken.add(Rule::new(method, "/", Fault::Status(500, vec![])));
    }
    let node = case.node().through([broken.url(), good.url()]).start()?;
    node.wait_ready(READY)?;
    ensure!(!broken.received().is_empty(), "the broken server was never asked");
    Ok(())
}

fn node_registers_when_the_head_is_long(case: &Case<'_>) -> Result<()> {
    let proxy = proxy(case)?;
    // As an admission policy warns nine times, and more fields than anybody looks at.
    let mut fields = Vec::new();
    for number in 0..9 {
        let words = "the label is deprecated and will be refused in a later release ".repeat(5);
        fields.push(("Warning".to_owned(), format!("299 - \"{number}: {words}\"")));
    }
    for number in 0..40 {
        fields.push((format!("X-Field-{number}"), "value".to_owned()));
    }
    for method in ["GET", "POST", "PATCH"] {
        proxy.add(Rule::new(
            method,
            "/api/v1/nodes",
            Fault::AddFields(fields.clone()),
        ));
    }
    let node = case.node().through([proxy.url()]).start()?;
    // Its first status says Ready already; the lease shows that the node has read the answer.
    until(READY, "a lease", || node.lease().map(Some))?;
    Ok(())
}

fn set_cells(case: &Case<'_>, namespace: &str, values: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "pico-config", "namespace": namespace},
        "data": {"memory_values": values},
    });
    case.kubectl().apply(&object.to_string())?;
    Ok(())
}

fn watch_is_replaced_when_it_is_dead(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let proxy = proxy(case)?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    // The API server goes on sending, and none of it arrives.
    let dead = Rule::new("GET", &*path, Fault::SwallowAfterBytes(0)).watches(true);
    proxy.add(dead.query("pico-config", true).times(1));
    let node = case
        .node()
        .config_namespace(&namespace)
        .through([proxy.url()])
        .start()?;
    node.wait_ready(READY)?;
    set_cells(case, &namespace, "0=7")?;
    // 90 s without a byte, and what a reconnection takes.
    let limit = Duration::from_secs(120);
    until(limit, "the change is applied", || {
        Ok((node.memory()? == [(0, 7)]).then_some(()))
    })?;
    Ok(())
}

fn deletion_is_noticed_when_a_list_is_cut(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let proxy = proxy(case)?;
    set_cells(case, &namespace, "0=7")?;
    let setup = case.node().config_namespace(&namespace);
    let node = setup.through([proxy.url()]).start()?;
    node.wait_ready(READY)?;
    node.wait_memory(&[(0, 7)])?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    proxy.add(Rule::new("GET", &*path, Fault::Status(500, vec![])));
    proxy.cut_connections();
    until(READY, "the watch is gone", || {
        let failed = proxy.received_on("GET", &path);
        Ok(failed.iter().any(|request| request.faulted).then_some(()))
    })?;
    case.kubectl()
        .run(["delete", "configmap", "pico-config", "--namespace", &namespace])?;
    proxy.clear();
    let lists = || Rule::new("GET", &*path, Fault::DropLastChunk).watches(false);
    proxy.add(
        Rule::new("GET", &*path, Fault::Status(410, vec![]))
            .watches(true)
            .times(2),
    );
    proxy.add(lists().times(2));
    node.wait_memory(&[])
}

fn pods_are_deleted_when_their_status_is_refused(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let proxy = proxy(case)?;
    let pods = format!("/api/v1/namespaces/{namespace}/pods/");
    proxy.add(Rule::new("PATCH", &*pods, Fault::Status(422, vec![])).ending_with("/status"));
    let setup = case.node().config_namespace(&namespace);
    let node = setup.through([proxy.url()]).start()?;
    node.wait_ready(READY)?;
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let name = |number: usize| format!("pod-{number}");
    let all: Vec<Value> = (0..18)
        .map(|number| crate::pods::forced(&name(number), &namespace, node.name(), &volumes))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
    case.kubectl().apply(&list.to_string())?;
    until(READY, "a status is refused", || {
        Ok((proxy.received_on("PATCH", &pods).len() >= 16).then_some(()))
    })?;
    let mut delete = vec!["delete".to_owned(), "pod".to_owned(), "--namespace".to_owned()];
    delete.push(namespace.clone());
    delete.push("--wait=false".to_owned());
    delete.extend((0..18).map(name));
    case.kubectl().run(delete)?;
    until(READY, "all pods are gone", || {
        let list = ["get", "pods", "--namespace", &namespace, "--output=name"];
        let left = case.kubectl().run(list)?;
        ensure!(left.is_empty(), "{left}");
        Ok(Some(()))
    })?;
    ensure!(
        node.log().contains(&format!("{namespace}/pods/pod-")),
        "no line names a pod whose status was refused"
    );
    Ok(())
}

fn node_is_read_from_the_cache(case: &Case<'_>) -> Result<()> {
    let proxy = proxy(case)?;
    let node = case.node().through([proxy.url()]).start()?;
    node.wait_ready(READY)?;
    let path = format!("/api/v1/nodes/{}", node.name());
    thread::sleep(Duration::from_secs(3));
    let before = proxy.received_on("GET", &path).len();
    thread::sleep(Duration::from_secs(25));
    let reads = proxy.received_on("GET", &path);
    let reads = reads.get(before..).context("the proxy forgot requests")?;
    ensure!((2..=3).contains(&reads.len()), "{} reads in 25 s", reads.len());
    for read in reads {
        ensure!(
            read.target.contains("resourceVersion=0"),
            "a quorum read: {}",
            read.target
        );
    }
    Ok(())
}
