//! Listening, accepting, refusing, and stopping.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

use super::connection::{HttpConnection, answer_fault};
use super::permits::Permits;
use super::service::{Fault, Limits, Service};
use super::socket::ClientSocket;
use super::write::{ResponseMode, send_response};

/// Connections the kernel completes for us before we accept them; the standard library's own is 128.
const BACKLOG: i32 = 1024;

/// Bytes of stack of a connection's thread: enough for an unoptimised build that parses JSON and runs a handler. Only
/// the part that is used takes memory.
const STACK: usize = 512 * 1024;

/// The pause of accepting when the machine refuses, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Clients that are refused at a time with a thread each, for want of permits. Those above it get as much of the response
/// as their socket takes at once, and nothing they still send is drained.
const REFUSING_MAX: usize = 32;

/// The longest time to wake accepting where a listening socket cannot be shut down.
const WAKE_TIME: Duration = Duration::from_millis(200);

/// Binds a listening socket. A restart does not wait for old connections to be forgotten (`SO_REUSEADDR`).
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The address at which this machine reaches what listens there.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Raises this process's soft descriptor limit to the hard one and returns the limit that holds now; `u64::MAX` is none.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Some systems refuse the hard limit they report; then the soft one stays and is returned.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

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
            Acceptor { permits: Arc::clone(&permits), limits: Arc::new(limits), service, refusing: Arc::new(()) };
        let thread = thread::Builder::new().name("accept".to_owned()).spawn({
            let listener = Arc::clone(&listener);
            move || acceptor.accept_all(&listener)
        })?;
        Ok(Server { address, permits, accepting: Mutex::new(Some(Accepting { thread, listener })) })
    }

    /// The address it listens on, with the port the machine chose if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.permits.count()
    }

    /// Counts the connections, also after the server has been dropped.
    pub(crate) fn connection_counter(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let permits = Arc::clone(&self.permits);
        move || permits.count()
    }

    /// Stops accepting, closes idle connections, refuses unfinished heads, and lets requests in flight finish (their
    /// responses close) for at most `timeout`; returns the number of connections still busy then.
    pub fn stop(&self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        self.permits.begin_stopping();
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Accepting { thread, listener }) = accepting {
            // Wakes accept() with an error on Linux; where it is refused, a connection from here does it.
            if SockRef::from(&*listener).shutdown(Shutdown::Both).is_err() {
                let _ = TcpStream::connect_timeout(&self.address, WAKE_TIME);
            }
            let _ = thread.join();
        }
        self.permits.end_idle();
        self.permits.wait_for_requests(deadline)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// Accepts connections. It never waits for a client.
struct Acceptor {
    permits: Arc<Permits>,
    limits: Arc<Limits>,
    service: Arc<dyn Service>,
    /// Cloned by every thread that refuses a client: the strong count minus one is their number.
    refusing: Arc<()>,
}

impl Acceptor {
    fn accept_all(&self, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.permits.is_stopping() {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.accept(stream),
                // A client disconnected before it was accepted: no pause is needed.
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                        // An idle connection may hold the descriptor that is missing.
                        self.permits.evict_one();
                    }
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream) {
        let permit = match self.permits.acquire(stream) {
            Ok(permit) => permit,
            Err(stream) => return self.refuse(stream),
        };
        let (limits, service) = (Arc::clone(&self.limits), Arc::clone(&self.service));
        let serve = move || HttpConnection::new(permit, limits, service).run();
        // Without a thread the closure is dropped, and with it the permit and the connection.
        if thread::Builder::new().name("connection".to_owned()).stack_size(STACK).spawn(serve).is_err() {
            thread::sleep(ACCEPT_PAUSE);
        }
    }

    fn refuse(&self, stream: TcpStream) {
        let at_once = Arc::strong_count(&self.refusing) > REFUSING_MAX;
        if at_once && stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut socket = ClientSocket::new(Arc::new(stream), Arc::default());
        let (limits, service) = (Arc::clone(&self.limits), Arc::clone(&self.service));
        if at_once {
            return send_refusal(&mut socket, &limits, &*service);
        }
        let refusing = Arc::clone(&self.refusing);
        let send = move || {
            send_refusal(&mut socket, &limits, &*service);
            socket.close_after_draining(&limits);
            drop(refusing);
        };
        // Without a thread the connection is dropped.
        let _ = thread::Builder::new().name("refuse".to_owned()).stack_size(STACK).spawn(send);
    }
}

fn send_refusal(socket: &mut ClientSocket, limits: &Limits, service: &dyn Service) {
    let response = answer_fault(service, Fault::TooManyConnections, None);
    // The connection is closed either way.
    let _ = send_response(socket, response, ResponseMode::UNKNOWN, true, limits);
}
