//! `picolet devcluster`: the options of the in-memory cluster.

use crate::logging;
use anyhow::{Context, Result};
use clap::Args;
use picolet_devcluster::host::{HostOptions, RunOptions, run as run_cluster};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Run a small in-memory Kubernetes API, for development and tests.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where it listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6443")]
    address: SocketAddr,
    /// Where the kubeconfigs are written: admin.conf, and one for each node.
    #[arg(long, value_name = "DIRECTORY", default_value = "picolet-devcluster")]
    directory: PathBuf,
    /// A node that gets an identity. May repeat.
    #[arg(long = "node", value_name = "NAME", default_value = "pico-1")]
    nodes: Vec<String>,
    /// The namespace whose ConfigMaps nodes may read.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    config_namespace: String,
    /// Serve plain HTTP, where everybody is the administrator: as behind a proxy that ends TLS.
    #[arg(long)]
    plain_http: bool,
    /// The seed of all that is drawn at random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Runs it until Ctrl-C.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    logging::start(logging::Format::Text);
    let mut host = HostOptions {
        address: arguments.address,
        plain_http: arguments.plain_http,
        ..HostOptions::default()
    };
    host.cluster.seed = arguments.seed;
    host.cluster.config_namespace = arguments.config_namespace;
    let options = RunOptions {
        host,
        directory: arguments.directory,
        nodes: arguments.nodes,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(run_cluster(options)))
}
