//! Requests in, answers out: the HTTP/1.x connection loop.
//!
//! Every connection has a thread of its own and a permit; it reads one request at a time, whole and within limits, has
//! it answered by a [`Service`], and writes the answer. What it promises:
//!
//! - A request that reaches [`Service::answer`] is unambiguous: one length, one host, no transfer coding, no control
//!   characters, lines that end in CRLF (a bare LF is refused). Everything else is a [`Fault`] and closes.
//! - Every wait has an end. Deadlines are total: a byte a second extends none of them.
//! - A client that is refused reads the refusal, not a reset: the answer is sent, the sending side shut, what still
//!   comes is drained within bounds, and only then is the socket closed.
//! - When permits run short, whoever does least gives way: the longest idle, then the oldest unfinished head, then the
//!   oldest unfinished body, then whoever has not taken its answer for a second; after all of these, whoever came, or
//!   began to send, within the last second. A request that is being answered is never cut.
//! - A panic of the service costs one request.
//!
//! An ordinary request costs one read and one write. `tiny_http` encodes the heads of answers and `httparse` reads the
//! heads of requests; the loop between them is ours. It knows nothing of wallets, routes or error formats, stores no
//! time (its clock is only good for deadlines), and never looks into a body.

mod answer;
mod connection;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod input;
mod listen;
mod permits;
mod presence;
mod server;
mod socket;

use std::io::Read;
use std::time::Duration;

pub use head::{RequestHead, parse as parse_head};
pub use listen::{listen, raise_descriptor_limit};
pub use presence::Presence;
pub use server::Server;

/// What the program does with requests.
pub trait Service: Send + Sync + 'static {
    /// Says from the head alone, before a byte of the body is read, how large the body may be, or refuses. A refusal of a
    /// request that has a body closes the connection, because the body stays unread.
    fn admit(&self, head: &RequestHead) -> Result<Admission, Response>;

    /// Answers a whole request. May block for long. A panic in it is caught and answered as [`Fault::Panic`].
    fn answer(&self, request: HttpRequest) -> Response;

    /// The answer for what went wrong on the wire, in the program's own error format; with the head, if it could be read.
    fn fault(&self, fault: Fault, head: Option<&RequestHead>) -> Response;
}

/// A request's leave to send its body.
pub struct Admission {
    /// How many bytes the body may have at most.
    pub body_max: u64,
    /// Kept until the request is answered: what the service counts large bodies by.
    pub place: Option<Box<dyn Send>>,
}

/// A request, whole and within limits.
pub struct HttpRequest {
    /// Its head.
    pub head: RequestHead,
    /// Its body, exactly as long as the head said.
    pub body: Vec<u8>,
    /// Whether its client is still there.
    pub presence: Presence,
}

/// What a request is answered with.
pub struct Response {
    /// The status, 200 to 599. The bodies of 204 and 304 are not sent.
    pub status: u16,
    /// `Content-Type` and the like. Length, connection and transfer coding are the loop's own and ignored here; a
    /// character that may not stand in a header is sent as `?`.
    pub headers: Vec<(&'static str, String)>,
    /// The body; a HEAD request gets its length only.
    pub body: Body,
    /// Whether to close the connection after it.
    pub close: bool,
    /// Called if the answer could not be written whole, also if its client was found gone just before: then nothing is
    /// written, so that nobody reads an answer that was taken back.
    pub undelivered: Option<Box<dyn FnOnce() + Send>>,
}

/// The body of an answer.
pub enum Body {
    /// All of it, sent together with the head in one write.
    Bytes(Vec<u8>),
    /// Sent as it comes: in chunks, or until the connection closes for HTTP/1.0. An error or a panic of the reader cuts
    /// the connection, so that the client sees a torn answer as torn.
    Stream(Box<dyn Read + Send>),
}

/// What can be wrong before there is a request. All but [`Fault::Panic`] close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The head breaks a rule; the sentence says which.
    BadRequest(&'static str),
    /// The head did not come whole in time.
    HeadTimeout,
    /// The body did not come whole in time.
    BodyTimeout,
    /// The head has too many bytes or headers; the sentence says which.
    HeadTooLarge(&'static str),
    /// The body is longer than the service admits.
    BodyTooLarge {
        /// What it admits, in bytes.
        limit: u64,
    },
    /// The request has a transfer coding; none is supported.
    TransferEncoding,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// Every permit is in use by a request that is being answered.
    TooManyConnections,
    /// The service panicked.
    Panic,
    /// The server was stopped while the head was still coming.
    ShuttingDown,
}

/// Every bound of the loop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// For a whole head, from its first byte.
    pub head_time: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Headers of a request; at most [`Limits::HEADERS_MAX`] counts.
    pub headers: usize,
    /// For the first byte of the next request; then the connection is closed without a word.
    pub idle: Duration,
    /// For a whole body, from its head.
    pub body_time: Duration,
    /// For a client to take one piece of an answer (an answer of bytes is one piece up to 256 KiB).
    pub write_time: Duration,
    /// Bytes read and thrown away after an answer that closes.
    pub drain_bytes: usize,
    /// For that.
    pub drain_time: Duration,
}

impl Limits {
    /// The most headers a request can have, whatever `headers` says.
    pub const HEADERS_MAX: usize = 64;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            head_time: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            headers: Limits::HEADERS_MAX,
            idle: Duration::from_secs(60),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(10),
            drain_bytes: 1024 * 1024,
            drain_time: Duration::from_secs(1),
        }
    }
}
