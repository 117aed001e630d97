//! The command line of picolet.
fn main() {}
