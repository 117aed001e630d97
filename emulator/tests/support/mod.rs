//! What several tests of the radio and its network share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod client;
pub mod executor;
pub mod gspi;
pub mod image;
pub mod link;
