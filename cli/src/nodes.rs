//! `picolet nodes`: the picolets of a cluster, and what one wants to know of a board that hangs on a wall.
//!
//! Numbers are the board's own, asked for through the API server. Of a board that does not answer, what it reported
//! last is shown, and that it is so is said.

use crate::cluster::{Client, ClusterArguments, Object};
use anyhow::{Result, bail};
use clap::Args;
use picolet_kube::Timestamp;
use picolet_kube::human_duration;
use picolet_linux::client::printable;
use picolet_linux::clock;
use picolet_platform::UnixMicros;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// List the picolets of a cluster: version, signal, certificates, last reset.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only this one.
    #[arg(value_parser = picolet_linux::node_name)]
    node: Option<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

const EXAMPLES: &str = "\
SIGNAL is the Wi-Fi's. CLIENT-CERT and SERVING-CERT are for how long the certificates are valid with which the node
calls the API server, and serves kubectl logs and metrics. LAST-RESET is how long ago the board started, and why.

Boards are asked through the API server, for 5 s at most. Where one does not answer, it is what it reported last.

Examples:
  picolet nodes
  As a plugin of kubectl, with a link to this program named kubectl-picolet in the PATH:
    kubectl picolet nodes";

/// How long a board may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How many boards are asked at the same time.
const AT_ONCE: usize = 16;
const HEADINGS: [&str; 9] = [
    "NAME",
    "STATUS",
    "AGE",
    "VERSION",
    "BOARD",
    "SIGNAL",
    "CLIENT-CERT",
    "SERVING-CERT",
    "LAST-RESET",
];

/// Whether a Node is ours.
pub(crate) fn is_picolet(node: &Value) -> bool {
    let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str();
    version.is_some_and(is_picolet_version)
}

/// Whether the version of a kubelet is that of a picolet.
pub(crate) fn is_picolet_version(version: &str) -> bool {
    version.contains("-picolet.")
}

/// A condition of a Node.
pub(crate) fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Whether the cluster calls a Node ready.
pub(crate) fn is_ready(node: &Value) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let client = Client::connect(&arguments.cluster)?;
    let nodes = match &arguments.node {
        Some(name) => match client.find(&format!("/api/v1/nodes/{name}"))? {
            Some(node) if is_picolet(&node) => vec![node],
            Some(_) => bail!("{name} is no picolet; kubectl describe node {name} tells of it"),
            None => bail!("there is no node {name}; picolet nodes lists those that there are"),
        },
        None => {
            let mut nodes = Vec::new();
            client.list("/api/v1/nodes", |Object(node)| {
                nodes.extend(Some(node).filter(is_picolet));
                Ok(())
            })?;
            nodes
        }
    };
    if nodes.is_empty() {
        eprintln!("There are no picolets in this cluster.");
        return Ok(());
    }
    let answers = ask(&client, &nodes);
    let starts = starts(&client);
    let now = clock::system().map_or(0, UnixMicros::seconds);
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    let mut notes = Vec::new();
    for (node, answer) in nodes.iter().zip(answers) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let known = reported(node, starts.get(name).copied());
        let known = match answer {
            Ok(metrics) => own(&metrics, now).or(known),
            Err(error) => {
                notes.push(format!(
                    "note: {name} did not answer, what is known of it is what it reported last: {error:#}"
                ));
                known
            }
        };
        rows.push(row(node, &known, now));
    }
    print!("{}", table(&rows));
    for note in notes {
        eprintln!("{note}");
    }
    Ok(())
}

/// Asks all boards for their metrics.
fn ask(client: &Client, nodes: &[Value]) -> Vec<Result<String>> {
    let mut answers = Vec::new();
    for some in nodes.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|node| {
                    let name = node["metadata"]["name"].as_str().unwrap_or_default();
                    let path = format!("/api/v1/nodes/{name}/proxy/metrics");
                    scope.spawn(move || client.text(&path, ANSWER))
                })
                .collect();
            for one in asked {
                let answer = one.join();
                answers.push(answer.unwrap_or_else(|_| bail!("it could not be asked")));
            }
        });
    }
    answers
}

/// When nodes started, by the Events that are still there. Whoever may not read those goes without.
fn starts(client: &Client) -> BTreeMap<String, u64> {
    let selector = "fieldSelector=involvedObject.kind%3DNode,reason%3DStarting";
    let mut starts = BTreeMap::new();
    let _ = client.list(&format!("/api/v1/events?{selector}"), |Object(event)| {
        let Some(name) = event["involvedObject"]["name"].as_str() else {
            return Ok(());
        };
        let time = ["lastTimestamp", "eventTime", "firstTimestamp"]
            .into_iter()
            .find_map(|field| seconds(&event[field]));
        let start = starts.entry(name.to_owned()).or_insert(0);
        *start = time.unwrap_or(0).max(*start);
        Ok(())
    });
    starts.retain(|_, start| *start > 0);
    starts
}

fn seconds(value: &Value) -> Option<u64> {
    Timestamp::parse(value.as_str()?).map(Timestamp::seconds)
}

/// What is known of a board. Times are seconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    signal: Option<String>,
    client_ends: Option<u64>,
    serving_ends: Option<u64>,
    started: Option<u64>,
    reason: Option<String>,
}

impl Known {
    /// This, and what the other knows beyond it.
    fn or(self, other: Self) -> Self {
        Self {
            signal: self.signal.or(other.signal),
            client_ends: self.client_ends.or(other.client_ends),
            serving_ends: self.serving_ends.or(other.serving_ends),
            started: self.started.or(other.started),
            reason: self.reason.or(other.reason),
        }
    }
}

/// What a board's metrics say.
fn own(metrics: &str, now: u64) -> Known {
    let number = |family: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(family)?.strip_prefix(' '));
        line?.trim().parse::<f64>().ok()
    };
    let whole = |family| {
        number(family)
            .filter(|value| *value >= 0.0)
            .map(|value| value as u64)
    };
    let reason = metrics.lines().find_map(|line| {
        line.strip_prefix("picolet_reset_info{reason=\"")?
            .split('"')
            .next()
    });
    Known {
        signal: number("node_wifi_rssi_dbm").map(|dbm| format!("{dbm:.0} dBm")),
        client_ends: whole("kubelet_certificate_manager_client_expiration_seconds"),
        serving_ends: whole("kubelet_certificate_manager_server_expiration_seconds"),
        started: whole("node_uptime_seconds").map(|uptime| now.saturating_sub(uptime)),
        reason: reason.map(str::to_owned),
    }
}

/// What a Node's conditions say, and the Event of its start.
fn reported(node: &Value, started: Option<u64>) -> Known {
    let message = |kind| condition(node, kind).and_then(|condition| condition["message"].as_str());
    let ends = |which: &str| {
        let (_, rest) = message("CertificatesValid")?.split_once(&format!("{which} certificate until "))?;
        let time = rest.split([',', ' ']).next()?;
        Timestamp::parse(time).map(Timestamp::seconds)
    };
    Known {
        signal: message("WifiSignal").map(str::to_owned),
        client_ends: ends("client"),
        serving_ends: ends("serving"),
        started,
        reason: None,
    }
}

fn row(node: &Value, known: &Known, now: u64) -> [String; HEADINGS.len()] {
    let text = |value: &Value| value.as_str().unwrap_or("<unknown>").to_owned();
    let mut status = if is_ready(node) { "Ready" } else { "NotReady" }.to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let age = |time: u64| human_duration(now.saturating_sub(time) as i64);
    let ends = |time: Option<u64>| match time {
        Some(time) if time <= now => "expired".to_owned(),
        Some(time) => human_duration((time - now) as i64),
        None => "<none>".to_owned(),
    };
    let reset = match (known.started, &known.reason) {
        (Some(time), Some(reason)) => format!("{} ({reason})", age(time)),
        (Some(time), None) => age(time),
        (None, _) => "<unknown>".to_owned(),
    };
    [
        text(&node["metadata"]["name"]),
        status,
        seconds(&node["metadata"]["creationTimestamp"]).map_or_else(|| "<unknown>".to_owned(), age),
        text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        text(&node["metadata"]["labels"]["picolet.dev/board"]),
        known.signal.clone().unwrap_or_else(|| "<none>".to_owned()),
        ends(known.client_ends),
        ends(known.serving_ends),
        reset,
    ]
    // Nodes write most of it themselves.
    .map(|cell| printable(&cell))
}

/// Columns as kubectl sets them.
fn table(rows: &[[String; HEADINGS.len()]]) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let width = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
                + 3;
            let width = if last { 0 } else { width };
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_400_000;

    #[test]
    fn a_boards_own_word_comes_before_what_it_reported() {
        let metrics = "# HELP node_wifi_rssi_dbm Signal strength of the Wi-Fi network.\n# TYPE node_wifi_rssi_dbm gauge\n\
             node_wifi_rssi_dbm -61\nnode_uptime_seconds 90.5\nkubelet_certificate_manager_client_expiration_seconds 1795486400\n\
             picolet_reset_info{reason=\"watchdog\"} 1\n";
        let node = json!({"metadata": {"name": "pico-1", "creationTimestamp": "2026-11-22T02:13:20Z",
                "labels": {"picolet.dev/board": "pico-w"}},
            "spec": {"unschedulable": true},
            "status": {"nodeInfo": {"kubeletVersion": "v1.36.0-picolet.0.1.0"}, "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "WifiSignal", "message": "about -65 dBm"},
                {"type": "CertificatesValid", "message":
                    "client certificate until 2027-11-23T02:13:20Z, serving certificate until 2026-11-20T02:13:20Z"}]}});
        assert!(is_picolet(&node) && is_ready(&node));
        let known = own(metrics, NOW).or(reported(&node, None));
        assert_eq!(
            row(&node, &known, NOW)[1..],
            [
                "Ready,SchedulingDisabled",
                "24h",
                "v1.36.0-picolet.0.1.0",
                "pico-w",
                "-61 dBm",
                "24h",
                "expired",
                "90s (watchdog)"
            ]
        );
        // And where it does not answer, the report has to do.
        let known = reported(&node, Some(NOW - 30));
        let cells = row(&node, &known, NOW);
        assert_eq!(cells[5..], ["about -65 dBm", "365d", "expired", "30s"]);
        // A node chooses the text that it reports.
        let hostile = json!({"status": {"nodeInfo": {"kubeletVersion": "v1-picolet.\u{1b}[2J"}}});
        assert_eq!(row(&hostile, &Known::default(), NOW)[3], "v1-picolet.\u{fffd}[2J");
        // Nothing known is said to be so.
        let cells = row(&json!({}), &Known::default(), NOW);
        assert_eq!(cells[1], "NotReady");
        assert_eq!(cells[5..], ["<none>", "<none>", "<none>", "<unknown>"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut rows = [HEADINGS.map(str::to_owned), HEADINGS.map(str::to_owned)];
        rows[1][0] = "a-long-name".into();
        rows[1][8] = "1s".into();
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NAME          STATUS   AGE   "), "{text}");
        assert!(lines[1].starts_with("a-long-name   STATUS   AGE   "), "{text}");
        assert!(lines[1].ends_with("SERVING-CERT   1s"), "{text}");
    }
}
