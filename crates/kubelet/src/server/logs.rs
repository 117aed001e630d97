//! Sends the node's own log, at once or as it is written.

use super::log_reader::{Options, Reader};
use crate::host::{Host, Inbound};
use crate::server::response::{Answer, PIECE_BYTES, TEXT};
use crate::server::{Connection, Server};
use alloc::string::String;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use picolet_http::write_chunk;
use picolet_platform::{Clock, Duration};

/// How often it is looked for new lines while somebody waits for them.
const LOOK: Duration = Duration::from_millis(200);

impl<H: Host> Server<'_, H> {
    /// The node's own log.
    pub(super) fn own_log(&self, options: Options) -> Option<Answer<'_>> {
        let mut reader = Reader::open(self.node, options)?;
        if options.follow && !options.previous {
            // Somebody who waits holds a connection; one is left for others.
            let most = self.node.settings.limits.connections.saturating_sub(1).max(1);
            if self.followers.get() >= most {
                let busy = "as many callers follow logs as can be served: try again later";
                return Some(Answer::text(429, &busy).retry_after(10));
            }
            let mut answer = Answer::whole(200, TEXT, String::new());
            answer.follow = Some(reader);
            return Some(answer);
        }
        Some(Answer::pieces(TEXT, move |out| reader.piece(self.node, out)))
    }

    /// Sends the lines of a log as they are written, until the caller goes or has as much as was asked for. Returns whether
    /// the connection can go on.
    pub(super) async fn follow(
        &self,
        mut reader: Reader,
        head: String,
        chunked: bool,
        connection: &mut Connection<Inbound<H>>,
    ) -> bool {
        self.followers.set(self.followers.get() + 1);
        let whole = self.send_lines(&mut reader, head, chunked, connection).await;
        self.followers.set(self.followers.get() - 1);
        whole
    }

    async fn send_lines(
        &self,
        reader: &mut Reader,
        head: String,
        chunked: bool,
        connection: &mut Connection<Inbound<H>>,
    ) -> bool {
        let mut out = head;
        loop {
            let mut lines = String::new();
            while lines.len() < PIECE_BYTES && reader.piece(self.node, &mut lines) {}
            let more = lines.len() >= PIECE_BYTES;
            if chunked {
                write_chunk(&mut lines, reader.is_full());
            }
            out.push_str(&lines);
            drop(lines);
            if !out.is_empty() {
                let stream = &mut connection.stream;
                let write =
                    async { stream.write_all(out.as_bytes()).await.is_ok() && stream.flush().await.is_ok() };
                let sent = self.within(self.node.settings.limits.idle_timeout, write).await;
                if !matches!(sent, Either::First(true)) {
                    return false;
                }
                out = String::new();
            }
            if reader.is_full() {
                return true;
            }
            if more {
                continue;
            }
            // There is nothing that a caller might say but that it is gone.
            let mut byte = [0];
            let rest = self.node.machine.sleep(LOOK);
            if let Either::First(_) = select(connection.stream.read(&mut byte), rest).await {
                return false;
            }
        }
    }
}
