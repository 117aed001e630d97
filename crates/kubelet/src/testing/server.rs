//! An API server of a few lines, for what is asked one question at a time.

use super::wires::{Broken, End, Wires};
use embassy_futures::join::join3;
use embedded_io_async::{Read, Write};
use std::format;
use std::string::String;

/// Answers a path and a body with a code and a body; `None` never does.
pub(crate) type Answers<'a> = &'a dyn Fn(&str, &str) -> Option<(u16, String)>;

/// Answers what the node asks, on up to three connections at once, for ever.
pub(crate) async fn answer_requests(network: &Wires, answers: Answers<'_>) {
    let serve = || async {
        loop {
            let mut end = network.served().await;
            while let Some((line, body)) = request(&mut end).await.expect("the node speaks") {
                let target = line.split(' ').nth(1).expect("a target");
                let path = target.split('?').next().expect("a path");
                let Some((code, body)) = answers(path, &body) else {
                    return core::future::pending().await;
                };
                let head = format!("HTTP/1.1 {code} x\r\nContent-Length: {}\r\n\r\n", body.len());
                if end.write_all((head + &body).as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    };
    join3(serve(), serve(), serve()).await;
}

/// The method and the target of the next request, and its body; `None` when the node has hung up.
pub(crate) async fn request(end: &mut End) -> Result<Option<(String, String)>, Broken> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                let line = head.split(" HTTP/").next().expect("a request line");
                return Ok(Some((line.into(), body.into())));
            }
        }
        let mut piece = [0; 512];
        let read = end.read(&mut piece).await?;
        if read == 0 {
            return Ok(None);
        }
        text += core::str::from_utf8(&piece[..read]).expect("ASCII");
    }
}
