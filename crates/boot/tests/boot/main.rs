//! The boot log's format, its power cuts, and a model check of everything that may happen to a board.

mod flash;
mod format;
mod log;
mod model;
mod properties;
mod start;
