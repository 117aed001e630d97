//! The kubelet API.

use crate::agent::Agent;
use crate::pods::Runtime;
use picolet_platform::{Network, Platform};

pub(crate) async fn run<P: Platform, N: Network, R: Runtime>(_agent: &Agent<P, N, R>) {
    core::future::pending::<()>().await;
}
