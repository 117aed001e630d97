//! The command lines of the four servers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::Binaries;
use crate::pki::Identity;

/// Where each server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peers: u16,
    pub(crate) apiserver: u16,
    pub(crate) controller_manager: u16,
    pub(crate) scheduler: u16,
}

/// All files that the command lines name.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) directory: PathBuf,
    pub(crate) authority: Identity,
    pub(crate) etcd_authority: PathBuf,
    pub(crate) front_proxy_authority: PathBuf,
    pub(crate) etcd_server: Identity,
    pub(crate) etcd_client: Identity,
    pub(crate) apiserver: Identity,
    pub(crate) kubelet_client: Identity,
    pub(crate) administrator: Identity,
    pub(crate) front_proxy_client: Identity,
    pub(crate) controller_manager: Identity,
    pub(crate) scheduler: Identity,
    pub(crate) service_account_key: PathBuf,
    pub(crate) service_account_public_key: PathBuf,
    pub(crate) controller_manager_kubeconfig: PathBuf,
    pub(crate) scheduler_kubeconfig: PathBuf,
    pub(crate) audit_policy: PathBuf,
    pub(crate) audit_log: PathBuf,
}

/// Every request is logged with its user and its path, when it has been answered. Watches count when they start.
pub(crate) const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// Sets how long the certificates live that the cluster signs, such as `10m`.
pub const SIGNING_DURATION: &str = "PICOLET_SIGNING_DURATION";

/// A command line that is written flag by flag.
struct Flags(Command);

impl Flags {
    fn of(program: &Path) -> Self {
        Self(Command::new(program))
    }

    fn set(mut self, flag: &str, value: impl ToString) -> Self {
        self.0.arg(format!("--{flag}={}", value.to_string()));
        self
    }

    fn file(self, flag: &str, path: &Path) -> Self {
        self.set(flag, path.display())
    }

    fn identity(self, certificate_flag: &str, key_flag: &str, identity: &Identity) -> Self {
        self.file(certificate_flag, &identity.certificate)
            .file(key_flag, &identity.key)
    }
}

pub(crate) fn etcd(binaries: &Binaries, files: &Files, address: IpAddr, ports: Ports) -> Command {
    let client = format!("https://{address}:{}", ports.etcd);
    let peer = format!("http://{address}:{}", ports.etcd_peers);
    Flags::of(&binaries.etcd)
        .set("name", "etcd")
        .file("data-dir", &files.directory.join("etcd"))
        .set("listen-client-urls", &client)
        .set("advertise-client-urls", &client)
        .set("listen-peer-urls", &peer)
        .set("initial-advertise-peer-urls", &peer)
        .set("initial-cluster", format!("etcd={peer}"))
        .identity("cert-file", "key-file", &files.etcd_server)
        .set("client-cert-auth", true)
        .file("trusted-ca-file", &files.etcd_authority)
        .set("unsafe-no-fsync", true)
        .0
}

pub(crate) fn apiserver(binaries: &Binaries, files: &Files, address: IpAddr, ports: Ports) -> Command {
    // An emulated board comes to 127.0.0.1; in a network of our own nobody else can come anywhere.
    let everywhere = if address.is_loopback() {
        address
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    Flags::of(&binaries.kube_apiserver)
        .set("bind-address", everywhere)
        .set("advertise-address", address)
        .set("secure-port", ports.apiserver)
        .set("endpoint-reconciler-type", "none")
        .set("etcd-servers", format!("https://{address}:{}", ports.etcd))
        .file("etcd-cafile", &files.etcd_authority)
        .identity("etcd-certfile", "etcd-keyfile", &files.etcd_client)
        .file("client-ca-file", &files.authority.certificate)
        .identity("tls-cert-file", "tls-private-key-file", &files.apiserver)
        .file("kubelet-certificate-authority", &files.authority.certificate)
        .identity(
            "kubelet-client-certificate",
            "kubelet-client-key",
            &files.kubelet_client,
        )
        .set(
            "kubelet-preferred-address-types",
            "InternalIP,Hostname,ExternalIP",
        )
        .set("authorization-mode", "Node,RBAC")
        .set("enable-admission-plugins", "NodeRestriction")
        .set("enable-bootstrap-token-auth", true)
        .set("allow-privileged", true)
        .set(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        )
        .file("service-account-key-file", &files.service_account_public_key)
        .file("service-account-signing-key-file", &files.service_account_key)
        .set("service-cluster-ip-range", "10.96.0.0/16")
        .file("requestheader-client-ca-file", &files.front_proxy_authority)
        .set("requestheader-allowed-names", "front-proxy-client")
        .set("requestheader-username-headers", "X-Remote-User")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .identity(
            "proxy-client-cert-file",
            "proxy-client-key-file",
            &files.front_proxy_client,
        )
        .file("audit-policy-file", &files.audit_policy)
        .file("audit-log-path", &files.audit_log)
        .0
}

pub(crate) fn controller_manager(
    binaries: &Binaries,
    files: &Files,
    address: IpAddr,
    ports: Ports,
) -> Command {
    let signing_duration = std::env::var(SIGNING_DURATION).unwrap_or_else(|_| "8760h".into());
    Flags::of(&binaries.kube_controller_manager)
        .set("cluster-signing-duration", signing_duration)
        .file("kubeconfig", &files.controller_manager_kubeconfig)
        .file("authentication-kubeconfig", &files.controller_manager_kubeconfig)
        .file("authorization-kubeconfig", &files.controller_manager_kubeconfig)
        .set("bind-address", address)
        .set("secure-port", ports.controller_manager)
        .identity("tls-cert-file", "tls-private-key-file", &files.controller_manager)
        .identity(
            "cluster-signing-cert-file",
            "cluster-signing-key-file",
            &files.authority,
        )
        .file("root-ca-file", &files.authority.certificate)
        .file("service-account-private-key-file", &files.service_account_key)
        .set("use-service-account-credentials", true)
        .set("controllers", "*,bootstrapsigner,tokencleaner")
        .set("allocate-node-cidrs", true)
        .set("cluster-cidr", "10.244.0.0/16")
        .set("service-cluster-ip-range", "10.96.0.0/16")
        .set("leader-elect", false)
        .file("flex-volume-plugin-dir", &files.directory.join("flex"))
        .0
}

pub(crate) fn scheduler(binaries: &Binaries, files: &Files, address: IpAddr, ports: Ports) -> Command {
    Flags::of(&binaries.kube_scheduler)
        .file("kubeconfig", &files.scheduler_kubeconfig)
        .file("authentication-kubeconfig", &files.scheduler_kubeconfig)
        .file("authorization-kubeconfig", &files.scheduler_kubeconfig)
        .set("bind-address", address)
        .set("secure-port", ports.scheduler)
        .identity("tls-cert-file", "tls-private-key-file", &files.scheduler)
        .set("leader-elect", false)
        .0
}
