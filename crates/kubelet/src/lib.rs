//! The node agent.
#![no_std]
