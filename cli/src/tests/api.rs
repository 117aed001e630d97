//! An API server that says what a test wants it to.

use crate::cluster::Client;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

/// Answers requests, by method and path, with a status and an object. Returns somebody who asks.
pub(crate) fn serve(answer: impl Fn(&str, &str) -> (u16, Value) + Send + 'static) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut lines = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if lines.read_line(&mut head).expect("a head") == 0 {
                    break;
                }
            }
            let length = head.to_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
            lines.read_exact(&mut body).expect("a body");
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (code, object) = answer(method, path);
            let text = object.to_string();
            let answer = format!(
                "HTTP/1.1 {code} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            // A client that has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Client::anonymous(&url).expect("a client")
}

/// A list of these objects.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": "1"}, "items": items})
}
