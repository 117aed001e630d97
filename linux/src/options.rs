//! What `picolet run` can be told.

use crate::clock::Source;
use crate::discovery::KeyHash;
use crate::node::DEFAULT_TAINTS;
use picolet_kube::selector::Taint;
use picolet_kubelet::Capacity;
use std::net::IpAddr;
use std::path::PathBuf;

/// The nodes to run. Each field is a flag of `picolet run`, which documents it, and the default is that of the flag.
///
/// `{name}` in the paths of certificates and keys stands for the name of each node. Certificates and keys are PEM; keys are on P-256.
#[derive(Clone)]
pub struct Options {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--server`, `https://HOST:PORT`: the API servers, in the order in which they are tried.
    pub servers: Vec<String>,
    /// `--certificate-authority`
    pub certificate_authority: Option<PathBuf>,
    /// `--discovery-token-ca-cert-hash`
    pub discovery_hashes: Vec<KeyHash>,
    /// `--client-certificate`
    pub client_certificate: Option<PathBuf>,
    /// `--client-key`
    pub client_key: Option<PathBuf>,
    /// `--token`
    pub token: Option<String>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--node-name` of the first node; the host's name unless it is given.
    pub node_name: Option<String>,
    /// `--node-ip` of the first node.
    pub node_ip: Option<IpAddr>,
    /// `--port`
    pub port: u16,
    /// `--hide-port`
    pub hide_port: bool,
    /// `--serving-certificate`
    pub serving_certificate: Option<PathBuf>,
    /// `--serving-key`
    pub serving_key: Option<PathBuf>,
    /// `--client-ca-file`
    pub client_ca_file: Option<PathBuf>,
    /// `--static-token-file`
    pub static_token_file: Option<PathBuf>,
    /// `--anonymous-health`
    pub anonymous_health: bool,
    /// `--register-with-taints`
    pub taints: Vec<Taint>,
    /// `--capacity`
    pub capacity: Capacity,
    /// `--state-dir`
    pub state_directory: Option<PathBuf>,
    /// `--clock`
    pub clock: Source,
    /// `--config-namespace`
    pub config_namespace: String,
    /// `--lab-mode`
    pub lab_mode: bool,
    /// `--count`
    pub count: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            servers: Vec::new(),
            certificate_authority: None,
            discovery_hashes: Vec::new(),
            client_certificate: None,
            client_key: None,
            token: None,
            token_file: None,
            node_name: None,
            node_ip: None,
            port: 10250,
            hide_port: false,
            serving_certificate: None,
            serving_key: None,
            client_ca_file: None,
            static_token_file: None,
            anonymous_health: false,
            taints: Taint::parse(DEFAULT_TAINTS).into_iter().collect(),
            capacity: Capacity::default(),
            state_directory: None,
            clock: Source::System,
            config_namespace: "default".to_owned(),
            lab_mode: false,
            count: 1,
        }
    }
}
