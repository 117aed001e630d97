//! A machine that has the token of a k3s cluster and nothing else, against the model of k3s.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, K3s, Node, until};
use picolet_controlplane::Place;
use serde_json::json;

use crate::fleet::{provision, settings};
use crate::joining::{is_open, wait_certificates, wait_log};
use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("from_a_token_to_logs", from_a_token_to_logs).essential(),
    beside("refusals", refusals)
        .only_linux("a board says the same; what it keeps over new firmware is in the testbed"),
];

const LIMIT: Duration = Duration::from_secs(60);
/// Beyond the longest pause between two tries.
const NEXT_TRY: Duration = Duration::from_secs(120);

fn logs(k3s: &K3s, node: &Node<'_>) -> Result<String> {
    let pod = format!("picolet-{}", node.name());
    Ok(k3s.kubectl().system_logs(&pod, &[])?)
}

/// Why a node on k3s reports no port: what comes of calling another one, which nobody is behind, with a port and without.
fn a_reported_port_needs_a_tunnel(case: &Case<'_>, k3s: &K3s) -> Result<()> {
    let (name, address) = (format!("{}-port", case.node().name()), "192.0.2.10");
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    case.kubectl().apply(&object.to_string())?;
    let call = |port: u16| {
        let status = json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "addresses": [{"type": "InternalIP", "address": address}]});
        case.kubectl().patch_node_status(&name, &status.to_string())?;
        let path = format!("/api/v1/nodes/{name}/proxy/healthz");
        let called = k3s.kubectl().run(["get", "--raw", &path]);
        let error = called.err().context("somebody answered")?;
        Ok::<_, anyhow::Error>((error.to_string(), k3s.log()?))
    };
    let (said, log) = call(10250)?;
    ensure!(said.contains("502"), "{said}");
    ensure!(
        log.contains(&format!("failed to find Session for client {name}")),
        "{log}"
    );
    let directly = format!("CONNECT {address}:10250: directly");
    ensure!(!log.contains(&directly), "{log}");
    let (said, log) = call(0)?;
    ensure!(log.contains(&directly), "{said}\n{log}");
    case.kubectl().run(["delete", "node", &name])?;
    Ok(())
}

fn from_a_token_to_logs(case: &Case<'_>) -> Result<()> {
    if case.on_board() && case.cluster().control_plane().place() == Place::Loopback {
        // A board and whoever provisions it have no address in common by which they reach the server.
        picolet_oracle::not_run_named(
            "run as root, or allow user namespaces (private network)",
            "a board of k3s",
        );
        return Ok(());
    }
    let k3s = case.cluster().k3s()?;
    let node = case.node().joining_k3s(k3s).start()?;
    let name = node.name().to_owned();
    let object = node.wait_ready(LIMIT).with_context(|| node.log())?;
    wait_certificates(&node, "True", "serving certificate until").with_context(|| node.log())?;
    let asked = case.kubectl().run(["get", "csr", "--output=name"])?;
    ensure!(!asked.contains(&name), "it asked for approval: {asked}");
    let port = &object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    ensure!(port.is_null() || *port == 0, "it reports the port {port}");

    // Without any flag of the server: the API server dials the node through k3s's egress proxy, which dials it directly.
    until(LIMIT, "kubectl logs", || {
        Ok(logs(k3s, &node)?
            .contains("a new serving certificate")
            .then_some(()))
    })
    .with_context(|| node.log())?;
    let dialled = format!("CONNECT {}:10250: directly", node.address());
    ensure!(k3s.log()?.contains(&dialled), "not through k3s: {}", k3s.log()?);
    if case.cluster().control_plane().place() != Place::Loopback {
        let proxied = |path: &str| {
            let path = format!("/api/v1/nodes/{name}/proxy/{path}");
            k3s.kubectl().run(["get", "--raw", &path])
        };
        ensure!(proxied("healthz")? == "ok", "{}", proxied("healthz")?);
        ensure!(proxied("metrics")?.contains("kubelet_node_name"), "no metrics");
        if !case.on_board() {
            a_reported_port_needs_a_tunnel(case, k3s)?;
        }
    }

    let secret = k3s.token().rsplit_once(':').context("a token has a colon")?.1;
    ensure!(!node.log().contains(secret), "the log shows the token");
    Ok(())
}

/// The token that `picolet provision` makes from a kubeconfig of k3s for a board of that name, as its settings have it.
fn provisioned(case: &Case<'_>, k3s: &K3s, name: &str) -> Result<String> {
    let kubeconfig = k3s.kubeconfig().to_str().context("the path is not UTF-8")?;
    let (output, file) = provision(case, k3s.url(), name, &["--kubeconfig", kubeconfig])?;
    ensure!(output.status.success(), "{output:?}");
    let (hash, _) = k3s.token().split_once("::").context("a token has a hash")?;
    let settings = settings(&file)?;
    let mut windows = settings.windows(hash.len() + "::abcdef.0123456789abcdef".len());
    let token = windows.find(|window| window.starts_with(hash.as_bytes()));
    let token = String::from_utf8(token.context("no token of k3s in the settings")?.to_owned())?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let (_, hidden) = token.split_once('.').context("it is no bootstrap token")?;
    ensure!(!said.contains(hidden), "the token is shown");
    Ok(token)
}

/// The Secret of a bootstrap token, and what it says.
fn token_secret(k3s: &K3s, token: &str) -> Result<(String, String)> {
    let (_, told) = token.split_once("::").context("a token has a hash")?;
    let (id, _) = told.split_once('.').context("it is no bootstrap token")?;
    let name = format!("bootstrap-token-{id}");
    let template = "go-template={{range $name, $value := .data}}{{$name}}={{base64decode $value}}\n{{end}}";
    let get = [
        "get",
        "secret",
        &name,
        "--namespace=kube-system",
        "--output",
        template,
    ];
    let said = k3s.kubectl().run(get)?;
    Ok((name, said))
}

/// What `picolet run` says to a token with which it does not begin.
fn refused_with(case: &Case<'_>, token: &str) -> Result<String> {
    let k3s = case.cluster().k3s()?;
    let state = case
        .cluster()
        .control_plane()
        .directory()
        .join("state/k3s-refused");
    let output = Command::new(case.cluster().program())
        .args([
            "run",
            "--node-name",
            "k3s-refused",
            "--server",
            k3s.url(),
            "--state-dir",
        ])
        .arg(state)
        // Where k3s's agents look too.
        .env("K3S_TOKEN", token)
        .output()
        .context("cannot run picolet run")?;
    ensure!(!output.status.success(), "it was not refused");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn refusals(case: &Case<'_>) -> Result<()> {
    let k3s = case.cluster().k3s()?;
    let said = refused_with(case, &format!("K10{}::server:wrong", "0".repeat(64)))?;
    ensure!(said.contains("somebody stands between"), "{said}");
    let said = refused_with(case, "wrong")?;
    ensure!(said.contains("give --certificate-authority too"), "{said}");

    let setup = case.node();
    let token = provisioned(case, k3s, setup.name())?;
    let (secret, said) = token_secret(k3s, &token)?;
    for datum in [
        "auth-extra-groups=system:bootstrappers:k3s:default-node-token\n",
        "usage-bootstrap-authentication=true",
        "expiration=2",
        setup.name(),
    ] {
        ensure!(said.contains(datum), "no {datum} in {said}");
    }
    // What may heal is waited for: a token that is not good yet.
    let good = |good: bool| {
        let patch = format!("{{\"stringData\":{{\"usage-bootstrap-authentication\":\"{good}\"}}}}");
        k3s.kubectl().run([
            "patch",
            "secret",
            &secret,
            "--namespace=kube-system",
            "--patch",
            &patch,
        ])
    };
    good(false)?;
    let mut node = setup.joining_k3s(k3s).joining(&token).start()?;
    wait_log(&node, "the token is wrong or has expired")?;
    ensure!(node.object().is_err(), "it joined with a token that is not good");
    good(true)?;
    node.wait_ready(LIMIT).with_context(|| node.log())?;
    let told = node.log().matches("the token is wrong or has expired").count();
    ensure!(told == 1, "it was told {told} times: {}", node.log());
    wait_certificates(&node, "True", "serving certificate until")?;
    let path = |record: &str| node.state().join(format!("{}.{record}", node.name()));
    let paths = ["NodePassword", "ClientIdentity", "ServingIdentity"].map(path);
    let forget = |path: &PathBuf| fs::remove_file(path).with_context(|| path.display().to_string());
    // Its certificates are lost, and its password is not: it is who it was.
    node.stop()?;
    paths[1..].iter().try_for_each(forget)?;
    node.start()?;
    until(LIMIT, "it has certificates again", || {
        Ok((node.log().matches("a new serving certificate").count() == 2).then_some(()))
    })
    .with_context(|| node.log())?;
    // Now it has lost that too, and its remedy.
    node.stop()?;
    paths.iter().try_for_each(forget)?;
    node.start()?;
    wait_log(
        &node,
        "another machine has this name, or this one lost its node password",
    )?;
    ensure!(!is_open(&node), "the kubelet port is open");
    case.kubectl().run(["delete", "node", node.name()])?;
    until(NEXT_TRY, "it has joined again", || {
        Ok((node.log().matches("a new serving certificate").count() == 3).then_some(()))
    })
    .with_context(|| node.log())?;

    // With what it keeps it goes on without its token, and knows that it is on k3s.
    node.stop()?;
    node.forget_argument("--token");
    node.start()?;
    until(LIMIT, "kubectl logs after a restart", || {
        logs(k3s, &node).map(Some)
    })
    .with_context(|| node.log())?;
    let port = node.object()?["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].clone();
    ensure!(port.is_null() || port == 0, "it reports the port {port}");
    Ok(())
}
