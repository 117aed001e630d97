//! A small Kubernetes API in memory: for the demo, and for tests of faults and scale.
//!
//! It answers a node and `kubectl` as kube-apiserver does, as far as the two can tell: create, read, update, patch and
//! delete, list and watch with selectors, bookmarks and `410 Gone`, the Node authorizer and NodeRestriction, graceful
//! deletion, tables, discovery. And it misbehaves on demand ([`Fault`]), which the real one does not.
//!
//! The core ([`Cluster`], [`serve_connection`]) is generic over stream and clock and draws its randomness from a seed:
//! no socket, thread or time of the system is in it, so that a test inside an emulator's network runs the same to the
//! instruction each time. [`host`] puts it behind TCP and TLS.
//!
//! It never schedules, never runs a workload, never stores anything on disk, and is no place for a cluster that
//! anybody depends on.

mod admin;
mod admission;
mod answer;
mod api;
mod authentication;
mod authorization;
mod certificates;
mod cluster;
mod connection;
mod defaults;
mod deletion;
mod discovery;
mod error;
mod faults;
mod http;
mod identity;
mod json;
mod k3s;
mod kubelet;
mod lifecycle;
mod object;
mod openapi;
mod operations;
mod options;
mod patch;
mod protobuf;
mod request;
mod resources;
mod review;
mod schema;
mod selectors;
mod serve;
mod sign;
mod state;
mod store;
mod table;
mod target;
mod timestamp;
mod validation;
mod watch;

#[cfg(feature = "host")]
pub mod host;

pub use cluster::{Cluster, Counters};
pub use error::ApiError;
pub use faults::{Fault, FaultKind, Faults, RandomFaults, Restart};
pub use identity::Identity;
pub use kubelet::{CallKubelet, KubeletAnswer, LocalFuture, Pieces};
pub use options::Options;
pub use serve::{ServeError, serve_connection};
pub use sign::{Sign, Wanted};
pub use watch::{EventType, Subscription, WatchEvent};
