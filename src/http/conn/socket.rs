//! A client's socket, read and written against the clock.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::Limits;

/// What a client gets `Limits::write_time` for, in bytes; so a slow reader is held to some 25 KiB a second.
const PIECE: usize = 256 * 1024;

/// How much is drained at a time, in bytes.
const DRAIN_STEP: usize = 4 * 1024;

/// Why a read or a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The time was up.
    Late,
    /// End-of-file, or an error of the socket.
    Gone,
}

/// Since when a client has not taken a piece of its answer, for whoever looks from outside. None: nothing waits.
#[derive(Default)]
pub(super) struct Writing(Mutex<Option<Instant>>);

impl Writing {
    pub(super) fn is_stalled_for(&self, time: Duration) -> bool {
        self.since().is_some_and(|since| since.elapsed() >= time)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that remembers the timeouts the kernel holds for it, so that setting the same again costs nothing.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    read_wait: Duration,
    write_wait: Duration,
    writing: Arc<Writing>,
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, writing: Arc<Writing>) -> Socket {
        // Answers are whole writes; holding the last segment back for more would only delay them.
        let _ = stream.set_nodelay(true);
        Socket { stream, read_wait: Duration::ZERO, write_wait: Duration::ZERO, writing }
    }

    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Reads what there is, at least one byte, waiting for it no longer than `wait`.
    pub(super) fn read_within(&mut self, into: &mut [u8], wait: Duration) -> Result<usize, Lost> {
        if wait.is_zero() {
            return Err(Lost::Late);
        }
        if self.read_wait != wait {
            self.stream.set_read_timeout(Some(wait)).map_err(lost)?;
            self.read_wait = wait;
        }
        loop {
            match (&*self.stream).read(into) {
                Ok(0) => return Err(Lost::Gone),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Reads what there is, at least one byte, before `deadline`.
    pub(super) fn read_by(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, Lost> {
        self.read_within(into, deadline.saturating_duration_since(Instant::now()))
    }

    /// Writes all of it: in one system call if the client takes it. Each 256 KiB have `time` to be taken.
    pub(super) fn write_all(&mut self, bytes: &[u8], time: Duration) -> Result<(), Lost> {
        bytes.chunks(PIECE).try_for_each(|piece| self.write_piece(piece, time))
    }

    fn write_piece(&mut self, piece: &[u8], time: Duration) -> Result<(), Lost> {
        let now = Instant::now();
        self.writing.set(Some(now));
        let written = self.write_until(piece, now + time, time);
        self.writing.set(None);
        written
    }

    fn write_until(&mut self, mut piece: &[u8], deadline: Instant, mut wait: Duration) -> Result<(), Lost> {
        loop {
            if self.write_wait != wait {
                self.stream.set_write_timeout(Some(wait)).map_err(lost)?;
                self.write_wait = wait;
            }
            match (&*self.stream).write(piece) {
                Ok(count) if count == piece.len() => return Ok(()),
                Ok(count) => piece = &piece[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
            wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Err(Lost::Late);
            }
        }
    }

    /// Ends the connection so that the client reads what was sent last: closing a socket with unread bytes in it sends
    /// a reset, which would overtake the answer.
    pub(super) fn say_goodbye(&mut self, limits: &Limits) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + limits.drain_time;
        let mut waste = [0u8; DRAIN_STEP];
        let mut drained = 0;
        while drained < limits.drain_bytes {
            match self.read_by(&mut waste, deadline) {
                Ok(count) => drained += count,
                Err(_) => return,
            }
        }
    }

    /// Makes the close a reset, so that not even an HTTP/1.0 client takes a torn answer for a whole one.
    pub(super) fn cut(&mut self) {
        let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn lost(error: io::Error) -> Lost {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Lost::Late,
        _ => Lost::Gone,
    }
}
