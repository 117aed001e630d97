//! `picolet retire`: takes a node out of its cluster for good.
//!
//! What the cluster has of it is deleted here. Kubernetes revokes no certificate, so the node itself is told to forget its key and its
//! certificates; where it cannot be reached, the last lines say what to do at the board.

use crate::approve::{self, Asked, MachineRecords, REQUESTS, subject};
use crate::cluster::{Client, ClusterArguments, Deletion, Object};
use crate::nodes::{is_picolet, is_ready};
use anyhow::{Context, Result, bail};
use clap::Args;
use picolet_linux::client::is_refused;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Take a picolet out of its cluster: drain it, have it forget who it is, delete its Node, its Lease, its certificate requests and the
/// record of its machine ID.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node.
    #[arg(value_parser = picolet_linux::node_name)]
    node: String,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Go on where kubectl drain stops: end pods that no controller starts again elsewhere, and do not wait any longer for
    /// pods than --timeout.
    #[arg(long)]
    force: bool,
    /// How many seconds the pods have to go.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// The namespace of the records of machine IDs, as for `picolet approve`.
    #[arg(long, value_name = "NAMESPACE", env = approve::RECORDS_ENV, default_value = approve::RECORDS,
        value_parser = approve::namespace)]
    record_namespace: String,
}

const EXAMPLES: &str = "\
A board that can be reached forgets its key, its certificates and its settings, and waits for new ones. One that cannot is the node
again with the certificate that it has: hold its BOOTSEL for ten seconds while it runs.

Examples:
  picolet retire pico-1
  A board that is broken or lost, with pods that nobody will miss:
    picolet retire pico-1 --force";

/// How often it is looked whether pods are gone.
const PAUSE: Duration = Duration::from_secs(1);

/// A node restarts half a second after it was told to forget who it is; until then it would be back once it is deleted.
const RESTART: Duration = Duration::from_secs(3);

/// Drains and deletes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let client = Client::connect(&arguments.cluster)?;
    let name = &arguments.node;
    let path = format!("/api/v1/nodes/{name}");
    let node = client.find(&path)?;
    let mut forgotten = false;
    if let Some(node) = &node {
        if !is_picolet(node) {
            bail!("{name} is no picolet; kubectl drain {name} and kubectl delete node {name} take it out");
        }
        client
            .merge(&path, &json!({"spec": {"unschedulable": true}}))
            .with_context(|| format!("cannot cordon {name}"))?;
        println!("node/{name} cordoned");
        drain(&client, arguments, is_ready(node))?;
        forgotten = is_ready(node) && forget(&client, name);
    }
    let (mut deleted, mut pending) = (0, Vec::new());
    let mut delete = |what: String, path: String| -> Result<()> {
        let deletion = client.delete(&path);
        match deletion.with_context(|| format!("cannot delete {what}"))? {
            Deletion::Absent => return Ok(()),
            Deletion::Done => println!("{what} deleted"),
            // A request that waits to be deleted holds up nothing, and whoever made it may never let it go.
            Deletion::Pending if path.starts_with(REQUESTS) => {
                println!("{what} is deleted once its finalizers are removed");
            }
            Deletion::Pending => pending.push((what, path)),
        }
        deleted += 1;
        Ok(())
    };
    delete(format!("node/{name}"), path)?;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    delete(format!("lease/{name}"), format!("{leases}/{name}"))?;
    client.list(REQUESTS, |Object(request)| {
        if !is_of(&request, name) {
            return Ok(());
        }
        let request = request["metadata"]["name"].as_str().unwrap_or_default();
        delete(
            format!("certificatesigningrequest/{request}"),
            format!("{REQUESTS}/{request}"),
        )
    })?;
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
    println!("{}", advice(name, node.as_ref(), forgotten));
    Ok(())
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

/// Tells the node to forget who it is. Returns whether it does.
fn forget(client: &Client, name: &str) -> bool {
    let path = format!("/api/v1/nodes/{name}/proxy/pico/command");
    let command = json!({"command": "forget", "params": {"node": name}});
    match client.post(&path, &command) {
        Ok(()) => {
            println!("node/{name} forgets who it is");
            std::thread::sleep(RESTART);
            true
        }
        Err(error) => {
            println!("node/{name} cannot be told to forget who it is: {error:#}");
            false
        }
    }
}

/// Whether a certificate was asked for by a node, or for it by a bootstrap token.
fn is_of(request: &Value, node: &str) -> bool {
    request["spec"]["username"] == format!("system:node:{node}")
        || Asked::read(request).is_ok_and(|asked| asked.subject == subject(node))
}

fn advice(name: &str, node: Option<&Value>, forgotten: bool) -> String {
    let board = node.map(|node| &node["metadata"]["labels"]["picolet.dev/board"]);
    let is_process = board.is_some_and(|board| board == "linux");
    if forgotten {
        let now = match is_process {
            true => "its process stays away from the cluster, and says what lets it join again",
            false => "it has no settings either: picolet provision makes new ones",
        };
        return format!("{name} has forgotten its key and its certificates; {now}.");
    }
    let remedy = if is_process {
        "End its process, and delete its --state-dir"
    } else {
        "Take it off power, or make it forget: hold BOOTSEL for ten seconds while it runs"
    };
    let soon = if node.is_some_and(is_ready) {
        " It is up, and registers again within a minute."
    } else {
        ""
    };
    format!(
        "{name} has its key and certificates still, and can be a node with them until they expire.{soon} {remedy}."
    )
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
            println!("{name} is not there to end its pods: the cluster does, once the Node is gone");
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
    fn what_is_left_at_the_board_is_said() {
        let node = |board: &str, ready: &str| {
            json!({"metadata": {"labels": {"picolet.dev/board": board}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}})
        };
        let board = advice("pico-1", Some(&node("pico-w", "True")), false);
        assert!(
            board.contains("BOOTSEL") && board.contains("registers again"),
            "{board}"
        );
        let process = advice("pico-1", Some(&node("linux", "Unknown")), false);
        assert!(
            process.contains("--state-dir") && !process.contains("registers again"),
            "{process}"
        );
        for (board, words) in [
            ("pico-w", "picolet provision"),
            ("linux", "its process stays away"),
        ] {
            let forgotten = advice("pico-1", Some(&node(board, "True")), true);
            assert!(
                forgotten.contains(words) && !forgotten.contains("registers again"),
                "{forgotten}"
            );
        }
    }
}
