//! Where the node's log goes.

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

/// A line-oriented log. It never blocks the node, and drops lines rather than wait for a reader.
pub trait Log {
    /// Writes one line. No line may carry a secret: that is the caller's duty.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);

    /// Writes the one line that each request to the kubelet API leaves: text
    /// `endpoint=… client=… status=… duration_ms=…` unless the platform has fields of its own.
    fn log_request(&self, endpoint: &str, client: &dyn fmt::Display, status: u16, duration_ms: u64) {
        self.log(
            Level::Info,
            format_args!(
                "endpoint={endpoint} client={client} status={} duration_ms={duration_ms}",
                u32::from(status)
            ),
        );
    }
}
