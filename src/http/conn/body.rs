//! Reading a body: of the announced length, or in chunks.
//!
//! Chunks are read strictly, for the same reason as heads: a size is 1 to 16 hex digits and CRLF, data ends in CRLF, and
//! extensions and trailers are refused. What follows the last chunk is the next request.

use std::time::Instant;

use super::permits::{Permit, Phase};
use super::service::{Admission, Fault, Limits, RequestHead};
use super::socket::{ClientSocket, ReadBuffer, SocketError};

/// Bytes by which the memory of a body grows while it comes: a length that was only announced takes none.
const BODY_STEP: usize = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Hex digits of a chunk's size: every 64-bit number.
const SIZE_DIGITS_MAX: usize = 16;

/// Why a body did not come whole.
pub(super) enum BodyError {
    /// The client disconnected, or the connection was evicted.
    Disconnected,
    /// To be answered.
    Fault(Fault),
}

impl From<Fault> for BodyError {
    fn from(fault: Fault) -> BodyError {
        BodyError::Fault(fault)
    }
}

/// Reads the body of one request.
pub(super) struct BodyReader<'a> {
    socket: &'a mut ClientSocket,
    input: &'a mut ReadBuffer,
    permit: &'a mut Permit,
    limits: &'a Limits,
    head: &'a RequestHead,
    body: Vec<u8>,
    /// The first bytes came with the head: then the client does not wait for `100 Continue`.
    has_begun: bool,
    /// Set when the socket is read for the first time.
    deadline: Option<Instant>,
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(
        socket: &'a mut ClientSocket,
        input: &'a mut ReadBuffer,
        permit: &'a mut Permit,
        limits: &'a Limits,
        head: &'a RequestHead,
    ) -> BodyReader<'a> {
        let has_begun = !input.is_empty();
        BodyReader { socket, input, permit, limits, head, body: Vec::new(), has_begun, deadline: None }
    }

    /// The whole body. Afterwards the connection is busy again.
    pub(super) fn read(mut self, admission: &mut Admission) -> Result<Vec<u8>, BodyError> {
        if self.head.chunked {
            self.read_chunks(admission)?;
        } else {
            let length = self.head.content_length;
            if length > admission.body_max {
                return Err(too_large(admission));
            }
            self.read_data(usize::try_from(length).map_err(|_| too_large(admission))?)?;
        }
        if self.deadline.is_some() && !self.permit.enter(Phase::Busy) {
            return Err(BodyError::Disconnected);
        }
        Ok(self.body)
    }

    fn read_chunks(&mut self, admission: &mut Admission) -> Result<(), BodyError> {
        let mut framing = 0;
        loop {
            let (size, line) = self.read_size()?;
            framing += line as u64 + 2;
            let length = (self.body.len() as u64).saturating_add(size);
            if length > admission.body_max || framing > admission.body_max {
                return Err(too_large(admission));
            }
            if let Some(reserved) = &mut admission.reserved {
                reserved.grow_to(length)?;
            }
            self.read_data(size as usize)?; // at most body_max, which is memory
            self.read_line_end()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// The size of the next chunk, and the length of its line.
    fn read_size(&mut self) -> Result<(u64, usize), BodyError> {
        loop {
            if let Some((size, line)) = chunk_size(self.input.unused())? {
                self.input.consume(line);
                return Ok((size, line));
            }
            self.read_socket()?;
        }
    }

    fn read_line_end(&mut self) -> Result<(), BodyError> {
        loop {
            match self.input.unused() {
                [] | [b'\r'] => self.read_socket()?,
                [b'\r', b'\n', ..] => break,
                _ => return Err(Fault::BadRequest("a chunk is longer than its size, or a trailer follows").into()),
            }
        }
        self.input.consume(2);
        Ok(())
    }

    /// Reads `count` bytes of data, what has arrived first.
    fn read_data(&mut self, count: usize) -> Result<(), BodyError> {
        let arrived = self.input.unused().len().min(count);
        self.body.extend_from_slice(&self.input.unused()[..arrived]);
        self.input.consume(arrived);
        if arrived == count {
            return Ok(());
        }
        let mut end = self.body.len();
        let whole = end + (count - arrived);
        while end < whole {
            if end == self.body.len() {
                self.body.resize(whole.min(end + BODY_STEP), 0);
            }
            let deadline = self.deadline()?;
            end += by_deadline(self.socket.read_by(&mut self.body[end..], deadline))?;
        }
        Ok(())
    }

    fn read_socket(&mut self) -> Result<(), BodyError> {
        let deadline = self.deadline()?;
        let count = by_deadline(self.socket.read_by(self.input.space(), deadline))?;
        self.input.filled(count);
        Ok(())
    }

    /// The deadline of the whole body. The first call lets the connection be evicted, until its body is whole; and sends
    /// `100 Continue` to a client that waits for it.
    fn deadline(&mut self) -> Result<Instant, BodyError> {
        if let Some(deadline) = self.deadline {
            return Ok(deadline);
        }
        if !self.permit.enter(Phase::Body) {
            return Err(BodyError::Disconnected);
        }
        if !self.has_begun && self.head.expects_continue() {
            self.socket.write_all(CONTINUE, self.limits.write_time).map_err(|_| BodyError::Disconnected)?;
        }
        Ok(*self.deadline.insert(Instant::now() + self.limits.body_time))
    }
}

fn by_deadline(read: Result<usize, SocketError>) -> Result<usize, BodyError> {
    read.map_err(|error| match error {
        SocketError::TimedOut => BodyError::Fault(Fault::BodyTimeout),
        SocketError::Closed => BodyError::Disconnected,
    })
}

fn too_large(admission: &Admission) -> BodyError {
    BodyError::Fault(Fault::BodyTooLarge { limit: admission.body_max })
}

/// The size of the chunk whose line begins `bytes`, and the length of the line; None if more has to come.
pub(super) fn chunk_size(bytes: &[u8]) -> Result<Option<(u64, usize)>, Fault> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > SIZE_DIGITS_MAX {
        return Err(Fault::BadRequest("the size of a chunk has more than 16 hexadecimal digits"));
    }
    match &bytes[digits..] {
        [] | [b'\r'] if digits > 0 || bytes.is_empty() => Ok(None),
        [b'\r', b'\n', ..] if digits > 0 => {
            let number = bytes[..digits].iter().fold(0, |number, digit| {
                number << 4 | u64::from(char::from(*digit).to_digit(16).expect("only hexadecimal digits were taken"))
            });
            Ok(Some((number, digits + 2)))
        }
        _ => Err(Fault::BadRequest("the size of a chunk is hexadecimal digits and CRLF, without an extension")),
    }
}
