//! `deploy/`: each file applied as its README says, each rule needed, none missing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Caller, Case, deployment, never, until};
use picolet_controlplane::Process;
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("roles_are_enough_and_needed", roles_are_enough_and_needed),
    beside("runtime_class_schedules_here", runtime_class_schedules_here),
    beside("lab_mode_behind_nginx", lab_mode_behind_nginx),
    beside("kustomize_and_chart_agree", kustomize_and_chart_agree).only_linux("no node is in it"),
    beside("prometheus_scrapes", prometheus_scrapes),
];

fn roles_are_enough_and_needed(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    let create = |name: &str, value: &str| {
        let literal = format!("--from-literal=memory_values={value}");
        case.kubectl()
            .run(["create", "configmap", name, "--namespace", &namespace, &literal])
    };
    create("pico-config", "0=1")?;
    create("layer", "1=1")?;
    case.kubectl().run([
        "label",
        "configmap",
        "layer",
        "--namespace",
        &namespace,
        "picolet.dev/node=all",
    ])?;
    node.wait_memory(&[(0, 1), (1, 1)])?;
    // Enough: everything worked, and nothing else may be done with it.
    let user = format!("--as=system:node:{}", node.name());
    for denied in [
        ["create", "configmaps"],
        ["update", "configmaps"],
        ["delete", "configmaps"],
        ["get", "configmaps"],
        ["list", "secrets"],
    ] {
        let mut arguments = vec!["auth", "can-i"];
        arguments.extend(denied);
        arguments.extend(["--namespace", &namespace, &user, "--as-group=system:nodes"]);
        // kubectl exits with 1 when it says no.
        ensure!(
            case.kubectl().run(&arguments).is_err(),
            "a node may {} in {namespace}",
            denied.join(" ")
        );
    }
    // Needed, the second: without it a new node has pico-config alone, and is Ready all the same.
    let role = [
        "delete",
        "role,rolebinding",
        "picolet-labelled-config",
        "--namespace",
        &namespace,
    ];
    case.kubectl().run(role)?;
    let second = case
        .node_named("second")
        .config_namespace(&namespace)
        .start_ready()?;
    second.wait_memory(&[(0, 1)])?;
    // Needed, the first.
    case.kubectl().run([
        "delete",
        "role,rolebinding",
        "picolet-config",
        "--namespace",
        &namespace,
    ])?;
    let third = case
        .node_named("third")
        .config_namespace(&namespace)
        .start_ready()?;
    let seen = || {
        Ok(Some(third.memory()?)
            .filter(|cells| !cells.is_empty())
            .map(|cells| format!("{cells:?}")))
    };
    never(
        Duration::from_secs(5),
        "a node without the Role was configured",
        seen,
    )?;
    ensure!(
        third.log().contains("pico-config"),
        "the node does not say that it may not read pico-config:\n{}",
        third.log()
    );
    // The rights given later are found without a restart.
    case.apply_deployment(&namespace, "rbac.yaml")?;
    until(Duration::from_secs(330), "the node finds its new rights", || {
        Ok((third.memory()? == [(0, 1), (1, 1)]).then_some(()))
    })
}

fn runtime_class_schedules_here(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    case.apply_deployment("default", "runtimeclass.yaml")?;
    let container = json!([{"name": "main", "image": "example.org/nothing:1"}]);
    let pod = |name: &str, class: Option<&str>| {
        let mut spec = json!({"restartPolicy": "Never", "containers": container, "nodeSelector": {"kubernetes.io/hostname": node.name()}});
        if let Some(class) = class {
            spec["runtimeClassName"] = class.into();
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    };
    case.kubectl()
        .apply(&pod("with-class", Some("picolet")).to_string())?;
    case.kubectl().apply(&pod("without-class", None).to_string())?;
    until(
        Duration::from_secs(20),
        "the scheduler binds the pod with the class",
        || {
            let pod = case
                .cluster()
                .object(&namespace, "pod", "with-class")?
                .context("no pod")?;
            Ok((pod["spec"]["nodeName"] == node.name()).then_some(()))
        },
    )?;
    let pod = case
        .cluster()
        .object(&namespace, "pod", "without-class")?
        .context("no pod")?;
    ensure!(
        pod["spec"]["nodeName"].is_null(),
        "a pod without the class was scheduled to a board"
    );
    crate::pods::wait_without_runtime(case, &namespace, "with-class")?;
    case.kubectl().run([
        "delete",
        "pod",
        "with-class",
        "without-class",
        "--namespace",
        &namespace,
        "--timeout=20s",
    ])?;
    Ok(())
}

fn lab_mode_behind_nginx(case: &Case<'_>) -> Result<()> {
    let Some(nginx) = picolet_oracle::find("nginx", "nginx") else {
        return Ok(());
    };
    let control_plane = case.cluster().control_plane();
    let namespace = case.namespace()?;
    let setup = case.node().config_namespace(&namespace);

    // The example as it is, but for the two addresses, with its files beside it.
    let folder = control_plane.directory().join("nginx");
    fs::create_dir_all(&folder)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut configuration = fs::read_to_string(deployment("nginx-lab-mode/nginx.conf"))?;
    let server = control_plane.server_url();
    let server = server.trim_start_matches("https://");
    for (example, real) in [
        ("192.0.2.10:6443", server),
        ("127.0.0.1:8001", &format!("127.0.0.1:{port}")),
    ] {
        ensure!(
            configuration.contains(example),
            "nginx.conf no longer has {example}"
        );
        configuration = configuration.replace(example, real);
    }
    fs::write(folder.join("nginx.conf"), configuration)?;
    fs::copy(control_plane.pki().certificate_authority(), folder.join("ca.crt"))?;
    let identity = control_plane.node(setup.name(), &[])?.client;
    fs::copy(identity.certificate, folder.join("node.crt"))?;
    fs::copy(identity.key, folder.join("node.key"))?;
    let mut command = Command::new(nginx);
    command
        .arg("-p")
        .arg(&folder)
        .args(["-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"]);
    let log = control_plane.directory().join("log/nginx.log");
    let mut nginx = Process::start("nginx", command, &log)?;
    let listening = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    nginx.wait_until(Duration::from_secs(10), listening)?;

    let node = setup
        .behind_proxy(&format!("http://127.0.0.1:{port}"))
        .arguments(["--lab-mode"])
        .start_ready()?;
    // Watches pass the proxy too.
    let literal = "--from-literal=memory_values=3=3";
    case.kubectl().run([
        "create",
        "configmap",
        "pico-config",
        "--namespace",
        &namespace,
        literal,
    ])?;
    node.wait_memory(&[(3, 3)])?;
    // The read-only port: these four paths, nothing else, and nothing that writes.
    let caller = Caller::new(control_plane.pki().certificate_authority(), None)?;
    let url = |path: &str| format!("http://{}:10255{path}", node.address());
    for path in ["/healthz", "/metrics", "/pods", "/spec"] {
        ensure!(
            caller.get(&url(path))?.status == 200,
            "{path} on the read-only port"
        );
    }
    for path in [
        "/pico/memory",
        "/pico/status",
        "/configz",
        "/containerLogs/default/a/b",
    ] {
        let answer = caller.get(&url(path))?;
        ensure!(
            (400..=404).contains(&answer.status),
            "{path} on the read-only port: {answer:?}"
        );
    }
    let command = r#"{"command":"identify","params":{"seconds":1}}"#;
    let answer = caller.post(&url("/pico/command"), command)?;
    ensure!(
        (400..=405).contains(&answer.status),
        "a command on the read-only port: {answer:?}"
    );
    // Without lab mode there is no such port.
    let plain = case.node_named("plain").start_ready()?;
    let refused = TcpStream::connect((plain.address(), 10255)).is_err();
    ensure!(refused, "the read-only port is open without lab mode");
    Ok(())
}

/// Objects as an API server would have them, by kind and name, without what it adds itself.
fn objects(list: &str) -> Result<BTreeMap<String, Value>> {
    let list: Value = serde_json::from_str(list).with_context(|| list.to_owned())?;
    // One alone is shown as it is.
    let items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list]);
    let by_name = items.into_iter().map(|mut object| {
        let metadata =
            json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]});
        let name = format!("{} {metadata}", object["kind"]);
        object["metadata"] = metadata;
        (name, object)
    });
    Ok(by_name.collect())
}

fn kustomize_and_chart_agree(case: &Case<'_>) -> Result<()> {
    let kubectl = case.kubectl();
    let folder = deployment("");
    let folder = folder.to_str().context("the project's path is not UTF-8")?;
    // An object in a namespace is taken by none that is not there.
    case.apply_deployment("default", "namespace.yaml")?;
    let dry = ["apply", "--dry-run=server", "--output=json"];
    let kustomized = kubectl.run(dry.iter().chain(&["--kustomize", folder]))?;
    let mut kustomized = objects(&kustomized)?;
    ensure!(kustomized.len() == 16, "{:?}", kustomized.keys());
    let records = r#""RoleBinding" {"name":"picolet:approver","namespace":"picolet-system"}"#;
    ensure!(kustomized.contains_key(records), "{:?}", kustomized.keys());
    let namespace = r#""Namespace" {"name":"picolet-system","namespace":null}"#;
    ensure!(kustomized.remove(namespace).is_some(), "{:?}", kustomized.keys());
    let chart = fs::read_to_string(deployment("Chart.yaml"))?;
    ensure!(
        chart.matches(env!("CARGO_PKG_VERSION")).count() == 2,
        "the chart has another version than the project"
    );
    // The approver's Deployment is apart from the rest, since it needs an image.
    let approver = deployment("approver");
    let approver = approver.to_str().context("the project's path is not UTF-8")?;
    let approver = objects(&kubectl.run(dry.iter().chain(&["--kustomize", approver]))?)?;
    ensure!(
        approver.len() == 1 && format!("{approver:?}").contains("Deployment"),
        "{approver:?}"
    );
    let Some(helm) = case.cluster().helm() else {
        return Ok(());
    };
    let render = |options: &[&str]| -> Result<BTreeMap<String, Value>> {
        let mut command = Command::new(helm);
        command.args(["template", "picolet", folder, "--namespace=picolet-system"]);
        let output = command.args(options).output().context("cannot run helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm: {said}");
        let manifests = String::from_utf8(output.stdout)?;
        objects(&kubectl.run_with_input(dry.iter().chain(&["--filename=-"]), &manifests)?)
    };
    let templated = render(&[])?;
    for name in kustomized.keys().chain(templated.keys()) {
        let (ours, theirs) = (kustomized.get(name), templated.get(name));
        ensure!(
            ours == theirs,
            "{name}\n  kustomize {ours:?}\n  helm      {theirs:?}"
        );
    }
    let named = render(&["--set=approver.image=registry.example/picolet"])?;
    ensure!(named.len() == templated.len() + 1, "{:?}", named.keys());
    for (name, kustomized) in approver {
        let expected = kustomized
            .to_string()
            .replace("\"image\":\"picolet\"", "\"image\":\"registry.example/picolet\"");
        let templated = named.get(&name).map(Value::to_string);
        ensure!(
            templated.as_ref() == Some(&expected),
            "{name}\n  kustomize {expected}\n  helm      {templated:?}"
        );
    }
    // What people set is what they get.
    let other = render(&[
        "--set=parts={rbac,prometheus-rbac}",
        "--set=configNamespace=kube-public,prometheus.namespace=metrics,prometheus.serviceAccount=scraper",
    ])?;
    ensure!(other.len() == 6, "{:?}", other.keys());
    let text = format!("{other:?}");
    for (word, times) in [("kube-public", 8), ("scraper", 1), ("\"metrics\"", 1)] {
        ensure!(
            text.matches(word).count() == times,
            "not {times} times {word}: {text}"
        );
    }
    Ok(())
}

fn prometheus_scrapes(case: &Case<'_>) -> Result<()> {
    let Some(prometheus) = picolet_oracle::find("prometheus", "prometheus") else {
        return Ok(());
    };
    let control_plane = case.cluster().control_plane();
    let kubectl = case.kubectl();
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "prometheus", "namespace": "monitoring"}}),
    ] {
        kubectl.apply(&object.to_string())?;
    }
    case.apply_deployment("default", "prometheus-rbac.yaml")?;
    let token = kubectl.run(["create", "token", "prometheus", "--namespace=monitoring"])?;
    let node = case.node().start_ready()?;

    // Its discovery asks for this; Debian's Prometheus is built without it.
    let authority = control_plane.pki().certificate_authority();
    let caller = Caller::new(authority, None)?;
    let url = format!(
        "{}/api/v1/nodes?labelSelector=picolet.dev/board",
        control_plane.server_url()
    );
    let found = caller.get_with_token(&url, token.trim())?.json()?;
    let nodes = found["items"].as_array().context("no nodes")?;
    let found = nodes
        .iter()
        .find(|found| found["metadata"]["name"] == node.name());
    let found = found.context("the node is not discovered")?;
    let board = found["metadata"]["labels"]["picolet.dev/board"].as_str();
    let port = &found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    ensure!(*port == 10250, "{port}");

    // The shipped jobs, with what discovery would have found; one of them as on k3s, where nodes tell no port.
    let folder = control_plane.directory().join("prometheus").join(node.name());
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("token"), token.trim())?;
    let mut configuration = fs::read_to_string(deployment("prometheus.yml"))?;
    let discovery = "  kubernetes_sd_configs:
  - role: node
    selectors:
    - role: node
      label: picolet.dev/board
";
    ensure!(configuration.matches(discovery).count() == 2, "{configuration}");
    for port in [10250, 0] {
        let known = json!([{"targets": [format!("{}:{port}", node.address())], "labels": {
            "__meta_kubernetes_node_name": node.name(),
            "__meta_kubernetes_node_label_picolet_dev_board": board}}]);
        configuration = configuration.replacen(discovery, &format!("  static_configs: {known}\n"), 1);
    }
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let authority = authority.to_str().context("the path is not UTF-8")?;
    let configuration = configuration
        .replace(&format!("{account}/ca.crt"), authority)
        .replace(&format!("{account}/token"), "token");
    ensure!(!configuration.contains(account), "{configuration}");
    let file = folder.join("prometheus.yml");
    fs::write(
        &file,
        format!("global: {{scrape_interval: 3s, scrape_timeout: 3s}}\n{configuration}"),
    )?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=warn");
    let log = control_plane
        .directory()
        .join(format!("log/prometheus-{}.log", node.name()));
    let mut prometheus = Process::start("prometheus", command, &log)?;
    let listening = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    prometheus.wait_until(Duration::from_secs(30), listening)?;

    let name = node.name();
    for (series, value) in [
        (format!("up{{job=\"picolet\",instance=\"{name}\"}}"), Some("1")),
        (format!("kubelet_node_name{{node=\"{name}\"}}"), Some("1")),
        (format!("picolet_build_info{{instance=\"{name}\"}}"), Some("1")),
        (
            format!("up{{job=\"picolet-resource\",instance=\"{name}\"}}"),
            Some("1"),
        ),
        (
            format!("node_memory_working_set_bytes{{instance=\"{name}\"}}"),
            None,
        ),
    ] {
        let query: String = series.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("http://127.0.0.1:{port}/api/v1/query?query={query}");
        let mut last = Value::Null;
        until(Duration::from_secs(60), &format!("{series} is there"), || {
            last = caller.get(&url)?.json()?;
            let result = &last["data"]["result"][0];
            let found = result["value"][1].as_str();
            let right = match value {
                Some(value) => found == Some(value),
                None => found.is_some_and(|found| found != "0"),
            };
            Ok((right && result["metric"]["board"].as_str() == board).then_some(()))
        })
        .with_context(|| {
            format!(
                "Prometheus has {last}; {}",
                fs::read_to_string(&log).unwrap_or_default()
            )
        })?;
    }
    Ok(())
}
