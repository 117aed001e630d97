//! Firmware that does what a test tells it, linked for slot A.
#![no_std]
#![no_main]

mod program;
