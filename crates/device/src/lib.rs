//! What every board does and no hardware is needed for.
//!
//! [`entropy`] makes random numbers fit for keys out of a poor source of noise, [`led`] is the LED's language, [`log`]
//! and [`crash`] are what outlives a reset, [`pwm`] is how a frequency is counted, [`radio`] is the form that the radio's firmware has in flash, [`recovery`]
//! decides when a failed radio resets the board, [`sntp`] is what is said to a time server.
//!
//! Nothing here touches a register or waits: time and noise are arguments, what is to be done is a result. So all of it
//! is tested on a host. Nothing here knows Kubernetes or a network.
#![no_std]

pub mod crash;
pub mod entropy;
pub mod led;
pub mod log;
pub mod pwm;
pub mod radio;
pub mod recovery;
pub mod sntp;
