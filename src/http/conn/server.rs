//! Accepting, turning away, and stopping.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockRef;

use super::answer::{ResponseMode, deliver};
use super::connection::{Connection, answer_fault};
use super::permits::Permits;
use super::socket::Socket;
use super::{Fault, Limits, Service};

/// Bytes of stack for a connection's thread: enough for an unoptimised build that parses JSON and runs a handler.
/// Only what is used of it takes memory.
const STACK: usize = 512 * 1024;

/// How long accepting rests when the machine refuses, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Clients that are told at the same time, each by a thread, that there is no room. More are told in passing: what
/// their socket takes at once, and no patience with what they are still sending.
const FAREWELLS: usize = 32;

/// How long stopping tries to wake accepting where a listening socket cannot be shut.
const WAKE_TIME: Duration = Duration::from_millis(200);

/// A server that runs until it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    permits: Arc<Permits>,
    /// None once stopped.
    accepting: Mutex<Option<Accepting>>,
}

struct Accepting {
    thread: JoinHandle<()>,
    listener: Arc<TcpListener>,
}

impl Server {
    /// Takes a listening socket and serves until [`Server::stop`]. Errors are the machine's: no address, no thread.
    pub fn start(listener: TcpListener, limits: Limits, service: Arc<dyn Service>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let listener = Arc::new(listener);
        let permits = Arc::new(Permits::new(limits.connections));
        let acceptor =
            Acceptor { permits: Arc::clone(&permits), limits: Arc::new(limits), service, farewells: Arc::new(()) };
        let thread = thread::Builder::new().name("accept".to_owned()).spawn({
            let listener = Arc::clone(&listener);
            move || acceptor.accept(&listener)
        })?;
        Ok(Server { address, permits, accepting: Mutex::new(Some(Accepting { thread, listener })) })
    }

    /// Where it listens, with the port the machine chose if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.permits.count()
    }

    /// Stops accepting, closes idle connections, refuses heads that are not whole, and lets requests in flight finish
    /// (their answers close) for at most `patience`; returns the number of connections still busy then.
    pub fn stop(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        self.permits.begin_stopping();
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Accepting { thread, listener }) = accepting {
            // Wakes accept() with an error on Linux; where it is refused, a connection of our own does it.
            if SockRef::from(&*listener).shutdown(Shutdown::Both).is_err() {
                let _ = TcpStream::connect_timeout(&self.address, WAKE_TIME);
            }
            let _ = thread.join();
        }
        self.permits.end_waiting();
        self.permits.wait_until_quiet(deadline)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// Where connections come in. Nothing it does waits for a client.
struct Acceptor {
    permits: Arc<Permits>,
    limits: Arc<Limits>,
    service: Arc<dyn Service>,
    /// Every farewell holds a copy, so the copies count them.
    farewells: Arc<()>,
}

impl Acceptor {
    fn accept(&self, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.permits.is_stopping() {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.enter(stream),
                // A client that left before we came to it is no reason to rest.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                        // Somebody who waits for nothing may hold the descriptor that is missing.
                        self.permits.make_room();
                    }
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn enter(&self, stream: TcpStream) {
        let permit = match self.permits.enter(stream) {
            Ok(permit) => permit,
            Err(stream) => return self.turn_away(stream),
        };
        let (limits, service) = (Arc::clone(&self.limits), Arc::clone(&self.service));
        let serve = move || Connection::new(permit, limits, service).run();
        // No thread to be had: the closure is dropped, and with it the permit and the connection.
        if thread::Builder::new().name("connection".to_owned()).stack_size(STACK).spawn(serve).is_err() {
            thread::sleep(ACCEPT_PAUSE);
        }
    }

    fn turn_away(&self, stream: TcpStream) {
        let in_passing = Arc::strong_count(&self.farewells) > FAREWELLS;
        if in_passing && stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut socket = Socket::new(Arc::new(stream), Arc::default());
        let (limits, service) = (Arc::clone(&self.limits), Arc::clone(&self.service));
        if in_passing {
            return say_no_room(&mut socket, &limits, &*service);
        }
        let farewell = Arc::clone(&self.farewells);
        let tell = move || {
            say_no_room(&mut socket, &limits, &*service);
            socket.say_goodbye(&limits);
            drop(farewell);
        };
        // No thread for it either: the connection is dropped.
        let _ = thread::Builder::new().name("farewell".to_owned()).stack_size(STACK).spawn(tell);
    }
}

fn say_no_room(socket: &mut Socket, limits: &Limits, service: &dyn Service) {
    let answer = answer_fault(service, Fault::TooManyConnections, None);
    // Whether it arrives is all the same to us.
    let _ = deliver(socket, answer, ResponseMode::UNKNOWN, true, limits);
}
