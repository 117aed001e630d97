//! Where the node's log goes, and what of it is kept.

use alloc::string::String;
use core::fmt;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault; usually not shown.
    Debug,
    /// What the node does in its ordinary life.
    Info,
    /// Something is wrong that the node lives with.
    Warn,
    /// Something is wrong that a person has to mend.
    Error,
}

/// A reader's place among the lines that are kept. Places only grow; they start over after 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor(pub u32);

/// Which lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogExtent {
    /// The place of the oldest line.
    pub oldest: LogCursor,
    /// Where the lines of this run begin: what is before is of runs that ended.
    pub run: LogCursor,
    /// Where the next line will be.
    pub end: LogCursor,
}

/// What a reader of the log finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogNext {
    /// A line.
    Line {
        /// Milliseconds from the start of its run to the line; they start over after 49 days.
        millis: u32,
    },
    /// The reader was too slow: lines are gone that it has not read.
    Lost {
        /// So many bytes of them.
        bytes: u32,
    },
}

/// A line-oriented log. It never blocks the node, and drops lines rather than wait for a reader.
pub trait Log {
    /// Writes one line. No line may carry a secret: that is the caller's duty.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);

    /// Writes the one line that each request to the kubelet API leaves: text
    /// `endpoint=… client=… status=… duration_ms=…` unless the platform has fields of its own.
    fn log_request(
        &self,
        level: Level,
        endpoint: &str,
        client: &dyn fmt::Display,
        status: u16,
        duration_ms: u64,
    ) {
        self.log(
            level,
            format_args!(
                "endpoint={endpoint} client={client} status={} duration_ms={duration_ms}",
                u32::from(status)
            ),
        );
    }

    /// Which lines are kept: a bounded number, the newest.
    fn log_extent(&self) -> LogExtent;

    /// What is next for a reader, which goes on by it; `None` when there is nothing new. A line is appended to `line`, as a person
    /// reads it and without its end.
    fn next_line(&self, cursor: &mut LogCursor, line: &mut String) -> Option<LogNext>;
}
