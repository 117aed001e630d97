//! What somebody does who has many boards: looks at them, brings one in, takes one out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Node, deployment, never, until};
use picolet_controlplane::Place;
use serde_json::json;

use crate::joining::{is_open, wait_log};
use crate::pods::{forced, wait_without_runtime};
use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("listed_and_retired", listed_and_retired).only_linux("it joins by its token on the command line"),
    beside("authority_by_its_hash", authority_by_its_hash)
        .only_linux("a board joins by a hash where it joins by its token"),
];

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
    let node = case.node().joining(token).start()?;
    // Whenever its request comes.
    let approved = picolet(case, &["approve", node.name(), "--wait=60s"])?;
    ensure!(approved.status.success(), "{approved:?}: {}", node.log());
    let waiting = format!("waiting for the certificate request of {}", node.name());
    ensure!(
        text(&approved.stderr).matches(&waiting).count() <= 1,
        "{approved:?}"
    );
    node.wait_ready(LIMIT).with_context(|| node.log())?;
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
        let signal = if private { "<none>" } else { "<unknown>" };
        let right = cells[1] == "Ready" && version == cells[3] && cells[4] == "linux" && cells[5] == signal;
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
    ensure!(
        said.contains("evicted") && said.contains("did not answer") && said.contains("--state-dir"),
        "{said}"
    );
    nothing_left(case, &node, &said)?;
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

/// The cluster has nothing any more of a node that had joined by a token, as `picolet retire` said.
fn nothing_left(case: &Case<'_>, node: &Node<'_>, said: &str) -> Result<()> {
    ensure!(node.object().is_err(), "the Node is there");
    ensure!(node.lease().is_err(), "the Lease is there");
    let requests = said
        .lines()
        .filter_map(|line| line.strip_prefix("certificatesigningrequest/"))
        .map(|line| line.trim_end_matches(" deleted"));
    let left = case.kubectl().run(["get", "csr", "--output=name"])?;
    for request in requests.clone() {
        ensure!(!left.contains(request), "{request} is there");
    }
    ensure!(requests.count() == 2, "{said}");
    Ok(())
}

/// `picolet retire` of a node that is up and had joined by `token`: its pods go, the cluster has nothing of it any more, and it has
/// forgotten who it is and stays away.
pub(crate) fn retired(case: &Case<'_>, node: &mut Node<'_>, token: &str) -> Result<()> {
    if case.cluster().control_plane().place() == Place::Loopback {
        // The API server does not pass anything on to it.
        return Ok(());
    }
    let name = node.name().to_owned();
    let namespace = case.namespace()?;
    case.kubectl()
        .apply(&forced("to-be-drained", &namespace, &name, &json!({})).to_string())?;
    wait_without_runtime(case, &namespace, "to-be-drained")?;
    if !case.on_board() {
        // What a process left that was killed while it wrote.
        fs::write(node.state().join(format!("{name}.ClientIdentity.new")), "a key")?;
    }

    // No controller would make that pod again: it goes only by force.
    let refused = picolet(case, &["retire", &name])?;
    let said = text(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("to-be-drained") && said.contains("--force"),
        "{refused:?}"
    );
    let retired = picolet(case, &["retire", &name, "--force"])?;
    let said = text(&retired.stdout);
    ensure!(retired.status.success(), "{retired:?}");
    for words in ["cordoned", "resets its identity", "has erased its key"] {
        ensure!(said.contains(words), "{said}");
    }
    ensure!(
        said.contains(&format!("pod/{namespace}/to-be-drained evicted")),
        "{said}"
    );
    nothing_left(case, node, &said)?;
    let kept = match case.on_board() {
        true => {
            wait_log(node, "forgotten who it is, and its settings, as it was told")?;
            wait_log(node, "there are no settings; send some with `picolet provision")?;
            let back = || {
                Ok(node
                    .object()
                    .is_ok()
                    .then(|| "the Node is there again".to_owned()))
            };
            never(Duration::from_secs(3), "it stays away", back)?;
            ensure!(!is_open(node), "the kubelet port is open");
            // The emulator writes its flash when it ends.
            node.stop()?;
            fs::read(node.flash())?
        }
        false => {
            let status = node.wait_end(LIMIT)?;
            ensure!(!status.success(), "it ended as if all were well");
            // Whatever starts it again is told the same.
            node.start()?;
            node.wait_end(LIMIT)?;
            let words = "it has forgotten who it is, as it was told: delete ";
            ensure!(node.log().matches(words).count() == 2, "{}", node.log());
            let mut kept = Vec::new();
            for file in fs::read_dir(node.state())? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                let secret = name.contains("Identity") || name.contains("Password");
                ensure!(!secret, "{name} is there");
                kept.extend(fs::read(file.path())?);
            }
            kept
        }
    };
    ensure!(!contains(&kept, token.as_bytes()), "it has its token still");
    ensure!(node.object().is_err(), "the Node is there again");
    Ok(())
}

/// The settings in a UF2 file, as they lie in flash: its blocks have 256 bytes at 32 of 512.
pub(crate) fn settings(file: &Path) -> Result<Vec<u8>> {
    let file = fs::read(file)?;
    ensure!(
        !file.is_empty() && file.len() % 512 == 0,
        "{} bytes are no UF2",
        file.len()
    );
    Ok(file
        .chunks(512)
        .flat_map(|block| block[32..288].to_vec())
        .collect())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// `picolet provision`, as far as a board named `node` that goes to `server`. Returns what it said, and its file.
pub(crate) fn provision(
    case: &Case<'_>,
    server: &str,
    node: &str,
    more: &[&str],
) -> Result<(Output, PathBuf)> {
    let control_plane = case.cluster().control_plane();
    let file = control_plane.directory().join(format!("{node}.uf2"));
    let output = Command::new(case.cluster().program())
        .args(["provision", "--board=pico-w", "--ssid=attic", "--node-name", node])
        .args(["--server", server])
        .args(more)
        .arg("--output")
        .arg(&file)
        .output()
        .context("cannot run picolet provision")?;
    Ok((output, file))
}

/// A board's settings from a kubeconfig, in a cluster that has no rights for it yet. A node joins with their token.
pub(crate) fn provisioned_from_a_kubeconfig(case: &Case<'_>) -> Result<()> {
    let kubectl = case.kubectl();
    let bootstrap = deployment("bootstrap.yaml");
    let bootstrap = bootstrap.to_str().context("the project's path is not UTF-8")?;
    kubectl.run(["delete", "--ignore-not-found", "--filename", bootstrap])?;
    let setup = case.node_named("provisioned");
    let name = setup.name().to_owned();
    let namespace = format!("case-{name}");
    kubectl.run(["create", "namespace", &namespace])?;
    let kubeconfig = case.cluster().control_plane().admin_kubeconfig();
    let kubeconfig = kubeconfig.to_str().context("the path is not UTF-8")?;
    let options = [
        "--kubeconfig",
        kubeconfig,
        "--config-namespace",
        &namespace,
        "--token-ttl=10m",
    ];
    let server = case.cluster().control_plane().server_url();
    let (output, file) = provision(case, &server, &name, &options)?;
    let said = text(&output.stdout);
    ensure!(output.status.success(), "{output:?}");
    let id = said
        .split("Bootstrap token ")
        .nth(1)
        .and_then(|rest| rest.get(..6));
    let id = id.with_context(|| said.clone())?.to_owned();
    let secret = case
        .cluster()
        .object("kube-system", "secret", &format!("bootstrap-token-{id}"))?
        .context("there is no token")?;
    let datum = |key: &str| -> Result<String> {
        let object = format!("bootstrap-token-{id}");
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        let get = [
            "get",
            "secret",
            &object,
            "--namespace=kube-system",
            "--output",
            &template,
        ];
        Ok(kubectl.run(get)?)
    };
    ensure!(
        secret["type"] == "bootstrap.kubernetes.io/token",
        "{}",
        secret["type"]
    );
    ensure!(
        datum("auth-extra-groups")? == "system:bootstrappers:picolet",
        "another group"
    );
    ensure!(
        said.contains(&datum("expiration")?),
        "it does not say when the token ends: {said}"
    );
    let hidden = datum("token-secret")?;
    ensure!(
        !said.contains(&hidden) && !text(&output.stderr).contains(&hidden),
        "the token is shown"
    );
    let token = format!("{id}.{hidden}");
    let flash = settings(&file)?;
    ensure!(
        contains(&flash, token.as_bytes()),
        "the settings have another token"
    );
    ensure!(
        contains(&flash, server.as_bytes()),
        "the settings have another server"
    );
    for role in ["picolet-config", "picolet-labelled-config"] {
        ensure!(
            case.cluster().object(&namespace, "rolebinding", role)?.is_some(),
            "no {role}"
        );
    }
    let node = setup.joining(&token).start()?;
    node.wait_ready(Duration::from_secs(90))
        .with_context(|| node.log())?;
    // A second board finds all of it there.
    let (output, _) = provision(case, &server, &format!("{name}-2"), &options)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The hash of no key.
fn wrong_hash() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// What `picolet provision` makes of a hash by which it is to know the authority of the cluster.
fn provision_by(case: &Case<'_>, node: &str, hash: &str) -> Result<(Output, PathBuf)> {
    let control_plane = case.cluster().control_plane();
    let token = control_plane.bootstrap_token();
    let options = ["--token", token, "--discovery-token-ca-cert-hash", hash];
    provision(case, &control_plane.server_url(), node, &options)
}

/// The hash that the cluster's authority has, as `picolet provision` says it to somebody who has a wrong one.
pub(crate) fn authority_hash(case: &Case<'_>, node: &str) -> Result<String> {
    let token = case.cluster().control_plane().bootstrap_token();
    let (refused, file) = provision_by(case, node, &wrong_hash())?;
    let said = text(&refused.stderr);
    ensure!(!refused.status.success() && !file.exists(), "{refused:?}");
    ensure!(
        said.contains("print-join-command") && !said.contains(token),
        "{said}"
    );
    let shown = said.split("has the hash ").nth(1).and_then(|rest| rest.get(..71));
    Ok(shown.with_context(|| said.clone())?.to_owned())
}

fn authority_by_its_hash(case: &Case<'_>) -> Result<()> {
    let control_plane = case.cluster().control_plane();
    let token = control_plane.bootstrap_token();
    let setup = case.node();
    let name = setup.name().to_owned();
    let hash = authority_hash(case, &name)?;
    let (made, file) = provision_by(case, &name, &hash)?;
    ensure!(made.status.success(), "{made:?}");
    ensure!(
        contains(&settings(&file)?, token.as_bytes()),
        "no token in the settings"
    );

    // A process too, which keeps the authority for when nobody can be asked.
    let node = setup.joining(token).discovering(&hash).start()?;
    node.wait_ready(Duration::from_secs(90))
        .with_context(|| node.log())?;
    let kept = node.state().join("cluster-authority.crt");
    let (kept, own) = (
        fs::read_to_string(&kept)?,
        fs::read_to_string(control_plane.pki().certificate_authority())?,
    );
    ensure!(kept.lines().eq(own.lines()), "{kept} is not {own}");
    let other = case
        .node_named("misled")
        .joining(token)
        .discovering(&wrong_hash())
        .start()?;
    until(LIMIT, "the wrong authority is refused", || {
        Ok(other.log().contains("has the hash sha256:").then_some(()))
    })
    .with_context(|| other.log())?;
    ensure!(other.object().is_err(), "it joined a cluster that is not its own");
    Ok(())
}
