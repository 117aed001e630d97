//! `picolet nodes`: the picolets of a cluster, and what one wants to know of a board that hangs on a wall.
//!
//! Numbers are the board's own, asked for through the API server. Of a board that does not answer, what it reported
//! last is shown, and that it is so is said.

use crate::cluster::{Client, ClusterArguments, Object, escape_query};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use picolet_kube::Timestamp;
use picolet_kube::human_duration;
use picolet_linux::client::printable;
use picolet_linux::clock;
use picolet_platform::UnixMicros;
use serde_json::{Value, json};
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
    /// Only nodes with these labels, as kubectl's -l: picolet.dev/board=pico-w
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "node")]
    selector: Option<String>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Print the table, and then each row again that has changed, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row for each node.
    Table,
    /// The same with address, configuration and time.
    Wide,
    /// A JSON array of objects, with times in RFC 3339; with --watch one object in each line.
    Json,
}

const EXAMPLES: &str = "\
SIGNAL is the Wi-Fi's. CLIENT-CERT and SERVING-CERT are the time until the certificates expire
with which the node calls the API server, and serves kubectl logs and metrics. LAST-RESET is how
long ago the board started, and why. <none> is what a node does not have, <unknown> what it was
not possible to find out.

Boards are asked through the API server, for 5 s at most. For one that does not answer, the last
report is shown.

Examples:
  picolet nodes
  picolet nodes -l picolet.dev/board=pico-w -o wide
  As a plugin of kubectl, with a link to this program named kubectl-picolet in the PATH:
    kubectl picolet nodes";

/// Time limit for the answer of a board.
const ANSWER: Duration = Duration::from_secs(5);
/// Boards that are asked at the same time.
const AT_ONCE: usize = 16;
/// Interval of --watch.
const INTERVAL: Duration = Duration::from_secs(5);
/// Names in a note about nodes that did not answer.
const NAMED: usize = 3;
/// Columns of the table, and those that --output wide adds.
const HEADINGS: [&str; 12] = [
    "NAME",
    "STATUS",
    "AGE",
    "VERSION",
    "BOARD",
    "SIGNAL",
    "CLIENT-CERT",
    "SERVING-CERT",
    "LAST-RESET",
    "INTERNAL-IP",
    "CONFIGURED",
    "TIME-SYNCED",
];
const NARROW: usize = 9;

type Row = [String; HEADINGS.len()];

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

/// Prints the nodes, once or until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut shown = BTreeMap::new();
    let silent = show(arguments, &mut shown)?;
    if !arguments.watch {
        silent.print();
        return Ok(());
    }
    loop {
        std::thread::sleep(INTERVAL);
        if let Err(error) = show(arguments, &mut shown) {
            eprintln!("note: {}; trying again", printable(&format!("{error:#}")));
        }
    }
}

/// Prints the nodes that have changed since `shown`. Returns those that did not answer.
fn show(arguments: &Arguments, shown: &mut BTreeMap<String, Value>) -> Result<Silent> {
    // Each time: a token may be replaced while it is in use.
    let client = Client::connect(&arguments.cluster)?;
    let nodes = list(&client, arguments)?;
    if nodes.is_empty() && !arguments.watch && arguments.output != Format::Json {
        let which = match &arguments.selector {
            Some(_) => " with these labels",
            None => "",
        };
        eprintln!("There are no picolets in this cluster{which}.");
    }
    let answers = ask(&client, &nodes);
    let starts = starts(&client);
    let now = clock::system().map_or(0, UnixMicros::seconds);
    let mut silent = Silent::default();
    let mut views = Vec::new();
    for (node, answer) in nodes.into_iter().zip(answers) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let reported = reported(&node, starts.get(&name).copied());
        let (known, is_live) = match answer {
            Ok(metrics) => (own(&metrics, now).or(reported), true),
            Err(error) => {
                silent.add(&name, &error);
                (reported, false)
            }
        };
        views.push(View { node, known, is_live });
    }
    print(arguments, &views, now, shown)?;
    Ok(silent)
}

/// A node as it is shown.
struct View {
    node: Value,
    known: Known,
    /// Whether the node answered.
    is_live: bool,
}

/// The nodes that are asked for.
fn list(client: &Client, arguments: &Arguments) -> Result<Vec<Value>> {
    if let Some(name) = &arguments.node {
        return match client.find(&format!("/api/v1/nodes/{name}"))? {
            Some(node) if is_picolet(&node) => Ok(vec![node]),
            Some(_) => bail!("{name} is no picolet; see kubectl describe node {name}"),
            None => bail!("there is no node {name}; picolet nodes lists all"),
        };
    }
    let mut nodes = Vec::new();
    let path = match &arguments.selector {
        Some(selector) => format!("/api/v1/nodes?labelSelector={}", escape_query(selector)),
        None => "/api/v1/nodes".to_owned(),
    };
    client.list(&path, |Object(node)| {
        nodes.extend(Some(node).filter(is_picolet));
        Ok(())
    })?;
    Ok(nodes)
}

/// Prints what has changed since `shown`, which is all at first.
fn print(arguments: &Arguments, views: &[View], now: u64, shown: &mut BTreeMap<String, Value>) -> Result<()> {
    let is_first = shown.is_empty();
    let objects: Vec<Value> = views.iter().map(object).collect();
    if arguments.output == Format::Json && !arguments.watch {
        println!("{}", serde_json::to_string_pretty(&objects)?);
        return Ok(());
    }
    let mut rows = Vec::new();
    for (view, object) in views.iter().zip(objects) {
        let name = object["name"].as_str().unwrap_or_default().to_owned();
        let mut compared = object.clone();
        // It differs each time, by rounding.
        compared["lastStart"] = Value::Null;
        if shown.insert(name, compared.clone()) == Some(compared) {
            continue;
        }
        match arguments.output {
            Format::Json => println!("{object}"),
            _ => rows.push(row(view, now)),
        }
    }
    shown.retain(|name, _| views.iter().any(|view| view.node["metadata"]["name"] == **name));
    if rows.is_empty() {
        return Ok(());
    }
    let width = if arguments.output == Format::Wide {
        HEADINGS.len()
    } else {
        NARROW
    };
    if is_first {
        rows.insert(0, HEADINGS.map(str::to_owned));
    }
    print!("{}", table(&rows, width));
    Ok(())
}

/// The nodes that did not answer, by the reason.
#[derive(Default)]
struct Silent(BTreeMap<String, Vec<String>>);

impl Silent {
    fn add(&mut self, name: &str, error: &anyhow::Error) {
        // The address is another one for each node.
        let reason = format!("{error:#}").replace(&format!("nodes/{name}/"), "nodes/NODE/");
        let reason = reason.replace(&format!("\"{name}\""), "\"NODE\"");
        self.0.entry(reason).or_default().push(name.to_owned());
    }

    /// One note for each reason, however many nodes there are.
    fn notes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(reason, names)| {
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let names = names[..names.len().min(NAMED)].join(", ");
            format!("note: no answer from {names}{more}, so the last report is shown: {reason}")
        })
    }

    fn print(&self) {
        self.notes().for_each(|note| eprintln!("{note}"));
    }
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

/// The name of a node's status, as kubectl has it.
fn status(node: &Value) -> String {
    let mut status = if is_ready(node) { "Ready" } else { "NotReady" }.to_owned();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

/// The first address of this type.
fn address<'a>(node: &'a Value, kind: &str) -> Option<&'a str> {
    let addresses = node["status"]["addresses"].as_array()?;
    let found = addresses.iter().find(|address| address["type"] == kind)?;
    found["address"].as_str()
}

/// A node as --output json shows it.
fn object(view: &View) -> Value {
    let View { node, known, is_live } = view;
    let time = |time: Option<u64>| time.map(|time| Timestamp::from_seconds(time).time().to_string());
    // Nodes write most of it themselves, and JSON leaves some control characters as they are.
    let text = |value: &Value| value.as_str().map(printable);
    let state = |kind| condition(node, kind).and_then(|condition| text(&condition["status"]));
    json!({
        "name": node["metadata"]["name"],
        "status": status(node),
        "created": node["metadata"]["creationTimestamp"],
        "version": text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        "board": text(&node["metadata"]["labels"]["picolet.dev/board"]),
        "internalIP": address(node, "InternalIP").map(printable),
        "signal": known.signal.as_deref().map(printable),
        "clientCertificateExpires": time(known.client_ends),
        "servingCertificateExpires": time(known.serving_ends),
        "lastStart": time(known.started),
        "lastResetReason": known.reason.as_deref().map(printable),
        "configurationApplied": state("ConfigurationApplied"),
        "timeSynced": state("TimeSynced"),
        "answered": is_live,
    })
}

fn row(view: &View, now: u64) -> Row {
    const UNKNOWN: &str = "<unknown>";
    let View { node, known, is_live } = view;
    let text = |value: &Value| value.as_str().unwrap_or(UNKNOWN).to_owned();
    // What a node that answers does not name, it does not have.
    let missing = || if *is_live { "<none>" } else { UNKNOWN }.to_owned();
    let age = |time: u64| human_duration(now.saturating_sub(time) as i64);
    let ends = |time: Option<u64>| match time {
        Some(time) if time <= now => "expired".to_owned(),
        Some(time) => human_duration((time - now) as i64),
        None => missing(),
    };
    let reset = match (known.started, &known.reason) {
        (Some(time), Some(reason)) => format!("{} ({reason})", age(time)),
        (Some(time), None) => age(time),
        (None, _) => UNKNOWN.to_owned(),
    };
    let state = |kind| {
        condition(node, kind).map_or_else(|| UNKNOWN.to_owned(), |condition| text(&condition["status"]))
    };
    [
        text(&node["metadata"]["name"]),
        status(node),
        seconds(&node["metadata"]["creationTimestamp"]).map_or_else(|| UNKNOWN.to_owned(), age),
        text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        text(&node["metadata"]["labels"]["picolet.dev/board"]),
        known.signal.clone().unwrap_or_else(missing),
        ends(known.client_ends),
        ends(known.serving_ends),
        reset,
        address(node, "InternalIP").unwrap_or("<none>").to_owned(),
        state("ConfigurationApplied"),
        state("TimeSynced"),
    ]
    // Nodes write most of it themselves.
    .map(|cell| printable(&cell))
}

/// The first `columns` as kubectl sets them.
fn table(rows: &[Row], columns: usize) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(columns) {
            let widest = rows.iter().map(|row| row[column].chars().count()).max();
            let is_last = column + 1 == columns;
            let width = if is_last { 0 } else { widest.unwrap_or(0) + 3 };
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
        let view = |node: &Value, known, is_live| View {
            node: node.clone(),
            known,
            is_live,
        };
        assert_eq!(
            row(&view(&node, known, true), NOW)[1..NARROW],
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
        let cells = row(&view(&node, known, false), NOW);
        assert_eq!(cells[5..NARROW], ["about -65 dBm", "365d", "expired", "30s"]);
        // A node chooses the text that it reports.
        let hostile = json!({"status": {"nodeInfo": {"kubeletVersion": "v1-picolet.\u{1b}[2J"}}});
        assert_eq!(
            row(&view(&hostile, Known::default(), false), NOW)[3],
            "v1-picolet.\u{fffd}[2J"
        );
        // What a node that answers does not have is another thing than what is not known.
        for (is_live, missing) in [(true, "<none>"), (false, "<unknown>")] {
            let cells = row(&view(&json!({}), Known::default(), is_live), NOW);
            assert_eq!(cells[1], "NotReady");
            assert_eq!(cells[5..NARROW], [missing, missing, missing, "<unknown>"]);
        }
        let wide = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
            "conditions": [{"type": "TimeSynced", "status": "True"}]}});
        let view = view(&wide, reported(&node, Some(NOW)), true);
        assert_eq!(row(&view, NOW)[NARROW..], ["192.0.2.7", "<unknown>", "True"]);
        let object = object(&view);
        assert_eq!(object["clientCertificateExpires"], "2027-11-23T02:13:20Z");
        assert_eq!(
            (&object["lastResetReason"], &object["answered"]),
            (&Value::Null, &json!(true))
        );
    }

    #[test]
    fn one_note_is_printed_when_many_nodes_do_not_answer_for_one_reason() {
        let mut silent = Silent::default();
        for n in 0..5000 {
            let name = format!("pico-{n}");
            silent.add(
                &name,
                &anyhow::anyhow!("/api/v1/nodes/{name}/proxy: node \"{name}\" is away"),
            );
        }
        let notes: Vec<String> = silent.notes().collect();
        let names = "pico-0, pico-1, pico-2 and 4997 more";
        assert_eq!(
            notes,
            [format!(
                "note: no answer from {names}, so the last report is shown: /api/v1/nodes/NODE/proxy: node \"NODE\" is away"
            )]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut rows = [HEADINGS.map(str::to_owned), HEADINGS.map(str::to_owned)];
        rows[1][0] = "a-long-name".into();
        rows[1][8] = "1s".into();
        let text = table(&rows, NARROW);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NAME          STATUS   AGE   "), "{text}");
        assert!(lines[1].starts_with("a-long-name   STATUS   AGE   "), "{text}");
        assert!(lines[1].ends_with("SERVING-CERT   1s"), "{text}");
    }
}
