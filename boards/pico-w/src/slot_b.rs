//! The image of a Pico W, linked for slot B.
#![no_std]
#![no_main]

mod program;
