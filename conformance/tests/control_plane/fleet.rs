//! What somebody does who has many boards: looks at them, brings one in, takes one out.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Node, until};
use picolet_controlplane::Place;
use serde_json::json;

use crate::joining::{approve, is_open};
use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] =
    &[beside("listed_and_retired", listed_and_retired)
        .only_linux("it joins by its token on the command line")];

const LIMIT: Duration = Duration::from_secs(60);

/// `picolet` as an administrator.
fn picolet(case: &Case<'_>, arguments: &[&str]) -> Result<Output> {
    Command::new(case.cluster().program())
        .args(arguments)
        .arg("--kubeconfig")
        .arg(case.cluster().control_plane().admin_kubeconfig())
        .output()
        .with_context(|| format!("cannot run picolet {arguments:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node that has joined by a token and has both of its certificates.
fn joined<'a>(case: &'a Case<'_>) -> Result<Node<'a>> {
    let token = case.cluster().control_plane().bootstrap_token();
    let node = case.node().joining(token).start_ready()?;
    until(LIMIT, "its certificate can be approved", || {
        Ok(approve(case, node.name())?.status.success().then_some(()))
    })
    .with_context(|| node.log())?;
    until(LIMIT, "the kubelet port is open", || {
        Ok(is_open(&node).then_some(()))
    })?;
    Ok(node)
}

fn listed_and_retired(case: &Case<'_>) -> Result<()> {
    let mut node = joined(case)?;
    let name = node.name().to_owned();
    let kubectl = case.kubectl();
    let other = format!("{name}-kubelet");
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": other}}).to_string())?;

    // The list.
    let private = case.cluster().control_plane().place() != Place::Loopback;
    let version = node.object()?["status"]["nodeInfo"]["kubeletVersion"].clone();
    let mut said = String::new();
    until(LIMIT, "the list has all of it", || {
        let listed = picolet(case, &["nodes"])?;
        ensure!(listed.status.success(), "{listed:?}");
        said = text(&listed.stdout) + &text(&listed.stderr);
        let Some(line) = said.lines().find(|line| line.starts_with(&format!("{name} "))) else {
            return Ok(None);
        };
        let cells: Vec<&str> = line.split_whitespace().collect();
        let days = |cell: &str| {
            cell.strip_suffix('d')
                .is_some_and(|days| days.parse::<u32>().is_ok())
        };
        // The API server does not pass anything on to a node on loopback; its report has no reason of a reset.
        let whole = !private || cells.get(9) == Some(&"(power-on)");
        let right = cells[1] == "Ready" && version == cells[3] && cells[4] == "linux" && cells[5] == "<none>";
        Ok((right && whole && days(cells[6]) && days(cells[7])).then_some(()))
    })
    .with_context(|| said.clone())?;
    ensure!(said.starts_with("NAME ") && !said.contains(&other), "{said}");
    let one = picolet(case, &["nodes", &name])?;
    ensure!(text(&one.stdout).lines().count() == 2, "{one:?}");
    let none = picolet(case, &["nodes", &other])?;
    ensure!(
        !none.status.success() && text(&none.stderr).contains("is no picolet"),
        "{none:?}"
    );

    // What is not ours is let alone.
    let refused = picolet(case, &["retire", &other])?;
    ensure!(
        !refused.status.success() && text(&refused.stderr).contains("is no picolet"),
        "{refused:?}"
    );
    ensure!(
        case.cluster().object("default", "node", &other)?.is_some(),
        "it is gone"
    );
    kubectl.run(["delete", "node", &other])?;

    // A pod that nobody would start again is not taken from a node unasked.
    node.kill();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": name, "containers": [{"name": "main", "image": "example.org/nothing:1"}]}});
    kubectl.apply(&pod.to_string())?;
    let refused = picolet(case, &["retire", &name])?;
    ensure!(
        !refused.status.success() && text(&refused.stderr).contains(&format!("default/{name}")),
        "{refused:?}"
    );
    ensure!(
        node.object()?["spec"]["unschedulable"] == true,
        "it is not cordoned"
    );
    let retired = picolet(case, &["retire", &name, "--force", "--timeout=2"])?;
    let said = text(&retired.stdout);
    ensure!(retired.status.success(), "{retired:?}");
    ensure!(said.contains("evicted") && said.contains("--state-dir"), "{said}");
    ensure!(node.object().is_err(), "the Node is there");
    ensure!(node.lease().is_err(), "the Lease is there");
    ensure!(said.matches("certificatesigningrequest/").count() == 2, "{said}");
    for line in said
        .lines()
        .filter_map(|line| line.strip_prefix("certificatesigningrequest/"))
    {
        let request = line.trim_end_matches(" deleted");
        ensure!(
            case.cluster().object("default", "csr", request)?.is_none(),
            "{request} is there"
        );
    }
    let again = picolet(case, &["retire", &name])?;
    ensure!(
        !again.status.success() && text(&again.stderr).contains("nothing in this cluster"),
        "{again:?}"
    );
    kubectl.run([
        "delete",
        "pod",
        &name,
        "--namespace=default",
        "--force",
        "--ignore-not-found",
    ])?;
    Ok(())
}
