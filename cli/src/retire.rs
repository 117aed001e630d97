//! `picolet retire`: takes a node out of its cluster for good.
//!
//! What the cluster has of it is deleted here. Kubernetes revokes no certificate, so the node itself is asked to reset its identity:
//! its key and its certificates. Where it cannot be reached, --force goes on, and the last lines say what to do at the board.

use crate::approve::{self, Asked, MachineRecords, REQUESTS, subject};
use crate::cluster::{Client, ClusterArguments, Deletion, Object};
use crate::nodes::{is_picolet, is_ready};
use anyhow::{Context, Result, bail};
use clap::Args;
use picolet_linux::client::{Refused, is_refused};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Take a picolet out of its cluster: drain it, reset its identity, delete its Node, its Lease, its certificate requests and the record
/// of its machine ID.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node.
    #[arg(value_parser = picolet_linux::node_name)]
    node: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Go on where it would stop: end pods that no controller starts again elsewhere, wait for pods no longer than --timeout, and
    /// delete a node whose identity cannot be reset.
    #[arg(long)]
    force: bool,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation at a terminal.
    #[arg(short, long)]
    yes: bool,
    /// Seconds to wait for pods to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// The namespace of the records of machine IDs, as for `picolet approve`.
    #[arg(long, value_name = "NAMESPACE", env = approve::RECORDS_ENV, default_value = approve::RECORDS,
        value_parser = approve::namespace)]
    record_namespace: String,
}

const EXAMPLES: &str = "\
A board that can be reached erases its key, its certificates and its settings, and waits for new
ones. One that cannot is the node again with the certificate that it has: hold its BOOTSEL for ten
seconds while it runs.

Examples:
  picolet retire pico-1
  A board that is broken or lost, with pods that nobody will miss:
    picolet retire pico-1 --force";

/// Poll interval while objects are going away.
const PAUSE: Duration = Duration::from_secs(1);

/// A node restarts half a second after it accepted the reset of its identity; until then it would register again once it is deleted.
const RESTART: Duration = Duration::from_secs(3);

/// What became of the node's key and certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// The node has erased them.
    Reset,
    /// The node answers, and did not reset them.
    Kept,
    /// The node does not answer.
    Unknown,
}

/// Drains and deletes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let client = Client::connect(&arguments.cluster)?;
    let name = &arguments.node;
    let path = format!("/api/v1/nodes/{name}");
    let node = client.find(&path)?;
    if node.as_ref().is_some_and(|node| !is_picolet(node)) {
        bail!("{name} is no picolet; kubectl drain {name} and kubectl delete node {name} take it out");
    }
    if arguments.dry_run {
        return show_plan(&client, arguments, node.as_ref());
    }
    if !arguments.yes && std::io::stdin().is_terminal() {
        confirm(name, client.server())?;
    }
    let mut identity = Identity::Unknown;
    if let Some(node) = &node {
        client
            .merge(&path, &json!({"spec": {"unschedulable": true}}))
            .with_context(|| format!("cannot cordon {name}"))?;
        println!("node/{name} cordoned");
        drain(&client, arguments, is_ready(node))?;
        identity = reset_identity(&client, name, arguments.force)?;
        if identity == Identity::Reset {
            std::thread::sleep(RESTART);
        }
    }
    let (mut deleted, mut pending) = (0, Vec::new());
    for (what, path) in owned(&client, name)? {
        let deletion = client.delete(&path);
        match deletion.with_context(|| format!("cannot delete {what}"))? {
            Deletion::Absent => continue,
            Deletion::Done => println!("{what} deleted"),
            // A request that waits to be deleted holds up nothing, and whoever made it may never let it go.
            Deletion::Pending if path.starts_with(REQUESTS) => {
                println!("{what} is deleted once its finalizers are removed");
            }
            Deletion::Pending => pending.push((what, path)),
        }
        deleted += 1;
    }
    let records = MachineRecords::new(&client, &arguments.record_namespace);
    if records.clear(name)? != Deletion::Absent {
        println!("{} deleted", records.name(name));
        deleted += 1;
    }
    for (what, path) in pending {
        await_deletion(&client, &what, &path, Duration::from_secs(arguments.timeout))?;
    }
    if deleted == 0 {
        bail!("nothing in this cluster is {name}'s; picolet nodes lists its picolets");
    }
    println!("{}", advice(name, node.as_ref(), identity));
    Ok(())
}

/// The objects of a node, except the record of its machine ID: what they are called, and their paths. Some may not exist.
fn owned(client: &Client, name: &str) -> Result<Vec<(String, String)>> {
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let mut objects = vec![
        (format!("node/{name}"), format!("/api/v1/nodes/{name}")),
        (format!("lease/{name}"), format!("{leases}/{name}")),
    ];
    client.list(REQUESTS, |Object(request)| {
        if is_of(&request, name) {
            let request = request["metadata"]["name"].as_str().unwrap_or_default();
            objects.push((
                format!("certificatesigningrequest/{request}"),
                format!("{REQUESTS}/{request}"),
            ));
        }
        Ok(())
    })?;
    Ok(objects)
}

/// Prints what `run` would do, in its order.
fn show_plan(client: &Client, arguments: &Arguments, node: Option<&Value>) -> Result<()> {
    let name = &arguments.node;
    if let Some(node) = node {
        println!("node/{name} would be cordoned");
        for pod in pods(client, name)? {
            match fate(&pod) {
                Fate::Lost if !arguments.force => {
                    println!(
                        "pod/{} would stop this: no controller starts it again (--force ends it)",
                        full_name(&pod)
                    );
                }
                _ => println!("pod/{} would be evicted", full_name(&pod)),
            }
        }
        match is_ready(node) {
            true => println!("node/{name} would be asked to reset its identity"),
            false => println!(
                "node/{name} is NotReady: its identity may not be reset, and --force would be needed"
            ),
        }
    }
    let records = MachineRecords::new(client, &arguments.record_namespace);
    let mut count = 0;
    for (what, path) in owned(client, name)? {
        if client.find(&path)?.is_some() {
            println!("{what} would be deleted");
            count += 1;
        }
    }
    if records.exists(name)? {
        println!("{} would be deleted", records.name(name));
        count += 1;
    }
    if count == 0 {
        bail!("nothing in this cluster is {name}'s; picolet nodes lists its picolets");
    }
    Ok(())
}

/// Asks whether to go on.
fn confirm(name: &str, server: &str) -> Result<()> {
    eprint!(
        "Retire {name} in the cluster at {server}? Its identity is reset, and its objects are deleted. [y/N] "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}

/// Waits until the finalizers of an object that is deleted are removed.
fn await_deletion(client: &Client, what: &str, path: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while let Some(object) = client.find(path)? {
        if object["metadata"]["deletionTimestamp"].is_null() {
            bail!("{what} is there again: stop what creates it, and try again");
        }
        if Instant::now() >= deadline {
            bail!(
                "{what} is deleted only once its finalizers are removed, by those who set them: {}",
                finalizers(&object)
            );
        }
        std::thread::sleep(PAUSE);
    }
    println!("{what} deleted");
    Ok(())
}

/// The finalizers of an object, the first of many.
fn finalizers(object: &Value) -> String {
    const SHOWN: usize = 3;
    let all = object["metadata"]["finalizers"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let shown: Vec<_> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// Has the node reset its identity. Where it does not, that is an error unless it is by `force`: the node could go on with its
/// certificates when the cluster has nothing of it any more.
fn reset_identity(client: &Client, name: &str, force: bool) -> Result<Identity> {
    let path = format!("/api/v1/nodes/{name}/proxy/pico/command");
    let command = json!({"command": "forget", "params": {"node": name}});
    let Err(error) = client.post(&path, &command) else {
        println!("node/{name} resets its identity");
        return Ok(Identity::Reset);
    };
    // The API server answers 502 to 504 for a node that it cannot reach; 400 is its refusal to dial loopback.
    let answers = match error.downcast_ref() {
        // 403 can be the API server's own, to who may not use nodes/proxy.
        Some(Refused { code, .. }) => !matches!(code, 400 | 403 | 404 | 500..=504),
        None => false,
    };
    let (identity, what) = match answers {
        true => (Identity::Kept, "refuses to reset its identity"),
        false => (
            Identity::Unknown,
            "cannot be asked or does not answer, so its identity is not reset",
        ),
    };
    if !force {
        bail!(
            "{name} {what}: {error:#}; try again when it is up, or go on with --force: its certificates are then valid until they \
             expire. {name} takes no new pods now; kubectl uncordon {name} lets it"
        );
    }
    println!("node/{name} {what}: {error:#}");
    Ok(identity)
}

/// Whether a certificate was asked for by a node, or for it by a bootstrap token.
fn is_of(request: &Value, node: &str) -> bool {
    request["spec"]["username"] == format!("system:node:{node}")
        || Asked::read(request).is_ok_and(|asked| asked.subject == subject(node))
}

fn advice(name: &str, node: Option<&Value>, identity: Identity) -> String {
    let board = node.map(|node| &node["metadata"]["labels"]["picolet.dev/board"]);
    let is_process = board.is_some_and(|board| board == "linux");
    let remedy = if is_process {
        "end its process, and delete its --state-dir"
    } else {
        "take it off power, or hold BOOTSEL for ten seconds while it runs"
    };
    match identity {
        Identity::Reset if is_process => {
            format!(
                "{name} has erased its key and its certificates; its process stays away from the cluster, and logs what lets it join again."
            )
        }
        Identity::Reset => format!(
            "{name} has erased its key, its certificates and its settings; picolet provision makes new ones."
        ),
        Identity::Kept => format!(
            "warning: {name} is up and still has its key and certificates. It registers again within a minute, until they expire: {remedy}."
        ),
        Identity::Unknown => format!(
            "warning: {name} did not answer. If it still has its key and certificates, it can be a node until they expire: {remedy}."
        ),
    }
}

/// What is to become of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is the node's own, or a DaemonSet's: it goes with the Node.
    Stays,
    /// A controller starts another one elsewhere, or it has ended.
    Evicted,
    /// Nobody starts it again.
    Lost,
}

fn fate(pod: &Value) -> Fate {
    let metadata = &pod["metadata"];
    let owners = metadata["ownerReferences"].as_array();
    let controller = owners.and_then(|owners| owners.iter().find(|owner| owner["controller"] == true));
    let mirror = metadata["annotations"]
        .get("kubernetes.io/config.mirror")
        .is_some();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    match controller {
        _ if mirror => Fate::Stays,
        Some(controller) if controller["kind"] == "DaemonSet" => Fate::Stays,
        None if !ended => Fate::Lost,
        _ => Fate::Evicted,
    }
}

/// `namespace/name` of a pod.
fn full_name(pod: &Value) -> String {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// The pods of a node that have to go.
fn pods(client: &Client, node: &str) -> Result<Vec<Value>> {
    let mut pods = Vec::new();
    client.list(
        &format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"),
        |Object(pod)| {
            pods.extend(Some(pod).filter(|pod| fate(pod) != Fate::Stays));
            Ok(())
        },
    )?;
    Ok(pods)
}

fn drain(client: &Client, arguments: &Arguments, ready: bool) -> Result<()> {
    let name = &arguments.node;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    let lost: Vec<String> = pods(client, name)?
        .iter()
        .filter(|pod| fate(pod) == Fate::Lost)
        .map(full_name)
        .collect();
    if !lost.is_empty() && !arguments.force {
        bail!(
            "no controller would start these pods again: {}; delete them, or end them with --force. {name} takes no new \
             pods now; kubectl uncordon {name} lets it",
            lost.join(", ")
        );
    }
    loop {
        let left = pods(client, name)?;
        if left.is_empty() {
            return Ok(());
        }
        let mut why = String::new();
        for pod in left
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        {
            match evict(client, pod) {
                Ok(()) => println!("pod/{} evicted", full_name(pod)),
                // A disruption budget.
                Err(error) if is_refused(&error, 429) => why = format!(" ({error})"),
                Err(error) if is_refused(&error, 404) => {}
                Err(error) => return Err(error.context(format!("cannot evict {}", full_name(pod)))),
            }
        }
        if !ready && why.is_empty() {
            println!("{name} is NotReady and ends no pods: the cluster does, once the Node is gone");
            return Ok(());
        }
        if Instant::now() >= deadline {
            let left: Vec<String> = left.iter().map(full_name).collect();
            let left = left.join(", ");
            if arguments.force {
                println!(
                    "still there after {} s, and left to the cluster: {left}{why}",
                    arguments.timeout
                );
                return Ok(());
            }
            bail!(
                "still there after {} s: {left}{why}; try again with a longer --timeout, or go on without them with --force",
                arguments.timeout
            );
        }
        std::thread::sleep(PAUSE);
    }
}

fn evict(client: &Client, pod: &Value) -> Result<()> {
    let (namespace, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}});
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction",
        text(namespace),
        text(name)
    );
    client.post(&path, &eviction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::api::serve;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn pods_go_as_kubectl_drain_has_it() {
        let owned = |kind: &str| json!([{"kind": kind, "name": "x", "controller": true}]);
        for (pod, expected) in [
            (
                json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}),
                Fate::Stays,
            ),
            (
                json!({"metadata": {"ownerReferences": owned("DaemonSet")}}),
                Fate::Stays,
            ),
            (
                json!({"metadata": {"ownerReferences": owned("Job")}}),
                Fate::Evicted,
            ),
            (
                json!({"metadata": {}, "status": {"phase": "Running"}}),
                Fate::Lost,
            ),
            (
                json!({"metadata": {}, "status": {"phase": "Failed"}}),
                Fate::Evicted,
            ),
        ] {
            assert_eq!(fate(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn few_finalizers_of_many_are_shown() {
        let many: Vec<_> = (0..60_000).map(|n| format!("x/{n}")).collect();
        let shown = finalizers(&json!({"metadata": {"finalizers": many}}));
        assert_eq!(shown, "\"x/0\", \"x/1\", \"x/2\" and 59997 more");
        assert_eq!(finalizers(&json!({})), "");
    }

    #[test]
    fn node_is_awaited_while_it_has_finalizers() {
        for (limit, expected) in [(9, Ok(())), (0, Err("\"example.org/hold\""))] {
            let looks = AtomicUsize::new(0);
            let client = serve(move |method, _| {
                let node =
                    json!({"metadata": {"finalizers": ["example.org/hold"], "deletionTimestamp": "x"}});
                match (method, looks.fetch_add(1, Ordering::Relaxed)) {
                    ("DELETE", _) | (_, 1) => (200, node),
                    _ => (404, json!({})),
                }
            });
            assert_eq!(client.delete("/x").expect("an answer"), Deletion::Pending);
            let gone = await_deletion(&client, "node/x", "/x", Duration::from_secs(limit));
            match (gone, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (gone, _) => panic!("{gone:?}"),
            }
        }
        let client = serve(|_, _| (200, json!({"kind": "Status", "status": "Success"})));
        assert_eq!(client.delete("/x").expect("an answer"), Deletion::Done);
    }

    #[test]
    fn advice_names_the_remedy_when_the_identity_is_not_reset() {
        let node = |board: &str| json!({"metadata": {"labels": {"picolet.dev/board": board}}});
        for (board, identity, words) in [
            ("pico-w", Identity::Kept, "registers again"),
            ("pico-w", Identity::Kept, "BOOTSEL"),
            ("linux", Identity::Unknown, "--state-dir"),
            ("linux", Identity::Unknown, "did not answer"),
            ("pico-w", Identity::Reset, "picolet provision"),
            ("linux", Identity::Reset, "its process stays away"),
        ] {
            let said = advice("pico-1", Some(&node(board)), identity);
            assert!(said.contains(words), "{said}");
            assert_eq!(
                said.contains("registers again"),
                identity == Identity::Kept,
                "{said}"
            );
        }
    }

    #[test]
    fn identity_is_unknown_when_the_node_does_not_answer() {
        for (code, forced) in [
            (200, Some(Identity::Reset)),
            (502, Some(Identity::Unknown)),
            (503, Some(Identity::Unknown)),
            (400, Some(Identity::Unknown)),
            (403, Some(Identity::Unknown)),
            (409, Some(Identity::Kept)),
        ] {
            let client = serve(move |_, _| (code, json!({"message": "why"})));
            assert_eq!(reset_identity(&client, "pico-1", true).ok(), forced, "{code}");
            match reset_identity(&client, "pico-1", false) {
                Ok(identity) => assert_eq!((code, identity), (200, Identity::Reset)),
                Err(error) => assert!(code != 200 && error.to_string().contains("--force"), "{error}"),
            }
        }
    }
}
