//! What a caller sends who is up to something, for tests of the node on a board and on Linux: requests that two readers could
//! understand differently, and connections that hold what they can.
//!
//! It only speaks, and never judges but by the status that a request must be refused with.

use core::pin::pin;
use embedded_io_async::{Read, Write};
use futures_util::future::{Either, select};

/// A request that must be refused.
#[derive(Clone, Debug)]
pub struct Bad {
    /// What is wrong with it.
    pub what: &'static str,
    /// All that is sent.
    pub request: String,
    /// The status it is refused with.
    pub code: u16,
}

/// What would be served if a refused request's body were taken for the next request.
const SMUGGLED: &str = "GET /spec HTTP/1.1\r\nHost: x\r\n\r\n";

/// Requests that smuggle, flood or lie, each with another one hidden behind it.
pub fn requests() -> Vec<Bad> {
    let post = |what, fields: &str, body: &str, code| Bad {
        what,
        request: format!("POST /pico/command HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}{SMUGGLED}"),
        code,
    };
    let get = |what, rest: &str, code| Bad {
        what,
        request: format!("GET /livez HTTP/1.1{rest}{SMUGGLED}"),
        code,
    };
    let long = |length| "x".repeat(length);
    vec![
        post(
            "CL.TE",
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nG",
            400,
        ),
        post(
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "5c\r\n\r\n",
            400,
        ),
        post("two lengths", "Content-Length: 0\r\nContent-Length: 44", "", 400),
        post("a list of lengths", "Content-Length: 0, 44", "", 400),
        post("a signed length", "Content-Length: +44", "", 400),
        post(
            "a length that overflows",
            "Content-Length: 18446744073709551616",
            "",
            413,
        ),
        post(
            "a folded field",
            "Content-Length: 0\r\n Transfer-Encoding: chunked",
            "",
            400,
        ),
        post("a space before the colon", "Content-Length : 44", "", 400),
        post(
            "chunks with an extension",
            "Transfer-Encoding: chunked",
            "0;x=\"\r\n\r\n\"\r\n\r\n",
            400,
        ),
        post(
            "an endless chunk",
            "Transfer-Encoding: chunked",
            "ffffffffffffffff\r\n",
            400,
        ),
        post(
            "a coding in disguise",
            "Transfer-Encoding: \u{b}chunked",
            "0\r\n\r\n",
            400,
        ),
        post(
            "two codings",
            "Transfer-Encoding: identity, chunked",
            "0\r\n\r\n",
            400,
        ),
        post("a body beyond the limit", "Content-Length: 100000", "", 413),
        get("bare line feeds", "\nHost: x\n\n", 400),
        get("one bare line feed", "\r\nHost: x\nX: y\r\n\r\n", 400),
        get("a bare carriage return", "\r\nHost: x\rX: y\r\n\r\n", 400),
        get("a zero", "\r\nHost: x\r\nX: \0\r\n\r\n", 400),
        get("two hosts", "\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        get(
            "many fields",
            &format!("\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100)),
            431,
        ),
        get(
            "a long field",
            &format!("\r\nHost: x\r\nX: {}\r\n\r\n", long(20_000)),
            431,
        ),
        Bad {
            what: "a long target",
            request: format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(20_000)),
            code: 431,
        },
        Bad {
            what: "HTTP/2",
            request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            code: 400,
        },
    ]
}

/// Sends `request` and returns all that comes back until the node ends the connection, or says nothing for as long as `patience` takes.
pub async fn exchange<S: Read + Write>(stream: &mut S, request: &[u8], patience: impl AsyncFn()) -> String {
    // The node may have ended the connection before all of it is sent.
    if stream.write_all(request).await.is_ok() {
        let _ = stream.flush().await;
    }
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let length = match select(pin!(stream.read(&mut buffer)), pin!(patience())).await {
            Either::Left((Ok(length @ 1..), _)) => length,
            _ => return String::from_utf8_lossy(&answer).into_owned(),
        };
        answer.extend_from_slice(&buffer[..length]);
    }
}

/// Whether `answer` refuses the request as it must be, once, and nothing else is answered.
pub fn is_refused(bad: &Bad, answer: &str) -> bool {
    let answers = ["2", "4", "5"].map(|class| answer.matches(&format!("HTTP/1.1 {class}")).count());
    answer.starts_with(&format!("HTTP/1.1 {} ", bad.code)) && answers.iter().sum::<usize>() == 1
}

/// Bytes that begin no handshake, to be sent without TLS: no TLS at all, records that are longer than any may be, a ClientHello that
/// never ends.
pub fn no_handshakes() -> Vec<Vec<u8>> {
    let record = |length: u16, body: usize| {
        let [high, low] = length.to_be_bytes();
        let mut bytes = vec![22, 3, 1, high, low, 1, 0, 0xff, 0xff];
        bytes.resize(5 + body, 0xaa);
        bytes
    };
    vec![
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        record(0x4000, 0x4000),
        record(0xffff, 0x8000),
        record(300, 300),
        record(300, 40),
        vec![0; 3000],
    ]
}
