//! Pods.

use crate::agent::Agent;
use picolet_kube::json::Writer;
use picolet_kube::pod::Pod;
use picolet_platform::{Network, Platform};

/// Runs containers.
pub trait Runtime {
    /// Its name and version, as `containerRuntimeVersion` shows them: `name://version`.
    fn version(&self) -> &'static str;
}

/// No runtime.
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn version(&self) -> &'static str {
        "none://0.0.0"
    }
}

/// The pods of the node.
#[derive(Default)]
pub(crate) struct Pods;

impl Pods {
    /// How many pods have a container that runs.
    pub(crate) fn running(&self) -> usize {
        0
    }

    /// The pod of that name.
    pub(crate) fn find(&self, _namespace: &str, _name: &str) -> Option<&Pod> {
        None
    }

    /// Writes the `n`th pod, of all or only of those that run; returns whether there is one.
    pub(crate) fn write_nth(&self, _n: usize, _running: bool, _w: &mut Writer<'_>) -> bool {
        false
    }
}

pub(crate) async fn run<P: Platform, N: Network, R: Runtime>(_agent: &Agent<P, N, R>) {
    core::future::pending::<()>().await;
}
