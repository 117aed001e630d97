//! k3s as a node meets it: the model of `conformance/k3s`, before a kube-apiserver of its own that dials through it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use picolet_controlplane::{ControlPlane, Kubectl, Place, Process};

/// A running model and its kube-apiserver. Dropping it ends both.
pub struct K3s {
    // Dropped in this order.
    model: Process,
    _apiserver: Process,
    url: String,
    token: String,
    kubeconfig: PathBuf,
    kubectl: Kubectl,
}

impl K3s {
    pub(crate) fn start(control_plane: &ControlPlane, program: &Path) -> Result<Self> {
        let directory = control_plane.directory().join("k3s");
        fs::create_dir_all(&directory)?;
        let place = control_plane.place();
        let (port, apiserver_port) = (place.free_port()?, place.free_port()?);
        let address = place.server_address();
        let listen = format!("{address}:{port}");
        let authority = control_plane.pki().certificate_authority();
        let proxy = control_plane.front_proxy_client();
        let mut command = Command::new(program);
        command.arg("--directory").arg(&directory);
        command.args(["--listen", &listen]);
        if place == Place::Private {
            // An emulated board comes to 127.0.0.1.
            command.args(["--bind", "0.0.0.0"]);
        }
        command.args(["--apiserver", &format!("https://{address}:{apiserver_port}")]);
        command.arg("--apiserver-ca").arg(authority);
        command.arg("--proxy-certificate").arg(&proxy.certificate);
        command.arg("--proxy-key").arg(&proxy.key);
        let log = control_plane.directory().join("log/k3s.log");
        let mut model = Process::start("k3s", command, &log)?;
        model.wait_until(Duration::from_secs(30), || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on"))
        })?;
        let file = |name: &str| directory.join(name);
        let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
        // Nodes are of k3s's authority for clients, kubectl and the controllers of the cluster's own.
        let clients = file("all-clients.crt");
        fs::write(&clients, read(authority)? + &read(&file("client-ca.crt"))?)?;
        let flag = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let flags = [
            flag("egress-selector-config-file", file("egress-selector.yaml")),
            flag("kubelet-certificate-authority", file("server-ca.crt")),
            flag("kubelet-client-certificate", file("client-kube-apiserver.crt")),
            flag("kubelet-client-key", file("client-kube-apiserver.key")),
            flag("client-ca-file", clients),
        ];
        let (apiserver, kubectl) =
            control_plane.start_another_apiserver("kube-apiserver-of-k3s", apiserver_port, flags)?;
        Ok(Self {
            model,
            _apiserver: apiserver,
            url: format!("https://{listen}"),
            token: read(&file("token"))?.trim().to_owned(),
            kubeconfig: file("k3s.yaml"),
            kubectl,
        })
    }

    /// Returns the URL that nodes are given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the full token of the cluster.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the administrator's kubeconfig, as a server of k3s writes it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl as an administrator, at the API server that reaches nodes through k3s.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Returns what the model has said, such as how it dialled nodes.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.model.log())?)
    }
}
