//! `cargo xtask control-plane`: a real Kubernetes control plane to develop against.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use picolet_controlplane::{Binaries, ControlPlane, Options, Place, is_running, stop_recorded};

/// What can be done with a control plane.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Build kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and etcd into the cache.
    Build,
    /// Start a control plane and print how to use it. It runs until `down`.
    Up(Up),
    /// Stop the control plane that `up` started.
    Down,
}

/// How a control plane is started.
#[derive(Args)]
pub(crate) struct Up {
    /// Stay in the foreground until Ctrl-C.
    #[arg(long)]
    foreground: bool,
    /// Live in a network of its own, where nodes have addresses that are not loopback (needs root or user namespaces).
    #[arg(long)]
    private_network: bool,
    /// Name of the node whose credentials are made ready.
    #[arg(long, default_value = "pico-1", value_name = "NAME")]
    node_name: String,
}

/// Holds what to tell the user, once everything is up.
const WELCOME: &str = "welcome.txt";

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Build => {
            let binaries = Binaries::build()?;
            let folder = binaries.kube_apiserver.parent().unwrap_or(Path::new("."));
            println!(
                "Kubernetes {} is in {}",
                binaries.kubernetes_version,
                folder.display()
            );
            Ok(())
        }
        Verb::Up(up) if up.foreground => foreground(up),
        Verb::Up(up) => background(up),
        Verb::Down => {
            let stopped = stop_recorded(&directory())?;
            println!(
                "{}",
                if stopped {
                    "The control plane is stopped."
                } else {
                    "No control plane was running."
                }
            );
            Ok(())
        }
    }
}

fn directory() -> PathBuf {
    crate::workspace().join("target/control-plane/development")
}

fn foreground(up: &Up) -> Result<()> {
    let binaries = Binaries::build()?;
    let place = if up.private_network {
        Place::enter_private()?
    } else {
        Place::Loopback
    };
    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = stop.send(());
    })
    .context("cannot listen for Ctrl-C")?;
    let start = Instant::now();
    let control_plane = ControlPlane::start(
        &binaries,
        &Options {
            directory: directory(),
            place,
        },
    )?;
    let welcome = welcome(&control_plane, &up.node_name, start.elapsed())?;
    fs::write(directory().join(WELCOME), &welcome)?;
    // Whoever reads this may have gone away, which is no reason to stop.
    let _ = std::io::stdout().write_all(welcome.as_bytes());
    let _ = stopped.recv();
    Ok(())
}

/// Starts this very program again, in the foreground of a session of its own, and waits for its welcome.
fn background(up: &Up) -> Result<()> {
    if is_running(&directory()) {
        bail!("a control plane is up already: `cargo xtask control-plane down` stops it");
    }
    // Built here, where progress is seen.
    Binaries::build()?;
    let parent = directory().parent().map(Path::to_path_buf).unwrap_or_default();
    fs::create_dir_all(&parent)?;
    let log_path = parent.join("development.log");
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "control-plane",
        "up",
        "--foreground",
        "--node-name",
        &up.node_name,
    ]);
    if up.private_network {
        command.arg("--private-network");
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let welcome = directory().join(WELCOME);
    let mut child = command.spawn().context("cannot start the background process")?;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!(
                "the control plane did not start ({status}):\n{}",
                fs::read_to_string(&log_path).unwrap_or_default()
            );
        }
        if let Ok(text) = fs::read_to_string(&welcome)
            && text.contains(&format!("process {}\n", child.id()))
        {
            println!("{text}Stop it with: cargo xtask control-plane down");
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn welcome(control_plane: &ControlPlane, node_name: &str, took: Duration) -> Result<String> {
    let address = control_plane.place().node_address(0);
    let node = control_plane.node(node_name, &[address])?;
    let binaries = control_plane.binaries();
    let enter = match control_plane.place() {
        Place::Loopback => String::new(),
        Place::Private => {
            let user = if is_root()? {
                ""
            } else {
                "--preserve-credentials --user "
            };
            format!("nsenter {user}--net --target {} ", std::process::id())
        }
    };
    let mut text = format!(
        "Kubernetes {} is up after {:.1} s at {}, process {}\n",
        binaries.kubernetes_version,
        took.as_secs_f32(),
        control_plane.server_url(),
        std::process::id()
    );
    text += &format!(
        "
Use it:
  export KUBECONFIG={}
  {enter}{} get nodes

Be a node:
  {enter}picolet run --kubeconfig {} --node-name {node_name} --node-ip {address} \\
    --serving-certificate {} --serving-key {} --client-ca-file {}

Join with a token: {} ({})
Logs: {}
",
        control_plane.admin_kubeconfig().display(),
        binaries.kubectl.display(),
        node.kubeconfig.display(),
        node.serving.certificate.display(),
        node.serving.key.display(),
        control_plane.pki().certificate_authority().display(),
        control_plane.bootstrap_token(),
        control_plane.bootstrap_kubeconfig().display(),
        control_plane.directory().join("log").display(),
    );
    Ok(text)
}

/// Says whether this user is root outside of every user namespace that this program made.
fn is_root() -> Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map").context("cannot read the map of users")?;
    Ok(map.split_whitespace().nth(1) == Some("0"))
}
