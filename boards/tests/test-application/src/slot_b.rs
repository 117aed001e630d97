//! Firmware that does what a test tells it, linked for slot B.
#![no_std]
#![no_main]

mod program;
