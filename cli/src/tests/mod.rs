//! The command line as a whole, and an API server for the tests of commands.

pub(crate) mod api;

use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    crate::Arguments::command().debug_assert();
}
