//! A client that sends any bytes and notices how a connection ends.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::TIMEOUT;

pub(super) struct Client {
    socket: BufReader<TcpStream>,
}

/// The end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// End-of-file, after these bytes.
    Closed(Vec<u8>),
    Reset,
    /// Not at all, as long as we looked.
    Open,
}

/// An answer as the client read it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn says_close(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Client {
        Client { socket: BufReader::new(stream) }
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Client::from(stream)
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as long as the server takes it.
    pub(super) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream().write_all(bytes);
    }

    pub(super) fn half_close(&mut self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Sends a request and reads its answer.
    pub(super) fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request);
        self.reply()
    }

    pub(super) fn get(&mut self, path: &str) -> Reply {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    /// The next head, up to its empty line; empty at the end of the connection.
    pub(super) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.socket.read_line(&mut head).unwrap() == 0 {
                assert_eq!(head, "", "a head was torn");
                break;
            }
        }
        head
    }

    /// The next answer, whose body has a length.
    pub(super) fn reply(&mut self) -> Reply {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 "), "no answer came, but {head:?}");
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Reads bytes and discards them.
    pub(super) fn skip(&mut self, bytes: usize) {
        let skipped = std::io::copy(&mut self.socket.by_ref().take(bytes as u64), &mut std::io::sink()).unwrap();
        assert_eq!(skipped, bytes as u64);
    }

    /// Reads to the end of the connection.
    pub(super) fn ending(&mut self) -> Ending {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => Ending::Closed(rest),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
            Err(_) => Ending::Open,
        }
    }

    /// True if the server closes now, without a response and without a reset.
    pub(super) fn is_closed(&mut self) -> bool {
        self.ending() == Ending::Closed(Vec::new())
    }

    /// Asks again and again, as long as the server answers and says nothing of closing.
    pub(super) fn ask_until_closed(&mut self, path: &str) {
        loop {
            self.try_send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            // An idle connection is closed silently, so there may be nothing to read.
            if !matches!(self.socket.fill_buf(), Ok(bytes) if !bytes.is_empty()) || self.reply().says_close() {
                return;
            }
        }
    }

    /// True if nothing comes for that long.
    pub(super) fn hears_nothing_for(&mut self, time: Duration) -> bool {
        self.stream().set_read_timeout(Some(time)).unwrap();
        let silent = matches!(self.socket.fill_buf(), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream().set_read_timeout(Some(TIMEOUT)).unwrap();
        silent
    }
}
