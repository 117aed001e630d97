//! The image of a Pico 2 W, linked for slot B.
#![no_std]
#![no_main]

mod program;
