//! `picolet demo`: the main job without a cluster and without a board. An in-memory Kubernetes API, one node, and what a
//! person would type, shown as it happens.

use crate::clock::{Source, WallClock};
use crate::logging;
use crate::node::Node;
use anyhow::{Context, Result, bail};
use clap::Args;
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use picolet_devcluster::host::{Certified, DevCluster, HostOptions};
use picolet_kube::http;
use picolet_tls::{Connector, Identity};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Show the main job: an in-memory cluster, a node, and a ConfigMap that drives it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The address of the node. Its port is 10250.
    #[arg(long, value_name = "IP", default_value = "127.0.77.1")]
    node_ip: IpAddr,
    /// Where the kubeconfig to play on with is written. [default: a folder of its own below the temporary one]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// End when all was shown, instead of at Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Show the node's log too.
    #[arg(long)]
    log: bool,
}

const NODE: &str = "pico-1";
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs it until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.log {
        logging::start(logging::Format::Text);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        tokio::select! {
            result = show(arguments) => result,
            _ = tokio::signal::ctrl_c() => {
                println!("\nEnded; nothing was kept.");
                Ok(())
            }
        }
    }))
}

async fn show(arguments: &Arguments) -> Result<()> {
    println!("An in-memory Kubernetes API and one picolet, as a Linux process in the shape of a Pico W.\n");
    let cluster = DevCluster::start(HostOptions::default()).await?;
    let listen = SocketAddr::new(arguments.node_ip, 10250);
    let node = Node::of(&cluster, NODE, listen)?;
    let begun = Instant::now();
    let running = tokio::task::spawn_local(node.run());
    let told = tell(arguments, &cluster, listen, begun);
    tokio::select! {
        told = told => told,
        ended = running => ended.context("the node's task ended")?,
    }
}

/// What a person does, and sees.
async fn tell(
    arguments: &Arguments,
    cluster: &DevCluster,
    address: SocketAddr,
    begun: Instant,
) -> Result<()> {
    let ready = |node: &Value| condition(node, "Ready").is_some_and(|c| c["status"] == "True");
    let settled = |node: &Value| {
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        let events = cluster.list("events", "default", "", "").unwrap_or_default();
        taints == 1 && events.iter().any(|event| event["reason"] == "NodeReady")
    };
    let node = eventually(|| cluster.get("nodes", "", NODE).ok().filter(ready))
        .await
        .context("the node did not become Ready")?;
    println!("Ready {:.1} s after its start:\n", begun.elapsed().as_secs_f32());
    let node = eventually(|| cluster.get("nodes", "", NODE).ok().filter(settled))
        .await
        .unwrap_or(node);
    typed("kubectl get nodes");
    get_nodes(&node);
    typed(&format!("kubectl describe node {NODE}"));
    describe(cluster, &node);

    let admin = cluster.pki().client("kubernetes-admin", &["system:masters"])?;
    let connector = administrator(cluster, &admin)?;
    let get = |path: &'static str| get(&connector, address, path);

    typed("kubectl create configmap pico-config --from-literal=memory_values=\"0=0x42,1=0x43,2=0xFF\"");
    let created = Instant::now();
    cluster.create(
        "configmaps",
        "default",
        json!({"metadata": {"name": "pico-config"}, "data": {"memory_values": "0=0x42,1=0x43,2=0xFF"}}),
    )?;
    println!("configmap/pico-config created\n");
    let memory = until(&get, "/pico/memory", |body| body.contains("\"value\":255")).await?;
    let latency = created.elapsed();
    typed(&format!(
        "curl --cert admin.crt --key admin.key --cacert ca.crt https://{address}/pico/memory"
    ));
    println!("{memory}\n");
    println!(
        "The three cells were set, and read back over mutual TLS, {} ms after the change.\n",
        latency.as_millis()
    );

    typed(
        "kubectl patch configmap pico-config --patch '{\"data\":{\"gpio\":\"2=high,3=pwm:128\",\"led\":\"blink:500\"}}'",
    );
    patch(
        cluster,
        json!({"data": {"gpio": "2=high,3=pwm:128", "led": "blink:500"}}),
    )?;
    let pins = until(&get, "/pico/gpio", |body| body.contains("pwm")).await?;
    let pins: Value = serde_json::from_str(&pins).context("/pico/gpio is JSON")?;
    let driven = pins["pins"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pin| pin["mode"] != "unset");
    println!(
        "pins that are driven now: {}\n",
        driven.map(Value::to_string).collect::<Vec<_>>().join(" ")
    );

    typed("kubectl patch configmap pico-config --patch '{\"data\":{\"memory_values\":\"0=0x42,1=300\"}}'");
    patch(cluster, json!({"data": {"memory_values": "0=0x42,1=300"}}))?;
    let events = || {
        cluster
            .list("events", "default", "", "")
            .ok()?
            .into_iter()
            .find(|e| e["reason"] == "InvalidConfiguration")
    };
    let event = eventually(events)
        .await
        .context("no Event told of the wrong entry")?;
    typed("kubectl get events --field-selector involvedObject.name=pico-config");
    print_event(&event);
    let memory = get("/pico/memory").await?;
    println!("\nThe last good state is still there: {memory}\n");
    typed("kubectl delete configmap pico-config");
    cluster.delete("configmaps", "default", "pico-config", None)?;
    let memory = until(&get, "/pico/memory", |body| !body.contains("\"address\"")).await?;
    println!("and its values go with it: {memory}\n");

    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("picolet-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&directory).with_context(|| format!("--directory {}", directory.display()))?;
    let files = [
        ("admin.conf", cluster.kubeconfig()),
        ("admin.crt", admin.certificate_pem),
        ("admin.key", admin.key_pem),
        ("ca.crt", cluster.pki().ca().certificate_pem.clone()),
    ];
    for (name, text) in &files {
        picolet_devcluster::host::write_private(&directory.join(name), text)?;
    }
    let folder = directory.display();
    println!("Play on, in another terminal:");
    println!("  export KUBECONFIG={folder}/admin.conf");
    println!("  kubectl get nodes -o wide; kubectl create configmap pico-config --from-literal=led=on");
    println!(
        "  curl --cert {folder}/admin.crt --key {folder}/admin.key --cacert {folder}/ca.crt https://{address}/metrics"
    );
    if !arguments.once {
        println!("Ctrl-C ends it; nothing is kept.");
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    // Only what was written here; a folder that was there before stays.
    for (name, _) in &files {
        let _ = std::fs::remove_file(directory.join(name));
    }
    let _ = std::fs::remove_dir(&directory);
    Ok(())
}

fn patch(cluster: &DevCluster, patch: Value) -> Result<()> {
    cluster.patch("configmaps", "default", "pico-config", &patch)?;
    println!("configmap/pico-config patched\n");
    Ok(())
}

fn typed(command: &str) {
    println!("$ {command}");
}

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn get_nodes(node: &Value) {
    let version = text(&node["status"]["nodeInfo"]["kubeletVersion"]);
    println!(
        "{:<8} {:<8} {:<8} {:<5} VERSION",
        "NAME", "STATUS", "ROLES", "AGE"
    );
    println!(
        "{:<8} {:<8} {:<8} {:<5} {version}\n",
        text(&node["metadata"]["name"]),
        "Ready",
        "<none>",
        "1s"
    );
}

fn describe(cluster: &DevCluster, node: &Value) {
    let pairs = |value: &Value, line: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| line(key, text(value)))
            .collect()
    };
    let labels = pairs(&node["metadata"]["labels"], &|key, value| {
        format!("{key}={value}")
    });
    println!("Name:         {}", text(&node["metadata"]["name"]));
    println!("Labels:       {}", labels.join("\n              "));
    for taint in node["spec"]["taints"].as_array().into_iter().flatten() {
        println!(
            "Taints:       {}={}:{}",
            text(&taint["key"]),
            text(&taint["value"]),
            text(&taint["effect"])
        );
    }
    println!("Conditions:");
    for condition in node["status"]["conditions"].as_array().into_iter().flatten() {
        println!(
            "  {:<21} {:<6} {:<28} {}",
            text(&condition["type"]),
            text(&condition["status"]),
            text(&condition["reason"]),
            text(&condition["message"])
        );
    }
    let capacity = pairs(&node["status"]["capacity"], &|key, value| {
        format!("  {key:<20} {value}")
    });
    println!("Capacity:\n{}", capacity.join("\n"));
    let info = pairs(&node["status"]["nodeInfo"], &|key, value| {
        format!("  {key:<24} {value}")
    });
    println!("System Info:\n{}", info.join("\n"));
    println!("Events:");
    for event in cluster.list("events", "default", "", "").into_iter().flatten() {
        print_event(&event);
    }
    println!();
}

fn print_event(event: &Value) {
    println!(
        "  {:<8} {:<20} {}",
        text(&event["type"]),
        text(&event["reason"]),
        text(&event["message"])
    );
}

/// Asks again and again until there is an answer.
async fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Reads `path` of the node until its body is as wanted.
async fn until<F: Future<Output = Result<String>>>(
    get: &impl Fn(&'static str) -> F,
    path: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let begun = Instant::now();
    loop {
        let body = get(path).await?;
        if wanted(&body) {
            return Ok(body);
        }
        if begun.elapsed() > PATIENCE {
            bail!("{path} did not change: {body}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Calls nodes of the cluster as the one whom `admin` certifies.
pub(crate) fn administrator(cluster: &DevCluster, admin: &Certified) -> Result<Connector> {
    let identity = Identity::from_pem(admin.certificate_pem.as_bytes(), admin.key_pem.as_bytes())?;
    Ok(Connector::new(
        &[cluster.pki().ca().certificate_der.clone()],
        Some(&identity),
        WallClock::new(Source::System),
    )?)
}

/// Reads `path` of the node over mutual TLS.
pub(crate) async fn get(connector: &Connector, address: SocketAddr, path: &str) -> Result<String> {
    let socket = TcpStream::connect(address)
        .await
        .with_context(|| format!("the node at {address}"))?;
    let mut stream = connector
        .connect(&address.ip().to_string(), FromTokio::new(socket))
        .await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    stream.flush().await?;
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    let mut whole: Option<(http::ResponseHead, http::Body)> = None;
    let mut text = Vec::new();
    loop {
        let read = stream.read(&mut buffer).await?;
        received.extend_from_slice(&buffer[..read]);
        if whole.is_none()
            && let Some((head, body, length)) = http::parse_head(&received)?
        {
            received.drain(..length);
            whole = Some((head, body));
        }
        if let Some((head, body)) = &mut whole {
            loop {
                let (taken, piece) = body.take(&received)?;
                text.extend_from_slice(piece);
                received.drain(..taken);
                if taken == 0 {
                    break;
                }
            }
            if body.is_done() || read == 0 {
                if head.status != 200 {
                    bail!("{path}: HTTP {}: {}", head.status, String::from_utf8_lossy(&text));
                }
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        } else if read == 0 {
            bail!("{path}: the node closed the connection");
        }
    }
}
