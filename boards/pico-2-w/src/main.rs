//! The image of a Pico 2 W, linked for slot A.
#![no_std]
#![no_main]

mod program;
