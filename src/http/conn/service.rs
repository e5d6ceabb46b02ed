//! The service behind a connection: the requests it gets, the responses it gives, and every limit.

use std::io::Read;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Decides from the head alone, before a byte of the body is read, how large the body may be, or refuses. Refusing a
    /// request that has a body closes the connection, because the body stays unread.
    fn admit(&self, head: &RequestHead) -> Result<Admission, Response>;

    /// Answers a whole request, or has another thread do that. May block for long. A panic in it is caught and answered as
    /// [`Fault::Panic`].
    fn answer(&self, request: HttpRequest) -> Answer;

    /// The response to a fault, in the service's own error format; with the head, if it could be read.
    fn fault(&self, fault: Fault, head: Option<&RequestHead>) -> Response;
}

/// Permission for a request to send its body.
pub struct Admission {
    /// The largest body, in bytes.
    pub body_max: u64,
    /// Kept until the request is answered: the memory the service has reserved for a large body.
    pub reserved: Option<Box<dyn BodyMemory>>,
}

/// The memory of one body; dropping it frees it.
pub trait BodyMemory: Send {
    /// Makes it enough for `bytes` in all: called before each chunk of a body that comes in chunks.
    fn grow_to(&mut self, bytes: u64) -> Result<(), Fault>;
}

/// A request, whole and within limits.
pub struct HttpRequest {
    /// Its head.
    pub head: RequestHead,
    /// Its body, whole.
    pub body: Vec<u8>,
    /// True if its client is still connected.
    pub presence: Presence,
    /// Sends the response from another thread. None: the response must be returned, because the connection ends after it
    /// or memory is reserved for the request.
    pub later: Option<ResponseSender>,
}

/// A request without its body.
pub struct RequestHead {
    /// The method, a token, as it was sent.
    pub method: String,
    /// The path as it was sent, percent signs and all, without the query. Begins with `/`.
    pub path: String,
    /// Everything behind the first `?`, as it was sent.
    pub query: Option<String>,
    /// HTTP/1.0; otherwise 1.1.
    pub http_1_0: bool,
    /// The length of the body in bytes, 0 if none was announced.
    pub content_length: u64,
    /// The body comes in chunks, and its length is not known.
    pub chunked: bool,
    /// Where the names (in lower case) and values of the headers are in `text`: one allocation for all of them.
    pub(super) headers: Vec<HeaderRange>,
    pub(super) text: String,
}

pub(super) struct HeaderRange {
    name: Range<usize>,
    value: Range<usize>,
}

impl RequestHead {
    /// A head that came from no socket: HTTP/1.1, no body, no headers yet.
    pub fn new(method: &str, path: &str, query: Option<&str>) -> RequestHead {
        RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            http_1_0: false,
            content_length: 0,
            chunked: false,
            headers: Vec::new(),
            text: String::new(),
        }
    }

    /// Adds a header behind the others.
    pub fn push_header(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        self.text[start..].make_ascii_lowercase();
        let colon = self.text.len();
        self.text.push_str(value);
        self.headers.push(HeaderRange { name: start..colon, value: colon..self.text.len() });
    }

    /// The first header of that name, which is given in lower case.
    pub fn header(&self, lower_case_name: &str) -> Option<&str> {
        self.headers(lower_case_name).next()
    }

    /// All headers of that name, which is given in lower case, in their order.
    pub fn headers<'a>(&'a self, lower_case_name: &str) -> impl Iterator<Item = &'a str> {
        let has_name = move |header: &&HeaderRange| self.text[header.name.clone()] == *lower_case_name;
        self.headers.iter().filter(has_name).map(|header| &self.text[header.value.clone()])
    }

    /// True if the client wants to send another request on this connection.
    pub(super) fn keep_alive(&self) -> bool {
        let lists = |word: &str| {
            self.headers("connection")
                .flat_map(|list| list.split(','))
                .any(|item| item.trim().eq_ignore_ascii_case(word))
        };
        !lists("close") && (!self.http_1_0 || lists("keep-alive"))
    }

    /// True if the client waits for `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        !self.http_1_0 && self.header("expect").is_some()
    }
}

/// Tells whether the client of a request is still connected.
///
/// It is not when its socket has seen the end of what the client sends (it closed, or half of it) or an error, and when
/// the connection has ended here; unread bytes change nothing. Asking never blocks and consumes nothing.
///
/// It holds no descriptor: keeping one does not keep a connection open.
#[derive(Clone)]
pub struct Presence(Option<Weak<TcpStream>>);

impl Presence {
    /// For a request that came from no socket.
    pub fn always() -> Presence {
        Presence(None)
    }

    /// True if the request came from no socket.
    pub(crate) fn is_local(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn of(stream: &Arc<TcpStream>) -> Presence {
        Presence(Some(Arc::downgrade(stream)))
    }

    /// Asks the socket, one system call.
    pub fn is_connected(&self) -> bool {
        let Some(stream) = &self.0 else { return true };
        let Some(stream) = stream.upgrade() else { return false };
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let mut socket = [PollFd::new(&*stream, PollFlags::RDHUP)];
        match poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => !socket[0].revents().intersects(ended),
            Err(error) => error == Errno::INTR,
        }
    }
}

/// Sends the response to one request, from any thread and without ever waiting for the client. If it is dropped without
/// that, the request is answered as after a panic.
pub struct ResponseSender(Option<Arc<dyn SendLater>>);

/// The place a later response goes to.
pub(super) trait SendLater: Send + Sync {
    /// None: there is none.
    fn send(&self, response: Option<Response>);
}

impl ResponseSender {
    pub(super) fn new(to: Arc<dyn SendLater>) -> ResponseSender {
        ResponseSender(Some(to))
    }

    /// Sends it, or gives what the socket does not take to the connection's thread.
    pub fn send(mut self, response: Response) {
        if let Some(to) = self.0.take() {
            to.send(Some(response));
        }
    }
}

impl Drop for ResponseSender {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to.send(None);
        }
    }
}

/// The answer of a service.
pub enum Answer {
    /// The response.
    Now(Response),
    /// It is sent by [`HttpRequest::later`], which was not dropped.
    Later,
    /// None: the connection is closed.
    Dropped,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Now(response)
    }
}

/// The response to a request.
pub struct Response {
    /// The status, 200 to 599. The bodies of 204 and 304 are not sent.
    pub status: u16,
    /// `Content-Type` and the like. Length, connection and transfer coding are set by the connection and ignored here; a
    /// character that may not be in a header is sent as `?`.
    pub headers: Vec<(&'static str, String)>,
    /// The body; a HEAD request gets its length only.
    pub body: Body,
    /// True to close the connection after it.
    pub close: bool,
    /// Called if the response could not be written whole, also if its client was found disconnected just before: then
    /// nothing is written, so that no client reads a response that was taken back.
    pub undelivered: Option<Box<dyn FnOnce() + Send>>,
}

/// The body of a response.
pub enum Body {
    /// All of it, sent together with the head in one write.
    Bytes(Vec<u8>),
    /// Sent as it comes: in chunks, or until the connection closes for HTTP/1.0. An error or a panic of the reader resets
    /// the connection, so that the client can tell that the response is not complete.
    Stream(Box<dyn Read + Send>),
}

/// A request that cannot be passed to the service, or cannot be answered by it. All but [`Fault::Panic`] close the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The head breaks a rule; the sentence names it.
    BadRequest(&'static str),
    /// The head did not come whole in time.
    HeadTimeout,
    /// The body did not come whole in time.
    BodyTimeout,
    /// The head has too many bytes or headers; the sentence tells which.
    HeadTooLarge(&'static str),
    /// The body is longer than the service admits.
    BodyTooLarge {
        /// The longest admitted, in bytes.
        limit: u64,
    },
    /// The memory of all bodies together is in use.
    OutOfBodyMemory,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// Every permit is in use by a request that is being answered.
    TooManyConnections,
    /// The service panicked.
    Panic,
    /// The server was stopped while the head was still coming.
    ShuttingDown,
}

/// Every bound of a server and its connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time for a whole head, from its first byte.
    pub head_time: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Headers of a request; at most [`Limits::HEADERS_MAX`] counts.
    pub headers: usize,
    /// Time to the first byte of the next request; then the connection is closed without a response.
    pub idle: Duration,
    /// Time for a whole body, from its head.
    pub body_time: Duration,
    /// Time for a client to read one piece of a response (a response of bytes is one piece up to 256 KiB).
    pub write_time: Duration,
    /// Bytes read and discarded after a response that closes.
    pub drain_bytes: usize,
    /// Time for that.
    pub drain_time: Duration,
}

impl Limits {
    /// The most headers a request can have, whatever `headers` is.
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
