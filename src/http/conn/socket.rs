//! A client's socket, read and written against the clock, and the bytes that were read and not used yet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::service::Limits;

/// Bytes that a client gets `Limits::write_time` for; so a slow reader must read about 25 KiB a second.
const PIECE: usize = 256 * 1024;

/// Bytes drained at a time.
const DRAIN_STEP: usize = 4 * 1024;

/// Bytes that an idle connection keeps: enough for an ordinary request with its body, and one page of memory.
const BUFFER_MIN: usize = 4 * 1024;

/// Why a read or a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketError {
    /// The time was up.
    TimedOut,
    /// End-of-file, or an error of the socket.
    Closed,
}

/// Since when a client has not read a piece of its response, for the choice of a connection to evict. None: nothing waits.
#[derive(Default)]
pub(super) struct WriteStall(Mutex<Option<Instant>>);

impl WriteStall {
    pub(super) fn has_lasted(&self, time: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= time)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A socket that remembers the timeouts the kernel holds for it, so that setting the same again costs nothing.
pub(super) struct ClientSocket {
    stream: Arc<TcpStream>,
    read_timeout: Duration,
    write_timeout: Duration,
    stall: Arc<WriteStall>,
}

impl ClientSocket {
    pub(super) fn new(stream: Arc<TcpStream>, stall: Arc<WriteStall>) -> ClientSocket {
        // Responses are whole writes; holding the last segment back for more would only delay them.
        let _ = stream.set_nodelay(true);
        ClientSocket { stream, read_timeout: Duration::ZERO, write_timeout: Duration::ZERO, stall }
    }

    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Reads what has arrived, at least one byte, waiting for it no longer than `timeout`.
    pub(super) fn read_within(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize, SocketError> {
        if timeout.is_zero() {
            return Err(SocketError::TimedOut);
        }
        if self.read_timeout != timeout {
            self.stream.set_read_timeout(Some(timeout)).map_err(socket_error)?;
            self.read_timeout = timeout;
        }
        loop {
            match (&*self.stream).read(into) {
                Ok(0) => return Err(SocketError::Closed),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(socket_error(error)),
            }
        }
    }

    /// Reads what has arrived, at least one byte, before `deadline`.
    pub(super) fn read_by(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, SocketError> {
        self.read_within(into, deadline.saturating_duration_since(Instant::now()))
    }

    /// Writes all of it: in one system call if the client takes it. Each 256 KiB have `time` to be read.
    pub(super) fn write_all(&mut self, bytes: &[u8], time: Duration) -> Result<(), SocketError> {
        bytes.chunks(PIECE).try_for_each(|piece| self.write_piece(piece, time))
    }

    fn write_piece(&mut self, piece: &[u8], time: Duration) -> Result<(), SocketError> {
        let now = Instant::now();
        self.stall.set(Some(now));
        let written = self.write_until(piece, now + time, time);
        self.stall.set(None);
        written
    }

    fn write_until(&mut self, mut piece: &[u8], deadline: Instant, mut timeout: Duration) -> Result<(), SocketError> {
        loop {
            if self.write_timeout != timeout {
                self.stream.set_write_timeout(Some(timeout)).map_err(socket_error)?;
                self.write_timeout = timeout;
            }
            match (&*self.stream).write(piece) {
                Ok(count) if count == piece.len() => return Ok(()),
                Ok(count) => piece = &piece[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(socket_error(error)),
            }
            timeout = deadline.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                return Err(SocketError::TimedOut);
            }
        }
    }

    /// Ends the connection so that the client reads the last response: closing a socket with unread bytes in it sends a
    /// reset, which would overtake the response.
    pub(super) fn close_after_draining(&mut self, limits: &Limits) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + limits.drain_time;
        let mut discarded = [0u8; DRAIN_STEP];
        let mut drained = 0;
        while drained < limits.drain_bytes {
            match self.read_by(&mut discarded, deadline) {
                Ok(count) => drained += count,
                Err(_) => return,
            }
        }
    }

    /// Makes the close a reset, so that not even an HTTP/1.0 client takes an incomplete response for a whole one.
    pub(super) fn reset_on_close(&mut self) {
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn socket_error(error: io::Error) -> SocketError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => SocketError::TimedOut,
        _ => SocketError::Closed,
    }
}

/// Bytes that a client has sent and that are not used yet. The buffer grows while a long head comes and is small again
/// when it is empty.
pub(super) struct ReadBuffer {
    pub(super) bytes: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

impl ReadBuffer {
    /// Never holds more than `max` bytes, or 4 KiB.
    pub(super) fn new(max: usize) -> ReadBuffer {
        ReadBuffer { bytes: vec![0; BUFFER_MIN], start: 0, end: 0, max: max.max(BUFFER_MIN) }
    }

    /// The bytes that are not used yet.
    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` bytes have been used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "only bytes that were read can be used");
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Frees the memory that a long head needed and an idle connection does not.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > BUFFER_MIN {
            self.bytes = vec![0; BUFFER_MIN];
        }
    }

    /// Discards empty lines: some clients send one behind a body, and it begins no request.
    pub(super) fn skip_empty_lines(&mut self) {
        while self.unused().starts_with(b"\r\n") {
            self.consume(2);
        }
    }

    /// The space to read into; never empty unless `max` bytes are unused. [`ReadBuffer::filled`] must follow.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            self.bytes.resize((2 * self.bytes.len()).min(self.max), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were read into [`ReadBuffer::space`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "no more bytes are read than there is space for");
    }
}
