//! A client that costs little, because it shares the cores with the server it measures: requests are rendered before, and
//! of a response only the parts that a figure needs are read.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Time for a server to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Time for a response: longer than any takes, waits for locks included.
const RESPONSE_TIME: Duration = Duration::from_secs(120);
/// Length of a connection's buffer at first, in bytes; a longer response makes it longer.
const BUFFER_LEN: usize = 8 * 1024;

/// A server and the caller's credentials there.
#[derive(Clone, Debug)]
pub struct BenchTarget {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The caller.
    pub caller: BenchCaller,
}

/// The caller of requests: an access token, and the name of the server.
#[derive(Clone, Debug)]
pub struct BenchCaller {
    host: String,
    path_prefix: String,
    token: Option<String>,
}

/// A keep-alive connection with one request at a time.
#[derive(Debug)]
pub struct BenchClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response in the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct BenchResponse<'a> {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: &'a str,
    /// The body, empty if there is none.
    pub body: &'a str,
}

/// A response whose status is not the one that the measurement needs.
#[derive(Debug)]
pub(crate) struct UnexpectedStatus {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl BenchTarget {
    /// Connects.
    pub fn connect(&self) -> io::Result<BenchClient> {
        BenchClient::connect(self.address)
    }
}

impl BenchCaller {
    /// The caller with that access token, or none, at the server of that name; `path_prefix` stands before every path.
    pub fn new(host: &str, path_prefix: &str, token: Option<&str>) -> BenchCaller {
        BenchCaller { host: host.to_owned(), path_prefix: path_prefix.to_owned(), token: token.map(str::to_owned) }
    }

    /// Another caller at the same server.
    pub fn with_token(&self, token: &str) -> BenchCaller {
        BenchCaller { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Renders a request. `headers` are whole lines, each with its line end.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let mut request = format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n", self.path_prefix, self.host);
        if let Some(token) = &self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        request += headers;
        if !body.is_empty() {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body;
        request.into_bytes()
    }
}

impl BenchClient {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<BenchClient> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_TIME))?;
        Ok(BenchClient { stream, buffer: vec![0; BUFFER_LEN] })
    }

    /// The socket, to be polled.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a whole request.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Reads the whole response to the request that was sent last.
    pub fn receive(&mut self) -> io::Result<BenchResponse<'_>> {
        let (mut filled, mut searched) = (0, 0);
        let head_len = loop {
            filled += self.read_more(filled)?;
            let found = self.buffer[searched..filled].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(place) = found {
                break searched + place + 4;
            }
            searched = filled.saturating_sub(3);
        };
        let status = self.buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status = status.ok_or_else(|| unreadable("it has no status"))?;
        let end = head_len + body_len(status, text(&self.buffer[..head_len])?)?;
        self.buffer.resize(self.buffer.len().max(end), 0);
        while filled < end {
            filled += self.read_more(filled)?;
        }
        Ok(BenchResponse { status, head: text(&self.buffer[..head_len])?, body: text(&self.buffer[head_len..end])? })
    }

    /// Sends a request and reads its response.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<BenchResponse<'_>> {
        self.send(request)?;
        self.receive()
    }

    fn read_more(&mut self, filled: usize) -> io::Result<usize> {
        if filled == self.buffer.len() {
            self.buffer.resize(2 * filled, 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Ok(0) => return Err(unreadable("the server closed the connection")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // a signal, which is handled elsewhere
                other => return other,
            }
        }
    }
}

impl BenchResponse<'_> {
    /// The value of a string field: the first of that name, which is the outermost in cashbox's responses.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split_once('"')?.0)
    }

    /// The value of an integer field.
    pub fn number(&self, name: &str) -> Option<i64> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":"))?;
        rest.split(|c: char| !c.is_ascii_digit() && c != '-').next()?.parse().ok()
    }

    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// An error for any other status.
    pub fn expect_status(&self, status: u16) -> io::Result<()> {
        if self.status == status {
            return Ok(());
        }
        Err(io::Error::other(UnexpectedStatus { status: self.status, body: self.body.to_owned() }))
    }
}

impl fmt::Display for UnexpectedStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a response was {}: {}", self.status, self.body)
    }
}

impl std::error::Error for UnexpectedStatus {}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A 204 has no body and no length.
fn body_len(status: u16, head: &str) -> io::Result<usize> {
    match header(head, "content-length") {
        Some(digits) => digits.parse().map_err(|_| unreadable("its length is not a number")),
        None if status == 204 => Ok(0),
        None => Err(unreadable("it has no length")),
    }
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))
}

fn unreadable(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a response cannot be read: {reason}"))
}
