//! The node's own log, as `kubectl logs` asks for it: which lines, from when on, with their times, and whether to wait for more.
//!
//! Source: `pkg/kubelet/kuberuntime/kuberuntime_logs.go` and `pkg/kubelet/kubelet_pods.go`. What is read is the platform's bounded
//! log, line by line, so a long log costs no more memory than a short one; who reads too slowly is told what they lost.

use super::ServedNode;
use crate::host::Host;
use alloc::string::String;
use core::fmt::Write as _;
use picolet_kube::Timestamp;
use picolet_platform::{Clock, Log, LogCursor, LogNext};

/// What of a log is wanted (`v1.PodLogOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    /// So many lines, the last.
    pub(super) tail: Option<u32>,
    /// So many bytes, the first.
    pub(super) limit: Option<u32>,
    pub(super) since_seconds: Option<u32>,
    pub(super) since_time: Option<Timestamp>,
}

/// Somebody's reading of the log.
pub(super) struct Reader {
    cursor: LogCursor,
    /// Where it ends; nowhere for one that follows.
    end: Option<LogCursor>,
    since: Timestamp,
    timestamps: bool,
    /// Bytes that may still be sent.
    left: Option<u32>,
    /// The last line of a run that ended, in its milliseconds, and the time at which it did.
    last: Option<(u32, Timestamp)>,
}

/// The time and the uptime in milliseconds, together.
fn moment<H: Host>(node: &ServedNode<'_, H>) -> (Timestamp, u64) {
    (node.time.now(), node.machine.uptime().as_millis())
}

/// So long before.
fn before(time: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_micros(time.micros().saturating_sub(millis.saturating_mul(1000)))
}

impl Reader {
    /// A reader of what is asked for; `None` where there was no run before of which something is left.
    pub(super) fn open<H: Host>(node: &ServedNode<'_, H>, options: Options) -> Option<Self> {
        let extent = node.machine.log_extent();
        let (cursor, end) = if options.previous {
            (extent.oldest, Some(extent.run))
        } else {
            (extent.run, (!options.follow).then_some(extent.end))
        };
        if options.previous && extent.oldest == extent.run {
            return None;
        }
        let (now, up) = moment(node);
        let since = match options.since_seconds {
            Some(seconds) => before(now, u64::from(seconds) * 1000),
            None => options.since_time.unwrap_or_default(),
        };
        let mut reader = Self {
            cursor,
            end,
            since,
            timestamps: options.timestamps,
            left: options.limit,
            last: None,
        };
        let mut line = String::new();
        if options.previous {
            // It ended when this one began, as far as is known.
            let boot = before(now, up);
            while let Some(LogNext::Line { millis }) = reader.next(node, &mut line) {
                reader.last = Some((millis, boot));
            }
            reader.cursor = cursor;
        }
        if let Some(tail) = options.tail {
            let mut lines = 0_u32;
            while reader.next_wanted(node, &mut line).is_some() {
                lines += 1;
            }
            reader.cursor = cursor;
            for _ in tail..lines {
                reader.next_wanted(node, &mut line);
            }
        }
        Some(reader)
    }

    /// What is next, put into `line`.
    fn next<H: Host>(&mut self, node: &ServedNode<'_, H>, line: &mut String) -> Option<LogNext> {
        line.clear();
        let at_end = |end: LogCursor| end.0.wrapping_sub(self.cursor.0).cast_signed() <= 0;
        if self.end.is_some_and(at_end) {
            return None;
        }
        node.machine.next_line(&mut self.cursor, line)
    }

    /// The next line that is not too old, or a word about lines that are gone; and the time of it.
    #[inline(never)]
    fn next_wanted<H: Host>(&mut self, node: &ServedNode<'_, H>, line: &mut String) -> Option<Timestamp> {
        let (now, up) = moment(node);
        loop {
            let time = match self.next(node, line)? {
                LogNext::Lost { bytes } => {
                    let _ = write!(line, "({bytes} bytes of the log were lost)");
                    now
                }
                LogNext::Line { millis } => {
                    // Milliseconds start over: the time between two lines does not.
                    let (last, at) = self.last.unwrap_or((up as u32, now));
                    before(at, last.wrapping_sub(millis).into())
                }
            };
            if time >= self.since {
                return Some(time);
            }
        }
    }

    /// Appends the next line; returns whether there was one.
    pub(super) fn piece<H: Host>(&mut self, node: &ServedNode<'_, H>, out: &mut String) -> bool {
        let mut line = String::new();
        if self.is_full() {
            return false;
        }
        let Some(time) = self.next_wanted(node, &mut line) else {
            return false;
        };
        let start = out.len();
        if self.timestamps {
            let _ = write!(out, "{} ", time.micro_time());
        }
        out.push_str(&line);
        out.push('\n');
        if let Some(left) = &mut self.left {
            let room = usize::try_from(*left).unwrap_or(usize::MAX);
            let whole = out.len() - start;
            out.truncate(out.floor_char_boundary(start.saturating_add(room)));
            *left = left.saturating_sub(u32::try_from(whole).unwrap_or(u32::MAX));
        }
        true
    }

    /// Whether all was sent that may be.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }
}
