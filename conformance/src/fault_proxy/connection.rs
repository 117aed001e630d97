//! One connection of a client: requests are read, forwarded and answered one after the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::tls::{Stream, User};
use super::{Fault, POLL, Received, Shared};

/// The longest head and the longest line of a chunk.
const HEAD_BYTES: usize = 64 * 1024;

/// A stream and what was read from it too early.
struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// The client has gone, or the proxy ends.
fn gone() -> io::Error {
    ErrorKind::BrokenPipe.into()
}

impl Wire {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads more. While nothing comes `alive` is asked whether to go on waiting. Returns whether there was more.
    fn fill(&mut self, alive: &dyn Fn() -> bool) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(read) => {
                    self.buffer.extend_from_slice(&piece[..read]);
                    return Ok(read > 0);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !alive() {
                        return Err(gone());
                    }
                }
                // Closed without the alert of TLS.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads up to and including `end`; `None` if the stream ends before anything.
    fn until(&mut self, end: &[u8], alive: &dyn Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(Some(self.buffer.drain(..at + end.len()).collect()));
            }
            if self.buffer.len() > HEAD_BYTES {
                return Err(ErrorKind::InvalidData.into());
            }
            if !self.fill(alive)? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// What is there, up to `limit` bytes; `None` at the stream's end.
    fn piece(&mut self, limit: u64, alive: &dyn Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && !self.fill(alive)? {
            return Ok(None);
        }
        let length = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        Ok(Some(self.buffer.drain(..length).collect()))
    }
}

/// The head of a request or of a response.
struct Head {
    first_line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            Ok((name.to_owned(), value.trim().to_owned()))
        };
        let fields: io::Result<_> = lines.map(field).collect();
        Ok(Self {
            first_line,
            fields: fields?,
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let field = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| &**value)
    }

    /// Removes the fields whose lower-case name `unwanted` accepts.
    fn remove(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.fields
            .retain(|(name, _)| !unwanted(&name.to_ascii_lowercase()));
    }

    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((name.into(), value.into()));
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first_line);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

/// The client's side of a connection below TLS.
struct Client<'a> {
    shared: &'a Shared,
    socket: TcpStream,
    generation: u32,
    user: Option<User>,
}

impl Client<'_> {
    fn goes_on(&self) -> bool {
        self.shared.goes_on(self.generation)
    }

    /// Whether the connection goes on and the client has not closed it.
    fn is_there(&self) -> bool {
        if !self.goes_on() || self.socket.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = self.socket.peek(&mut [0]);
        if self.socket.set_nonblocking(false).is_err() {
            return false;
        }
        match peeked {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Keeps the connection open until the client closes it, and sends nothing.
    fn stay_silent(&self) -> io::Result<()> {
        let mut socket = &self.socket;
        let mut ignored = [0; 1024];
        while self.goes_on() {
            match socket.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits, unless the connection is to end.
    fn wait(&self, delay: Duration) {
        let until = Instant::now() + delay;
        while Instant::now() < until && self.goes_on() {
            thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

/// Serves a connection until either side ends it.
pub(super) fn serve(socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut peer = Client {
        shared,
        socket: socket.try_clone()?,
        generation: shared.generation.load(Ordering::Relaxed),
        user: None,
    };
    if shared.silent.load(Ordering::Relaxed) {
        peer.socket.set_read_timeout(Some(POLL))?;
        return peer.stay_silent();
    }
    let (stream, user) = shared.tls.accept(socket)?;
    peer.user = user;
    peer.socket.set_read_timeout(Some(POLL))?;
    let mut client = Wire::new(stream);
    let mut server = None;
    let running = || peer.goes_on();
    while let Some(head) = client.until(b"\r\n\r\n", &running)? {
        let head = Head::parse(&head)?;
        let mut body = Vec::new();
        let length = head.get("content-length").map_or(Ok(0), str::parse);
        let length: usize = length.map_err(|_| ErrorKind::InvalidData)?;
        if head.get("transfer-encoding").is_some() {
            return Err(ErrorKind::Unsupported.into());
        }
        while body.len() < length {
            let piece = client.piece((length - body.len()) as u64, &running)?;
            body.extend(piece.ok_or(ErrorKind::UnexpectedEof)?);
        }
        if !exchange(&peer, &mut client, &mut server, head, &body)? {
            break;
        }
    }
    Ok(())
}

/// Sends what is left of a response within the limits that a fault sets.
struct Outgoing<'a> {
    client: &'a mut Wire,
    /// Bytes until the connection is cut.
    cut: Option<usize>,
    /// Bytes of the body until silence.
    bytes: Option<usize>,
    /// When silence begins.
    silence: Option<Instant>,
}

impl Outgoing<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = match &mut self.cut {
            Some(left) => {
                let part = &bytes[..bytes.len().min(*left)];
                *left -= part.len();
                part
            }
            None => bytes,
        };
        if !bytes.is_empty() {
            self.client.stream.write_all(bytes)?;
            self.client.stream.flush()?;
        }
        match self.cut {
            Some(0) => Err(gone()),
            _ => Ok(()),
        }
    }

    /// The part of a piece of the body that is sent.
    fn audible<'b>(&mut self, piece: &'b [u8]) -> &'b [u8] {
        if self.silence.is_some_and(|at| Instant::now() >= at) {
            self.bytes = Some(0);
        }
        match &mut self.bytes {
            Some(left) => {
                let part = &piece[..piece.len().min(*left)];
                *left -= part.len();
                part
            }
            None => piece,
        }
    }
}

/// Answers one request. Returns whether the connection can carry another one.
fn exchange(
    peer: &Client<'_>,
    client: &mut Wire,
    server: &mut Option<Wire>,
    mut head: Head,
    body: &[u8],
) -> io::Result<bool> {
    let (shared, user) = (peer.shared, peer.user.as_ref());
    let mut words = head.first_line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let begun = Instant::now();
    let (number, fault) = shared.receive(Received {
        user: user.map(|user| user.name.clone()).unwrap_or_default(),
        method: method.to_owned(),
        target: target.to_owned(),
        at: begun,
        status: None,
        faulted: false,
    });
    let no_body = method == "HEAD";
    match &fault {
        Some(Fault::Status(status, fields)) => {
            shared.answered(number, *status);
            client.stream.write_all(&refusal(*status, fields))?;
            client.stream.flush()?;
            return Ok(true);
        }
        Some(Fault::Silence) => {
            peer.stay_silent()?;
            return Ok(false);
        }
        Some(Fault::Delay(delay)) => peer.wait(*delay),
        _ => {}
    }
    head.remove(|name| name.starts_with("x-remote-"));
    if let Some(user) = user {
        head.remove(|name| name == "authorization");
        head.add("X-Remote-User", &*user.name);
        for group in &user.groups {
            head.add("X-Remote-Group", &**group);
        }
    }
    let alive = || peer.is_there();
    let (upstream, mut response) = forward(server, shared, user.is_some(), &head, body, &alive)?;
    let status = response
        .first_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or(ErrorKind::InvalidData)?;
    shared.answered(number, status);
    let closes = response
        .get("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let length = response
        .get("content-length")
        .and_then(|value| value.parse().ok());
    let framing = match (no_body || matches!(status, 204 | 304), length) {
        (true, _) => Some(0),
        (false, Some(length)) => Some(length),
        (false, None) if response.get("transfer-encoding").is_some() => None,
        (false, None) => return Err(ErrorKind::Unsupported.into()),
    };
    let drop_last = fault == Some(Fault::DropLastChunk) && framing != Some(0);
    let chunked = framing.is_none() || drop_last;
    if drop_last {
        response.remove(|name| name == "content-length" || name == "transfer-encoding");
        response.add("Transfer-Encoding", "chunked");
    }
    if let Some(Fault::AddFields(fields)) = &fault {
        fields
            .iter()
            .for_each(|(name, value)| response.add(name, &**value));
    }
    let mut outgoing = Outgoing {
        client,
        cut: None,
        bytes: None,
        silence: None,
    };
    match fault {
        Some(Fault::CutAfter(bytes)) => outgoing.cut = Some(bytes),
        Some(Fault::SwallowAfterBytes(bytes)) => outgoing.bytes = Some(bytes),
        Some(Fault::SwallowAfter(time)) => outgoing.silence = Some(begun + time),
        _ => {}
    }
    outgoing.send(&response.to_bytes())?;
    match framing {
        Some(mut left) => {
            while left > 0 {
                let piece = upstream.piece(left, &alive)?.ok_or(ErrorKind::UnexpectedEof)?;
                left -= piece.len() as u64;
                pass(&mut outgoing, &piece, chunked)?;
            }
        }
        None => loop {
            let line = upstream.until(b"\r\n", &alive)?.ok_or(ErrorKind::UnexpectedEof)?;
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.trim().split(';').next().unwrap_or_default();
            let mut left = u64::from_str_radix(digits, 16).map_err(|_| ErrorKind::InvalidData)?;
            if left == 0 {
                while upstream
                    .until(b"\r\n", &alive)?
                    .is_some_and(|line| line != b"\r\n")
                {}
                break;
            }
            while left > 0 {
                let piece = upstream.piece(left, &alive)?.ok_or(ErrorKind::UnexpectedEof)?;
                left -= piece.len() as u64;
                pass(&mut outgoing, &piece, true)?;
            }
            upstream.until(b"\r\n", &alive)?.ok_or(ErrorKind::UnexpectedEof)?;
        },
    }
    if drop_last {
        return Ok(false);
    }
    if outgoing.bytes == Some(0) || outgoing.silence.is_some_and(|at| Instant::now() >= at) {
        peer.stay_silent()?;
        return Ok(false);
    }
    if chunked {
        outgoing.send(b"0\r\n\r\n")?;
    }
    Ok(!closes)
}

/// Sends the audible part of a piece of the body.
fn pass(outgoing: &mut Outgoing<'_>, piece: &[u8], chunked: bool) -> io::Result<()> {
    let piece = outgoing.audible(piece);
    if piece.is_empty() {
        return Ok(());
    }
    if !chunked {
        return outgoing.send(piece);
    }
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    outgoing.send(&chunk)
}

/// Sends the request to the API server, on the connection of the request before or on a new one, and reads the head of the
/// response.
fn forward<'a>(
    server: &'a mut Option<Wire>,
    shared: &Shared,
    for_others: bool,
    head: &Head,
    body: &[u8],
    alive: &dyn Fn() -> bool,
) -> io::Result<(&'a mut Wire, Head)> {
    let mut wire = match server.take() {
        Some(wire) => wire,
        None => Wire::new(shared.tls.connect(shared.upstream, for_others)?),
    };
    wire.stream.write_all(&head.to_bytes())?;
    wire.stream.write_all(body)?;
    wire.stream.flush()?;
    let response = wire.until(b"\r\n\r\n", alive)?.ok_or(ErrorKind::UnexpectedEof)?;
    Ok((server.insert(wire), Head::parse(&response)?))
}

/// A response as kube-apiserver would refuse a request.
fn refusal(status: u16, fields: &[(String, String)]) -> Vec<u8> {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"refused by the fault proxy","code":{status}}}"#
    );
    let mut head = Head {
        first_line: format!("HTTP/1.1 {status} Fault"),
        fields: fields.to_vec(),
    };
    head.add("Content-Type", "application/json");
    head.add("Content-Length", body.len().to_string());
    let mut bytes = head.to_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}
