//! What `picolet approve` makes of a stolen node's requests.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, until};
use picolet_controlplane::Process;
use serde_json::{Value, json};

use super::attempts::Attempts;
use super::{CREATE, LIMIT, Thief, is_undecided, node_info, wait_issued};

/// The namespace of the approver's records.
const RECORDS: &str = "picolet-system";

/// `picolet` as an administrator.
fn picolet(case: &Case<'_>, arguments: &[&str]) -> Result<Output> {
    Command::new(case.cluster().program())
        .args(arguments)
        .arg("--kubeconfig")
        .arg(case.cluster().control_plane().admin_kubeconfig())
        .output()
        .with_context(|| format!("cannot run picolet {arguments:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Makes Services and other things whose addresses are taken. Returns the cluster IP of a Service.
fn make_victims(case: &Case<'_>, other: &str) -> Result<String> {
    let admin = case.kubectl();
    let namespace = case.namespace()?;
    let service = |name: &str, mut spec: Value| {
        spec["ports"] = json!([{"port": 443}]);
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    };
    for object in [
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": other}}),
        service("external", json!({"externalIPs": ["203.0.113.7"]})),
        service("balanced", json!({"type": "LoadBalancer"})),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": other, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "ports": [{"name": "https", "port": 6443}], "endpoints": [{"addresses": ["203.0.113.10"]}]}),
    ] {
        admin.apply(&object.to_string())?;
    }
    admin.patch_node_status(
        other,
        r#"{"addresses": [{"type": "InternalIP", "address": "198.51.100.20"}]}"#,
    )?;
    let ingress = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}]}}}"#;
    let patch = [
        "patch",
        "service",
        "balanced",
        "--subresource=status",
        "--type=merge",
    ];
    admin.run(
        patch
            .into_iter()
            .chain(["--namespace", &namespace, "--patch", ingress]),
    )?;
    let get = [
        "get",
        "service",
        "external",
        "--output=jsonpath={.spec.clusterIP}",
    ];
    Ok(admin.run(get.into_iter().chain(["--namespace", &namespace]))?)
}

pub(super) fn claims_are_refused(case: &Case<'_>) -> Result<()> {
    let admin = case.kubectl();
    let thief = Thief::new(case)?;
    let own = thief.name.as_str();
    let other = format!("{own}-victim");
    let cluster_ip = make_victims(case, &other)?;
    let honest = [("InternalIP", "198.51.100.11"), ("Hostname", own)];
    thief.register("own-machine", None, &honest)?;
    let pod_network = until(LIMIT, "the other node has a pod network", || {
        let node = case
            .cluster()
            .object("default", "node", &other)?
            .context("no node")?;
        Ok(node["spec"]["podCIDR"].as_str().map(str::to_owned))
    })?;
    let pod = pod_network.replace(".0/24", ".5");

    // A name or an address each, and the words of the refusal.
    let claims = [
        (
            "api-server-name",
            "kubernetes.default.svc",
            "not that of the node",
        ),
        ("localhost-name", "localhost", "not that of the node"),
        ("other-node-name", &other, "not that of the node"),
        ("api-server-cluster-ip", "10.96.0.1", "the ServiceCIDR"),
        ("service-cluster-ip", &cluster_ip, "the ServiceCIDR"),
        ("free-service-ip", "10.96.255.254", "the ServiceCIDR"),
        (
            "api-server-endpoint",
            "203.0.113.10",
            "an endpoint of the API server",
        ),
        ("api-server-address", "10.0.2.2", "the API server"),
        (
            "api-server-virtual-ip",
            "203.0.113.1",
            "the API server (in its certificate)",
        ),
        ("service-external-ip", "203.0.113.7", "an address of service"),
        ("load-balancer-ip", "203.0.113.8", "an address of service"),
        ("pod-ip", &pod, "the pod network"),
        ("other-node-ip", "198.51.100.20", "an address of node"),
        ("localhost-ip", "127.0.0.1", "localhost"),
        ("metadata-service", "169.254.169.254", "a link-local address"),
        ("mapped-service-ip", "::ffff:10.96.0.1", ""),
        ("localhost-ipv6", "::1", "localhost"),
    ];
    let mut requests = Vec::new();
    let mut wrong = Vec::new();
    for (name, claim, words) in claims {
        let request = match claim.parse::<IpAddr>() {
            Ok(_) => {
                // Where the API server takes it; the request is for it anyhow.
                let _ = thief.report_addresses(&[("InternalIP", claim), ("ExternalIP", claim)]);
                thief.ask(name, &[own], &[claim])?
            }
            Err(_) => {
                thief.report_addresses(&[
                    ("InternalIP", "198.51.100.11"),
                    ("InternalDNS", claim),
                    ("Hostname", claim),
                ])?;
                thief.ask(name, &[own, claim], &["198.51.100.11"])?
            }
        };
        let output = picolet(case, &["approve", own])?;
        let said = said(&output);
        let refusal = format!("{request}: not approved: ");
        let refusal = said.lines().find(|line| line.starts_with(&refusal));
        if output.status.success() || !refusal.is_some_and(|line| line.contains(words)) {
            wrong.push(format!("{name}: {said}"));
        }
        requests.push(request);
    }
    // An address that only the request has, or that is reported as something else than an InternalIP.
    thief.report_addresses(&honest)?;
    requests.push(thief.ask("unreported", &[own], &["198.51.100.12"])?);

    // All of them are there for a watch, and then one that is in order.
    let mut command = Command::new(case.cluster().program());
    let control_plane = case.cluster().control_plane();
    command
        .args(["approve", own, "--watch", "--kubeconfig"])
        .arg(control_plane.admin_kubeconfig());
    let log = control_plane.directory().join(format!("log/{own}-approver.log"));
    let approver = Process::start("approver", command, &log)?;
    let good = thief.ask("own", &[own], &["198.51.100.11"])?;
    wait_issued(case, &good).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    drop(approver);
    for request in &requests {
        if !is_undecided(case, request)? {
            wrong.push(format!("{request} was decided"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    // An administrator can allow one request what it asks for, and nothing else.
    let unreported = requests.last().context("no request")?;
    let allow = |address| {
        picolet(
            case,
            &["approve", "--csr", unreported, "--allow-address", address],
        )
    };
    let another = allow("198.51.100.13")?;
    ensure!(
        !another.status.success() && is_undecided(case, unreported)?,
        "{another:?}"
    );
    let allowed = allow("198.51.100.12")?;
    ensure!(allowed.status.success(), "{allowed:?}");
    wait_issued(case, unreported)?;

    admin.run(["delete", "endpointslice", &other, "--namespace=default"])?;
    for node in [own, &other] {
        admin.run(["delete", "node", node])?;
    }
    Ok(())
}

pub(super) fn machine_record_holds(case: &Case<'_>) -> Result<()> {
    let admin = case.kubectl();
    let thief = Thief::new(case)?;
    let own = thief.name.as_str();
    let record = format!("machine-id.{own}");
    let address = "198.51.100.14";
    let addresses = [("InternalIP", address)];
    thief.register("first-machine", None, &addresses)?;
    let first = thief.ask("first", &[own], &[address])?;
    let approved = picolet(case, &["approve", own])?;
    ensure!(approved.status.success(), "{approved:?}");
    wait_issued(case, &first)?;
    let recorded = || -> Result<Option<Value>> {
        let object = case.cluster().object(RECORDS, "configmap", &record)?;
        Ok(object.map(|object| object["data"]["machineID"].clone()))
    };
    ensure!(recorded()? == Some("first-machine".into()), "{:?}", recorded()?);

    // The record is out of the node's reach.
    let mut tried = Attempts::default();
    let object = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": RECORDS},
            "data": {"machineID": "second-machine"}})
    };
    let records = format!("/api/v1/namespaces/{RECORDS}/configmaps");
    tried.denied("record_read", &format!("get --raw={records}/{record}"));
    tried.denied("records_listed", &format!("get --raw={records}"));
    tried.denied_object("record_created", &object("machine-id.new"));
    let other_machine = json!({"data": {"machineID": "second-machine"}});
    tried.merge(
        false,
        "record_changed",
        &format!("{records}/{record}"),
        &other_machine,
    );
    tried.denied_delete("record_deleted", &format!("{records}/{record}"));
    tried.denied_delete("records_deleted", &records);
    tried.denied_delete(
        "namespace_of_the_records_deleted",
        &format!("/api/v1/namespaces/{RECORDS}"),
    );
    tried.run(&thief)?;

    // Another machine is refused, whatever becomes of the Node.
    let refused = |suffix: &str| -> Result<()> {
        let request = thief.ask(suffix, &[own], &[address])?;
        let output = picolet(case, &["approve", "--csr", &request])?;
        let said = said(&output);
        ensure!(
            !output.status.success() && said.contains("\"first-machine\" was recorded at the first approval"),
            "{suffix}: {said}"
        );
        ensure!(is_undecided(case, &request)?, "{suffix} was decided");
        Ok(())
    };
    thief.report("nodeInfo", node_info("second-machine"))?;
    refused("other-machine")?;
    admin.run(["delete", "node", own])?;
    // A node cannot delete its Node, but have it collected with an owner that it can delete. A label would be gone then.
    let csi_node = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": own}, "spec": {"drivers": []}});
    thief.kubectl.run_with_input(CREATE, &csi_node.to_string())?;
    let uid = admin.run(["get", "csinode", own, "--output=jsonpath={.metadata.uid}"])?;
    let owner = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "name": own, "uid": uid});
    thief.register("second-machine", Some(owner), &addresses)?;
    refused("registered-anew")?;
    thief.kubectl.run(["delete", "csinode", own])?;
    until(LIMIT, "the Node is collected", || {
        Ok(case
            .cluster()
            .object("default", "node", own)?
            .is_none()
            .then_some(()))
    })?;
    thief.register("second-machine", None, &addresses)?;
    refused("collected")?;
    ensure!(recorded()? == Some("first-machine".into()), "{:?}", recorded()?);

    // Until an administrator takes the node out.
    let retired = picolet(case, &["retire", own, "--force", "--timeout=2"])?;
    ensure!(
        retired.status.success() && said(&retired).contains(&format!("configmap/{record}")),
        "{retired:?}"
    );
    ensure!(recorded()?.is_none(), "{:?}", recorded()?);
    thief.register("second-machine", None, &addresses)?;
    let second = thief.ask("second", &[own], &[address])?;
    let approved = picolet(case, &["approve", own])?;
    ensure!(approved.status.success(), "{approved:?}");
    wait_issued(case, &second)?;
    ensure!(recorded()? == Some("second-machine".into()), "{:?}", recorded()?);
    let retired = picolet(case, &["retire", own, "--force", "--timeout=2"])?;
    ensure!(retired.status.success(), "{retired:?}");
    Ok(())
}

pub(super) fn hostile_requests_hold_up_no_other(case: &Case<'_>) -> Result<()> {
    let thief = Thief::new(case)?;
    let own = thief.name.as_str();
    let address = "198.51.100.15";
    thief.register("own-machine", None, &[("InternalIP", address)])?;

    // Deeper than a JSON parser follows.
    let mut deep = thief.serving("deep", &[own], &[address])?;
    let mut fields = json!({});
    for _ in 0..300 {
        fields = json!({"f:x": fields});
    }
    let managed = |version: &str| {
        json!([{"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "apiVersion": version,
            "time": "2026-01-01T00:00:00Z", "fieldsV1": fields}])
    };
    deep["metadata"]["managedFields"] = managed("certificates.k8s.io/v1");
    let node = json!({"metadata": {"managedFields": managed("v1")}});
    let url = format!("{}/api/v1/nodes/{own}", thief.server);
    let changed = thief.caller.merge(&url, &node.to_string())?;
    ensure!(changed.status == 200, "{changed:?}");
    // As large as the API server stores it.
    let mut large = thief.serving("large", &[own], &[address])?;
    let finalizers: Vec<Value> = (0..60_000).map(|number| format!("x/{number}").into()).collect();
    large["metadata"]["finalizers"] = finalizers.into();
    for request in [&deep, &large] {
        thief
            .kubectl
            .run_with_input(["create", "--filename=-"], &request.to_string())?;
    }
    thief.ask("own", &[own], &[address])?;

    let output = picolet(case, &["approve", own])?;
    let said = said(&output);
    // Apart from its nesting, the deep one is in order.
    for request in ["own", "deep"] {
        wait_issued(case, &format!("{own}-{request}")).with_context(|| said.clone())?;
    }
    let large = format!("{own}-large");
    ensure!(is_undecided(case, &large)?, "{large} was decided");
    ensure!(
        said.contains(&format!("{large}: not approved: it has ")),
        "{said}"
    );
    let retired = picolet(case, &["retire", own, "--force", "--timeout=2"])?;
    ensure!(retired.status.success(), "{retired:?}");
    Ok(())
}
