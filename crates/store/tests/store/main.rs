//! What is stored survives power cuts, and the serial line through which settings come.

mod device;
mod flash;
mod install;
mod serial;
