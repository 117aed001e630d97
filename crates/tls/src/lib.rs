//! TLS 1.3 for the node.
#![no_std]
