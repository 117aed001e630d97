//! What any picolet must show to a real kube-apiserver.
//!
//! The node is a black box here: the cases in `tests/` start the program as a person would, act with kubectl, and look
//! at what the cluster and the node's HTTPS API say. This library is what they have in common. It knows nothing of the
//! node's insides, and it never mocks a part of Kubernetes.

mod caller;
mod case;
mod cluster;
mod fault_proxy;
mod k3s;
mod node;
mod wait;
mod walk;

pub use caller::{Answer, Caller};
pub use case::Case;
pub use cluster::{Cluster, LONG_TESTS, Unavailable, deployment};
pub use fault_proxy::{Fault, FaultProxy, Received, Rule};
pub use k3s::K3s;
pub use node::{Node, NodeSetup};
pub use wait::{never, until};
pub use walk::{Kubeconfig, Walk};
