//! Reads answers one after the other from a connection, however much of them comes at a time.

use crate::server::Answer;
use std::io::Read;
use std::net::TcpStream;

/// With the end of the line before it.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

pub struct Answers<'a> {
    stream: &'a TcpStream,
    bytes: Vec<u8>,
}

impl<'a> Answers<'a> {
    pub fn from(stream: &'a TcpStream) -> Answers<'a> {
        Answers { stream, bytes: Vec::new() }
    }

    /// The next answer, without the interim ones before it; None if the connection ended in between.
    ///
    /// # Panics
    /// If an answer is torn, or does not come in time.
    pub fn next(&mut self, head_only: bool) -> Option<Answer> {
        loop {
            let head = loop {
                if let Some(place) = find(&self.bytes, b"\r\n\r\n") {
                    break place + 4;
                }
                if !self.more() {
                    assert!(self.bytes.is_empty(), "an answer is torn: {:?}", String::from_utf8_lossy(&self.bytes));
                    return None;
                }
            };
            let text = String::from_utf8_lossy(&self.bytes[..head]).to_ascii_lowercase();
            if text.starts_with("http/1.1 100 ") {
                self.bytes.drain(..head);
                continue;
            }
            let end = if head_only { head } else { self.end_of_body(head, &text) };
            let answer = Answer::parse(&self.bytes[..end], head_only);
            self.bytes.drain(..end);
            return Some(answer);
        }
    }

    /// Everything up to the end of the connection; what was sent after it may have reset it.
    pub fn rest(mut self) -> Vec<u8> {
        while self.more() {}
        self.bytes
    }

    fn end_of_body(&mut self, head: usize, text: &str) -> usize {
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if let Some(length) = length {
            while self.bytes.len() < head + length {
                assert!(self.more(), "a body is torn");
            }
            return head + length;
        }
        if text.contains("transfer-encoding: chunked") {
            loop {
                if let Some(place) = find(&self.bytes[head - 2..], LAST_CHUNK) {
                    return head - 2 + place + LAST_CHUNK.len();
                }
                assert!(self.more(), "a stream is torn");
            }
        }
        if text.contains("connection: close") && !text.starts_with("http/1.1 204") {
            while self.more() {}
            return self.bytes.len();
        }
        head
    }

    /// Waits for more; false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut some = [0; 16 * 1024];
        match self.stream.read(&mut some) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend_from_slice(&some[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer came in time"),
            Err(_) => false,
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
