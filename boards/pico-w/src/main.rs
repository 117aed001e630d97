//! The image of a Pico W, linked for slot A.
#![no_std]
#![no_main]

mod program;
