//! A machine and a network in memory, and time that passes only when everybody waits.
//!
//! For the tests of this crate: controllers run on [`Machine`] and [`Wires`], and [`TestClock::run`] drives them together with
//! whatever the test does to them. A test of an hour takes no time and comes out the same each time.

mod machine;
mod scripted;
mod server;
mod services;
mod time;
mod wires;

pub(crate) use machine::Machine;
pub(crate) use scripted::{LEASE, LIST, NODE, Reply, ScriptedServer, ok};
pub(crate) use server::{answer_requests, request};
pub(crate) use services::{Services, TestHost};
pub(crate) use time::{ClusterClock, TestClock};
pub(crate) use wires::{End, Wires};

use crate::settings::{Capacity, Limits, Settings};
use picolet_kube::Timestamp;
use std::vec::Vec;

/// The moment at which [`Time`] begins: 2026-11-22T12:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_795_348_800);

/// Settings of a node named `pico-1`.
pub(crate) fn settings() -> Settings {
    Settings {
        node_name: "pico-1".into(),
        config_namespace: "default".into(),
        taints: Vec::new(),
        capacity: Capacity::default(),
        reported_port: Some(10250),
        static_tokens: Vec::new(),
        anonymous_health: false,
        join: None,
        limits: Limits::default(),
        built: Timestamp::from_seconds(1_790_000_000),
    }
}
