//! Kubernetes on the wire, sans-IO.
#![no_std]
