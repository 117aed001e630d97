//! Pods.

use crate::agent::Agent;
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

pub(crate) async fn run<P: Platform, N: Network, R: Runtime>(_agent: &Agent<P, N, R>) {
    core::future::pending::<()>().await;
}
