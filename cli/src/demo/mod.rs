//! `picolet demo`: the main job without a cluster and without a board. An in-memory Kubernetes API, one node or more, and
//! what a person would type, shown as it happens. A node is an emulated Pico W, or a Linux process.

mod emulated;
mod kubectl;
mod signals;

use crate::logging;
use crate::nodes::is_ready;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use emulated::{Emulated, Seen};
use kubectl::{describe, get_nodes, print_event, text, typed};
use picolet_devcluster::host::{DevCluster, HostOptions, get_from_kubelet};
use picolet_emulator::Image;
use picolet_linux::KeyPair;
use picolet_linux::Node;
use picolet_linux::kubeconfig::Access;
use serde_json::{Value, json};
use signals::{Level, Light};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Show the main job: an in-memory cluster, a node, and a ConfigMap that drives it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What the nodes are. [default: pico-w with --image, else linux]
    #[arg(long, value_name = "BOARD")]
    board: Option<Kind>,
    /// The image that the boards boot: `cargo xtask image` makes it.
    #[arg(long, value_name = "FILE", required_if_eq("board", "pico-w"))]
    image: Option<PathBuf>,
    /// How many nodes there are.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    boards: u8,
    /// The address of the first node. Its port is 10250; other nodes have the addresses that follow.
    #[arg(long, value_name = "IP", default_value = "127.0.77.1")]
    node_ip: Ipv4Addr,
    /// Where the kubeconfig to play on with is written. [default: a folder of its own below the temporary one]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// End when all was shown, instead of at Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Show the log of nodes that are Linux processes too. Boards show theirs always.
    #[arg(long)]
    log: bool,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An emulated Pico W, from reset.
    PicoW,
    /// A Linux process in the shape of one.
    Linux,
}

/// Many times what anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A node, and where it is called.
struct Shown {
    name: String,
    address: SocketAddr,
}

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
    let image = match (&arguments.image, arguments.board) {
        (Some(path), None | Some(Kind::PicoW)) => {
            let file = std::fs::read(path).with_context(|| format!("--image {}", path.display()))?;
            Some(Image::parse(&file).with_context(|| format!("--image {}", path.display()))?)
        }
        _ => None,
    };
    let several = match arguments.boards {
        1 => "one picolet".to_owned(),
        boards => format!("{boards} picolets"),
    };
    match &arguments.image {
        Some(path) if image.is_some() => println!(
            "An in-memory Kubernetes API and {several}: an emulated Pico W from reset, with\n{} in its flash.\n",
            path.display()
        ),
        _ => println!(
            "An in-memory Kubernetes API and {several}, as a Linux process in the shape of a Pico W.\n"
        ),
    }
    let cluster = DevCluster::start(HostOptions::default()).await?;
    let nodes: Vec<Shown> = (0..arguments.boards)
        .map(|index| Shown {
            name: format!("pico-{}", index + 1),
            address: SocketAddr::new(
                IpAddr::V4(Ipv4Addr::from_bits(
                    arguments.node_ip.to_bits().wrapping_add(index.into()),
                )),
                10250,
            ),
        })
        .collect();
    let begun = Instant::now();
    let (mut boards, mut processes) = (Vec::new(), tokio::task::JoinSet::new());
    for (number, Shown { name, address }) in (1..).zip(&nodes) {
        match &image {
            Some(image) => boards.push(Emulated::start(image, &cluster, number, name, *address)?),
            None => {
                let node = node(&cluster, name, *address)?;
                processes.spawn_local(node.run());
            }
        }
    }
    let story = Story {
        arguments,
        cluster: &cluster,
        nodes: &nodes,
        boards: &boards,
        begun,
    };
    tokio::select! {
        told = story.tell() => told,
        Some(ended) = processes.join_next() => ended.context("the node's task ended")?,
        stopped = story.stopped() => Err(stopped),
    }
}

/// A node of that cluster that is called at `listen`.
fn node(cluster: &DevCluster, name: &str, listen: SocketAddr) -> Result<Node> {
    let client = cluster.node_identity(name)?;
    let serving = cluster.pki().node_serving(name, &[listen.ip()])?;
    let access = Access {
        server: cluster.url(),
        certificate_authority: cluster.pki().ca().certificate_pem.clone().into_bytes(),
        client_certificate: client.certificate_pem.into_bytes(),
        client_key: client.key_pem.into_bytes(),
    };
    let serving = KeyPair {
        certificate: serving.certificate_pem.into_bytes(),
        key: serving.key_pem.into_bytes(),
    };
    Node::new(name, access, serving, listen)
}

/// All that happens in the demo.
struct Story<'a> {
    arguments: &'a Arguments,
    cluster: &'a DevCluster,
    nodes: &'a [Shown],
    boards: &'a [Emulated],
    begun: Instant,
}

impl Story<'_> {
    /// Waits until a board stops, and says why.
    async fn stopped(&self) -> anyhow::Error {
        loop {
            if let Some(error) = self.boards.iter().find_map(|board| board.seen().err()) {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a person does, and sees.
    async fn tell(&self) -> Result<()> {
        self.become_ready().await?;
        let connector = self.cluster.admin_connector()?;
        let address = self.nodes.first().context("there is a node")?.address;
        let get = |path: &'static str| get_from_kubelet(&connector, address, path);

        self.set_cells(&get, address).await?;
        self.drive_pins(&get).await?;
        self.mistake(&get).await?;
        typed("kubectl delete configmap pico-config");
        self.cluster
            .delete("configmaps", "default", "pico-config", None)?;
        let memory = until(&get, "/pico/memory", |body| !body.contains("\"address\"")).await?;
        println!("and its values go with it: {memory}\n");
        self.see("the pins are let go", |seen| seen.pins.is_empty())
            .await?;
        self.play_on(address).await
    }

    /// Waits until every board looks like that. Processes have no pins to look at.
    async fn see(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<()> {
        let all = || {
            let mut seen = self.boards.iter().map(Emulated::seen);
            seen.all(|seen| seen.is_ok_and(|seen| wanted(&seen)))
                .then_some(())
        };
        eventually(all)
            .await
            .with_context(|| format!("what was to be seen at the boards did not come: {what}"))
    }

    async fn become_ready(&self) -> Result<()> {
        let object = |node: &Shown| self.cluster.get("nodes", "", &node.name).ok();
        let all = |fits: &dyn Fn(&Value) -> bool| -> Option<Vec<Value>> {
            let objects = self.nodes.iter().map(object);
            objects
                .map(|object| object.filter(|object| fits(object)))
                .collect()
        };
        eventually(|| all(&is_ready))
            .await
            .context("not every node became Ready")?;
        match self.boards.first() {
            Some(board) => println!(
                "\nReady {:.1} s after power-on, by the board's clock.\n",
                board.seen()?.up.as_secs_f32()
            ),
            None => println!(
                "Ready {:.1} s after its start:\n",
                self.begun.elapsed().as_secs_f32()
            ),
        }
        let settled = |node: &Value| {
            let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
            let events = self.cluster.list("events", "default", "", "").unwrap_or_default();
            let told = |event: &Value| {
                event["reason"] == "NodeReady" && event["involvedObject"]["name"] == node["metadata"]["name"]
            };
            taints == 1 && events.iter().any(told)
        };
        let nodes = eventually(|| all(&|node| is_ready(node) && settled(node)))
            .await
            .context("a node did not say that it is Ready")?;
        typed("kubectl get nodes");
        get_nodes(&nodes);
        let first = nodes.first().context("there is a node")?;
        typed(&format!(
            "kubectl describe node {}",
            text(&first["metadata"]["name"])
        ));
        describe(self.cluster, first);
        Ok(())
    }

    async fn set_cells<F: Future<Output = Result<String>>>(
        &self,
        get: &impl Fn(&'static str) -> F,
        address: SocketAddr,
    ) -> Result<()> {
        typed("kubectl create configmap pico-config --from-literal=memory_values=\"0=0x42,1=0x43,2=0xFF\"");
        let created = Instant::now();
        self.cluster.create(
            "configmaps",
            "default",
            json!({"metadata": {"name": "pico-config"}, "data": {"memory_values": "0=0x42,1=0x43,2=0xFF"}}),
        )?;
        println!("configmap/pico-config created\n");
        let memory = until(get, "/pico/memory", |body| body.contains("\"value\":255")).await?;
        let latency = created.elapsed();
        typed(&format!(
            "curl --cert admin.crt --key admin.key --cacert ca.crt https://{address}/pico/memory"
        ));
        println!("{memory}\n");
        println!(
            "The three cells were set, and read back over mutual TLS, {} ms after the change.\n",
            latency.as_millis()
        );
        Ok(())
    }

    async fn drive_pins<F: Future<Output = Result<String>>>(
        &self,
        get: &impl Fn(&'static str) -> F,
    ) -> Result<()> {
        typed(
            "kubectl patch configmap pico-config --patch '{\"data\":{\"gpio\":\"2=high,3=pwm:128\",\"led\":\"blink:500\"}}'",
        );
        self.patch(json!({"data": {"gpio": "2=high,3=pwm:128", "led": "blink:500"}}))?;
        self.see("pin 2 high, pin 3 pulsing, the LED blinking", |seen| {
            let pulses =
                matches!(seen.pins.get(&3), Some(Level::Pulses { duty, .. }) if (0.49..0.52).contains(duty));
            let blinks =
                matches!(seen.led, Some(Light::Blinks(period)) if period.as_millis().abs_diff(500) < 60);
            seen.pins.get(&2) == Some(&Level::High) && pulses && blinks
        })
        .await?;
        let pins = until(get, "/pico/gpio", |body| body.contains("pwm")).await?;
        let pins: Value = serde_json::from_str(&pins).context("/pico/gpio is JSON")?;
        let driven = pins["pins"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pin| pin["mode"] != "unset");
        println!(
            "pins that are driven now, by /pico/gpio: {}\n",
            driven.map(Value::to_string).collect::<Vec<_>>().join(" ")
        );
        Ok(())
    }

    async fn mistake<F: Future<Output = Result<String>>>(
        &self,
        get: &impl Fn(&'static str) -> F,
    ) -> Result<()> {
        typed(
            "kubectl patch configmap pico-config --patch '{\"data\":{\"memory_values\":\"0=0x42,1=300\"}}'",
        );
        self.patch(json!({"data": {"memory_values": "0=0x42,1=300"}}))?;
        let events = || {
            self.cluster
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
        let memory = until(get, "/pico/memory", |body| body.contains("\"value\":255")).await?;
        println!("\nThe last good state is still there: {memory}\n");
        Ok(())
    }

    fn patch(&self, patch: Value) -> Result<()> {
        self.cluster
            .patch("configmaps", "default", "pico-config", &patch)?;
        println!("configmap/pico-config patched\n");
        Ok(())
    }

    /// Says how a person goes on, and waits for Ctrl-C.
    async fn play_on(&self, address: SocketAddr) -> Result<()> {
        let directory = match &self.arguments.directory {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("picolet-demo-{}", std::process::id())),
        };
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("--directory {}", directory.display()))?;
        let admin = self.cluster.admin().clone();
        let files = [
            ("admin.conf", self.cluster.kubeconfig()),
            ("admin.crt", admin.certificate_pem),
            ("admin.key", admin.key_pem),
            ("ca.crt", self.cluster.pki().ca().certificate_pem.clone()),
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
        if !self.arguments.once {
            println!("Ctrl-C ends it; nothing is kept.");
            tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
        }
        // Only what was written here; a folder that was there before stays.
        for (name, _) in &files {
            let _ = std::fs::remove_file(directory.join(name));
        }
        let _ = std::fs::remove_dir(&directory);
        ensure!(
            self.boards.iter().all(|board| board.seen().is_ok()),
            "a board has stopped"
        );
        Ok(())
    }
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
        // A board has few places for callers: it may want another try.
        let body = get(path).await;
        match body {
            Ok(body) if wanted(&body) => return Ok(body),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Ok(body) if begun.elapsed() > PATIENCE => bail!("{path} did not change: {body}"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
