//! The node agent: it makes a machine a node of a Kubernetes cluster and keeps it one.
//!
//! It registers the node, renews its Lease, reports its status, follows the ConfigMaps that drive the device and the
//! pods that are bound to it, and answers the kubelet API. It is the same code on a microcontroller and on Linux:
//! generic over the traits of `picolet-platform`, without globals, so that a thousand agents run in one process.
//!
//! It never opens a socket, never knows a certificate, never touches hardware; and no allocation in it grows with what
//! the network sends.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod agent;
mod apart;
mod backoff;
mod client;
pub mod devices;
mod events;
mod fingerprint;
mod firmware;
mod health;
mod host;
mod identity;
pub mod k3s;
mod lease;
mod metrics;
mod node;
mod node_status;
pub mod pods;
pub mod server;
mod settings;
mod signal;
#[cfg(test)]
mod testing;
mod time;

pub use agent::Agent;
pub use host::Host;
pub use settings::{Capacity, Join, Limits, Settings, StaticToken, VERSION};
