//! A real Kubernetes control plane as a library: etcd, kube-apiserver, kube-controller-manager and kube-scheduler,
//! built from their Go modules and started as child processes.
//!
//! `cargo xtask control-plane` is this crate with a command line; the conformance tests start one the same way and
//! issue themselves as many node identities as they need. Everything listens on loopback, or on addresses of a network
//! that belongs to this process alone, and nothing outlives the process that started it.
//!
//! It never configures a cluster for production: etcd does not sync to disk, and all keys lie in one folder.

mod binaries;
mod components;
mod control_plane;
mod kubeconfig;
mod kubectl;
mod network;
mod pki;
mod process;
mod run_directory;

pub use binaries::{Binaries, BuildError};
pub use components::SIGNING_DURATION;
pub use control_plane::{ControlPlane, NodeCredentials, Options};
pub use kubectl::{Kubectl, KubectlError};
pub use network::{Place, TapInterface};
pub use pki::{Identity, Pki, Subject, Validity};
pub use process::Process;
pub use run_directory::{RunDirectory, is_running, stop_recorded};
