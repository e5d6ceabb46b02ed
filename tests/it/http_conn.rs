//! The connection loop on real sockets, with a service that knows four tricks. Limits are short, so nothing waits long.

mod client;
mod deadlines;
mod framing;
mod later;
mod lifecycle;
mod permits;
mod refusals;

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cashbox::internals::http::conn::{
    Admission, Answer, Body, Fault, HttpRequest, Limits, Presence, RequestHead, Response, Server, Service, listen,
};

use crate::server::until;
use client::Client;

/// The largest body the service takes, in bytes.
const BODY_MAX: u64 = 1_000_000;

/// Longer than anything here takes, unless it is broken.
const TIMEOUT: Duration = Duration::from_secs(5);

/// When the server has read what was sent to it and does not answer, nothing tells; but this is plenty.
const READ_BY_THEN: Duration = Duration::from_millis(50);

/// State shared by the tests and the service.
#[derive(Default)]
struct Stage {
    /// Closed, `/wait` waits for it.
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    answered: AtomicUsize,
    undelivered: AtomicUsize,
    presence: Mutex<Option<Presence>>,
    stopped_reading: AtomicBool,
}

impl Stage {
    fn open_gate(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait_at_gate(&self) {
        self.waiting.fetch_add(1, SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_timeout_while(open, TIMEOUT, |open| !*open).unwrap());
        self.waiting.fetch_sub(1, SeqCst);
    }
}

/// Gives back what it is sent, among other things. Below `/later` one other thread does that, for all requests.
struct Echo {
    stage: Arc<Stage>,
    replier: Mutex<Sender<Box<dyn FnOnce() + Send>>>,
}

fn text(status: u16, text: impl Into<String>) -> Response {
    let headers = vec![("Content-Type", "text/plain".to_owned())];
    Response { status, headers, body: Body::Bytes(text.into().into_bytes()), close: false, undelivered: None }
}

impl Service for Echo {
    fn admit(&self, head: &RequestHead) -> Result<Admission, Response> {
        match head.path.as_str() {
            "/forbidden" => Err(text(403, "forbidden")),
            "/panic-early" => panic!("on purpose, in admit"),
            _ => Ok(Admission { body_max: BODY_MAX, reserved: None }),
        }
    }

    fn answer(&self, mut request: HttpRequest) -> Answer {
        let sender = request.later.take();
        let stage = Arc::clone(&self.stage);
        stage.answered.fetch_add(1, SeqCst);
        let Some(path) = request.head.path.strip_prefix("/later").map(str::to_owned) else {
            return stage.respond(request).into();
        };
        let panics_here = path == "/panic-here";
        request.head.path = path;
        let Some(sender) = sender else { return stage.respond(request).into() };
        let reply = move || sender.send(stage.respond(request));
        self.replier.lock().unwrap().send(Box::new(reply)).unwrap();
        assert!(!panics_here, "on purpose, after the sender was passed on");
        Answer::Later
    }

    fn fault(&self, fault: Fault, _: Option<&RequestHead>) -> Response {
        let status = match fault {
            Fault::BadRequest(_) => 400,
            Fault::HeadTimeout | Fault::BodyTimeout => 408,
            Fault::BodyTooLarge { .. } => 413,
            Fault::HeadTooLarge(_) => 431,
            Fault::Panic => 500,
            Fault::TooManyConnections | Fault::ShuttingDown | Fault::OutOfBodyMemory => 503,
            Fault::Version => 505,
        };
        text(status, format!("{fault:?}"))
    }
}

impl Stage {
    fn respond(self: &Arc<Self>, request: HttpRequest) -> Response {
        let HttpRequest { head, body, presence, .. } = request;
        let stream = |reader: Box<dyn Read + Send>| Response { body: Body::Stream(reader), ..text(200, "") };
        match head.path.as_str() {
            "/panic" => panic!("on purpose, in answer"),
            "/close" => Response { close: true, ..text(200, "bye") },
            "/nothing" => text(204, ""),
            "/large" => text(200, "x".repeat(head.query.unwrap().parse().unwrap())),
            "/wait" => {
                *self.presence.lock().unwrap() = Some(presence);
                self.wait_at_gate();
                let stage = Arc::clone(self);
                let undelivered = move || {
                    stage.undelivered.fetch_add(1, SeqCst);
                };
                Response { undelivered: Some(Box::new(undelivered)), ..text(200, "waited") }
            }
            "/stream" => stream(Box::new(io::Cursor::new(b"streamed".repeat(10_000)))),
            "/torn" => stream(Box::new(io::Cursor::new(b"half").chain(Broken))),
            "/torn-by-panic" => stream(Box::new(io::Cursor::new(b"half").chain(Panicking))),
            "/endless" => stream(Box::new(Endless(Arc::clone(self)))),
            path => {
                let echo = format!("{} {path} {:?} {}", head.method, head.query, String::from_utf8_lossy(&body));
                text(200, echo)
            }
        }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken on purpose"))
    }
}

struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("on purpose, in a stream")
    }
}

struct Endless(Arc<Stage>);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        into.fill(b'x');
        Ok(into.len())
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.stopped_reading.store(true, SeqCst);
    }
}

/// A server on a port of its own.
struct Scene {
    server: Server,
    stage: Arc<Stage>,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Limits::default())
    }

    fn with(limits: Limits) -> Scene {
        let stage = Arc::<Stage>::default();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let (queue, replies) = channel::<Box<dyn FnOnce() + Send>>();
        let reply_all = move || replies.into_iter().for_each(|reply| drop(catch_unwind(AssertUnwindSafe(reply))));
        std::thread::spawn(reply_all); // ends with the server
        let echo = Echo { stage: Arc::clone(&stage), replier: Mutex::new(queue) };
        let server = Server::start(listener, limits, Arc::new(echo)).unwrap();
        Scene { server, stage }
    }

    fn client(&self) -> Client {
        Client::connect(self.server.address())
    }

    /// A client whose request is being answered until the gate opens.
    fn waiting_client(&self) -> Client {
        self.waiting_client_at("/wait")
    }

    fn waiting_client_at(&self, path: &str) -> Client {
        let before = self.stage.waiting.load(SeqCst);
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        until(|| self.stage.waiting.load(SeqCst) > before);
        client
    }
}
