//! `picolet run`: the arguments of the nodes that `picolet-linux` runs.

use crate::logging;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use picolet_kube::Quantity;
use picolet_kube::selector::Taint;
use picolet_kubelet::Capacity;
use picolet_linux::DEFAULT_TAINTS;
use picolet_linux::Options;
use picolet_linux::clock::Source;
use picolet_linux::discovery::KeyHash;
use std::net::IpAddr;
use std::path::PathBuf;

/// Run nodes of a cluster in this process.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where the API server is and who this node is: a kubeconfig with the certificate of
    /// CN=system:node:NAME, O=system:nodes. The variable KUBECONFIG is not read: it names a person's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_authority", "client_certificate", "client_key"])]
    kubeconfig: Option<PathBuf>,
    /// The API server. May repeat: the next is tried when one fails. Beside --kubeconfig, further ones. Without both
    /// [env: K3S_URL].
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// The authority of the API server's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// In place of --certificate-authority: ask the server for the authority of its cluster, and believe it by the hash of its
    /// public key, sha256:…, as kubeadm prints it. Beside --token; may repeat.
    #[arg(long, value_name = "HASH", requires = "state_dir", conflicts_with_all = ["kubeconfig", "certificate_authority", "client_certificate"])]
    discovery_token_ca_cert_hash: Vec<KeyHash>,
    /// The node's certificate (PEM), of CN=system:node:NAME, O=system:nodes. It is read again when it is replaced, with its key, as
    /// those of --kubeconfig and --serving-certificate are.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its key (PEM, P-256).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// Join the cluster with this bootstrap token, abcdef.0123456789abcdef, or with the token of a k3s cluster, which says by itself
    /// what its authority is: keys are made here, and certificates asked for and renewed. Needed once; from then on the node has
    /// what is in --state-dir. Everybody on this machine can read it here: prefer --token-file. [env: PICOLET_TOKEN, or for k3s
    /// K3S_TOKEN, unless --kubeconfig or --client-certificate says who the node is]
    #[arg(long, value_name = "TOKEN", requires = "state_dir",
        conflicts_with_all = ["kubeconfig", "client_certificate", "serving_certificate"])]
    token: Option<String>,
    /// The same, from the first line of a file. Once the node has joined, the file may be gone.
    #[arg(long, value_name = "FILE", requires = "state_dir",
        conflicts_with_all = ["token", "kubeconfig", "client_certificate", "serving_certificate"])]
    token_file: Option<PathBuf>,

    /// The node's name. With --count, the first of the names: pico-1 is followed by pico-2.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// The address that the node reports and listens on. With --count, the first of the addresses. Without it, the one from which
    /// this machine reaches the API server.
    #[arg(long, value_name = "IP")]
    node_ip: Option<IpAddr>,
    /// The port of the kubelet API, which must be free when the process starts.
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    port: u16,
    /// Leave the port out of the node's status, so that k3s dials it directly. A node that joined k3s with its token does so by itself.
    #[arg(long)]
    hide_port: bool,
    /// The certificate of the kubelet API (PEM). Without it the port stays closed.
    #[arg(long, value_name = "FILE", requires = "serving_key")]
    serving_certificate: Option<PathBuf>,
    /// Its key (PEM, P-256).
    #[arg(long, value_name = "FILE", requires = "serving_certificate")]
    serving_key: Option<PathBuf>,
    /// The authority of those who may call the kubelet API (PEM). On k3s it is not the server's.
    /// A file that is replaced counts within seconds. [default: the certificate authority]
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Bearer tokens for the kubelet API: lines of TOKEN,USER.
    #[arg(long, value_name = "FILE")]
    static_token_file: Option<PathBuf>,

    /// Let anybody read /healthz of the kubelet API, as load balancers want it.
    #[arg(long)]
    anonymous_health: bool,

    /// Taints to register with, KEY[=VALUE]:EFFECT, separated by commas; "" for none.
    #[arg(
        long,
        value_name = "TAINTS",
        default_value = DEFAULT_TAINTS
    )]
    register_with_taints: String,
    /// What the node offers, where it is not what a Pico W does: cpu=4,memory=64Mi,pods=20,ephemeral-storage=1Gi
    #[arg(long, value_name = "AMOUNTS", default_value = "")]
    capacity: String,
    /// Where the node keeps what outlives the process: keys, certificates, its machine ID. One process at a time can use it. On a machine
    /// that is cloned, delete NAME.machine-id of the copy.
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// Where the time of day comes from.
    #[arg(long, value_name = "SOURCE", default_value = "system")]
    clock: Clock,
    /// The namespace whose ConfigMaps drive the device.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    config_namespace: String,
    /// Open a read-only port 10255 without TLS, and allow an http:// server. For those who terminate TLS in a proxy.
    #[arg(long)]
    lab_mode: bool,
    /// How the log is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: logging::Format,
    /// Run so many nodes, names and addresses counted up; {name} in the paths of certificates and keys stands for each
    /// node's name.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

const EXAMPLES: &str = "\
Examples:
  One node that joins the cluster by itself:
    picolet run --server https://192.0.2.10:6443 --certificate-authority ca.crt --state-dir /var/lib/picolet \\
      --token-file token.txt --node-ip 192.0.2.20
  The same, with what kubeadm token create --print-join-command prints:
    picolet run --server https://192.0.2.10:6443 --token abcdef.0123456789abcdef --state-dir /var/lib/picolet \\
      --discovery-token-ca-cert-hash sha256:… --node-ip 192.0.2.20
  One node of a k3s cluster:
    picolet run --server https://192.0.2.10:6443 --token K10…::server:… --state-dir /var/lib/picolet --node-ip 192.0.2.20
  One node:
    picolet run --kubeconfig kubelet.conf --node-name pico-1 --node-ip 127.0.77.1 \\
      --serving-certificate kubelet.crt --serving-key kubelet.key
  A hundred, with certificates pki/pico-1.crt … pki/pico-100.crt:
    picolet run --server https://127.0.0.1:6443 --certificate-authority ca.crt --count 100 \\
      --node-name pico-1 --node-ip 127.0.78.1 \\
      --client-certificate 'pki/{name}.crt' --client-key 'pki/{name}.key'";

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Clock {
    /// The operating system.
    System,
    /// The API server, as on a board that no time server answers.
    ApiServer,
}

impl From<Clock> for Source {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::System => Self::System,
            Clock::ApiServer => Self::ApiServer,
        }
    }
}

impl Arguments {
    fn options(self) -> Result<Options> {
        Ok(Options {
            kubeconfig: self.kubeconfig,
            servers: self.server,
            certificate_authority: self.certificate_authority,
            discovery_hashes: self.discovery_token_ca_cert_hash,
            client_certificate: self.client_certificate,
            client_key: self.client_key,
            token: self.token,
            token_file: self.token_file,
            node_name: self.node_name,
            node_ip: self.node_ip,
            port: self.port,
            hide_port: self.hide_port,
            serving_certificate: self.serving_certificate,
            serving_key: self.serving_key,
            client_ca_file: self.client_ca_file,
            static_token_file: self.static_token_file,
            anonymous_health: self.anonymous_health,
            taints: taints(&self.register_with_taints)?,
            capacity: capacity(&self.capacity)?,
            state_directory: self.state_dir,
            clock: self.clock.into(),
            config_namespace: self.config_namespace,
            lab_mode: self.lab_mode,
            count: self.count,
        })
    }
}

/// Runs them until the process is told to end.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    logging::start(arguments.log_format);
    picolet_linux::run(arguments.options()?)
}

fn taints(text: &str) -> Result<Vec<Taint>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parse = |part| {
        Taint::parse(part).with_context(|| {
            format!("--register-with-taints {part}: write it as KEY[=VALUE]:EFFECT, with NoSchedule, PreferNoSchedule or NoExecute")
        })
    };
    parts.map(parse).collect()
}

fn capacity(text: &str) -> Result<Capacity> {
    let mut capacity = Capacity::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (resource, amount) = part
            .split_once('=')
            .with_context(|| format!("--capacity {part}: write it as RESOURCE=AMOUNT"))?;
        let amount = Quantity::parse(amount).with_context(|| format!("--capacity {part}"))?;
        let place = match resource {
            "cpu" => &mut capacity.cpu,
            "memory" => &mut capacity.memory,
            "ephemeral-storage" => &mut capacity.ephemeral_storage,
            "pods" => &mut capacity.pods,
            _ => bail!("--capacity {part}: the resources are cpu, memory, ephemeral-storage and pods"),
        };
        *place = Some(amount);
    }
    Ok(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Run {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn options_are_the_library_defaults_when_no_flag_is_given() {
        let run = Run::try_parse_from(["run"]).expect("no flag is required");
        let options = run.arguments.options().expect("options");
        let default = Options::default();
        assert_eq!(options.taints, default.taints);
        assert_eq!(options.config_namespace, default.config_namespace);
        assert_eq!(
            (options.port, options.count, options.clock),
            (default.port, default.count, default.clock)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(taints("").expect("none").len(), 0);
        assert_eq!(taints("a=b:NoSchedule, c:NoExecute").expect("two").len(), 2);
        assert!(format!("{:#}", taints("a").expect_err("no effect")).contains("KEY[=VALUE]:EFFECT"));
        assert!(format!("{:#}", capacity("gpu=1").expect_err("unknown")).contains("ephemeral-storage"));
        assert!(format!("{:#}", capacity("cpu=x").expect_err("no number")).contains("begins with a number"));
        assert_eq!(
            capacity("memory=1Gi").expect("an amount").memory,
            Some(Quantity::new(1 << 30))
        );
    }
}
