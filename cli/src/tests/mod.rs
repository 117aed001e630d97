//! Nodes against the in-memory cluster: its faults one by one and at random, and what an agent takes of the heap.

mod abuse;
pub(crate) mod api;
mod faults;
mod heap;
mod time;
mod world;

use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    crate::Arguments::command().debug_assert();
}
