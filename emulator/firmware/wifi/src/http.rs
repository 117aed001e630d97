//! A web server of one page, and of pages that it fetches from a server of the host.

use core::fmt::Write as _;

use embassy_net::tcp::{Error, TcpSocket};
use embassy_net::{Ipv4Address, Stack};
use embedded_io_async::Write;
use emulator_firmware::say;
use heapless::String;

/// Where the networks of the emulator have their host.
const HOST: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// Reads until a blank line or the end; returns how many bytes came.
async fn read_head(socket: &mut TcpSocket<'_>, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut length = 0;
    while length < buffer.len() && !buffer[..length].windows(4).any(|four| four == b"\r\n\r\n") {
        match socket.read(&mut buffer[length..]).await? {
            0 => break,
            came => length += came,
        }
    }
    Ok(length)
}

/// Fetches `/` from that port of the host; returns how many bytes of its body came.
async fn fetch(stack: Stack<'_>, port: u16, body: &mut [u8]) -> Result<usize, Error> {
    let (mut receive, mut send) = ([0; 1024], [0; 256]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
    if let Err(error) = socket.connect((HOST, port)).await {
        say!("not fetched: {error:?}");
        return Err(Error::ConnectionReset);
    }
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut length = 0;
    loop {
        match socket.read(&mut body[length..]).await? {
            0 => break,
            came => length += came,
        }
    }
    let head = body[..length].windows(4).position(|four| four == b"\r\n\r\n");
    let start = head.map_or(length, |at| at + 4);
    body.copy_within(start..length, 0);
    Ok(length - start)
}

/// Answers one request: `/fetch/PORT` with what the host has there, anything else with a greeting.
pub async fn answer(stack: Stack<'_>, socket: &mut TcpSocket<'_>, buffer: &mut [u8]) -> Result<(), Error> {
    let length = read_head(socket, buffer).await?;
    let request = core::str::from_utf8(&buffer[..length]).unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let port = path.strip_prefix("/fetch/").and_then(|port| port.parse().ok());
    let body = match port {
        Some(port) => {
            let length = fetch(stack, port, buffer).await?;
            &buffer[..length]
        }
        None => b"hello from the device\n",
    };
    let mut head: String<96> = String::new();
    // it has room for any length
    let _ = write!(
        head,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body).await
}
