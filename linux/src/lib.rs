//! Nodes as parts of a Linux process: the machine, the network and the files that an agent (`picolet-kubelet`) has there, and what has
//! to be known of a cluster before a node of it can run.
//!
//! [`run`] is `picolet run` without its command line, and [`Node`] one node of a cluster whose certificates are at hand. Errors are for a
//! person, and call what was given by the flags of `picolet run`.

pub mod certificate;
pub mod client;
pub mod clock;
pub mod discovery;
pub mod durable;
pub mod files;
pub mod joining;
mod journal;
pub mod k3s;
pub mod kubeconfig;
mod machine;
mod network;
mod node;
mod node_ip;
mod options;
mod patience;
mod reload;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use journal::Journals;
pub use node::{DEFAULT_TAINTS, Node};
pub use options::Options;
pub use reload::KeyPair;
pub use run::{node_name, run, static_tokens};
